//! What runs where: three nats-servers and the workers on hosts of their own, machines and operators at the hub.
//! Breaks and mends them. Leaves what is asked meanwhile to `wave`.
use crate::faults::{Harm, Role};
use anyhow::{Context, Result, bail, ensure};
use ironbeat_fleet::{Connections, Fleet, Link, Pace, Servers, Spec, Who};
use ironbeat_ops::reply::WorkerInfo;
use ironbeat_ops::request::ListWorkers;
use ironbeat_rack::host::Host;
use ironbeat_rack::logins::Logins;
use ironbeat_rack::nats::cluster::NatsCluster;
use ironbeat_rack::netns::Netns;
use ironbeat_rack::process::Process;
use ironbeat_rack::secrets;
use rustix::process::Signal;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

pub const SERVERS: u8 = 3;
pub const WORKERS: usize = 3;
/// Worker 0 is 10.77.0.21.
const FIRST_WORKER: u8 = 21;
/// BMC 0; the hub takes all addresses of this net.
const FIRST_BMC: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 0);
const BMC_NET: &str = "10.88.0.0/16";
/// Below the ephemeral ports, and free in a namespace of our own.
const BMC_PORT: u16 = 623;
const HTTP_PORT: u16 = 8081;
/// So that jobs are in flight for a while: a machine needs minutes, the worst moments are between its steps.
const PACE: Pace = Pace {
    boot: Duration::from_secs(1),
    write: Duration::from_secs(3),
};
const READY: Duration = Duration::from_secs(90);
/// A worker compares its clock each time when it renews its presence, which is every few seconds.
const NOTICES: Duration = Duration::from_secs(30);
/// The records' bucket.
const RECORDS: &str = "KV_ib";
/// All that workers make.
const STREAMS: [&str; 6] = [
    RECORDS,
    "KV_ib_workers",
    "KV_ib_lookups",
    "IB_EVENTS",
    "IB_SEEN",
    "IB_CONSOLES",
];
/// Its content is its name's only meaning: no machine reads it.
pub const IMAGE: &str = "system.raw";
const IMAGE_BYTES: usize = 1 << 20;
/// sha256 of that many zeros.
pub const IMAGE_SHA256: &str = "30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58";
const LOOK: Duration = Duration::from_millis(200);

/// What is given to a run.
#[derive(Clone, Debug)]
pub struct Programs {
    pub ironbeat: PathBuf,
    pub nats_server: PathBuf,
    /// Logs and configurations stay there.
    pub dir: PathBuf,
}

pub struct Site {
    // In the order of tearing down.
    workers: Vec<Worker>,
    pub fleet: Fleet,
    operator: Link,
    cluster: NatsCluster,
    logins: Logins,
    programs: Programs,
    runtime: Runtime,
}

struct Worker {
    process: Option<Process>,
    host: Host,
}

/// What has to be mended.
#[must_use]
#[derive(Debug)]
pub enum Broken {
    Nothing,
    Workers(Vec<usize>),
    FrozenWorker(usize),
    Servers(Vec<usize>),
    FrozenServer(usize),
    Island { server: usize, worker: usize },
    FullDisk(usize),
    Clock(usize),
}

impl Site {
    /// The hub of a site: make it, and start the site inside.
    ///
    /// # Errors
    /// When the process is not root.
    pub fn hub() -> Result<Arc<Netns>> {
        let hub = Arc::new(Netns::create(&ironbeat_rack::owner::unique_name(), true)?);
        hub.ip(&[format!("route add local {BMC_NET} dev lo")])?;
        Ok(hub)
    }

    /// Starts everything. Call it on a thread inside the hub, so that the sockets of machines and operators are there.
    ///
    /// # Errors
    /// When a part does not come up.
    pub fn start(hub: &Arc<Netns>, programs: Programs, machines: usize) -> Result<Self> {
        // Another run's logs would be taken for this one's.
        drop(std::fs::remove_dir_all(&programs.dir));
        std::fs::create_dir_all(programs.dir.join("images")).context("make the logs' directory")?;
        let image = programs.dir.join("images").join(IMAGE);
        std::fs::write(image, vec![0; IMAGE_BYTES]).context("write the image")?;
        // Nobody boots them, but a worker without them refuses what needs a ramdisk.
        for name in ["vmlinuz", "initrd", "disk.img.gz"] {
            std::fs::write(programs.dir.join(name), name).context("write a ramdisk")?;
        }
        let runtime = Runtime::new().context("start the runtime")?;
        let logins = Logins::init(&programs.ironbeat, &[])?;
        let cluster = NatsCluster::start_with(hub, &programs.nats_server, SERVERS, Some(&logins))?;
        let mut hosts = Vec::new();
        for n in 0..WORKERS {
            let number = FIRST_WORKER + u8::try_from(n).context("few workers")?;
            hosts.push(Host::plug(hub, number)?);
        }
        let scripts = hosts.iter().map(|host| (host.address(), HTTP_PORT).into());
        let spec = Spec {
            connections: Connections::Own(scripts.collect()),
            pace: PACE,
            bmc_first: Some(FIRST_BMC),
            bmc_port: BMC_PORT,
            ..Spec::new(Servers::at(cluster.urls()), machines)
        };
        let fleet = runtime.block_on(Fleet::start(&spec))?;
        let admin = logins.admin();
        let operator = Link::connect(&spec.servers, Who::Person(&admin), "operator");
        let operator = runtime.block_on(operator)?;
        let mut site = Self {
            workers: Vec::new(),
            fleet,
            operator,
            cluster,
            logins,
            programs,
            runtime,
        };
        for (n, host) in hosts.into_iter().enumerate() {
            site.workers.push(Worker {
                process: None,
                host,
            });
            site.start_worker(n)?;
        }
        (0..WORKERS).try_for_each(|n| site.wait_worker(n))?;
        site.wait_workers(WORKERS)?;
        site.wait_replicated()?;
        Ok(site)
    }

    /// Waits until each bucket and stream has a leader, and sees that all servers keep it, although no configuration says how many.
    fn wait_replicated(&self) -> Result<()> {
        let deadline = Instant::now() + READY;
        loop {
            let replicas = self.cluster.replicas()?;
            let fewer = replicas
                .iter()
                .find(|(_, count)| **count != u64::from(SERVERS));
            ensure!(
                fewer.is_none(),
                "stream and number of servers that keep it, of {SERVERS}: {fewer:?}"
            );
            if STREAMS.iter().all(|stream| replicas.contains_key(*stream)) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "streams that have a leader, of {STREAMS:?}: {replicas:?}"
            );
            std::thread::sleep(LOOK);
        }
    }

    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub fn operator(&self) -> &Link {
        &self.operator
    }

    /// Breaks something.
    ///
    /// # Errors
    /// When it cannot be broken: a fault that did not happen proves nothing.
    pub fn harm(&mut self, harm: Harm) -> Result<Broken> {
        Ok(match harm {
            Harm::Nothing => Broken::Nothing,
            Harm::KillWorker => self.kill_workers(&[0]),
            Harm::KillAllWorkers => self.kill_workers(&(0..WORKERS).collect::<Vec<_>>()),
            Harm::FreezeWorker => {
                self.signal_worker(0, Signal::STOP)?;
                Broken::FrozenWorker(0)
            }
            Harm::KillServer(role) => {
                let server = self.server(role)?;
                self.cluster.kill(server);
                Broken::Servers(vec![server])
            }
            Harm::FreezeServer(role) => {
                let server = self.server(role)?;
                self.cluster.freeze(server)?;
                Broken::FrozenServer(server)
            }
            Harm::KillAllServers => {
                self.cluster.kill_all();
                Broken::Servers((0..self.cluster.len()).collect())
            }
            Harm::Island => {
                let (server, worker) = (self.server(Role::Leader)?, 0);
                self.cluster.host(server).cut_off()?;
                self.workers[worker].host.cut_off()?;
                Broken::Island { server, worker }
            }
            Harm::FullDisk => {
                let server = self.server(Role::Leader)?;
                self.cluster.disk(server).fill()?;
                Broken::FullDisk(server)
            }
            Harm::ClockAhead(ms) => {
                self.set_clock(0, ms)?;
                self.wait_standing_by()?;
                Broken::Clock(0)
            }
        })
    }

    /// Undoes it, as an operator would.
    ///
    /// # Errors
    /// When a part does not come up again.
    pub fn mend(&mut self, broken: &Broken) -> Result<()> {
        match broken {
            Broken::Nothing => Ok(()),
            Broken::Workers(workers) => workers.iter().try_for_each(|n| self.start_worker(*n)),
            Broken::FrozenWorker(worker) => self.signal_worker(*worker, Signal::CONT),
            Broken::Servers(servers) => self.cluster.restart_all(servers),
            Broken::FrozenServer(server) => self.cluster.thaw(*server),
            Broken::Island { server, worker } => {
                self.cluster.host(*server).rejoin()?;
                self.workers[*worker].host.rejoin()
            }
            Broken::FullDisk(server) => {
                self.cluster.disk(*server).drain()?;
                self.cluster.restart(*server)
            }
            Broken::Clock(worker) => self.set_clock(*worker, 0),
        }
    }

    /// Waits until all servers and workers are there again, so that the next fault meets a whole site.
    ///
    /// # Errors
    /// When one of them is not.
    pub fn wait_whole(&mut self) -> Result<()> {
        let servers: Vec<usize> = (0..self.cluster.len()).collect();
        self.cluster.wait_formed(&servers)?;
        for (n, worker) in self.workers.iter_mut().enumerate() {
            let process = worker
                .process
                .as_mut()
                .context("a worker was not started")?;
            ensure!(
                process.is_running(),
                "worker {n} ended: {}",
                process.log().tail()
            );
        }
        self.wait_workers(WORKERS)
    }

    /// Whether a worker has panicked, which nothing may make it do.
    ///
    /// # Errors
    /// The log's line.
    pub fn no_panic(&self) -> Result<()> {
        for n in 0..WORKERS {
            let log = std::fs::read_to_string(self.worker_log(n)).context("read a worker's log")?;
            if let Some(line) = log.lines().find(|line| line.contains("panicked")) {
                bail!("worker {n}: {line}");
            }
        }
        Ok(())
    }

    fn server(&self, role: Role) -> Result<usize> {
        let deadline = Instant::now() + READY;
        loop {
            if let Some(leader) = self.cluster.leaders()?.streams.get(RECORDS) {
                return Ok(match role {
                    Role::Leader => *leader,
                    Role::Follower => (leader + 1) % self.cluster.len(),
                });
            }
            ensure!(Instant::now() < deadline, "nobody leads {RECORDS}");
            std::thread::sleep(LOOK);
        }
    }

    fn kill_workers(&mut self, workers: &[usize]) -> Broken {
        for n in workers {
            if let Some(mut process) = self.workers[*n].process.take() {
                process.kill();
            }
        }
        Broken::Workers(workers.into())
    }

    fn signal_worker(&mut self, n: usize, signal: Signal) -> Result<()> {
        let process = self.workers[n].process.as_mut();
        process.context("the worker runs")?.signal(signal)
    }

    fn start_worker(&mut self, n: usize) -> Result<()> {
        let (name, dir) = (worker_name(n), self.programs.dir.display());
        let worker = &mut self.workers[n];
        let servers = self.cluster.urls();
        let text = format!(
            "id = \"{name}\"\n[nats]\nservers = {servers:?}\nlogin = \"{}\"\n\
             [http]\nlisten = \"{}:{HTTP_PORT}\"\nboot_dir = \"{dir}\"\nimage_dir = \"{dir}/images\"\n\
             [http.limits]\nper_address = 0\n{}",
            self.logins.worker().display(),
            worker.host.address(),
            secrets::section(&self.programs.dir)?,
        );
        let config = self.programs.dir.join(format!("{name}.toml"));
        std::fs::write(&config, text).with_context(|| format!("write {}", config.display()))?;
        let clock = clock_file(&self.programs.dir, n);
        std::fs::write(&clock, "0").with_context(|| format!("write {}", clock.display()))?;
        let mut command = Command::new(&self.programs.ironbeat);
        command
            .args(["conductor", "--config"])
            .arg(&config)
            .env("IRONBEAT_LOG", "info,ironbeat=debug")
            .env(CLOCK, &clock);
        worker.host.netns().apply(&mut command)?;
        let log = self.programs.dir.join(format!("{name}.log"));
        worker.process = Some(Process::start(&name, command, &log)?);
        Ok(())
    }

    fn wait_worker(&mut self, n: usize) -> Result<()> {
        let process = self.workers[n].process.as_mut();
        process
            .context("the worker was started")?
            .wait_for_log(" ready ", READY)?;
        Ok(())
    }

    fn worker_log(&self, n: usize) -> PathBuf {
        self.programs.dir.join(format!("{}.log", worker_name(n)))
    }

    /// How far ahead a worker sees its wall clock.
    fn set_clock(&self, n: usize, ms: i64) -> Result<()> {
        std::fs::write(clock_file(&self.programs.dir, n), ms.to_string()).context("set a clock")
    }

    /// Waits until a worker says that it leaves nodes alone, and why: then it noticed what its clock does.
    fn wait_standing_by(&self) -> Result<()> {
        let deadline = Instant::now() + NOTICES;
        loop {
            let live = self
                .runtime
                .block_on(self.operator.operate(&ListWorkers {}));
            let says = |worker: &WorkerInfo| {
                serde_json::to_value(worker).is_ok_and(|it| it["stands_by"].is_string())
            };
            if live.is_ok_and(|live| live.iter().any(says)) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "no worker says that its clock is wrong"
            );
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until that many workers are seen by one that answers.
    fn wait_workers(&self, count: usize) -> Result<()> {
        let deadline = Instant::now() + READY;
        loop {
            let live = self
                .runtime
                .block_on(self.operator.operate(&ListWorkers {}));
            match live {
                Ok(live) if live.len() == count => return Ok(()),
                other if Instant::now() > deadline => bail!("{count} workers, but {other:?}"),
                _ => std::thread::sleep(LOOK),
            }
        }
    }
}

impl Drop for Site {
    /// The servers' logs would go with them.
    fn drop(&mut self) {
        for n in 0..self.cluster.len() {
            let path = self.programs.dir.join(format!("n{}.log", n + 1));
            // They are for whoever looks into a failure; there may be no room for them.
            let _ = std::fs::write(path, self.cluster.log_text(n));
        }
    }
}

/// The file that a worker's wrong clock is read from: `conductor/src/clock.rs`.
const CLOCK: &str = "IRONBEAT_TEST_CLOCK";

fn clock_file(dir: &Path, n: usize) -> PathBuf {
    dir.join(format!("{}.clock", worker_name(n)))
}

fn worker_name(n: usize) -> String {
    format!("w{}", n + 1)
}
