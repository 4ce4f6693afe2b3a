//! The BMCs of the bench: a simulated fleet as a process of its own, and OpenIPMI's `ipmi_sim`, one process a BMC.
//! Leaves asking them to `load`.
use anyhow::{Context, Result, ensure};
use ironbeat_rack::ports::PortLease;
use ironbeat_rack::process::{Process, find_program};
use std::io::{BufRead, BufReader, Read};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

/// The login of every BMC here. No secret.
pub const USER: &str = "admin";
pub const PASSWORD: &str = "Rack-pw-1";

/// Where BMC 0 is; BMC n is n addresses on.
#[derive(Clone, Copy)]
pub struct Target {
    pub first: Ipv4Addr,
    pub port: u16,
}

impl Target {
    pub fn address(self, n: usize) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.first).wrapping_add(n as u32))
    }
}

/// A running `ironbeat-bmc-sim`. It ends with its standard input, and so with this process.
pub struct Fleet {
    child: Child,
    output: BufReader<ChildStdout>,
    lease: PortLease,
}

/// What the fleet counted.
pub struct Counted {
    pub cycles: u64,
    pub control_again: u64,
}

impl Fleet {
    const FIRST: Ipv4Addr = Ipv4Addr::new(127, 64, 0, 0);

    /// One BMC in `on_every` is on.
    pub fn start(program: &Path, on_every: usize, arguments: &[&str]) -> Result<Self> {
        let lease = PortLease::take()?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .args(["--on-every", &on_every.to_string(), "--suite", "3"])
            .args(["--port", &lease.port().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let output = child
            .stdout
            .take()
            .context("its standard output is a pipe")?;
        let mut output = BufReader::new(output);
        let mut ready = String::new();
        output.read_line(&mut ready).context("wait for the fleet")?;
        ensure!(ready.contains("BMCs"), "the fleet did not start");
        Ok(Self {
            child,
            output,
            lease,
        })
    }

    pub fn target(&self) -> Target {
        Target {
            first: Self::FIRST,
            port: self.lease.port(),
        }
    }

    pub fn finish(mut self) -> Result<Counted> {
        drop(self.child.stdin.take());
        let mut text = String::new();
        self.output
            .read_to_string(&mut text)
            .context("read what the fleet counted")?;
        let status = self.child.wait().context("wait for the fleet's end")?;
        ensure!(status.success(), "the fleet ended with {status}");
        let counted: serde_json::Value =
            serde_json::from_str(&text).with_context(|| format!("the fleet counted {text:?}"))?;
        let field = |value: &serde_json::Value| value.as_u64().context("a count is missing");
        Ok(Counted {
            cycles: field(&counted["control"][2])?,
            control_again: field(&counted["control_again"])?,
        })
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Several `ipmi_sim` at successive addresses, all of them on.
pub struct IpmiSims {
    sims: Vec<Process>,
    lease: PortLease,
}

impl IpmiSims {
    const FIRST: Ipv4Addr = Ipv4Addr::new(127, 48, 0, 1);

    /// They need not answer yet.
    pub fn start(dir: &Path, count: usize) -> Result<Self> {
        let lease = PortLease::take()?;
        let program = find_program("ipmi_sim", Some("IPMI_SIM"))?;
        let chassis = dir.join("chassis");
        std::fs::write(&chassis, "#!/bin/sh\necho power:1\n").context("write the chassis")?;
        let executable = PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&chassis, executable).context("make the chassis executable")?;
        let emulation = dir.join("sim.emu");
        let emulated = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n\
                        mc_enable 0x20\n";
        std::fs::write(&emulation, emulated).context("write sim.emu")?;
        let target = Target {
            first: Self::FIRST,
            port: lease.port(),
        };
        let sims = (0..count)
            .map(|n| {
                let (configuration, state) = (dir.join(format!("lan{n}")), dir.join(n.to_string()));
                std::fs::create_dir_all(&state).context("make a directory for its state")?;
                let lan = format!(
                    "name \"bmc\"\nset_working_mc 0x20\nstartlan 1\n addr {} {}\n priv_limit admin\n \
                     allowed_auths_admin none md2 md5 straight\n guid a123456789abcdefa123456789abcdef\nendlan\n\
                     chassis_control \"{}\"\nstartnow false\n\
                     user 2 true \"{}\" \"{}\" admin 10 none md2 md5 straight\n",
                    target.address(n),
                    target.port,
                    chassis.display(),
                    USER,
                    PASSWORD,
                );
                std::fs::write(&configuration, lan).context("write its configuration")?;
                let mut command = Command::new(&program);
                command.arg("-n").arg("-c").arg(configuration);
                command.arg("-f").arg(&emulation).arg("-s").arg(state);
                Process::start("ipmi_sim", command, &dir.join("ipmi_sim.log"))
            })
            .collect::<Result<_>>()?;
        Ok(Self { sims, lease })
    }

    pub fn len(&self) -> usize {
        self.sims.len()
    }

    pub fn target(&self) -> Target {
        Target {
            first: Self::FIRST,
            port: self.lease.port(),
        }
    }
}
