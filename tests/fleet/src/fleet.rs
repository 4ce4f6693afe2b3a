//! Starts machines, BMCs and agents, and says what became of them.
//! Leaves what is done to them to whoever started them.
use crate::agent::{self, Agent, Pace};
use crate::entry::Entry;
use crate::hardware;
use crate::link::{Link, Servers, Who};
use crate::machine::{Behind, Ledger, Machine};
use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use ironbeat_bmc_sim::{Fleet as Bmcs, FleetConfig, Settings};
use ironbeat_common::id::NodeId;
use ironbeat_core::node::{BmcAccess, BmcAddress, Secret};
use ironbeat_ops::request::Enroll;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// What a fleet is like.
#[derive(Clone, Debug)]
pub struct Spec {
    pub servers: Servers,
    pub machines: usize,
    pub connections: Connections,
    pub pace: Pace,
    /// The address of BMC 0, where the host takes a whole net of them; none: on loopback.
    pub bmc_first: Option<Ipv4Addr>,
    /// UDP port of all BMCs; 0: any free one.
    pub bmc_port: u16,
}

/// How the agents come to NATS.
#[derive(Clone, Debug)]
pub enum Connections {
    /// Where servers ask nobody, they share so many.
    Shared(usize),
    /// Each has its own, with the login that it gets for the ticket of its boot script, which one of these workers serves.
    Own(Vec<SocketAddr>),
}

impl Spec {
    /// Instant metal, but for the boot: an agent that calls before its BMC has confirmed the power is sent away for 20 s.
    pub fn new(servers: Servers, machines: usize) -> Self {
        Self {
            servers,
            machines,
            connections: Connections::Shared(8),
            pace: Pace {
                boot: Duration::from_secs(1),
                write: Duration::ZERO,
            },
            bmc_first: None,
            bmc_port: 0,
        }
    }
}

/// Running machines; all of them are off at first. They end when this is dropped.
pub struct Fleet {
    machines: Vec<Arc<Machine>>,
    bmcs: Bmcs,
    links: Vec<Link>,
    entry: Option<Entry>,
    nudges: Vec<Arc<Notify>>,
    held: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.tasks.iter().for_each(|task| task.abort());
    }
}

impl Fleet {
    /// # Errors
    /// When no server can be reached, or the BMCs' port cannot be opened.
    pub async fn start(spec: &Spec) -> Result<Self> {
        ensure!(spec.machines > 0, "a fleet has a machine at least");
        let served = match &spec.connections {
            Connections::Shared(count) => *count,
            Connections::Own(workers) => workers.len(),
        };
        ensure!(served > 0, "a fleet has a connection at least");
        let mut links = Vec::new();
        let entry = match &spec.connections {
            Connections::Shared(count) => {
                for n in 0..*count {
                    let name = format!("simulated agents {n}");
                    links.push(Link::connect(&spec.servers, Who::Anybody, &name).await?);
                }
                None
            }
            Connections::Own(workers) => Some(Entry::Scripts {
                servers: spec.servers.clone(),
                workers: workers.clone().into(),
            }),
        };
        let machines: Vec<_> = (0..spec.machines).map(Machine::new).collect();
        let loopback = FleetConfig::loopback(spec.machines, spec.bmc_port);
        let range = match spec.bmc_first {
            None => loopback,
            Some(first) => FleetConfig {
                first,
                device: None,
                ..loopback
            },
        };
        let bmcs = Bmcs::start(&range, |_| Settings::default()).context("open the BMCs' socket")?;
        let held = watch::Sender::new(false);
        let (mut by_id, mut nudges, mut tasks) = (HashMap::new(), Vec::new(), Vec::new());
        for machine in &machines {
            let n = machine.number;
            bmcs.attach(n, Box::new(Behind(Arc::clone(machine))));
            let nudge = Arc::new(Notify::new());
            by_id.insert(hardware::node_id(n), Arc::clone(&nudge));
            nudges.push(Arc::clone(&nudge));
            let agent = Agent {
                machine: Arc::clone(machine),
                entry: match &entry {
                    Some(entry) => entry.clone(),
                    None => Entry::Shared(links[n % links.len()].clone()),
                },
                nudges_by: links.first().cloned(),
                bmc: bmcs.address(n).ip(),
                pace: spec.pace.clone(),
                nudge,
                held: held.subscribe(),
            };
            tasks.push(tokio::spawn(agent::live(agent)));
        }
        if let Some(link) = links.first() {
            tasks.push(tokio::spawn(listen(link.clone(), by_id).await?));
        }
        Ok(Self {
            machines,
            bmcs,
            links,
            entry,
            nudges,
            held,
            tasks,
        })
    }

    pub fn len(&self) -> usize {
        self.machines.len()
    }

    pub fn is_empty(&self) -> bool {
        self.machines.is_empty()
    }

    pub fn machine(&self, n: usize) -> &Arc<Machine> {
        &self.machines[n]
    }

    pub fn ledgers(&self) -> Vec<Ledger> {
        self.machines.iter().map(|it| it.ledger()).collect()
    }

    /// While `held`, every image that is being written stays unfinished.
    pub fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// Makes every agent beat now, as a nudge would.
    pub fn ring(&self) {
        self.nudges.iter().for_each(|nudge| nudge.notify_one());
    }

    pub fn bmcs(&self) -> &Bmcs {
        &self.bmcs
    }

    /// One of the connections that agents share, in turn.
    ///
    /// # Panics
    /// When they share none.
    pub fn link(&self, n: usize) -> &Link {
        &self.links[n % self.links.len()]
    }

    /// The way in of machine n.
    pub(crate) fn entry(&self, n: usize) -> Entry {
        match &self.entry {
            Some(entry) => entry.clone(),
            None => Entry::Shared(self.link(n).clone()),
        }
    }

    pub fn bmc_ip(&self, n: usize) -> IpAddr {
        self.bmcs.address(n).ip()
    }

    /// How an operator makes machine n known. Its id is [`hardware::node_id`], its name `node<n>`.
    pub fn enrolment(&self, n: usize) -> Enroll {
        enrolment(n, &self.bmcs.address(n).to_string())
    }
}

/// See [`Fleet::enrolment`]; `bmc` is an address, with a port where it is not the usual one.
///
/// # Panics
/// When `bmc` is no address.
pub fn enrolment(n: usize, bmc: &str) -> Enroll {
    let address: BmcAddress = bmc.parse().expect("an address of a BMC");
    let name = name(n).parse().expect("letters and digits are a name");
    Enroll {
        id: Some(hardware::node_id(n)),
        name: Some(name),
        bmc: BmcAccess::Ipmi {
            address,
            username: "admin".into(),
            password: Secret::new("Rack-pw-1"),
            cipher_suite: None,
            kg: None,
            ipmi_1_5: false,
        },
        macs: (0..4).map(|nic| hardware::mac(n, nic)).collect(),
        system_uuid: Some(hardware::system_uuid(n)),
        serial: Some(hardware::serial(n)),
        boot_mode: None,
        secure_boot: None,
        root_device: Default::default(),
        skip_block_devices: Vec::new(),
        description: None,
        resource_class: None,
        owner: None,
        lessee: None,
        traits: Vec::new(),
        properties: Default::default(),
        extra: Default::default(),
        disable_power_off: None,
        automated_clean: None,
        from: None,
    }
}

pub fn name(n: usize) -> String {
    format!("node{n}")
}

/// One subscription for all: a nudge rings at its machine.
async fn listen(
    link: Link,
    nudges: HashMap<NodeId, Arc<Notify>>,
) -> Result<impl Future<Output = ()> + Send + 'static> {
    let subject = format!("{}.nudge.*", link.prefix);
    let mut heard = link
        .nats
        .subscribe(subject.clone())
        .await
        .with_context(|| format!("listen on {subject}"))?;
    Ok(async move {
        while let Some(message) = heard.next().await {
            let id = message.subject.rsplit('.').next();
            let id = id.and_then(|id| id.parse::<NodeId>().ok());
            if let Some(nudge) = id.and_then(|id| nudges.get(&id)) {
                nudge.notify_one();
            }
        }
    })
}
