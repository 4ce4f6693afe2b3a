//! `ipmi_sim` of OpenIPMI as the BMC of one test: its files, its start, its end.
//! The tests say what it is asked.
#![allow(dead_code, reason = "every test file uses a part of it")]

use ironbeat_ipmi::{Bmc, BmcConfig, Secret, Timing, Transport};
use ironbeat_rack::ports::PortLease;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A running BMC, its power state in a file.
pub struct Sim {
    child: Child,
    dir: TempDir,
    pub address: SocketAddr,
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nothing else takes while these tests run.
pub fn free_port() -> u16 {
    PortLease::take().unwrap().keep()
}

/// Many tries: the simulator may still be starting, and the machine may be busy.
pub fn patient() -> Timing {
    Timing {
        first_timeout: Duration::from_millis(300),
        tries: 12,
        ..Timing::default()
    }
}

impl Sim {
    pub fn start() -> Self {
        Self::start_with("", "")
    }

    /// With more lines for its LAN configuration and for its emulation.
    pub fn start_with(more_lan: &str, more_emu: &str) -> Self {
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
             user 2 true \"admin\" \"Rack-pw-1\" admin 10 none md2 md5 straight\n\
             user 3 true \"reader\" \"Rack-pw-2\" user 10 none md2 md5 straight\n{more_lan}",
            chassis.display()
        );
        std::fs::write(path("lan.conf"), lan).unwrap();
        let emu = format!(
            "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n\
             sel_enable 0x20 1000 0x0a\n{more_emu}mc_enable 0x20\n"
        );
        std::fs::write(path("sim.emu"), emu).unwrap();
        let child = spawn(&dir);
        Self {
            child,
            dir,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        }
    }

    pub fn login(&self) -> BmcConfig {
        BmcConfig {
            timing: patient(),
            ..BmcConfig::new(self.address, "admin", Secret::new("Rack-pw-1"))
        }
    }

    pub fn bmc(&self) -> Bmc {
        Transport::new().bmc(self.login())
    }

    /// A file of the chassis: `power`, `boot`, or `log` of what was set.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name))
            .unwrap_or_default()
            .trim()
            .into()
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.dir);
    }
}

fn spawn(dir: &TempDir) -> Child {
    let path = |name: &str| dir.path().join(name).into_os_string();
    Command::new("ipmi_sim")
        .args(["-n".into(), "-c".into(), path("lan.conf")])
        .args(["-f".into(), path("sim.emu"), "-s".into(), path("")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("ipmi_sim is installed (Debian package openipmi)")
}
