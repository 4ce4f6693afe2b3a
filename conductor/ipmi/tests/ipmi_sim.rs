//! The client against OpenIPMI's `ipmi_sim`: a BMC that somebody else wrote.
//! `support` starts it.
mod support;

use ironbeat_ipmi::{
    BmcConfig, BootDevice, BootFlags, ChassisControl, ErrorKind, Privilege, Secret, Suite, Timing,
    Transport,
};
use ironbeat_rack::interop::table_says;
use std::time::Duration;
use support::{Sim, free_port, patient};

/// Its column of the table.
const PEER: &str = "ipmi_sim 2.0.33";

#[tokio::test]
async fn power_is_read_and_switched() {
    let sim = Sim::start();
    let bmc = sim.bmc();
    assert!(!bmc.chassis_status().await.unwrap().power_on);
    bmc.chassis_control(ChassisControl::PowerUp).await.unwrap();
    assert!(bmc.chassis_status().await.unwrap().power_on);
    assert_eq!(sim.read("power"), "1");
    bmc.chassis_control(ChassisControl::PowerDown)
        .await
        .unwrap();
    assert!(!bmc.chassis_status().await.unwrap().power_on);
    bmc.close().await;
    // The handle goes on with a new session.
    assert!(!bmc.chassis_status().await.unwrap().power_on);
    assert!(bmc.round_trip().await.is_some());
    table_says(PEER, "login when no suite is named", "falls back to 3");
    table_says(PEER, "login", "3");
    table_says(PEER, "power", "yes");
    table_says(PEER, "a second login from the same UDP port", "yes");
}

#[tokio::test]
async fn the_boot_device_arrives() {
    let sim = Sim::start();
    let bmc = sim.bmc();
    for (device, word) in [
        (BootDevice::Pxe, "pxe"),
        (BootDevice::Disk, "default"),
        (BootDevice::None, "none"),
        (BootDevice::Cdrom, "cdrom"),
    ] {
        let flags = BootFlags {
            efi: true,
            persistent: false,
        };
        bmc.set_boot_device(device, flags).await.unwrap();
        assert_eq!(sim.read("boot"), word);
        // It keeps only the device: "valid", EFI and "persistent" are lost.
        let read = bmc.boot_flags().await.unwrap();
        assert_eq!(read.device, Some(device));
    }
    table_says(PEER, "boot device", "yes");
    table_says(PEER, "EFI and persistent, read back", "dropped by it");
}

#[tokio::test]
async fn it_says_who_it_is() {
    let sim = Sim::start();
    let bmc = sim.bmc();
    let id = bmc.device_id().await.unwrap();
    assert_eq!(
        (id.manufacturer, id.product, id.firmware, id.ipmi_version),
        (0x1291, 0xf02, (9, 8), 2)
    );
    // The same command by hand, and one that does not exist.
    let raw = bmc.raw(0x06, 0, 0x01, &[]).await.unwrap();
    assert_eq!(raw[6..8], [0x91, 0x12]);
    let error = bmc.raw(0x06, 0, 0xfe, &[]).await.unwrap_err();
    assert_eq!(error.completion().map(|code| code.0), Some(0xc1), "{error}");
    let error = bmc.raw(0x07, 0, 0x01, &[]).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Unsupported(_)), "{error}");
    let error = bmc.device_guid().await.unwrap_err();
    assert_eq!(error.completion().map(|code| code.0), Some(0xc1), "{error}");
    assert_eq!(bmc.system_guid().await.unwrap()[..3], [0xa1, 0x23, 0x45]);
    let lan = bmc.lan_parameters(1).await.unwrap();
    // Without a configuration program it reports only zeros.
    assert!(lan.address.is_some_and(|ip| ip.is_unspecified()) && lan.ipv6.is_empty());
    table_says(PEER, "command refused", "completion code");
}

#[tokio::test]
async fn a_password_that_was_set_lets_one_in_and_the_one_before_does_not() {
    let sim = Sim::start();
    let transport = Transport::new();
    let mut login = sim.login();
    for (password, kept) in [
        ("sixteen-bytes-it", "sixteen-bytes-it"),
        // It says that it has set it, too.
        ("twenty-bytes-of-text", "twenty-bytes-of-"),
    ] {
        let bmc = transport.bmc(login.clone());
        let user = bmc.own_user(0x0e).await.unwrap();
        assert_eq!((user.id, user.name.as_str()), (2, "admin"));
        let new = Secret::new(password);
        // What it says of a password proves nothing.
        assert_eq!(bmc.has_password(2, &new).await.unwrap(), Some(true));
        bmc.set_password(2, &new).await.unwrap();
        bmc.close().await;
        let error = transport.bmc(login.clone()).device_id().await.unwrap_err();
        assert!(
            matches!(error.kind, ErrorKind::WrongPassword { .. }),
            "{error}"
        );
        login.password = Secret::new(kept);
        transport.bmc(login.clone()).device_id().await.unwrap();
    }
    table_says(PEER, "password set, 16 and 20 bytes", "16; it cuts 20");
    table_says(PEER, "password tested", "it says yes to any");
}

#[tokio::test]
async fn a_user_that_may_not_set_passwords_is_told_so() {
    let sim = Sim::start();
    let reader = Transport::new().bmc(BmcConfig {
        username: "reader".into(),
        password: Secret::new("Rack-pw-2"),
        privilege: Privilege::User,
        ..sim.login()
    });
    let error = reader
        .set_password(3, &Secret::new("hush"))
        .await
        .unwrap_err();
    assert!(
        matches!(error.kind, ErrorKind::PrivilegeTooLow { .. }),
        "{error}"
    );
    assert!(!error.to_string().contains("hush"), "{error}");
}

#[tokio::test]
async fn without_a_login_it_answers_what_it_can() {
    let sim = Sim::start();
    let config = BmcConfig {
        password: Secret::new("not needed"),
        ..sim.login()
    };
    let bmc = Transport::new().bmc(config);
    let presence = bmc.presence().await.unwrap();
    assert!(presence.capabilities.ipmi_v2 && !presence.capabilities.kg_needed);
    // It claims suites that it refuses when they are used, among them 0 to 2.
    let ids: Vec<u8> = presence
        .cipher_suites
        .unwrap()
        .iter()
        .map(|s| s.id)
        .collect();
    assert!(ids.contains(&0) && ids.contains(&3), "{ids:?}");
}

#[tokio::test]
async fn each_refusal_has_an_error_of_its_own() {
    let sim = Sim::start();
    let transport = Transport::new();
    let ask = async |config: BmcConfig| {
        let error = transport.bmc(config).device_id().await.unwrap_err();
        assert!(error.is_permanent(), "{error}");
        assert!(!error.to_string().contains("hush"), "{error}");
        assert!(
            error.to_string().contains(&sim.address.to_string()),
            "{error}"
        );
        error.kind
    };
    let user = |name: &str| name.to_string();
    let wrong_password = BmcConfig {
        password: Secret::new("hush"),
        ..sim.login()
    };
    assert_eq!(
        ask(wrong_password).await,
        ErrorKind::WrongPassword {
            user: user("admin")
        }
    );
    let unknown = BmcConfig {
        username: "nobody".into(),
        ..sim.login()
    };
    assert_eq!(
        ask(unknown).await,
        ErrorKind::NoSuchUser {
            user: user("nobody")
        }
    );
    // It grants any user any privilege at login, and checks it at each command.
    let reader = transport.bmc(BmcConfig {
        username: "reader".into(),
        password: Secret::new("Rack-pw-2"),
        privilege: Privilege::User,
        ..sim.login()
    });
    assert!(!reader.chassis_status().await.unwrap().power_on);
    let error = reader
        .chassis_control(ChassisControl::PowerUp)
        .await
        .unwrap_err();
    assert!(
        matches!(error.kind, ErrorKind::PrivilegeTooLow { .. }),
        "{error}"
    );
    let seventeen = BmcConfig {
        suite: Some(Suite::Seventeen),
        ..sim.login()
    };
    assert_eq!(ask(seventeen).await, ErrorKind::CipherRefused("17".into()));
    let wrong_key = BmcConfig {
        kg: Some(Secret::new("hush")),
        ..sim.login()
    };
    assert_eq!(
        ask(wrong_key).await,
        ErrorKind::WrongKey {
            user: user("admin")
        }
    );
    for (row, said) in [
        ("wrong password", "wrong password"),
        ("no such user", "no such user"),
        ("privilege too low", "at the command"),
        ("cipher suite not spoken", "cipher refused"),
        ("another key K_g", "wrong key"),
    ] {
        table_says(PEER, row, said);
    }
}

#[tokio::test]
async fn a_restarted_bmc_is_entered_again() {
    let mut sim = Sim::start();
    let bmc = Transport::new().bmc(BmcConfig {
        timing: Timing {
            tries: 6,
            max_timeout: Duration::from_secs(1),
            ..patient()
        },
        ..sim.login()
    });
    assert!(!bmc.chassis_status().await.unwrap().power_on);
    sim.kill();
    let error = bmc.chassis_status().await.unwrap_err();
    assert!(
        matches!(error.kind, ErrorKind::Unreachable { tries: 6, .. }),
        "{error}"
    );
    sim.restart();
    assert!(!bmc.chassis_status().await.unwrap().power_on);
    // The session dies with the BMC, the next command opens another.
    sim.restart();
    assert!(!bmc.chassis_status().await.unwrap().power_on);
    table_says(PEER, "nobody there", "unreachable");
}

#[tokio::test]
async fn a_power_cycle_is_sent_again_only_while_the_bmc_recognises_it() {
    let mut sim = Sim::start();
    let bmc = sim.bmc();
    bmc.chassis_status().await.unwrap();
    sim.kill();
    // Nothing answers any more, so all that follows is waiting.
    tokio::time::pause();
    let cycle = bmc.chassis_control(ChassisControl::PowerCycle).await;
    let kind = cycle.unwrap_err().kind;
    let ErrorKind::Unconfirmed { tries, waited } = kind else {
        panic!("{kind}");
    };
    // Of the 12 tries that are allowed, those of four seconds, a second apart at most; then time for a late answer.
    assert!((4..=6).contains(&tries), "{tries}");
    assert!(waited > Duration::from_secs(7), "{waited:?}");
    // A read may be repeated as often as we like.
    let kind = bmc.chassis_status().await.unwrap_err().kind;
    assert!(
        matches!(kind, ErrorKind::Unreachable { tries: 12, .. }),
        "{kind}"
    );
}

/// `ipmi_sim` has 63 session slots; each of these leaves one unless it is given back.
#[tokio::test]
async fn slots_are_given_back() {
    let sim = Sim::start();
    let transport = Transport::new();
    for round in 0..100 {
        let bmc = transport.bmc(sim.login());
        match round % 3 {
            0 => {
                bmc.device_id().await.unwrap();
                bmc.close().await;
            }
            1 => drop(bmc.device_id().await.unwrap()),
            _ => {
                let wrong = BmcConfig {
                    password: Secret::new("hush"),
                    ..sim.login()
                };
                transport.bmc(wrong).device_id().await.unwrap_err();
            }
        }
    }
}

#[tokio::test]
async fn a_cancelled_command_leaves_a_usable_session() {
    let sim = Sim::start();
    let bmc = sim.bmc();
    bmc.device_id().await.unwrap();
    for _ in 0..20 {
        // Polled once: it is sent, and nobody waits for the answer.
        let mut status = Box::pin(bmc.chassis_status());
        std::future::poll_fn(|context| {
            let _ = status.as_mut().poll(context);
            std::task::Poll::Ready(())
        })
        .await;
        drop(status);
        assert_eq!(bmc.device_id().await.unwrap().manufacturer, 0x1291);
    }
}

#[tokio::test]
async fn a_silent_bmc_and_a_babbling_one_are_bounded() {
    let timing = Timing {
        tries: 3,
        first_timeout: Duration::from_millis(50),
        ..Timing::default()
    };
    let transport = Transport::new();
    let bind = async || {
        tokio::net::UdpSocket::bind(("127.0.0.1", free_port()))
            .await
            .unwrap()
    };
    let at = |socket: &tokio::net::UdpSocket| {
        let address = socket.local_addr().unwrap();
        transport.bmc(BmcConfig {
            timing,
            ..BmcConfig::new(address, "admin", Secret::new("pw"))
        })
    };
    let silent = bind().await;
    let error = at(&silent).chassis_status().await.unwrap_err();
    assert!(
        matches!(error.kind, ErrorKind::Unreachable { tries: 3, .. }),
        "{error}"
    );

    // Echoes every request, and adds noise.
    let babbling = bind().await;
    let bmc = at(&babbling);
    let babble = tokio::spawn(async move {
        let mut buffer = [0; 2000];
        while let Ok((len, from)) = babbling.recv_from(&mut buffer).await {
            for n in 0..len {
                buffer[n] = buffer[n].wrapping_add(u8::from(n == 5));
                let _ = babbling.send_to(&buffer[..len - n / 2], from).await;
            }
        }
    });
    let error = bmc.chassis_status().await.unwrap_err();
    assert!(!error.is_permanent(), "{error}");
    babble.abort();
}

/// pyghmi ignores a login from the address and port of an earlier session until it is asked for its capabilities.
/// And noise, which anybody can send, is no answer.
#[tokio::test]
async fn a_bmc_that_is_silent_to_a_login_is_soon_asked_something_else() {
    for noise in [false, true] {
        let deaf = tokio::net::UdpSocket::bind(("127.0.0.1", free_port()))
            .await
            .unwrap();
        let bmc = Transport::new().bmc(BmcConfig {
            timing: Timing {
                tries: 30,
                first_timeout: Duration::from_millis(20),
                ..Timing::default()
            },
            ..BmcConfig::new(deaf.local_addr().unwrap(), "admin", Secret::new("pw"))
        });
        let listen = async {
            let mut asked = Vec::new();
            let mut buffer = [0; 200];
            for _ in 0..4 {
                let (_, from) = deaf.recv_from(&mut buffer).await.unwrap();
                // The payload type, in the IPMI 2.0 format; a question outside a session is in another.
                let payload = (buffer[4] == 6).then_some(buffer[5]);
                asked.push(payload);
                if noise && payload == OPEN_SESSION {
                    // An answer that ends behind its tag.
                    (buffer[5], buffer[14], buffer[15]) = (0x11, 1, 0);
                    deaf.send_to(&buffer[..17], from).await.unwrap();
                }
            }
            asked
        };
        let asked = tokio::select! {
            asked = listen => asked,
            ended = bmc.chassis_status() => panic!("{ended:?}"),
        };
        assert_eq!(asked, [OPEN_SESSION, OPEN_SESSION, None, OPEN_SESSION]);
    }
}

/// Payload type "RMCP+ Open Session Request" (table 13-16).
const OPEN_SESSION: Option<u8> = Some(0x10);
