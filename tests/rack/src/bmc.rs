//! Owns the BMC of each node, `ipmi_sim` of OpenIPMI or a simulated one: its configuration, start, death and return.
//! Leaves the chassis behind it to `chassis` and `machine`.

use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use ironbeat_bmc_sim::{Fleet, FleetConfig, Lan, Settings, User};

use crate::chassis::Owned;
use crate::layout::{GATEWAY, IPMI_PORT, NodeNumber};
use crate::machine::Machine;
use crate::netns::Netns;
use crate::process::{Process, find_program};

/// `ipmi_sim` answers within 0.1 s of its start on an idle machine.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause between two pings while a BMC starts.
const PING_EVERY: Duration = Duration::from_millis(10);

/// Who may log in to the BMCs of a rack.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// User name, at most 16 bytes.
    pub user: String,
    /// Password, at most 20 bytes.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Login {
    /// User `admin` with a password nobody knows beforehand.
    ///
    /// # Errors
    /// When the kernel's random source can't be read.
    pub fn generate() -> Result<Self> {
        let mut random = [0_u8; 8];
        let source = fs::File::open("/dev/urandom").context("open /dev/urandom")?;
        std::io::Read::read_exact(&mut { source }, &mut random).context("read /dev/urandom")?;
        let password = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self {
            user: "admin".into(),
            password,
        })
    }
}

/// The BMC of a node.
#[derive(Debug)]
pub struct Bmc {
    node: NodeNumber,
    login: Login,
    netns: Arc<Netns>,
    server: Server,
}

/// Who answers; none: it is dead.
#[derive(Debug)]
enum Server {
    IpmiSim {
        dir: PathBuf,
        process: Option<Process>,
    },
    Simulated {
        machine: Machine,
        fleet: Option<Fleet>,
    },
}

impl Bmc {
    /// Writes the configuration under `dir` and starts the BMC; it need not answer yet ([`Self::wait_ready`]).
    /// `chassis_script` is what [`crate::chassis::write_script`] wrote.
    ///
    /// # Errors
    /// When a file can't be written or the program can't be started.
    pub(crate) fn start(
        node: NodeNumber,
        login: &Login,
        dir: PathBuf,
        chassis_script: &Path,
        netns: Arc<Netns>,
    ) -> Result<Self> {
        ensure!(
            login.user.len() <= 16 && login.password.len() <= 20,
            "a BMC login is at most 16 and 20 bytes long"
        );
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic() && b != b'"');
        ensure!(
            plain(&login.user) && plain(&login.password),
            "a BMC login of printable ASCII without quotes"
        );
        let state = dir.join("state");
        fs::create_dir_all(&state).with_context(|| format!("make {}", state.display()))?;
        fs::write(dir.join("lan.conf"), lan_conf(node, login, chassis_script))
            .context("write lan.conf")?;
        fs::write(dir.join("sim.emu"), EMULATED_MC).context("write sim.emu")?;
        let mut bmc = Self {
            node,
            login: login.clone(),
            netns,
            server: Server::IpmiSim { dir, process: None },
        };
        bmc.spawn()?;
        Ok(bmc)
    }

    /// The same with a simulated BMC, a part of this process.
    ///
    /// # Errors
    /// When one of its ports is taken.
    pub(crate) fn simulate(machine: &Machine, login: &Login, netns: Arc<Netns>) -> Result<Self> {
        let machine = machine.clone();
        let mut bmc = Self {
            node: machine.node(),
            login: login.clone(),
            netns,
            server: Server::Simulated {
                machine,
                fleet: None,
            },
        };
        bmc.spawn()?;
        Ok(bmc)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (self.node.bmc_address(), IPMI_PORT).into()
    }

    /// Who may log in.
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// The process id of an `ipmi_sim`, while it lives.
    pub fn pid(&self) -> Option<u32> {
        match &self.server {
            Server::IpmiSim { process, .. } => process.as_ref().map(Process::pid),
            Server::Simulated { .. } => None,
        }
    }

    /// A simulated BMC, while it lives: BMC 0 of a fleet of one.
    pub fn simulated(&self) -> Option<&Fleet> {
        match &self.server {
            Server::Simulated { fleet, .. } => fleet.as_ref(),
            Server::IpmiSim { .. } => None,
        }
    }

    fn is_alive(&self) -> bool {
        self.pid().is_some() || self.simulated().is_some()
    }

    /// kill -9: the BMC is dead, the machine stays as it is.
    pub fn kill(&mut self) {
        match &mut self.server {
            Server::IpmiSim { process, .. } => {
                if let Some(mut process) = process.take() {
                    process.kill();
                }
            }
            Server::Simulated { fleet, .. } => *fleet = None,
        }
    }

    /// Starts it again after [`Self::kill`] and waits until it answers.
    ///
    /// # Errors
    /// When it lives, or doesn't come up.
    pub fn revive(&mut self) -> Result<()> {
        ensure!(!self.is_alive(), "the BMC of node {} is alive", self.node);
        self.spawn()?;
        self.wait_ready()
    }

    /// Waits until it answers an RMCP presence ping (IPMI 2.0 §13.2.3).
    ///
    /// # Errors
    /// When it doesn't in time, or has exited.
    pub fn wait_ready(&mut self) -> Result<()> {
        let address = self.address();
        let socket = self.netns.inside(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").context("open a UDP socket")?;
            socket
                .connect(address)
                .with_context(|| format!("connect a UDP socket to {address}"))?;
            Ok(socket)
        })?;
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .context("bound UDP reads")?;
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            // RMCP header, ASF IANA 4542, type 0x80 presence ping, tag 1, no data.
            let ping = [6, 0, 0xff, 6, 0, 0, 0x11, 0xbe, 0x80, 1, 0, 0];
            let mut pong = [0; 64];
            // Refused while nothing is bound, silent while it is busy; both mean another try.
            let answered = socket.send(&ping).and_then(|_| socket.recv(&mut pong));
            if matches!(answered, Ok(n) if n >= 12 && pong[8] == 0x40) {
                return Ok(());
            }
            ensure!(self.is_alive(), "the BMC of node {} is dead", self.node);
            if let Server::IpmiSim {
                process: Some(process),
                ..
            } = &mut self.server
                && !process.is_running()
            {
                bail!(
                    "ipmi_sim of node {} has exited: {}",
                    self.node,
                    process.log().tail()
                );
            }
            std::thread::sleep(PING_EVERY);
        }
        bail!(
            "the BMC of node {} doesn't answer at {address} within {START_TIMEOUT:?}",
            self.node
        )
    }

    fn spawn(&mut self) -> Result<()> {
        match &mut self.server {
            Server::IpmiSim { dir, process } => {
                *process = Some(start_ipmi_sim(dir, &self.netns)?);
            }
            Server::Simulated { machine, fleet } => {
                let start = || start_simulated(machine, &self.login);
                *fleet = Some(self.netns.inside(start)?);
            }
        }
        Ok(())
    }
}

fn start_ipmi_sim(dir: &Path, netns: &Netns) -> Result<Process> {
    let mut command = netns.command(find_program("ipmi_sim", Some("IPMI_SIM"))?)?;
    command.arg("-n");
    command.arg("-c").arg(dir.join("lan.conf"));
    command.arg("-f").arg(dir.join("sim.emu"));
    command.arg("-s").arg(dir.join("state"));
    Process::start("ipmi_sim", command, &dir.join("ipmi_sim.log"))
}

/// The same address, login and in-band port as [`lan_conf`] says to `ipmi_sim`.
fn start_simulated(machine: &Machine, login: &Login) -> Result<Fleet> {
    let node = machine.node();
    let config = FleetConfig {
        first: node.bmc_address(),
        ..FleetConfig::single(IPMI_PORT)
    };
    let mut guid = [0; 16];
    for (byte, digits) in guid
        .iter_mut()
        .zip(node.uuid().replace('-', "").as_bytes().chunks(2))
    {
        *byte = std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .context("a UUID is made of hex digits")?;
    }
    let settings = Settings {
        users: vec![User {
            id: 2,
            name: login.user.clone(),
            password: login.password.clone().into_bytes(),
            privilege: 4,
            enabled: true,
        }],
        guid,
        lan: Lan {
            mac: [0x52, 0x54, 0x00, 0x77, 0xff, node.get()],
            gateway: GATEWAY,
            ..Lan::default()
        },
        ..Settings::default()
    };
    let mut fleet = Fleet::start(&config, |_| settings.clone())
        .with_context(|| format!("start the simulated BMC of node {node}"))?;
    fleet.attach(0, Box::new(Owned(machine.clone())));
    let port = (Ipv4Addr::LOCALHOST, node.kcs_port());
    let listener = TcpListener::bind(port).context("bind the in-band port")?;
    fleet
        .serve_machine(0, listener)
        .context("serve the in-band port")?;
    Ok(fleet)
}

/// A management controller at 0x20 with a SEL and device id 0x23, enough for everything a LAN client asks.
const EMULATED_MC: &str = "\
mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
sel_enable 0x20 1000 0x0a
mc_enable 0x20
";

fn lan_conf(node: NodeNumber, login: &Login, script: &Path) -> String {
    let (address, script, Login { user, password }) = (node.bmc_address(), script.display(), login);
    format!(
        "name \"node{node}\"\n\
         set_working_mc 0x20\n\
         startlan 1\n\
         addr {address} {IPMI_PORT}\n\
         priv_limit admin\n\
         allowed_auths_callback none md2 md5 straight\n\
         allowed_auths_user none md2 md5 straight\n\
         allowed_auths_operator none md2 md5 straight\n\
         allowed_auths_admin none md2 md5 straight\n\
         guid {guid}\n\
         lan_config_program \"{script} {node} lan\"\n\
         endlan\n\
         chassis_control \"{script} {node}\"\n\
         serial 15 127.0.0.1 {kcs} codec VM\n\
         startnow false\n\
         user 2 true \"{user}\" \"{password}\" admin 10 none md2 md5 straight\n",
        guid = node.uuid().replace('-', ""),
        kcs = node.kcs_port(),
    )
}
