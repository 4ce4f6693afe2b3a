//! OpenIPMI's `ipmi_sim` on loopback, before a chassis that is a handful of files: power, boot device, what was told.
//! Whole machines behind a BMC are in `bmc`.
use crate::ports::PortLease;
use crate::process::{Process, find_program};
use anyhow::Result;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use tempfile::TempDir;

/// Of its user `admin`.
pub const PASSWORD: &str = "Rack-pw-1";

/// One BMC. Stops when it is dropped.
pub struct Sim {
    process: Process,
    dir: TempDir,
    port: PortLease,
}

/// A power command shows after `late` looks; the first `deaf` power commands do nothing at all.
const CHASSIS: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
count() { n=$(cat "$1"); if [ "$n" -gt 1 ]; then echo $((n - 1)) > "$1"; else rm "$1"; fi; }
case "$1 $2" in
'get power')
    if [ -e coming ]; then
        if [ -e late ]; then count late; else mv coming power; fi
    fi
    echo "power:$(cat power)" ;;
'get boot') echo "boot:$(cat boot)" ;;
'set '*)
    shift
    while [ $# -gt 1 ]; do
        echo "$1 $2" >> told
        if [ "$1" = power ] && [ -e deaf ]; then count deaf
        elif [ "$1" = power ] && [ -e late ]; then echo "$2" > coming
        else echo "$2" > "$1"; fi
        shift 2
    done ;;
esac
"#;

impl Sim {
    /// # Panics
    /// When it cannot be started: there is nothing to test then.
    pub fn start(power_on: bool) -> Self {
        Self::try_start(power_on).expect("a simulated BMC starts")
    }

    fn try_start(power_on: bool) -> Result<Self> {
        let (dir, port) = (tempfile::tempdir()?, PortLease::take()?);
        let path = |name: &str| dir.path().join(name);
        fs::write(path("chassis"), CHASSIS)?;
        fs::set_permissions(path("chassis"), PermissionsExt::from_mode(0o755))?;
        fs::write(path("power"), if power_on { "1" } else { "0" })?;
        fs::write(path("boot"), "none")?;
        let lan = format!(
            "name \"bmc\"\nset_working_mc 0x20\nstartlan 1\naddr 127.0.0.1 {port}\npriv_limit admin\n\
             allowed_auths_admin none md2 md5 straight\nguid a123456789abcdefa123456789abcdef\nendlan\n\
             chassis_control \"{chassis}\"\nstartnow false\n\
             user 2 true \"admin\" \"{PASSWORD}\" admin 10 none md2 md5 straight\n",
            port = port.port(),
            chassis = path("chassis").display(),
        );
        fs::write(path("lan.conf"), lan)?;
        let emulated = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n\
                        sel_enable 0x20 1000 0x0a\nmc_enable 0x20\n";
        fs::write(path("sim.emu"), emulated)?;
        let mut command = Command::new(find_program("ipmi_sim", Some("IPMI_SIM"))?);
        command.arg("-n").arg("-c").arg(path("lan.conf"));
        command.arg("-f").arg(path("sim.emu"));
        command.arg("-s").arg(dir.path());
        let process = Process::start("ipmi_sim", command, &path("log"))?;
        Ok(Self { process, dir, port })
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port.port())
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).expect("its directory is there");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }

    pub fn is_on(&self) -> bool {
        self.read("power").trim() == "1"
    }

    /// The commands to the chassis, in order. A repeated one counts once: on a busy machine the client asks again before
    /// the BMC has answered, and `ipmi_sim` carries out both.
    pub fn commands(&self) -> Vec<String> {
        let mut commands: Vec<String> = self.read("told").lines().map(str::to_owned).collect();
        commands.dedup();
        commands
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }
}
