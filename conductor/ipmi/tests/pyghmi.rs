//! The client against pyghmi's BMC, which VirtualBMC and its like are built on.
//! `docs/bmc-interop.md` lists what it lacks.
mod support;

use ironbeat_ipmi::{
    Bmc, BmcConfig, BootDevice, BootFlags, ChassisControl, ErrorKind, Secret, Suite, Timing,
    Transport,
};
use ironbeat_rack::interop::table_says;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use support::{free_port, patient};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Its column of the table.
const PEER: &str = "pyghmi 1.5.34";

/// pyghmi's own example of a BMC, on a loopback address, with the verbs that it leaves out and an echo for a console.
const SERVER: &str = "
import sys
import pyghmi.ipmi.bmc as bmc
from pyghmi.cmd.fakebmc import FakeBmc
class Here(FakeBmc):
    def __init__(self, port, address):
        bmc.Bmc.__init__(self, {'admin': 'Rack-pw-1'}, port, address=address)
        self.powerstate = 'off'
        self.bootdevice = 'default'
    def power_cycle(self):
        print('cycled')
    def pulse_diag(self):
        print('diag')
    def activate_payload(self, request, session):
        self.early = b''
        super().activate_payload(request, session)
        if self.early:
            self.sol.send_data(self.early)
    def iohandler(self, data):
        # It may read what is typed before it has its console.
        if self.sol is None:
            self.early += data
        else:
            self.sol.send_data(data)
here = Here(int(sys.argv[1]), sys.argv[2])
print('listening', flush=True)
here.listen()
";

struct Pyghmi {
    child: Child,
    address: SocketAddr,
}

impl Drop for Pyghmi {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Debian's Python comes first: another one in the path does not have its packages.
fn python() -> Option<&'static str> {
    ["/usr/bin/python3", "python3"].into_iter().find(|python| {
        Command::new(python)
            .args(["-c", "import pyghmi.cmd.fakebmc"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    })
}

impl Pyghmi {
    /// None: it is not on this machine, and the test says so.
    fn start(host: &str) -> Option<Self> {
        let Some(python) = python() else {
            eprintln!("NOT TRIED: pyghmi is missing (Debian package python3-pyghmi)");
            return None;
        };
        let port = free_port();
        let mut child = Command::new(python)
            .args(["-c", SERVER, &port.to_string(), host])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "listening\n");
        // It goes on printing; somebody has to read that.
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        let address = SocketAddr::new(host.parse().unwrap(), port);
        Some(Self { child, address })
    }

    /// It knows only suite 3.
    fn login(&self) -> BmcConfig {
        BmcConfig {
            suite: Some(Suite::Three),
            timing: patient(),
            ..BmcConfig::new(self.address, "admin", Secret::new("Rack-pw-1"))
        }
    }
}

/// A handle of its own, with a UDP port of its own.
fn bmc(config: BmcConfig) -> Bmc {
    Transport::new().bmc(config)
}

/// For what is not answered.
fn hasty(config: BmcConfig) -> BmcConfig {
    let timing = Timing {
        first_timeout: Duration::from_millis(100),
        tries: 5,
        ..patient()
    };
    BmcConfig { timing, ..config }
}

#[tokio::test]
async fn power_and_boot_device_are_read_and_set_over_both_families() {
    for host in ["127.0.0.1", "::1"] {
        let Some(server) = Pyghmi::start(host) else {
            return;
        };
        let bmc = bmc(server.login());
        assert!(!bmc.chassis_status().await.unwrap().power_on);
        for control in [
            ChassisControl::PowerUp,
            ChassisControl::PowerCycle,
            ChassisControl::HardReset,
            ChassisControl::Diag,
        ] {
            bmc.chassis_control(control).await.unwrap();
            assert!(bmc.chassis_status().await.unwrap().power_on);
        }
        bmc.chassis_control(ChassisControl::SoftShutdown)
            .await
            .unwrap();
        assert!(!bmc.chassis_status().await.unwrap().power_on);
        let flags = BootFlags {
            efi: true,
            persistent: true,
        };
        for device in [BootDevice::Pxe, BootDevice::Disk, BootDevice::Cdrom] {
            bmc.set_boot_device(device, flags).await.unwrap();
            // It keeps only the device.
            let read = bmc.boot_flags().await.unwrap();
            assert_eq!((read.valid, read.device), (true, Some(device)));
            assert!(!read.flags.efi && !read.flags.persistent);
        }
        assert_eq!(bmc.device_id().await.unwrap().firmware, (1, 0));
        assert!(bmc.presence().await.unwrap().capabilities.ipmi_v2);
        bmc.close().await;
    }
    for (row, said) in [
        ("login", "3"),
        ("IPv6", "yes"),
        ("power", "yes"),
        ("boot device", "yes"),
        ("EFI and persistent, read back", "dropped by it"),
    ] {
        table_says(PEER, row, said);
    }
}

#[tokio::test]
async fn an_unknown_command_has_a_completion_code() {
    let Some(server) = Pyghmi::start("127.0.0.1") else {
        return;
    };
    let bmc = bmc(server.login());
    for error in [
        bmc.system_guid().await.unwrap_err(),
        bmc.users(1).await.unwrap_err(),
        bmc.sel_info().await.unwrap_err(),
        bmc.sdr_records().await.unwrap_err(),
        bmc.fru(0).await.unwrap_err(),
    ] {
        assert_eq!(error.completion().map(|code| code.0), Some(0xc1), "{error}");
    }
    assert!(!bmc.chassis_status().await.unwrap().power_on);
    table_says(
        PEER,
        "sensors, event log, inventory, users",
        "it has none: 0xc1",
    );
    table_says(PEER, "command refused", "completion code");
}

#[tokio::test]
async fn the_console_echoes_and_belongs_to_one() {
    let Some(server) = Pyghmi::start("127.0.0.1") else {
        return;
    };
    bmc(server.login())
        .chassis_control(ChassisControl::PowerUp)
        .await
        .unwrap();
    let mut console = bmc(server.login()).console(false).await.unwrap();
    console.write_all(b"hello").await.unwrap();
    let mut echoed = [0; 5];
    console.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"hello");
    let error = bmc(server.login())
        .console(false)
        .await
        .map(drop)
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Busy, "{error}");
    console.close().await.unwrap();
    table_says(PEER, "serial console", "yes");
    table_says(PEER, "console taken", "busy");
}

#[tokio::test]
async fn each_refusal_has_an_error_of_its_own() {
    let Some(server) = Pyghmi::start("127.0.0.1") else {
        return;
    };
    let user = |name: &str| name.to_string();
    let wrong = BmcConfig {
        password: Secret::new("hush"),
        ..server.login()
    };
    let error = bmc(wrong).device_id().await.unwrap_err();
    assert_eq!(
        error.kind,
        ErrorKind::WrongPassword {
            user: user("admin")
        }
    );
    // It is asked for suite 17, and silently grants 3.
    let unnamed = bmc(BmcConfig {
        suite: None,
        ..server.login()
    });
    unnamed.device_id().await.unwrap();
    // The session is closed, but pyghmi answers a login from the same port with the old keys, until it is asked what a
    // new caller asks.
    for login in [unnamed, bmc(server.login())] {
        for _ in 0..3 {
            login.device_id().await.unwrap();
            login.close().await;
        }
    }
    let nobody = BmcConfig {
        username: user("nobody"),
        ..hasty(server.login())
    };
    let error = bmc(nobody).device_id().await.unwrap_err();
    assert_eq!(
        error.kind,
        ErrorKind::SilentLogin {
            user: user("nobody")
        }
    );
    // It lives on.
    bmc(server.login()).device_id().await.unwrap();
    for (row, said) in [
        ("wrong password", "wrong password"),
        ("login when no suite is named", "falls back to 3"),
        ("a second login from the same UDP port", "yes"),
        ("no such user", "silent login"),
    ] {
        table_says(PEER, row, said);
    }
    drop(server);
    let gone = hasty(BmcConfig::new(
        SocketAddr::from(([127, 0, 0, 1], free_port())),
        "admin",
        Secret::new("pw"),
    ));
    let error = bmc(gone).device_id().await.unwrap_err();
    assert!(
        matches!(error.kind, ErrorKind::Unreachable { .. }),
        "{error}"
    );
    table_says(PEER, "nobody there", "unreachable");
}
