//! The client against OpenIPMI's `ipmi_sim`: a BMC that somebody else wrote.
use ironbeat_ipmi::{
    BmcConfig, BootDevice, BootFlags, ChassisControl, ErrorKind, Secret, Suite, Timing, Transport,
};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A running BMC, its power state in a file.
struct Sim {
    child: Child,
    dir: TempDir,
    address: SocketAddr,
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A free port below the range that outgoing connections use.
fn free_port() -> u16 {
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
    let base = 20_000 + (std::process::id() % 6000) as u16 * 2;
    (0..200)
        .map(|_| base % 32_000 + NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
        .find(|port| UdpSocket::bind(("127.0.0.1", *port)).is_ok())
        .expect("one of 200 ports is free")
}

impl Sim {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let path = |name: &str| dir.path().join(name);
        let chassis = path("chassis");
        let script = format!(
            "#!/bin/sh\ncd {}\ncase \"$1 $2\" in\n'get power') echo power:$(cat power);;\n'get boot') echo boot:$(cat boot);;\n\
             'set '*) shift; while [ $# -gt 1 ]; do echo $2 > $1; echo $1 $2 >> log; shift 2; done;;\nesac\n",
            dir.path().display()
        );
        std::fs::write(&chassis, script).unwrap();
        std::fs::set_permissions(&chassis, PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::write(path("power"), "0\n").unwrap();
        std::fs::write(path("boot"), "default\n").unwrap();
        let lan = format!(
            "name \"bmc\"\nset_working_mc 0x20\nstartlan 1\n addr 127.0.0.1 {port}\n priv_limit admin\n \
             allowed_auths_admin none md2 md5 straight\n guid a123456789abcdefa123456789abcdef\nendlan\n\
             chassis_control \"{}\"\nstartnow false\n\
             user 1 true \"\" \"test\" user 10 none md2 md5 straight\n\
             user 2 true \"admin\" \"Rack-pw-1\" admin 10 none md2 md5 straight\n",
            chassis.display()
        );
        std::fs::write(path("lan.conf"), lan).unwrap();
        std::fs::write(
            path("sim.emu"),
            "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n\
             sel_enable 0x20 1000 0x0a\nmc_enable 0x20\n",
        )
        .unwrap();
        let child = Command::new("ipmi_sim")
            .arg("-n")
            .args([std::ffi::OsStr::new("-c"), path("lan.conf").as_os_str()])
            .args([std::ffi::OsStr::new("-f"), path("sim.emu").as_os_str()])
            .args([std::ffi::OsStr::new("-s"), dir.path().as_os_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("ipmi_sim is installed (Debian package openipmi)");
        Self {
            child,
            dir,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        }
    }

    fn login(&self) -> BmcConfig {
        BmcConfig::new(self.address, "admin", Secret::new("Rack-pw-1"))
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name))
            .unwrap_or_default()
            .trim()
            .into()
    }
}

/// Many tries: the simulator may still be starting, and the machine may be busy.
fn patient() -> Timing {
    Timing {
        first_timeout: Duration::from_millis(300),
        tries: 12,
        ..Timing::default()
    }
}

#[tokio::test]
async fn power_is_read_and_switched() {
    let sim = Sim::start();
    let bmc = Transport::new().bmc(BmcConfig {
        timing: patient(),
        ..sim.login()
    });
    assert!(!bmc.chassis_status().await.unwrap().power_on);
    bmc.chassis_control(ChassisControl::PowerUp).await.unwrap();
    assert!(bmc.chassis_status().await.unwrap().power_on);
    assert_eq!(sim.read("power"), "1");
    bmc.chassis_control(ChassisControl::PowerDown)
        .await
        .unwrap();
    assert!(!bmc.chassis_status().await.unwrap().power_on);
    assert_eq!(bmc.device_id().await.unwrap().manufacturer, 0x1291);
    bmc.close().await;
    // The handle goes on with a new session.
    assert!(!bmc.chassis_status().await.unwrap().power_on);
}

#[tokio::test]
async fn the_boot_device_arrives() {
    let sim = Sim::start();
    let bmc = Transport::new().bmc(BmcConfig {
        timing: patient(),
        ..sim.login()
    });
    for (device, word) in [
        (BootDevice::Pxe, "pxe"),
        (BootDevice::Disk, "default"),
        (BootDevice::None, "none"),
    ] {
        bmc.set_boot_device(
            device,
            BootFlags {
                efi: true,
                persistent: false,
            },
        )
        .await
        .unwrap();
        assert_eq!(sim.read("boot"), word);
    }
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let sim = Sim::start();
    let transport = Transport::new();
    let ask = async |config: BmcConfig| {
        let error = transport
            .bmc(BmcConfig {
                timing: patient(),
                ..config
            })
            .device_id()
            .await
            .unwrap_err();
        assert!(error.is_permanent(), "{error}");
        assert!(!error.to_string().contains("hush"), "{error}");
        error.kind
    };
    assert_eq!(
        ask(BmcConfig {
            password: Secret::new("hush"),
            ..sim.login()
        })
        .await,
        ErrorKind::WrongPassword {
            user: "admin".into()
        }
    );
    assert_eq!(
        ask(BmcConfig {
            username: "nobody".into(),
            ..sim.login()
        })
        .await,
        ErrorKind::NoSuchUser {
            user: "nobody".into()
        }
    );
    assert_eq!(
        ask(BmcConfig {
            suite: Some(Suite::Seventeen),
            ..sim.login()
        })
        .await,
        ErrorKind::CipherRefused("17".into())
    );
}

#[tokio::test]
async fn a_restarted_bmc_is_entered_again() {
    let mut sim = Sim::start();
    let timing = Timing {
        tries: 4,
        first_timeout: Duration::from_millis(300),
        ..patient()
    };
    let bmc = Transport::new().bmc(BmcConfig {
        timing,
        ..sim.login()
    });
    while bmc.chassis_status().await.is_err() {}
    sim.child.kill().unwrap();
    sim.child.wait().unwrap();
    assert!(bmc.chassis_status().await.is_err());
    let path = |name: &str| sim.dir.path().join(name).into_os_string();
    sim.child = Command::new("ipmi_sim")
        .args([
            "-n".into(),
            "-c".into(),
            path("lan.conf"),
            "-f".into(),
            path("sim.emu"),
            "-s".into(),
            path(""),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut tries = 0;
    while let Err(error) = bmc.chassis_status().await {
        tries += 1;
        assert!(tries < 20, "{error}");
    }
}

#[tokio::test]
async fn a_silent_bmc_and_a_babbling_one_are_bounded() {
    let timing = Timing {
        tries: 3,
        first_timeout: Duration::from_millis(50),
        ..Timing::default()
    };
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let config = BmcConfig::new(silent.local_addr().unwrap(), "admin", Secret::new("pw"));
    let transport = Transport::new();
    let error = transport
        .bmc(BmcConfig { timing, ..config })
        .chassis_status()
        .await
        .unwrap_err();
    assert!(
        matches!(error.kind, ErrorKind::Unreachable { tries: 3, .. }),
        "{error}"
    );

    // Echoes every request, and adds noise.
    let babbling = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let config = BmcConfig::new(babbling.local_addr().unwrap(), "admin", Secret::new("pw"));
    let babble = tokio::spawn(async move {
        let mut buffer = [0; 2000];
        while let Ok((len, from)) = babbling.recv_from(&mut buffer).await {
            for n in 0..len {
                buffer[n] = buffer[n].wrapping_add(u8::from(n == 5));
                let _ = babbling.send_to(&buffer[..len - n / 2], from).await;
            }
        }
    });
    let error = transport
        .bmc(BmcConfig { timing, ..config })
        .chassis_status()
        .await
        .unwrap_err();
    assert!(!error.is_permanent(), "{error}");
    babble.abort();
}
