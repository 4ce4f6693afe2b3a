//! `bench fleet`: what one machine costs, at each size of the fleet. Values by name; `main` prints them.
//! Leaves servers and workers to `site`, machines to `fleet`.
use crate::fleet::{Connections, Fleet, Spec};
use crate::hardware;
use crate::link::{Link, Unanswered, Who};
use crate::machine::{Act, Runs, Seat};
use crate::site::{Cpu, Site};
use anyhow::{Context, Result, bail, ensure};
use async_nats::jetstream;
use futures_util::{StreamExt, stream};
use ironbeat_common::codec;
use ironbeat_common::heartbeat::{Heartbeat, HeartbeatReply, Progress, Status};
use ironbeat_common::id::{BootId, NodeId};
use ironbeat_common::lookup::{Lookup, LookupReply};
use ironbeat_common::subject;
use ironbeat_core::id::RequestId;
use ironbeat_core::node::{Image, NewInstance};
use ironbeat_core::patch::Patch;
use ironbeat_ops::happening::{Happening, What};
use ironbeat_ops::request::{Deploy, Manage, Provide, SetNode, Undeploy};
use ironbeat_rack::logins::Logins;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Questions under way at once.
const AT_ONCE: usize = 256;
/// From this size on only memory, enrolment, lookups and start are measured: no machine has the ports and the memory for as
/// many simulated BMCs and agents that work.
pub const HUGE: usize = 50_000;
/// Nodes that are deployed.
const DEPLOYS: usize = 1000;
/// Nodes whose agents beat.
pub(crate) const BEATERS: usize = 200;
const BEATS: usize = 40_000;
/// Lookups over kept connections.
const LOOKUPS: usize = 10_000;
/// Machines that nobody knows.
const STRANGERS: usize = 10_000;
/// Something that should come by itself.
const PATIENCE: Duration = Duration::from_secs(600);
const LOOK: Duration = Duration::from_millis(100);
/// Before a storm, and for connections to end.
const REST: Duration = Duration::from_secs(3);

pub struct Plan {
    pub ironbeat: PathBuf,
    pub nats: Option<PathBuf>,
    /// Only measures whose names contain it.
    pub only: Option<String>,
    pub idle: Duration,
    pub rounds: usize,
}

impl Plan {
    pub fn wants(&self, name: &str) -> bool {
        let only = self.only.as_deref();
        only.is_none_or(|only| name.contains(only) || only.contains(name))
    }
}

/// Values by name and unit, in the order in which they came.
#[derive(Default)]
pub struct Measures(pub Vec<(String, &'static str, Vec<f64>)>);

impl Measures {
    pub(crate) fn add(&mut self, name: &str, unit: &'static str, value: f64) {
        eprintln!("{name}: {value:.4} {unit}");
        match self.0.iter_mut().find(|(known, ..)| known == name) {
            Some((.., values)) => values.push(value),
            None => self.0.push((name.into(), unit, vec![value])),
        }
    }

    pub fn median(&self, name: &str) -> Option<f64> {
        let (.., values) = self.0.iter().find(|(known, ..)| known == name)?;
        let mut values = values.clone();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }
}

/// Connections of a fleet whose agents have none of their own.
pub(crate) const SHARED: usize = 8;

pub(crate) struct Bench<'a> {
    plan: &'a Plan,
    pub site: Site,
    pub fleet: Fleet,
    operator: Link,
    /// Hears what is written, as a worker may.
    records: Link,
    pub measures: Measures,
}

/// One size of the fleet.
pub async fn run(plan: &Plan, nodes: usize) -> Result<Measures> {
    let mut bench = Bench::open(plan, nodes, 1, SHARED, None).await?;
    bench.all(nodes).await?;
    Ok(bench.end().await)
}

impl<'a> Bench<'a> {
    /// Agents share `connections`; with `logins` everybody has one, and each agent its own connection.
    pub async fn open(
        plan: &'a Plan,
        nodes: usize,
        workers: usize,
        connections: usize,
        logins: Option<Logins>,
    ) -> Result<Self> {
        let mut site = Site::start(&plan.ironbeat, plan.nats.as_deref(), logins)?;
        for _ in 0..workers {
            site.worker("")?;
        }
        let mut spec = Spec::new(site.servers(), nodes);
        spec.connections = match &site.logins {
            Some(_) => Connections::Own(site.http.clone()),
            None => Connections::Shared(connections),
        };
        let fleet = Fleet::start(&spec).await?;
        let as_who = async |creds: fn(&Logins) -> PathBuf, name| {
            let creds = site.logins.as_ref().map(creds);
            let who = creds.as_deref().map_or(Who::Anybody, Who::Person);
            Link::connect(&spec.servers, who, name).await
        };
        let operator = as_who(Logins::admin, "operator").await?;
        let records = as_who(|it| it.worker().join("worker.creds"), "records").await?;
        Ok(Self {
            plan,
            site,
            fleet,
            operator,
            records,
            measures: Measures::default(),
        })
    }

    /// All nodes are enrolled, and available.
    /// The agents leave before the servers: a connection whose server has gone first is kept, and tried again for ever.
    pub async fn end(self) -> Measures {
        let Self {
            site,
            fleet,
            operator,
            records,
            measures,
            ..
        } = self;
        drop((fleet, operator, records));
        tokio::time::sleep(REST).await;
        drop(site);
        measures
    }

    pub async fn prepare(&mut self, nodes: usize) -> Result<()> {
        self.enrol(nodes).await?;
        self.manage(nodes).await
    }

    fn wants(&self, name: &str) -> bool {
        self.plan.wants(name)
    }

    async fn all(&mut self, nodes: usize) -> Result<()> {
        self.enrol(nodes).await?;
        if self.wants("lookup") || self.wants("rss") {
            self.lookups(nodes).await?;
        }
        if nodes >= HUGE {
            return self.starts();
        }
        if self.wants("discover") {
            self.discover(nodes).await?;
        }
        if self.wants("list") {
            for _ in 0..self.plan.rounds {
                let took = self.site.command(&["node", "list"])?;
                self.measures.add("list_s", "s", took.as_secs_f64());
            }
        }
        if self.wants("start") {
            self.starts()?;
        }
        if self.wants("stage") {
            self.stage().await?;
        }
        let deployed = DEPLOYS.min(nodes);
        let managed = match self.wants("idle") || self.wants("manage") || self.wants("storm") {
            true => nodes,
            false => deployed,
        };
        if !["idle", "manage", "storm", "deploy", "beat"]
            .iter()
            .any(|it| self.wants(it))
        {
            return Ok(());
        }
        self.manage(managed).await?;
        if self.wants("idle") {
            self.idle().await?;
        }
        if self.wants("deploy") {
            self.deploy(deployed).await?;
        }
        if self.wants("beat") || self.wants("storm") {
            self.beats(deployed).await?;
        }
        if self.wants("storm") {
            self.storm(managed).await?;
        }
        let twice = self
            .fleet
            .ledgers()
            .iter()
            .map(|it| it.twice().len())
            .sum::<usize>();
        ensure!(twice == 0, "{twice} steps were done twice");
        Ok(())
    }

    fn starts(&mut self) -> Result<()> {
        for _ in 0..self.plan.rounds {
            self.site.stop_workers();
            let took = self.site.worker("")?;
            self.measures.add("start_s", "s", took.as_secs_f64());
            let cpu = self.site.cpu().worker;
            self.measures.add("start_cpu_ms", "ms", cpu * 1e3);
        }
        Ok(())
    }

    /// What `count` times `work` cost.
    async fn cost(&mut self, what: &str, count: usize, before: Cpu, secs: f64) {
        let after = self.site.settled().await;
        let each = |before: f64, after: f64| (after - before) * 1e3 / count as f64;
        let per_s = count as f64 / secs;
        self.measures.add(&format!("{what}_per_s"), "1/s", per_s);
        let worker = each(before.worker, after.worker);
        self.measures.add(&format!("{what}_cpu_ms"), "ms", worker);
        let server = each(before.server, after.server);
        self.measures
            .add(&format!("{what}_server_cpu_ms"), "ms", server);
    }

    async fn enrol(&mut self, nodes: usize) -> Result<()> {
        let (before, begin) = (self.site.settled().await, Instant::now());
        at_once(0..nodes, async |n| {
            let wish = self.fleet.enrolment(n);
            self.operator.operate(&wish).await.map(drop)
        })
        .await?;
        let secs = begin.elapsed().as_secs_f64();
        self.cost("enrol", nodes, before, secs).await;
        Ok(())
    }

    /// Each machine once, then all once more: the second time nothing about them is new.
    async fn lookups(&mut self, nodes: usize) -> Result<()> {
        for what in ["lookup", "lookup_again"] {
            let (before, begin) = (self.site.settled().await, Instant::now());
            at_once(0..nodes, async |n| self.look_up(n).await.map(drop)).await?;
            let secs = begin.elapsed().as_secs_f64();
            self.cost(what, nodes, before, secs).await;
        }
        let rss = self.site.rss_mib()?;
        self.measures.add("rss_mib", "MiB", rss);
        Ok(())
    }

    async fn look_up(&self, n: usize) -> Result<LookupReply, Unanswered> {
        let link = self.fleet.link(n);
        let lookup = hardware::lookup(n, bmc_of(n), boot_of(n));
        link.ask(subject::lookup(&link.prefix), &lookup).await
    }

    async fn discover(&mut self, nodes: usize) -> Result<()> {
        let remembered = self.remembered().await?;
        let (before, begin) = (self.site.settled().await, Instant::now());
        let strangers = nodes..nodes + STRANGERS;
        // All at once, and each again until it is answered.
        let answered = stream::iter(strangers).map(async |n| {
            while let Err(error) = self.look_up(n).await {
                ensure!(begin.elapsed() < PATIENCE, "look up: {error}");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Ok(())
        });
        let answered: Vec<Result<()>> = answered.buffer_unordered(STRANGERS).collect().await;
        answered.into_iter().collect::<Result<()>>()?;
        let all_answered = begin.elapsed().as_secs_f64();
        self.measures.add("discover_answered_s", "s", all_answered);
        // Until all are remembered, or no more come.
        let (mut known, mut last) = (0, Instant::now());
        while known < STRANGERS && last.elapsed() < Duration::from_secs(10) {
            let now = self.remembered().await?.saturating_sub(remembered);
            if now > known {
                (known, last) = (now, Instant::now());
            }
            tokio::time::sleep(LOOK).await;
        }
        self.measures
            .add("discover_remembered", "machines", known as f64);
        if known >= STRANGERS {
            self.measures
                .add("discover_s", "s", begin.elapsed().as_secs_f64());
        }
        self.cost("discover", STRANGERS, before, all_answered).await;
        let rss = self.site.rss_mib()?;
        self.measures.add("discover_rss_mib", "MiB", rss);
        Ok(())
    }

    async fn remembered(&self) -> Result<usize> {
        let js = jetstream::new(self.records.nats.clone());
        let stream = js.get_stream("KV_ib_lookups").await?;
        Ok(usize::try_from(stream.cached_info().state.messages)?)
    }

    /// One node's change, with and without dnsmasq's directories to keep.
    async fn stage(&mut self) -> Result<()> {
        let (hosts, tftp) = (self.site.dir("hosts")?, self.site.dir("tftp")?);
        let dnsmasq = format!(
            "[dnsmasq]\nhosts_dir = {:?}\ntftp_dir = {:?}\nbus = \"unix:path=/nonexistent\"\n",
            hosts, tftp
        );
        let mut costs = Vec::new();
        for more in ["", dnsmasq.as_str()] {
            self.site.stop_workers();
            self.site.worker(more)?;
            let macs = 4 * self.fleet.len();
            let deadline = Instant::now() + PATIENCE;
            while !more.is_empty() && std::fs::read_dir(&hosts)?.count() < macs {
                ensure!(Instant::now() < deadline, "the host files are not written");
                tokio::time::sleep(LOOK).await;
            }
            let changes = 200;
            let before = self.site.settled().await;
            // Each of a hundred nodes gets another NIC, and its own one back.
            for n in 0..changes {
                let last = if n < changes / 2 { 9 } else { 3 };
                let nics = [0, 1, 2, last];
                let ask = SetNode {
                    node: hardware::node_id(n % 100).to_string(),
                    request: None,
                    patch: Patch {
                        macs: Some(nics.map(|nic| hardware::mac(n % 100, nic)).to_vec()),
                        ..Patch::default()
                    },
                };
                self.operator.operate(&ask).await?;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let after = self.site.settled().await;
            costs.push((after.worker - before.worker) * 1e3 / changes as f64);
        }
        self.measures.add("stage_cpu_ms", "ms", costs[1] - costs[0]);
        self.site.stop_workers();
        self.site.worker("")?;
        Ok(())
    }

    async fn manage(&mut self, nodes: usize) -> Result<()> {
        let (before, begin) = (self.site.settled().await, Instant::now());
        let mut rests = self.follow("manageable").await?;
        at_once(0..nodes, async |n| {
            let (node, request) = (hardware::node_id(n).to_string(), fresh_request());
            self.operator
                .operate(&Manage { node, request })
                .await
                .map(drop)
        })
        .await?;
        rests.wait(nodes).await?;
        let secs = begin.elapsed().as_secs_f64();
        self.cost("manage", nodes, before, secs).await;
        let mut rests = self.follow("available").await?;
        at_once(0..nodes, async |n| {
            let (node, request) = (hardware::node_id(n).to_string(), fresh_request());
            self.operator
                .operate(&Provide { node, request })
                .await
                .map(drop)
        })
        .await?;
        rests.wait(nodes).await
    }

    async fn idle(&mut self) -> Result<()> {
        let before = self.site.settled().await;
        tokio::time::sleep(self.plan.idle).await;
        let after = self.site.cpu();
        let share = (after.worker - before.worker) / self.plan.idle.as_secs_f64();
        self.measures.add("idle_cpu_share", "share", share);
        let share = (after.server - before.server) / self.plan.idle.as_secs_f64();
        self.measures.add("idle_server_cpu_share", "share", share);
        Ok(())
    }

    pub async fn ask_deploys(&self, nodes: impl Iterator<Item = usize>) -> Result<()> {
        at_once(nodes, async |n| {
            let image = Image {
                source: "os.raw".parse().expect("a file's name"),
                checksum: "076a27c79e5ace2a3d47f9dd2e83e4ff6ea8872b3c2218f66c92b89b55f36560"
                    .parse()
                    .expect("64 hex digits"),
                format: None,
            };
            let ask = Deploy {
                node: hardware::node_id(n).to_string(),
                request: fresh_request(),
                instance: NewInstance {
                    traits: Vec::new(),
                    deploy_steps: Vec::new(),
                    image,
                    hostname: None,
                    user_data: Some("#cloud-config\n".into()),
                    network_data: None,
                    confirm: None,
                    token: None,
                    ssh_keys: vec![],
                    root_device: Default::default(),
                },
            };
            self.operator.operate(&ask).await.map(drop)
        })
        .await
    }

    /// Every round deploys the same nodes, after they were taken back.
    async fn deploy(&mut self, nodes: usize) -> Result<()> {
        for round in 0..self.plan.rounds {
            if round > 0 {
                self.undeploy(nodes).await?;
            }
            let (before, begin) = (self.site.settled().await, Instant::now());
            let mut rests = self.follow("active").await?;
            self.ask_deploys(0..nodes).await?;
            rests.wait(nodes).await?;
            let secs = begin.elapsed().as_secs_f64();
            self.cost("deploy", nodes, before, secs).await;
        }
        // Counted apart, as listening costs the server something.
        let counted = 100.min(nodes);
        self.undeploy(counted).await?;
        let writes = Counter::start(&self.records, "$KV.ib.>").await?;
        let events = Counter::start(&self.operator, "ib.v1.event.>").await?;
        let mut rests = self.follow("active").await?;
        self.ask_deploys(0..counted).await?;
        rests.wait(counted).await?;
        self.site.settled().await;
        let each = |count: u64| count as f64 / counted as f64;
        self.measures.add(
            "deploy_writes",
            "writes",
            each(writes.stop() + events.count()),
        );
        self.measures
            .add("deploy_events", "events", each(events.stop()));
        Ok(())
    }

    pub async fn undeploy(&self, nodes: usize) -> Result<()> {
        let mut rests = self.follow("available").await?;
        at_once(0..nodes, async |n| {
            let (node, request) = (hardware::node_id(n).to_string(), fresh_request());
            self.operator
                .operate(&Undeploy { node, request })
                .await
                .map(drop)
        })
        .await?;
        rests.wait(nodes).await?;
        // A record is heard of when it is sent, a moment before it is stored.
        self.site.settled().await;
        Ok(())
    }

    /// Beats that say the same as the last: the step goes on.
    async fn beats(&mut self, deployed: usize) -> Result<()> {
        let beaters = BEATERS.min(deployed);
        if self.wants("deploy") {
            self.undeploy(beaters).await?;
        }
        self.fleet.hold(true);
        self.ask_deploys(0..beaters).await?;
        let acts = self.writing(beaters).await?;
        for _ in 0..self.plan.rounds {
            self.beat(&acts).await?;
        }
        Ok(())
    }

    /// Each over its agent's own connection, where it has one.
    pub async fn beat(&mut self, acts: &[Act]) -> Result<()> {
        let links: Vec<Link> = self
            .seats(acts.len())?
            .into_iter()
            .map(|it| it.own)
            .collect();

        let (before, begin) = (self.site.settled().await, Instant::now());
        at_once(0..BEATS, async |n| {
            let (act, link) = (&acts[n % acts.len()], &links[n % acts.len()]);
            let beat = Heartbeat {
                version: codec::VERSION,
                boot: act.boot,
                seq: 1000 + n as u64,
                status: Status::Running {
                    step: act.step,
                    progress: Progress::default(),
                },
                nudge: None,
            };
            let node = hardware::node_id(n % acts.len());
            let subject = subject::heartbeat(&link.prefix, &node);
            match link.ask(subject, &beat).await? {
                HeartbeatReply::Idle => Ok(()),
                other => Err(Unanswered::Other(format!("{other:?}"))),
            }
        })
        .await?;
        let secs = begin.elapsed().as_secs_f64();
        self.cost("beat", BEATS, before, secs).await;
        Ok(())
    }

    fn seats(&self, nodes: usize) -> Result<Vec<Seat>> {
        let seats = (0..nodes).map(|n| self.fleet.machine(n).seat());
        seats
            .collect::<Option<_>>()
            .context("an agent is not welcome")
    }

    /// Lookups of agents that are welcome, over kept connections.
    pub async fn lookups_of(&mut self, acts: &[Act]) -> Result<()> {
        let mut asks = Vec::new();
        for (n, seat) in self.seats(acts.len())?.into_iter().enumerate() {
            let boot = acts[n].boot;
            let door = self.fleet.entry(n).door(&seat.access, boot).await?;
            let lookup = Lookup {
                login: seat.access.request(&boot),
                ..hardware::lookup(n, self.fleet.bmc_ip(n), boot)
            };
            asks.push((door, lookup));
        }
        let (before, begin) = (self.site.settled().await, Instant::now());
        at_once(0..LOOKUPS, async |n| {
            let (door, lookup) = &asks[n % asks.len()];
            match door.ask(subject::lookup(&door.prefix), lookup).await? {
                LookupReply::Welcome { .. } => Ok(()),
                other => Err(Unanswered::Other(format!("{other:?}"))),
            }
        })
        .await?;
        let secs = begin.elapsed().as_secs_f64();
        self.cost("lookup", LOOKUPS, before, secs).await;
        Ok(())
    }

    /// The image step of each of these, once all of them have begun it.
    pub async fn writing(&self, nodes: usize) -> Result<Vec<Act>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let writes = |n| {
                let acts = self.fleet.machine(n).ledger().acts;
                acts.last()
                    .filter(|act| act.order == "write_image" && !act.done)
                    .cloned()
            };
            let acts: Vec<Act> = (0..nodes).filter_map(writes).collect();
            if acts.len() == nodes {
                return Ok(acts);
            }
            ensure!(Instant::now() < deadline, "{} of {nodes} write", acts.len());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The server is killed and comes back while all agents are in the middle of a step.
    async fn storm(&mut self, nodes: usize) -> Result<()> {
        if self.wants("deploy") && nodes <= DEPLOYS {
            eprintln!("no storm: all {nodes} nodes are deployed already");
            return Ok(());
        }
        self.fleet.hold(true);
        let live = |n: &usize| matches!(self.fleet.machine(*n).runs(), Runs::Ramdisk(_));
        let active = DEPLOYS.min(nodes);
        if self.wants("deploy") && active < nodes {
            self.ask_deploys(active..nodes).await?;
        } else {
            self.ask_deploys(BEATERS.min(nodes)..nodes).await?;
        }
        let deadline = Instant::now() + PATIENCE;
        let mut agents: Vec<usize> = Vec::new();
        while Instant::now() < deadline {
            let writes = |n: &usize| {
                let acts = self.fleet.machine(*n).ledger().acts;
                acts.last().is_some_and(|act| act.order == "write_image")
            };
            agents = (0..nodes).filter(live).filter(writes).collect();
            if agents.len() + active >= nodes {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        self.come_back(&agents).await
    }

    /// Until each of these has beaten after the server was killed.
    pub async fn come_back(&mut self, agents: &[usize]) -> Result<()> {
        // Their beats go on: there is no quiet to wait for.
        tokio::time::sleep(REST).await;
        self.site.nats.kill();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let beats = |n: usize| self.fleet.machine(n).ledger().beats;
        let counts: Vec<u64> = agents.iter().map(|n| beats(*n)).collect();
        self.site.nats.start()?;
        let begin = Instant::now();
        self.fleet.ring();
        loop {
            let back = agents
                .iter()
                .zip(&counts)
                .filter(|(n, count)| beats(**n) > **count);
            let back = back.count();
            if back == agents.len() {
                break;
            }
            ensure!(
                begin.elapsed() < PATIENCE,
                "{back} of {} came back",
                agents.len()
            );
            tokio::time::sleep(LOOK).await;
        }
        self.measures
            .add("storm_agents", "agents", agents.len() as f64);
        self.measures
            .add("storm_s", "s", begin.elapsed().as_secs_f64());
        Ok(())
    }

    /// By events, which are told when a record is saved: no login but a worker's has the records.
    pub async fn follow(&self, state: &'static str) -> Result<Rests> {
        let nats = &self.operator.nats;
        let events = nats.subscribe("ib.v1.event.*.state").await?;
        nats.flush().await?;
        Ok(Rests {
            events,
            state,
            seen: HashSet::new(),
        })
    }
}

/// Nodes that come to rest in a state.
pub(crate) struct Rests {
    events: async_nats::Subscriber,
    state: &'static str,
    seen: HashSet<NodeId>,
}

impl Rests {
    pub async fn wait(&mut self, nodes: usize) -> Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.seen.len() < nodes {
            let Ok(event) = tokio::time::timeout_at(deadline, self.events.next()).await else {
                bail!("{} of {nodes} became {}", self.seen.len(), self.state);
            };
            let event = event.context("the connection is closed")?;
            let Happening { node, what, .. } = serde_json::from_slice(&event.payload)?;
            let What::State(transition) = what else {
                continue;
            };
            if let Some(error) = &transition.error {
                bail!("node {node}: {error}");
            }
            if transition.to == self.state {
                self.seen.insert(node);
            }
        }
        Ok(())
    }
}

/// Counts messages.
struct Counter {
    count: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Counter {
    async fn start(link: &Link, subject: &'static str) -> Result<Self> {
        let mut messages = link.nats.subscribe(subject).await?;
        link.nats.flush().await?;
        let count = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&count);
        let task = tokio::spawn(async move {
            while messages.next().await.is_some() {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Ok(Self { count, task })
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn stop(&self) -> u64 {
        self.task.abort();
        self.count()
    }
}

async fn at_once(
    numbers: impl Iterator<Item = usize>,
    work: impl AsyncFn(usize) -> Result<(), Unanswered>,
) -> Result<()> {
    let work = &work;
    let mut done = stream::iter(numbers)
        .map(async |n| work(n).await.with_context(|| format!("machine {n}")))
        .buffer_unordered(AT_ONCE);
    while let Some(result) = done.next().await {
        result?;
    }
    Ok(())
}

fn fresh_request() -> Option<RequestId> {
    uuid::Uuid::new_v4().to_string().parse().ok()
}

fn boot_of(n: usize) -> BootId {
    BootId::from_bytes(*hardware::node_id(n).as_bytes())
}

/// Machines beyond the fleet have BMCs that nobody asks.
fn bmc_of(n: usize) -> IpAddr {
    let first = u32::from(Ipv4Addr::new(127, 64, 0, 0));
    Ipv4Addr::from(first + n as u32).into()
}
