//! The whole power sync of real workers: what a node costs, whether every BMC is asked once, and who takes over.
//! The BMCs are simulated in this process, so that each question can be counted when it comes.
use super::super::print;
use crate::interrupt;
use anyhow::{Context, Result, ensure};
use ironbeat_bmc_sim::{Fleet, FleetConfig, Settings};
use ironbeat_rack::nats::{NatsBinary, NatsServer};
use ironbeat_rack::ports::PortLease;
use ironbeat_rack::process::{Process, run as run_command};
use ironbeat_rack::secrets;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const NODES: usize = 1000;
/// Longer than a worker keeps an idle session, so that every reading logs in, as with the usual 120 s.
const COST_PERIOD_SECS: u64 = 60;
const COST_PERIODS: u32 = 3;
/// One reading in this many is written down, as with the usual 120 s and 900 s.
const WRITTEN: u64 = 8;
/// Short, so that many turns can be watched.
const SHARED_PERIOD_SECS: u64 = 5;
const SHARED_PERIODS: u32 = 8;
/// A tenth of the shortest time between two turns that is a fault.
const LOOK: Duration = Duration::from_millis(50);
/// Two presence intervals of 10 s, after which a dead worker's nodes must be asked again.
const TAKE_OVER: Duration = Duration::from_secs(20);
/// Command lines at once while nodes are enrolled.
const CLIENTS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(120);

/// Prints `sync.*`.
pub fn measure(program: &Path) -> Result<()> {
    cost(program)?;
    sharing(program)
}

fn cost(program: &Path) -> Result<()> {
    let policy = format!(
        "power_sync_secs = {COST_PERIOD_SECS}\npower_evidence_secs = {}",
        COST_PERIOD_SECS * WRITTEN - COST_PERIOD_SECS / 2
    );
    let site = Site::start(program, &policy)?;
    let worker = site.worker("w1")?;
    site.enroll()?;
    // The enrolment's own sessions and writes are over.
    pause(Duration::from_secs(COST_PERIOD_SECS))?;
    let mut costs = Vec::new();
    let mut servers = Vec::new();
    for _ in 0..COST_PERIODS {
        let (before, server, reads) = (worker.cpu_time(), site.nats_cpu(), site.reads());
        pause(Duration::from_secs(COST_PERIOD_SECS))?;
        let reads = site.reads() - reads;
        ensure!(reads > NODES as u64 / 2, "{reads} reads of {NODES} BMCs");
        let per_read = |cpu: Duration| cpu.as_secs_f64() * 1e3 / reads as f64;
        costs.push(per_read(worker.cpu_time().saturating_sub(before)));
        servers.push(per_read(site.nats_cpu().saturating_sub(server)));
    }
    print("sync.cpu_ms_per_node", "ms", &costs);
    print("sync.nats_cpu_ms_per_node", "ms", &servers);
    Ok(())
}

fn sharing(program: &Path) -> Result<()> {
    let policy = format!("power_sync_secs = {SHARED_PERIOD_SECS}");
    let site = Site::start(program, &policy)?;
    let mut workers = vec![site.worker("w1")?];
    site.enroll()?;
    let (mut missed, mut overlap) = (Vec::new(), Vec::new());
    for count in [1, 2, 4] {
        interrupt::check()?;
        while workers.len() < count {
            workers.push(site.worker(&format!("w{}", workers.len() + 1))?);
        }
        // By now all workers have seen each other.
        site.watch(TAKE_OVER)?;
        let turns = site.watch(period() * SHARED_PERIODS)?;
        let shares = Shares::of(&turns);
        eprintln!("{count} workers: {shares:?}");
        missed.push(shares.missed);
        overlap.push(shares.twice);
    }
    print("sync.missed_share", "share", &missed);
    print("sync.overlap_share", "share", &overlap);
    let mut killed = workers.pop().context("there are four workers")?;
    killed.kill();
    let turns = site.watch(TAKE_OVER + period() * SHARED_PERIODS)?;
    let gaps = turns.iter().map(|turns| longest_gap(turns));
    let longest = gaps.fold(0.0, f64::max);
    print("sync.take_over_s", "s", &[longest]);
    Ok(())
}

/// Looks at nothing meanwhile: the measurement must not share a core with what it measures.
fn pause(time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        interrupt::check()?;
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

fn period() -> Duration {
    Duration::from_secs(SHARED_PERIOD_SECS)
}

/// Of all turns.
#[derive(Debug)]
struct Shares {
    missed: f64,
    twice: f64,
}

impl Shares {
    /// A turn is missed when the next question comes more than one and a half periods after the last, and taken twice
    /// when it comes within half of one.
    fn of(turns: &[Vec<f64>]) -> Self {
        let period = period().as_secs_f64();
        let (mut missed, mut twice, mut all) = (0.0, 0.0, 0.0);
        for turns in turns {
            all += f64::from(SHARED_PERIODS);
            if turns.is_empty() {
                missed += f64::from(SHARED_PERIODS);
            }
            for pair in turns.windows(2) {
                let gap = (pair[1] - pair[0]) / period;
                missed += (gap - 0.5).floor().max(0.0);
                twice += f64::from(u8::from(gap < 0.5));
            }
        }
        Self {
            missed: missed / all,
            twice: twice / all,
        }
    }
}

/// From the beginning on.
fn longest_gap(turns: &[f64]) -> f64 {
    let before = std::iter::once(&0.0).chain(turns);
    let gaps = turns.iter().zip(before).map(|(turn, before)| turn - before);
    gaps.fold(0.0, f64::max)
}

/// A NATS server, BMCs, and workers of one configuration.
struct Site {
    program: PathBuf,
    policy: String,
    nats: NatsServer,
    fleet: Fleet,
    dir: TempDir,
    _port: PortLease,
}

impl Site {
    fn start(program: &Path, policy: &str) -> Result<Self> {
        let port = PortLease::take()?;
        let config = FleetConfig::loopback(NODES, port.port());
        let settings = |_| Settings {
            powered_on: true,
            ..Settings::default()
        };
        Ok(Self {
            program: program.into(),
            policy: policy.into(),
            nats: NatsServer::start_loopback(NatsBinary::Floor)?,
            fleet: Fleet::start(&config, settings).context("simulate BMCs")?,
            dir: tempfile::tempdir()?,
            _port: port,
        })
    }

    fn worker(&self, id: &str) -> Result<Process> {
        let http = PortLease::take()?;
        let dir = self.dir.path().display();
        let config = self.dir.path().join(format!("{id}.toml"));
        let text = format!(
            "id = \"{id}\"\n[nats]\nservers = [\"{}\"]\nauth = \"none\"\n[http]\nlisten = \"127.0.0.1:{}\"\n\
             boot_dir = \"{dir}\"\nimage_dir = \"{dir}\"\n{}[policy]\n{}\n",
            self.nats.url(),
            http.port(),
            secrets::section(self.dir.path())?,
            self.policy,
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new(&self.program);
        command.args(["conductor", "--config"]).arg(&config);
        command.env("IRONBEAT_LOG", "warn,ironbeat::run=info");
        let log = self.dir.path().join(format!("{id}.log"));
        let mut process = Process::start(id, command, &log)?;
        process.wait_for_log(" ready ", PATIENCE)?;
        Ok(process)
    }

    /// Enrolls all BMCs as nodes that are manageable.
    fn enroll(&self) -> Result<()> {
        std::thread::scope(|scope| {
            let clients = (0..CLIENTS).map(|client| {
                scope.spawn(move || {
                    for n in (client..NODES).step_by(CLIENTS) {
                        interrupt::check()?;
                        let (name, bmc) = (format!("n{n}"), self.fleet.address(n).to_string());
                        self.cli(&["node", "enroll", "--name", &name, "--bmc", &bmc])?;
                        self.cli(&["node", "manage", &name])?;
                    }
                    anyhow::Ok(())
                })
            });
            let clients: Vec<_> = clients.collect();
            clients.into_iter().try_for_each(|client| {
                client
                    .join()
                    .map_err(|_| anyhow::anyhow!("a client panicked"))?
            })
        })?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let list: Vec<Value> = serde_json::from_str(&self.cli(&["--json", "node", "list"])?)?;
            let done = |node: &&Value| node["provision_state"] == "manageable";
            let ready = list.iter().filter(done).count();
            if ready == NODES {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "only {ready} of {NODES} nodes are manageable"
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn cli(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(args);
        command
            .env("IRONBEAT_NATS", self.nats.url())
            .env("IRONBEAT_AUTH", "none");
        command.env("IRONBEAT_BMC_PASSWORD", "Rack-pw-1");
        let output = run_command(command, PATIENCE)?;
        let err = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ironbeat {args:?}: {err}");
        Ok(String::from_utf8(output.stdout)?)
    }

    fn nats_cpu(&self) -> Duration {
        self.nats.cpu_time()
    }

    /// How often BMCs were asked for their power state.
    fn reads(&self) -> u64 {
        let mut reads = 0;
        self.fleet
            .each(|_, bmc| reads += bmc.counters().power_reads);
        reads
    }

    /// When each BMC was asked for its power state, in seconds from now on.
    fn watch(&self, time: Duration) -> Result<Vec<Vec<f64>>> {
        let begin = Instant::now();
        let count = || {
            let mut counts = Vec::with_capacity(NODES);
            self.fleet
                .each(|_, bmc| counts.push(bmc.counters().power_reads));
            counts
        };
        let mut known = count();
        let mut turns = vec![Vec::new(); NODES];
        while begin.elapsed() < time {
            std::thread::sleep(LOOK);
            interrupt::check()?;
            let at = begin.elapsed().as_secs_f64();
            for ((turns, known), now) in turns.iter_mut().zip(&mut known).zip(count()) {
                turns.extend((*known..now).map(|_| at));
                *known = now;
            }
        }
        Ok(turns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_that_were_missed_or_taken_twice_are_counted() {
        let good: Vec<f64> = (0..SHARED_PERIODS).map(|n| f64::from(n) * 5.0).collect();
        let shares = Shares::of(std::slice::from_ref(&good));
        assert_eq!((shares.missed, shares.twice), (0.0, 0.0));
        let mut twice = good.clone();
        twice.insert(3, 14.9);
        assert_eq!(Shares::of(&[twice]).twice, 1.0 / 8.0);
        let mut missed = good;
        missed.remove(3);
        assert_eq!(Shares::of(&[missed]).missed, 1.0 / 8.0);
        assert_eq!(Shares::of(&[vec![]]).missed, 1.0);
        assert_eq!(longest_gap(&[1.0, 2.5, 3.0]), 1.5);
        assert_eq!(longest_gap(&[2.0, 2.5, 3.0]), 2.0);
    }
}
