//! Who reads the power state in the bench: our client's load program, ipmitool as Ironic calls it, pyghmi in process.
//! Each says how much CPU time a read took; the kernel counts that of children when they have ended.
use super::sims::{PASSWORD, Target, USER};
use super::{AT_ONCE, ON_EVERY};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// What `ironbeat-ipmi`'s example `sweep` says of one sweep.
pub struct Sweep {
    pub due: u64,
    pub right: u64,
    pub wrong: u64,
    pub unconfirmed: u64,
    pub wall_secs: f64,
    cpu_secs: f64,
    rss_kib: f64,
    /// Before there was a handle.
    idle_rss_kib: f64,
    is_measured: bool,
}

impl Sweep {
    fn parse(line: &str) -> Result<Self> {
        let line: Value = serde_json::from_str(line)
            .with_context(|| format!("the load program says {line:?}"))?;
        let count = |name: &str| line[name].as_u64().with_context(|| format!("no {name}"));
        let number = |name: &str| line[name].as_f64().with_context(|| format!("no {name}"));
        Ok(Self {
            due: count("due")?,
            right: count("right")?,
            wrong: count("wrong")?,
            unconfirmed: count("unconfirmed")?,
            wall_secs: number("wall_s")?,
            cpu_secs: number("cpu_s")?,
            rss_kib: number("rss_kib")?,
            idle_rss_kib: number("idle_rss_kib")?,
            is_measured: line["sweep"] == "measured",
        })
    }

    pub fn cpu_us(&self) -> f64 {
        self.cpu_secs * 1e6 / self.due as f64
    }

    pub fn rss_mib(&self) -> f64 {
        (self.rss_kib - self.idle_rss_kib) / 1024.0
    }
}

/// Our load program.
pub struct Ours(PathBuf);

impl Ours {
    pub fn new(program: PathBuf) -> Self {
        Self(program)
    }

    /// Every sweep, the one that opens the sessions too; answers may be missing.
    pub fn sweep_as_it_comes(&self, target: Target, arguments: &[&str]) -> Result<Vec<Sweep>> {
        let (first, port) = (target.first.to_string(), target.port.to_string());
        let mut command = Command::new(&self.0);
        command.args(["--first", &first, "--port", &port]);
        if !arguments.contains(&"--on-every") {
            command.args(["--on-every", &ON_EVERY.to_string()]);
        }
        let output = successful(command.args(arguments))?;
        let sweeps = String::from_utf8_lossy(&output.stdout);
        sweeps.lines().map(Sweep::parse).collect()
    }

    /// The sweeps that count, each of them complete and right.
    pub fn sweep(&self, target: Target, arguments: &[&str]) -> Result<Vec<Sweep>> {
        let mut sweeps = self.sweep_as_it_comes(target, arguments)?;
        sweeps.retain(|sweep| sweep.is_measured);
        for Sweep {
            due, right, wrong, ..
        } in &sweeps
        {
            ensure!(
                right == due,
                "{right} of {due} answers were right, {wrong} wrong"
            );
        }
        ensure!(!sweeps.is_empty(), "no sweep was measured");
        Ok(sweeps)
    }

    /// CPU time of a read, in microseconds, over all sweeps.
    pub fn cpu_us(&self, target: Target, arguments: &[&str]) -> Result<f64> {
        let sweeps = self.sweep(target, arguments)?;
        let reads: u64 = sweeps.iter().map(|sweep| sweep.due).sum();
        let secs: f64 = sweeps.iter().map(|sweep| sweep.cpu_secs).sum();
        Ok(secs * 1e6 / reads as f64)
    }
}

/// What a peer's reads took.
pub struct Cost {
    pub cpu_us: f64,
    pub per_sec: f64,
}

/// `reads` calls of ipmitool over `count` BMCs, eight at a time, with the options that Ironic gives it.
pub fn ipmitool(
    target: Target,
    count: usize,
    reads: usize,
    is_on: impl Fn(usize) -> bool + Sync,
) -> Result<Cost> {
    let (next, port) = (AtomicUsize::new(0), target.port.to_string());
    let worker = || -> Result<()> {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= reads {
                return Ok(());
            }
            let mut command = Command::new("ipmitool");
            command.args(["-I", "lanplus", "-C", "3", "-L", "ADMINISTRATOR", "-R", "1"]);
            command.args(["-N", "5", "-p", &port, "-U", USER, "-P", PASSWORD, "-H"]);
            command.arg(target.address(n % count).to_string());
            let output = successful(command.args(["power", "status"]))?;
            let said = String::from_utf8_lossy(&output.stdout);
            let right = if is_on(n % count) {
                "Chassis Power is on"
            } else {
                "Chassis Power is off"
            };
            ensure!(
                said.trim() == right,
                "ipmitool says {said:?} of BMC {n}, not {right:?}"
            );
        }
    };
    let (begin, cpu) = (Instant::now(), children_cpu_secs()?);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| match worker.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
    })?;
    Ok(Cost {
        cpu_us: (children_cpu_secs()? - cpu) * 1e6 / reads as f64,
        per_sec: reads as f64 / begin.elapsed().as_secs_f64(),
    })
}

/// Of all children that have ended and been waited for, in user and kernel mode; to 10 ms.
fn children_cpu_secs() -> Result<f64> {
    /// Ticks of /proc a second; so on every architecture that Linux has today.
    const USER_HZ: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").context("read /proc/self/stat")?;
    // The name, in parentheses, may hold spaces. cutime and cstime are fields 16 and 17, the state after the name is 3.
    let (_, fields) = stat
        .rsplit_once(") ")
        .context("/proc/self/stat has a name")?;
    let ticks: Option<u64> = fields
        .split(' ')
        .skip(13)
        .take(2)
        .map(|field| field.parse::<u64>().ok())
        .sum();
    Ok(ticks.context("/proc/self/stat has CPU times")? as f64 / USER_HZ)
}

/// pyghmi in an environment of its own.
pub struct Pyghmi(PathBuf);

/// pyghmi's newest at the time of writing.
const PYGHMI: &str = "pyghmi==1.6.19";

/// It reads in the cheapest way that pyghmi has: Get Chassis Status over the session of one BMC. (Its `get_power` asks
/// twice, and with several BMCs in a process each answer waits for a timer.) The time of its own process only.
const READ: &str = "\
import sys, time
from pyghmi.ipmi import command
host, port, user, password, reads = sys.argv[1:]
bmc = command.Command(bmc=host, port=int(port), userid=user, password=password)
def read():
    return bmc.raw_command(netfn=0, command=1)['data'][0] & 1
for _ in range(50):
    read()
wall, cpu = time.monotonic(), time.process_time()
right = sum(read() for _ in range(int(reads)))
print(right, time.process_time() - cpu, time.monotonic() - wall)
";

impl Pyghmi {
    /// Installs it below `dir` unless that was done before.
    pub fn prepare(dir: &Path) -> Result<Self> {
        let dir = dir.join("pyghmi");
        let python = dir.join("bin/python");
        let is_there = || {
            let import = Command::new(&python).args(["-c", "import pyghmi"]).output();
            import.is_ok_and(|output| output.status.success())
        };
        if !is_there() {
            successful(Command::new("python3").args(["-m", "venv"]).arg(&dir))?;
            let pip = ["-m", "pip", "install", "--quiet", PYGHMI];
            successful(Command::new(&python).args(pip))?;
        }
        Ok(Self(python))
    }

    /// Reads of BMC 0, which is on, over one session.
    pub fn read(&self, target: Target, reads: usize) -> Result<Cost> {
        let mut command = Command::new(&self.0);
        let (host, port) = (target.first.to_string(), target.port.to_string());
        command.args(["-c", READ, &host, &port, USER, PASSWORD, &reads.to_string()]);
        let output = successful(&mut command)?;
        let said = String::from_utf8_lossy(&output.stdout);
        let numbers: Vec<f64> = said
            .split_whitespace()
            .map_while(|word| word.parse().ok())
            .collect();
        let [right, cpu_secs, wall_secs] = numbers[..] else {
            bail!("pyghmi says {said:?}");
        };
        ensure!(
            right == reads as f64,
            "pyghmi has {right} of {reads} reads right"
        );
        Ok(Cost {
            cpu_us: cpu_secs * 1e6 / right,
            per_sec: right / wall_secs,
        })
    }
}

/// Runs a command to its end.
fn successful(command: &mut Command) -> Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("start {program}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{program} ended with {}: {}",
        output.status,
        complaint.trim()
    );
    Ok(output)
}
