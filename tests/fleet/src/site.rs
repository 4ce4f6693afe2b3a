//! What a fleet meets in the bench: a nats-server and workers as they ship, and what they have used.
//! Leaves what is measured to `bench`.
use crate::link::Servers;
use anyhow::{Context, Result};
use ironbeat_rack::logins::Logins;
use ironbeat_rack::nats::{NatsBinary, NatsServer};
use ironbeat_rack::ports::PortLease;
use ironbeat_rack::process::Process;
use ironbeat_rack::secrets;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// For a program to be ready on a busy machine.
const START: Duration = Duration::from_secs(120);
/// Work in the background is over when nothing was done for so long.
const QUIET: Duration = Duration::from_millis(400);
/// The kernel counts CPU time in ticks of this length.
const TICK: Duration = Duration::from_millis(10);

pub struct Site {
    pub nats: NatsServer,
    pub workers: Vec<Process>,
    /// Where the workers serve HTTP.
    pub http: Vec<SocketAddr>,
    pub logins: Option<Logins>,
    ironbeat: PathBuf,
    dir: TempDir,
}

/// CPU time of all workers, and of the server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    pub worker: f64,
    pub server: f64,
}

impl Site {
    /// With `logins` its server asks who is there, over TLS.
    pub fn start(ironbeat: &Path, nats: Option<&Path>, logins: Option<Logins>) -> Result<Self> {
        let binary = nats.map_or(NatsBinary::Floor, |path| NatsBinary::At(path.into()));
        let lines = logins.as_ref().map(Logins::server_lines).transpose()?;
        Ok(Self {
            nats: NatsServer::start_loopback_with(binary, &lines.unwrap_or_default())?,
            workers: Vec::new(),
            http: Vec::new(),
            logins,
            ironbeat: ironbeat.into(),
            dir: tempfile::tempdir()?,
        })
    }

    /// Where machines and people find it.
    pub fn servers(&self) -> Servers {
        Servers {
            ca: self.logins.as_ref().map(Logins::ca),
            ..Servers::at(vec![self.nats.url()])
        }
    }

    /// Returns how long it took until it was ready. `more` goes before the `[policy]` of its configuration.
    pub fn worker(&mut self, more: &str) -> Result<Duration> {
        let (id, http) = (format!("w{}", self.workers.len() + 1), PortLease::take()?);
        let http = SocketAddr::from((Ipv4Addr::LOCALHOST, http.keep()));
        let dir = self.dir.path().display();
        let auth = match &self.logins {
            Some(logins) => format!("login = {:?}", logins.worker()),
            None => "auth = \"none\"".into(),
        };
        let text = format!(
            "id = \"{id}\"\n[nats]\nservers = [\"{}\"]\n{auth}\n[http]\nlisten = \"{http}\"\nboot_dir = \"{dir}\"\n\
             image_dir = \"{dir}\"\n[http.limits]\nper_address = 0\n{}{more}\n[policy]\nautomated_clean = false\n",
            self.nats.url(),
            secrets::section(self.dir.path())?,
        );
        let config = self.dir.path().join(format!("{id}.toml"));
        std::fs::write(&config, text).context("write a worker's configuration")?;
        // Nobody boots them, but a worker without them refuses what needs a ramdisk.
        for name in ["vmlinuz", "initrd", "disk.img.gz"] {
            std::fs::write(self.dir.path().join(name), name).context("write a ramdisk")?;
        }
        std::fs::write(self.dir.path().join("os.raw"), [0; 512]).context("write an image")?;
        let mut command = Command::new(&self.ironbeat);
        command.args(["conductor", "--config"]).arg(&config);
        let log = self.dir.path().join(format!("{id}.log"));
        let begin = Instant::now();
        let mut process = Process::start(&id, command, &log)?;
        process.wait_for_log(" ready ", START)?;
        self.workers.push(process);
        self.http.push(http);
        Ok(begin.elapsed())
    }

    pub fn stop_workers(&mut self) {
        self.workers.iter_mut().for_each(Process::stop);
        self.workers.clear();
        self.http.clear();
    }

    /// A directory of the site.
    pub fn dir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.dir.path().join(name);
        std::fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        Ok(dir)
    }

    pub fn cpu(&self) -> Cpu {
        let workers = self.workers.iter().map(Process::cpu_time);
        Cpu {
            worker: workers.sum::<Duration>().as_secs_f64(),
            server: self.nats.cpu_time().as_secs_f64(),
        }
    }

    /// As [`Site::cpu`], once the workers have done what was begun.
    pub async fn settled(&self) -> Cpu {
        let mut before = self.cpu();
        loop {
            tokio::time::sleep(QUIET).await;
            let now = self.cpu();
            // One tick is what they need when they idle.
            if now.worker - before.worker <= 2.0 * TICK.as_secs_f64() {
                return now;
            }
            before = now;
        }
    }

    /// Resident memory of the first worker, in MiB.
    pub fn rss_mib(&self) -> Result<f64> {
        let worker = self.workers.first().context("no worker runs")?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", worker.pid()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        let kib: f64 = kib.context("no VmRSS")?.parse()?;
        Ok(kib / 1024.0)
    }

    /// Runs the command line; returns how long it took.
    pub fn command(&self, args: &[&str]) -> Result<Duration> {
        let mut command = Command::new(&self.ironbeat);
        command
            .args(args)
            .env("IRONBEAT_NATS", self.nats.url())
            .env("IRONBEAT_AUTH", "none");
        let begin = Instant::now();
        ironbeat_rack::process::run_ok(command, START)?;
        Ok(begin.elapsed())
    }
}
