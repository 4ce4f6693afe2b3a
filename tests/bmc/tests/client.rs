//! Our own client on simulated BMCs: every command, every fault, and every kind of error told from the others.
//! What clients of others make of them is in `interop`.
mod support;

use ironbeat_bmc_sim::{BootFlags, Counters, Faults, Fleet, PowerFault, Settings, Suite as Spoken};
use ironbeat_ipmi::{
    Bmc, BmcConfig, BootDevice, Bridge, ChassisControl, Error, ErrorKind, Health, Privilege,
    Secret, SelEvent, Suite, Timing, Transport,
};
use ironbeat_rack::interop::table_says;
use std::time::Duration;
use support::free_port;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn start(settings: Settings, faults: Faults) -> Fleet {
    let fleet = Fleet::single(free_port(), settings).unwrap();
    fleet.with(0, |bmc, _| bmc.faults = faults);
    fleet
}

fn faulty(faults: Faults) -> Fleet {
    let on = Settings {
        powered_on: true,
        ..Settings::default()
    };
    start(on, faults)
}

/// Many tries: the machine may be busy, and faults may hit several times in a row.
fn login(fleet: &Fleet) -> BmcConfig {
    BmcConfig {
        timing: Timing {
            first_timeout: Duration::from_millis(200),
            min_timeout: Duration::from_millis(50),
            max_timeout: Duration::from_secs(2),
            tries: 12,
            ..Timing::default()
        },
        ..BmcConfig::new(fleet.address(0), "admin", Secret::new("Rack-pw-1"))
    }
}

/// For what cannot work: gives up soon.
fn hasty(fleet: &Fleet) -> BmcConfig {
    BmcConfig {
        timing: Timing {
            first_timeout: Duration::from_millis(100),
            max_timeout: Duration::from_millis(200),
            tries: 3,
            ..Timing::default()
        },
        ..login(fleet)
    }
}

fn client(config: BmcConfig) -> Bmc {
    Transport::new().bmc(config)
}

fn counters(fleet: &Fleet) -> Counters {
    fleet.counters()
}

#[tokio::test]
async fn every_command_works_at_both_suites() {
    for suite in [Suite::Three, Suite::Seventeen] {
        let fleet = start(Settings::default(), Faults::default());
        let bmc = client(BmcConfig {
            suite: Some(suite),
            ..login(&fleet)
        });
        assert!(!bmc.chassis_status().await.unwrap().power_on);
        for control in [
            ChassisControl::PowerUp,
            ChassisControl::PowerCycle,
            ChassisControl::HardReset,
            ChassisControl::Diag,
            ChassisControl::SoftShutdown,
            ChassisControl::PowerUp,
            ChassisControl::PowerDown,
        ] {
            bmc.chassis_control(control).await.unwrap();
        }
        assert!(!bmc.chassis_status().await.unwrap().power_on);
        assert_eq!(counters(&fleet).control, [1, 2, 1, 1, 1, 1]);

        let flags = ironbeat_ipmi::BootFlags {
            efi: true,
            persistent: true,
        };
        bmc.set_boot_device(BootDevice::Pxe, flags).await.unwrap();
        let read = bmc.boot_flags().await.unwrap();
        assert!(read.valid, "{read:?}");
        assert_eq!((read.device, read.flags), (Some(BootDevice::Pxe), flags));

        let id = bmc.device_id().await.unwrap();
        assert_eq!((id.manufacturer, id.product), (0x1291, 0x0f02));
        assert_eq!(bmc.device_guid().await.unwrap(), [0x6d; 16]);
        assert_eq!(bmc.system_guid().await.unwrap(), [0x6d; 16]);
        let lan = bmc.lan_parameters(1).await.unwrap();
        assert_eq!(lan.address, Some([127, 0, 0, 1].into()));
        let users = bmc.users(1).await.unwrap();
        assert!(
            users
                .iter()
                .any(|user| user.name == "reader" && user.privilege == 2)
        );

        let sensors = bmc.sensors().await.unwrap();
        let values: Vec<_> = sensors
            .iter()
            .map(|sensor| {
                let reading = sensor.reading.as_ref().unwrap();
                assert_eq!(reading.health, Some(Health::Ok), "{sensor:?}");
                (sensor.record.name.as_str(), reading.value.unwrap().round())
            })
            .collect();
        assert_eq!(
            values,
            [("CPU Temp", 41.0), ("Fan 1", 10_000.0), ("12V", 12.0)]
        );
        let fru = bmc.fru(0).await.unwrap();
        assert!(fru.problems.is_empty(), "{fru:?}");
        assert_eq!(fru.product.unwrap().serial, "S-1");
        fleet.with(0, |bmc, now| {
            bmc.log_event([0x01, 1, 0x01, 0x59, 0x5a, 0x50], now)
        });
        let entries = bmc.sel(None).await.unwrap();
        assert!(
            matches!(entries[0].event, SelEvent::Sensor { number: 1, .. }),
            "{entries:?}"
        );
        bmc.clear_sel().await.unwrap();
        assert_eq!(bmc.sel_info().await.unwrap().entries, 0);

        let near = bmc.behind(Bridge::Single {
            channel: 0,
            address: 0x30,
        });
        assert_eq!(near.device_id().await.unwrap().device, 0x30);
        let far = bmc.behind(Bridge::Dual {
            transit_channel: 0,
            transit_address: 0x30,
            channel: 0,
            address: 0x32,
        });
        assert_eq!(far.device_id().await.unwrap().device, 0x32);
        assert_eq!(bmc.raw(0x06, 0, 0x01, &[]).await.unwrap()[0], 0x20);
        let nobody = bmc.behind(Bridge::Single {
            channel: 0,
            address: 0x40,
        });
        let error = nobody.device_id().await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::NotPassedOn(_)), "{error}");
        assert_eq!(bmc.device_id().await.unwrap().device, 0x20);

        bmc.close().await;
        assert_eq!(fleet.with(0, |bmc, _| bmc.active_sessions()), 0);
        assert_eq!(counters(&fleet).logins, 1);
        // And in again, from the same port.
        assert!(!bmc.chassis_status().await.unwrap().power_on);
    }
    for row in [
        "power: status, on, off, cycle, reset, soft, diagnostic interrupt",
        "boot device, EFI and persistent, set and read",
        "sensors with units and thresholds",
        "event log: read, clear",
        "inventory (FRU)",
        "device id, GUIDs",
        "LAN parameters",
        "users",
        "bridged to one controller, through one to another",
        "raw command",
    ] {
        table_says("Ironbeat", row, "3, 17");
    }
    table_says("simulated", "login", "3, 17");
    for row in [
        "power",
        "boot device",
        "EFI and persistent, read back",
        "a second login from the same UDP port",
        "sensors, event log, inventory, users",
    ] {
        table_says("simulated", row, "yes");
    }
}

#[tokio::test]
async fn a_start_uses_the_flags_that_were_set() {
    let fleet = start(Settings::default(), Faults::default());
    let bmc = client(login(&fleet));
    let flags = ironbeat_ipmi::BootFlags {
        efi: true,
        persistent: false,
    };
    bmc.set_boot_device(BootDevice::Pxe, flags).await.unwrap();
    bmc.chassis_control(ChassisControl::PowerUp).await.unwrap();
    bmc.chassis_control(ChassisControl::PowerCycle)
        .await
        .unwrap();
    let starts = fleet.with(0, |bmc, now| bmc.starts(now));
    let seen: Vec<_> = starts
        .into_iter()
        .map(|flags: BootFlags| (flags.is_valid(), flags.device(), flags.is_efi()))
        .collect();
    assert_eq!(seen, [(true, 1, true), (false, 0, false)]);
    assert!(!bmc.boot_flags().await.unwrap().valid);
}

#[tokio::test]
async fn the_console_echoes_and_belongs_to_one() {
    for suite in [Suite::Three, Suite::Seventeen] {
        let fleet = start(Settings::default(), Faults::default());
        let bmc = client(BmcConfig {
            suite: Some(suite),
            ..login(&fleet)
        });
        let mut console = bmc.console(false).await.unwrap();
        let mut greeting = [0; 15];
        console.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"console ready\r\n");
        let typed: Vec<u8> = (0..3000u32).map(|n| b'a' + (n % 26) as u8).collect();
        let (mut from, mut to) = tokio::io::split(console);
        let mut echoed = vec![0; typed.len()];
        let (sent, read) = tokio::join!(to.write_all(&typed), from.read_exact(&mut echoed));
        sent.unwrap();
        read.unwrap();
        assert_eq!(echoed, typed);
        let error = bmc.console(false).await.map(drop).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Busy, "{error}");
        from.unsplit(to).close().await.unwrap();
        bmc.console(false).await.unwrap().close().await.unwrap();
    }
    table_says("Ironbeat", "serial console", "3, 17");
    table_says("simulated", "serial console", "yes");
    table_says("simulated", "console taken", "busy");
}

#[tokio::test]
async fn a_console_goes_on_over_a_bad_network() {
    let fleet = faulty(Faults {
        loss_permille: 100,
        duplicate_permille: 100,
        ..Faults::default()
    });
    let bmc = client(login(&fleet));
    let mut console = bmc.console(false).await.unwrap();
    let mut greeting = [0; 15];
    console.read_exact(&mut greeting).await.unwrap();
    for line in ["one\r", "two\r", "three\r"] {
        console.write_all(line.as_bytes()).await.unwrap();
        let mut echoed = vec![0; line.len()];
        console.read_exact(&mut echoed).await.unwrap();
        assert_eq!(echoed, line.as_bytes());
    }
    // The BMC restarts: whoever types next learns that the session is no more.
    fleet.with(0, |bmc, now| bmc.restart(now));
    console.write_all(b"x").await.unwrap();
    assert_eq!(console.read(&mut [0; 8]).await.unwrap(), 0);
    let error = console.close().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::SessionLost, "{error}");
    table_says("simulated", "restart under a console", "session lost");
}

/// What a command ends with that cannot work.
async fn refused(config: BmcConfig) -> Error {
    let bmc = client(config);
    let error = bmc.chassis_status().await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("Rack-pw"), "{error}");
    error
}

#[tokio::test]
async fn reasons_to_refuse_a_login_are_told_apart() {
    let fleet = faulty(Faults::default());
    let user = |name: &str| name.to_string();
    let nobody = BmcConfig {
        username: user("nobody"),
        ..hasty(&fleet)
    };
    let error = refused(nobody.clone()).await;
    assert_eq!(
        error.kind,
        ErrorKind::NoSuchUser {
            user: user("nobody")
        }
    );
    let wrong = BmcConfig {
        password: Secret::new("hush"),
        ..hasty(&fleet)
    };
    let error = refused(wrong).await;
    assert_eq!(
        error.kind,
        ErrorKind::WrongPassword {
            user: user("admin")
        }
    );
    let key = BmcConfig {
        kg: Some(Secret::new("hush")),
        ..hasty(&fleet)
    };
    assert_eq!(
        refused(key).await.kind,
        ErrorKind::WrongKey {
            user: user("admin")
        }
    );
    let reader = BmcConfig {
        username: user("reader"),
        password: Secret::new("Rack-pw-2"),
        ..hasty(&fleet)
    };
    let error = refused(reader.clone()).await;
    assert!(
        matches!(error.kind, ErrorKind::PrivilegeTooLow { .. }),
        "{error}"
    );
    // It may read, and is told at the command what it may not.
    let reader = client(BmcConfig {
        privilege: Privilege::User,
        ..reader
    });
    assert!(reader.chassis_status().await.unwrap().power_on);
    let error = reader
        .chassis_control(ChassisControl::PowerDown)
        .await
        .unwrap_err();
    assert!(
        matches!(error.kind, ErrorKind::PrivilegeTooLow { .. }),
        "{error}"
    );
    assert_eq!(counters(&fleet).control, [0; 6]);

    let hides = faulty(Faults {
        hides_users: true,
        ..Faults::default()
    });
    let nobody = BmcConfig {
        address: hides.address(0),
        ..nobody
    };
    let error = refused(nobody).await;
    assert_eq!(
        error.kind,
        ErrorKind::SilentLogin {
            user: user("nobody")
        }
    );
    for (row, said) in [
        (
            "no such user",
            "no such user; silent login if it hides them",
        ),
        ("wrong password", "wrong password"),
        ("another key K_g", "wrong key"),
        ("privilege too low", "at the login; at the command"),
    ] {
        table_says("simulated", row, said);
    }
}

#[tokio::test]
async fn suites_are_tried_from_the_best_and_refusals_named() {
    let three = || Settings {
        suites: vec![Spoken::Three],
        ..Settings::default()
    };
    for ignores_seventeen in [false, true] {
        let fleet = start(
            three(),
            Faults {
                ignores_seventeen,
                ..Faults::default()
            },
        );
        assert!(
            !client(hasty(&fleet))
                .chassis_status()
                .await
                .unwrap()
                .power_on
        );
        assert_eq!(counters(&fleet).logins, 1);
    }
    let fleet = start(three(), Faults::default());
    let seventeen = BmcConfig {
        suite: Some(Suite::Seventeen),
        ..hasty(&fleet)
    };
    let error = refused(seventeen).await;
    assert_eq!(error.kind, ErrorKind::CipherRefused("17".into()), "{error}");
    let silent = start(
        three(),
        Faults {
            ignores_cipher_suites: true,
            ..Faults::default()
        },
    );
    let presence = client(hasty(&silent)).presence().await.unwrap();
    assert!(presence.cipher_suites.is_none() && presence.capabilities.ipmi_v2);
    table_says("simulated", "cipher suite not spoken", "cipher refused");
}

#[tokio::test]
async fn a_silent_bmc_a_full_one_and_a_babbling_one_are_told_apart() {
    let silent = faulty(Faults {
        silent: true,
        ..Faults::default()
    });
    let error = refused(hasty(&silent)).await;
    assert!(
        matches!(error.kind, ErrorKind::Unreachable { tries: 3, .. }),
        "{error}"
    );
    let full = faulty(Faults {
        table_full: true,
        ..Faults::default()
    });
    assert_eq!(refused(hasty(&full)).await.kind, ErrorKind::OutOfSessions);
    let babbling = faulty(Faults {
        garbage: true,
        ..Faults::default()
    });
    let error = refused(hasty(&babbling)).await;
    assert!(matches!(error.kind, ErrorKind::Malformed(_)), "{error}");
    // The same before a login as in one.
    let error = client(hasty(&babbling)).presence().await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Malformed(_)), "{error}");

    // One session at a time: the second is told so, and gets in when the first is given back.
    let one = faulty(Faults {
        sessions: Some(1),
        ..Faults::default()
    });
    let first = client(hasty(&one));
    assert!(first.chassis_status().await.unwrap().power_on);
    assert_eq!(refused(hasty(&one)).await.kind, ErrorKind::OutOfSessions);
    first.close().await;
    assert!(client(hasty(&one)).chassis_status().await.unwrap().power_on);
    for (row, said) in [
        ("nobody there", "unreachable"),
        ("no session left", "out of sessions"),
        ("nonsense", "malformed"),
    ] {
        table_says("simulated", row, said);
    }
}

#[tokio::test]
async fn a_refused_command_fails_with_its_completion_code() {
    let fleet = start(Settings::default(), Faults::default());
    let bmc = client(hasty(&fleet));
    let error = bmc
        .chassis_control(ChassisControl::HardReset)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("not supported in the present state (0xd5)"),
        "{error}"
    );
    let error = bmc.raw(0x06, 0, 0xfe, &[]).await.unwrap_err();
    assert_eq!(error.completion().map(|code| code.0), Some(0xc1), "{error}");
    // Always busy: asked a few times, then told so.
    fleet.with(0, |bmc, _| bmc.faults.busy_permille = 1000);
    let error = bmc
        .chassis_control(ChassisControl::PowerUp)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("node busy (0xc0)"), "{error}");
    assert_eq!(counters(&fleet).control, [0; 6]);
    // Sometimes busy: done, once.
    fleet.with(0, |bmc, _| bmc.faults.busy_permille = 300);
    bmc.chassis_control(ChassisControl::PowerUp).await.unwrap();
    assert_eq!(counters(&fleet).control[1], 1);
    table_says("simulated", "command refused", "completion code");
}

/// Whatever the network does to datagrams, a command that must not be done twice is done once.
#[tokio::test]
async fn a_bad_network_costs_time_and_nothing_else() {
    let ms = Duration::from_millis;
    for (name, faults) in [
        (
            "loss",
            Faults {
                loss_permille: 200,
                ..Faults::default()
            },
        ),
        (
            "duplicates",
            Faults {
                duplicate_permille: 1000,
                ..Faults::default()
            },
        ),
        (
            "reordering",
            Faults {
                reorder_permille: 500,
                duplicate_permille: 300,
                ..Faults::default()
            },
        ),
        (
            "delay",
            Faults {
                delay: ms(150),
                jitter: ms(200),
                ..Faults::default()
            },
        ),
        (
            "slow acknowledgement",
            Faults {
                slow_acknowledge: ms(700),
                ..Faults::default()
            },
        ),
        (
            "random numbers drawn anew",
            Faults {
                redraws: true,
                loss_permille: 100,
                ..Faults::default()
            },
        ),
    ] {
        let fleet = faulty(faults);
        let bmc = client(login(&fleet));
        for round in 1..=6 {
            let status = bmc.chassis_status().await;
            assert!(
                status.as_ref().is_ok_and(|s| s.power_on),
                "{name}: {status:?}"
            );
            let done = bmc.chassis_control(ChassisControl::PowerCycle).await;
            done.unwrap_or_else(|error| panic!("{name}, round {round}: {error}"));
            assert_eq!(counters(&fleet).control[2], round, "{name}");
        }
    }
}

#[tokio::test]
async fn a_bmc_that_forgets_its_sessions_is_entered_again() {
    let fleet = faulty(Faults {
        forgets_after: Some(3),
        ..Faults::default()
    });
    let bmc = client(hasty(&fleet));
    for _ in 0..6 {
        assert!(bmc.chassis_status().await.unwrap().power_on);
    }
    assert!(counters(&fleet).logins >= 3, "{:?}", counters(&fleet));
}

#[tokio::test]
async fn a_bmc_that_restarts_in_mid_command_leaves_a_doubt_and_no_second_try() {
    let fleet = faulty(Faults {
        restarts_on_control: true,
        ..Faults::default()
    });
    let bmc = client(login(&fleet));
    let error = bmc
        .chassis_control(ChassisControl::PowerCycle)
        .await
        .unwrap_err();
    assert!(
        matches!(error.kind, ErrorKind::Unconfirmed { .. }),
        "{error}"
    );
    assert_eq!(counters(&fleet).control, [0, 0, 1, 0, 0, 0]);
    // It was carried out; the next look says so, over a new session.
    assert!(bmc.chassis_status().await.unwrap().power_on);
    assert_eq!((counters(&fleet).logins, counters(&fleet).restarts), (2, 1));
    let row = "restart during a command that must not be repeated";
    table_says("simulated", row, "unconfirmed");
}

#[tokio::test]
async fn lies_about_power_are_passed_on_as_they_are() {
    for (lie, told) in [
        (PowerFault::SaysOn, true),
        (PowerFault::SaysOff, false),
        (PowerFault::Ignores, true),
    ] {
        let fleet = faulty(Faults {
            power: lie,
            ..Faults::default()
        });
        let bmc = client(login(&fleet));
        bmc.chassis_control(ChassisControl::PowerDown)
            .await
            .unwrap();
        assert_eq!(
            bmc.chassis_status().await.unwrap().power_on,
            told,
            "{lie:?}"
        );
        let really = fleet.with(0, |bmc, now| bmc.is_on(now));
        assert_eq!(really, lie == PowerFault::Ignores);
    }
}

#[tokio::test]
async fn wrong_sequence_numbers_never_pass_an_old_answer_off_as_new() {
    // Anywhere: what falls behind the window is dropped, and asked again.
    let wild = faulty(Faults {
        wild_sequence: true,
        ..Faults::default()
    });
    let bmc = client(login(&wild));
    let mut right = 0;
    for _ in 0..10 {
        right += u32::from(
            bmc.chassis_status()
                .await
                .is_ok_and(|status| status.power_on),
        );
    }
    assert!(right > 0);
    // Always the same: only the first answer of a session is new.
    let stuck = faulty(Faults {
        stuck_sequence: true,
        ..Faults::default()
    });
    let error = refused(hasty(&stuck)).await;
    assert!(
        matches!(error.kind, ErrorKind::Unreachable { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_schedule_takes_a_bmc_away_and_gives_it_back() {
    let fleet = faulty(Faults::default());
    let bmc = client(hasty(&fleet));
    assert!(bmc.chassis_status().await.unwrap().power_on);
    let silent = Faults {
        silent: true,
        ..Faults::default()
    };
    fleet.with(0, |bmc, now| bmc.schedule(vec![(now, silent)]));
    let error = bmc.chassis_status().await.unwrap_err();
    assert!(
        matches!(error.kind, ErrorKind::Unreachable { .. }),
        "{error}"
    );
    let restarted = Faults {
        restarts: true,
        ..Faults::default()
    };
    fleet.with(0, |bmc, now| {
        bmc.settings.restart = Duration::ZERO;
        bmc.schedule(vec![(now, restarted)]);
    });
    assert!(bmc.chassis_status().await.unwrap().power_on);
    assert_eq!((counters(&fleet).restarts, counters(&fleet).logins), (1, 2));
}

#[tokio::test]
async fn the_best_suite_and_a_key_of_its_own_are_used() {
    let kg = Settings {
        kg: Some(b"another-key".to_vec()),
        ..Settings::default()
    };
    let fleet = start(kg, Faults::default());
    let config = BmcConfig {
        kg: Some(Secret::new("another-key")),
        ..login(&fleet)
    };
    let bmc = client(config.clone());
    assert!(!bmc.chassis_status().await.unwrap().power_on);
    let without = BmcConfig {
        kg: None,
        ..hasty(&fleet)
    };
    let error = refused(without).await;
    assert!(matches!(error.kind, ErrorKind::WrongKey { .. }), "{error}");
    table_says("Ironbeat", "key K_g", "yes");
    // No suite was named, and a BMC that has only the best one was entered.
    fleet.with(0, |bmc, _| bmc.settings.suites = vec![Spoken::Seventeen]);
    assert!(!client(config).chassis_status().await.unwrap().power_on);
    table_says("Ironbeat", "best suite found by itself", "17");
    table_says("simulated", "login when no suite is named", "17");
}

/// A session begins at User (IPMI 2.0 §22.18). One whose privilege was not raised yet would refuse what comes next.
#[tokio::test]
async fn a_login_that_is_cancelled_before_its_privilege_is_raised_leaves_no_session_behind() {
    let fleet = faulty(Faults::default());
    let mut config = login(&fleet);
    // Nothing is sent twice: after its login comes what follows a login.
    config.timing.first_timeout = Duration::from_secs(30);
    config.timing.max_timeout = Duration::from_secs(30);
    let bmc = client(config);
    let look = |look: fn(&Counters) -> u64| look(&counters(&fleet));
    let until = async |what: &str, so: &dyn Fn() -> bool| {
        for _ in 0..60_000 {
            if so() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("{what}: not within a minute");
    };
    // The answers are late, so that the last one of the login is still under way when the BMC falls silent.
    fleet.with(0, |bmc, _| bmc.faults.delay = Duration::from_secs(1));
    let cancelled = async {
        until("the BMC lets us in", &|| look(|c| c.logins) == 1).await;
        fleet.with(0, |bmc, _| bmc.faults.silent = true);
        let before = look(|c| c.datagrams);
        until("more is asked of it", &|| look(|c| c.datagrams) > before).await;
    };
    tokio::select! {
        result = bmc.chassis_control(ChassisControl::HardReset) => panic!("{result:?}"),
        () = cancelled => {}
    }
    assert_eq!(look(|c| c.commands), 0, "its privilege is as it was");
    fleet.with(0, |bmc, _| bmc.faults = Faults::default());
    bmc.chassis_control(ChassisControl::HardReset)
        .await
        .unwrap();
    assert_eq!((look(|c| c.logins), look(|c| c.control[3])), (2, 1));
}

#[tokio::test]
async fn a_password_is_set_and_tested_in_both_lengths() {
    for suite in [Suite::Three, Suite::Seventeen] {
        let fleet = start(Settings::default(), Faults::default());
        let transport = Transport::new();
        let mut config = BmcConfig {
            suite: Some(suite),
            ..login(&fleet)
        };
        for password in ["short", "sixteen-bytes-it", "twenty-bytes-of-text"] {
            let bmc = transport.bmc(config.clone());
            let id = bmc.own_user(1).await.unwrap().id;
            let new = Secret::new(password);
            assert_eq!(bmc.has_password(id, &new).await.unwrap(), Some(false));
            bmc.set_password(id, &new).await.unwrap();
            assert_eq!(bmc.has_password(id, &new).await.unwrap(), Some(true));
            bmc.close().await;
            let former = client(config.clone()).device_id().await.unwrap_err();
            assert!(
                matches!(former.kind, ErrorKind::WrongPassword { .. }),
                "{former}"
            );
            config.password = new;
            transport.bmc(config.clone()).device_id().await.unwrap();
        }
        let long = Secret::new("one-and-twenty-bytes!");
        let error = client(config).set_password(2, &long).await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::LoginTooLong(_)), "{error}");
    }
    table_says(
        "Ironbeat",
        "password set and tested, 16 and 20 bytes",
        "3, 17",
    );
    for row in ["password set, 16 and 20 bytes", "password tested"] {
        table_says("simulated", row, "yes");
    }
}

#[tokio::test]
async fn a_password_that_is_refused_or_cut_is_noticed() {
    let password = Secret::new("sixteen-bytes-and-3");
    let fleet = faulty(Faults {
        refuses_password: true,
        ..Faults::default()
    });
    let error = client(login(&fleet))
        .set_password(2, &password)
        .await
        .unwrap_err();
    assert!(
        matches!(error.kind, ErrorKind::PasswordRefused(_)),
        "{error}"
    );
    assert!(error.is_permanent(), "{error}");
    assert_eq!(counters(&fleet).passwords, 0);

    let fleet = faulty(Faults {
        keeps_of_password: Some(16),
        ..Faults::default()
    });
    let bmc = client(login(&fleet));
    bmc.set_password(2, &password).await.unwrap();
    assert_eq!(bmc.has_password(2, &password).await.unwrap(), Some(false));
    let kept = Secret::new("sixteen-bytes-an");
    assert_eq!(bmc.has_password(2, &kept).await.unwrap(), Some(true));
}
