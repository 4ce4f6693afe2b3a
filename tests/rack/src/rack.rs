//! Owns a whole rack: namespace, switch, servers, BMCs and machines, brought up and torn down together.
//! Leaves the conductor and the agent, which are what a rack is for, to its users.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::bmc::{Bmc, Login};
use crate::chassis::{self, ChassisServer};
use crate::dnsmasq::Dnsmasq;
use crate::http::HttpServer;
use crate::layout::{BRIDGE, BRIDGE_TWO, GATEWAY, IMAGE_PORT, MAX_NICS, NATS_PORT, NodeNumber};
use crate::lldp::LldpSender;
use crate::logfile::LogCursor;
use crate::machine::Machine;
use crate::machine::spec::NodeSpec;
use crate::nats::{NatsBinary, NatsServer};
use crate::netns::Netns;
use crate::owner::{RunDir, unique_name};
use crate::process::{Process, find_program, run, run_ok};

/// One ipmitool call takes 0.1–0.2 s; a power command to `ipmi_sim` waits for a QEMU start.
const IPMITOOL_TIMEOUT: Duration = Duration::from_secs(60);

/// What a rack is made of.
#[derive(Clone, Debug)]
pub struct RackSpec {
    /// Its machines; node I is the I-th of them.
    pub nodes: Vec<NodeSpec>,
    /// Which nats-server.
    pub nats: NatsBinary,
    /// Lines added to its configuration.
    pub nats_config: String,
    /// Who answers at the nodes' BMC addresses.
    pub bmc: BmcKind,
    /// Who may log in to the BMCs; `None` makes a login nobody knows beforehand.
    pub login: Option<Login>,
}

/// Who answers at the nodes' BMC addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BmcKind {
    /// OpenIPMI's `ipmi_sim`, one per node.
    IpmiSim,
    /// Our own simulator: cipher suite 17, boot flags that are kept and read back, faults on request.
    Simulated,
    /// Nobody, until the rack's user binds those addresses inside the namespace and drives [`Rack::machines`].
    None,
}

impl Default for RackSpec {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            nats: NatsBinary::Floor,
            nats_config: String::new(),
            bmc: BmcKind::IpmiSim,
            login: None,
        }
    }
}

/// A running rack. Machines are off at first. Torn down by [`Rack::shutdown`], on drop, or, after a `kill -9`, by the
/// kernel (programs) and by the next rack's start (namespace, files).
#[derive(Debug)]
pub struct Rack {
    // In the order of tearing down.
    bmcs: Vec<Bmc>,
    chassis: Option<ChassisServer>,
    machines: Arc<[Machine]>,
    lldp: Option<LldpSender>,
    images: Option<HttpServer>,
    dnsmasq: Option<Dnsmasq>,
    nats: Option<NatsServer>,
    login: Login,
    netns: Arc<Netns>,
    dir: RunDir,
}

impl Rack {
    /// Brings everything up and waits until all of it answers.
    ///
    /// # Errors
    /// When something is missing on this machine or does not come up; what came up is torn down.
    pub fn start(spec: RackSpec) -> Result<Self> {
        let name = unique_name();
        let dir = RunDir::create_named(&name)?;
        let two_bridges = spec.nodes.iter().any(|node| node.nics.len() > 1);
        let netns = Arc::new(Netns::create(&name, two_bridges)?);
        let login = spec.login.map_or_else(Login::generate, Ok)?;
        let machines = create_machines(spec.nodes, &dir, &netns)?;
        let mut rack = Self {
            bmcs: Vec::new(),
            chassis: Some(ChassisServer::start(&netns, Arc::clone(&machines))?),
            machines,
            lldp: None,
            images: None,
            dnsmasq: None,
            nats: None,
            login,
            netns,
            dir,
        };
        match spec.bmc {
            BmcKind::IpmiSim => rack.start_bmcs()?,
            BmcKind::Simulated => rack.simulate_bmcs()?,
            BmcKind::None => {}
        }
        let server_netns = Arc::clone(&rack.netns);
        let program = spec.nats.path()?;
        let address = SocketAddr::from((GATEWAY, NATS_PORT));
        rack.nats = Some(NatsServer::start_at(
            address,
            &spec.nats_config,
            move || server_netns.command(&program),
        )?);
        rack.dnsmasq = Some(Dnsmasq::start(
            &rack.netns,
            &rack.dir.path().join("dnsmasq"),
        )?);
        let http_dir = rack.http_dir();
        std::fs::create_dir(&http_dir).with_context(|| format!("make {}", http_dir.display()))?;
        rack.images = Some(HttpServer::start_inside(
            &rack.netns,
            (GATEWAY, IMAGE_PORT).into(),
            &http_dir,
        )?);
        rack.lldp = Some(LldpSender::start(
            &rack.netns,
            &switch_ports(&rack.machines),
        )?);
        rack.bmcs.iter_mut().try_for_each(Bmc::wait_ready)?;
        Ok(rack)
    }

    fn start_bmcs(&mut self) -> Result<()> {
        let script = self.dir.path().join("chassis");
        chassis::write_script(&script)?;
        for machine in self.machines.iter() {
            let dir = self.dir.path().join(format!("bmc{}", machine.node()));
            self.bmcs.push(Bmc::start(
                machine.node(),
                &self.login,
                dir,
                &script,
                Arc::clone(&self.netns),
            )?);
        }
        Ok(())
    }

    fn simulate_bmcs(&mut self) -> Result<()> {
        for machine in self.machines.iter() {
            let netns = Arc::clone(&self.netns);
            self.bmcs.push(Bmc::simulate(machine, &self.login, netns)?);
        }
        Ok(())
    }

    /// The machines' network namespace.
    pub fn netns(&self) -> &Arc<Netns> {
        &self.netns
    }

    /// The rack's directory: logs, disks, sockets. Goes with the rack.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The nats-server.
    pub fn nats(&mut self) -> &mut NatsServer {
        self.nats.as_mut().expect("there from start to shutdown")
    }

    /// DHCP, TFTP and the private D-Bus.
    pub fn dnsmasq(&self) -> &Dnsmasq {
        self.dnsmasq.as_ref().expect("there from start to shutdown")
    }

    /// The HTTP server of OS images at [`GATEWAY`]:[`IMAGE_PORT`], which serves [`Self::http_dir`].
    pub fn images(&self) -> &HttpServer {
        self.images.as_ref().expect("there from start to shutdown")
    }

    /// Files put here are served by [`Self::images`].
    pub fn http_dir(&self) -> PathBuf {
        self.dir.path().join("http")
    }

    /// Who may log in to the BMCs.
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// All machines, node 1 first.
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    /// The machine of a node, which counts from 1.
    pub fn machine(&self, node: usize) -> &Machine {
        &self.machines[node - 1]
    }

    /// The BMC of a node, which counts from 1.
    pub fn bmc(&mut self, node: usize) -> &mut Bmc {
        &mut self.bmcs[node - 1]
    }

    /// A cursor at the start of a node's serial console; nodes count from 1.
    pub fn console(&self, node: usize) -> LogCursor {
        self.machine(node).console()
    }

    /// A command that will run inside the namespace and dies with this process.
    ///
    /// # Errors
    /// When no more files can be opened.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        self.netns.command(program)
    }

    /// Runs a short command inside the namespace to its end.
    ///
    /// # Errors
    /// When it can't be started or takes longer than `timeout`.
    pub fn exec(&self, command: Command, timeout: Duration) -> Result<Output> {
        let mut command = command;
        self.netns.apply(&mut command)?;
        run(command, timeout)
    }

    /// Starts a long-running program inside the namespace, its output appended to `NAME.log` in the rack's directory.
    /// It is killed when the returned handle is dropped.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn spawn_worker(&self, name: &str, command: Command) -> Result<Process> {
        let mut command = command;
        self.netns.apply(&mut command)?;
        Process::start(name, command, &self.worker_log(name))
    }

    /// Where [`Self::spawn_worker`] puts the output of `name`.
    pub fn worker_log(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.log"))
    }

    /// Runs ipmitool against a node's BMC and returns what it printed; nodes count from 1.
    ///
    /// # Errors
    /// When ipmitool fails; the error shows what it said.
    pub fn ipmitool(&self, node: usize, args: &[&str]) -> Result<String> {
        let mut command = self.command(find_program("ipmitool", None)?)?;
        // -C 3: without it ipmitool waits 5 s for an answer that ipmi_sim never gives. -E: password from the environment.
        command.args([
            "-I",
            "lanplus",
            "-C",
            "3",
            "-U",
            &self.login.user,
            "-E",
            "-H",
        ]);
        command
            .arg(self.machine(node).node().bmc_address().to_string())
            .args(args);
        command.env("IPMI_PASSWORD", &self.login.password);
        run_ok(command, IPMITOOL_TIMEOUT)
    }

    /// Tears everything down but the rack's directory, whose logs stay readable until the drop. What is left of the
    /// handle can only tell where things were.
    pub fn shutdown(&mut self) {
        // BMCs first, or one of them might switch a machine on again.
        self.bmcs.clear();
        self.chassis = None;
        for machine in self.machines.iter() {
            machine.remove();
        }
        self.lldp = None;
        self.images = None;
        self.dnsmasq = None;
        self.nats = None;
        self.netns.remove();
    }
}

impl Drop for Rack {
    fn drop(&mut self) {
        self.shutdown();
    }
}

fn create_machines(
    nodes: Vec<NodeSpec>,
    dir: &RunDir,
    netns: &Arc<Netns>,
) -> Result<Arc<[Machine]>> {
    let mut numbered = Vec::new();
    let mut cables = Vec::new();
    for (i, spec) in nodes.into_iter().enumerate() {
        let node = NodeNumber::new(i + 1).context("too many nodes for one rack")?;
        ensure!(
            spec.nics.len() <= usize::from(MAX_NICS),
            "node {node} has more than {MAX_NICS} NICs"
        );
        let nics = (0..).zip([BRIDGE, BRIDGE_TWO]).take(spec.nics.len());
        cables.extend(nics.map(|(k, bridge)| (node.tap(k), bridge)));
        numbered.push((node, spec));
    }
    netns.add_taps(&cables)?;
    let machine = |(node, spec)| {
        Machine::create(
            node,
            spec,
            dir.path().join(format!("node{node}")),
            Arc::clone(netns),
        )
    };
    numbered.into_iter().map(machine).collect()
}

/// The cables on which the switch speaks LLDP, and the port at each cable's other end.
fn switch_ports(machines: &[Machine]) -> Vec<(String, String)> {
    let talking = machines.iter().filter(|machine| machine.spec().lldp);
    let cables = talking.flat_map(|machine| {
        (0..)
            .zip(&machine.spec().nics)
            .map(|(k, _)| (machine.node(), k))
    });
    cables
        .map(|(node, k)| (node.tap(k), node.switch_port(k)))
        .collect()
}
