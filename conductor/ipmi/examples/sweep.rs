//! Asks many simulated BMCs for the power state, or cycles their power, and prints what that took: the load of the BMC bench.
//! The BMCs are those of `ironbeat-bmc-sim`; `cargo xtask bench bmc` starts them and compares the numbers.
use ironbeat_ipmi::{Bmc, BmcConfig, ChassisControl, ErrorKind, Secret, Slots, Suite, Transport};
use rustix::time::{ClockId, clock_gettime};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

const USAGE: &str = "usage: sweep --port PORT [--first IPv4] [--count N] [--sweeps N] [--at-once N] [--fresh] [--cycle]
  [--reads N] [--retry-for SECS] [--on-every N] [--silent-every N] [--suite 3|17] [--threads N]

One sweep asks every BMC once. --fresh: a session for each question; otherwise a first sweep opens the
sessions, and they are kept. --reads: how many questions to ask each BMC, one after the other. --cycle: power cycle
instead. --retry-for: how long to ask again after a failure. --on-every, --silent-every: as the simulator was told, to
know which answers are right. Each sweep prints a line of JSON.";

/// Pause before a BMC that failed is asked again.
const PAUSE: Duration = Duration::from_secs(1);

struct Options {
    first: Ipv4Addr,
    port: u16,
    count: usize,
    sweeps: usize,
    reads: usize,
    at_once: Option<usize>,
    fresh: bool,
    cycle: bool,
    retry_for: Duration,
    on_every: usize,
    silent_every: Option<usize>,
    suite: Suite,
    threads: usize,
}

impl Options {
    fn parse() -> Result<Self, String> {
        let mut options = Self {
            first: Ipv4Addr::new(127, 64, 0, 0),
            port: 0,
            count: 1,
            sweeps: 1,
            reads: 1,
            at_once: None,
            fresh: false,
            cycle: false,
            retry_for: Duration::ZERO,
            on_every: 1,
            silent_every: None,
            suite: Suite::Three,
            threads: 2,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            match name.as_str() {
                "--fresh" => options.fresh = true,
                "--cycle" => options.cycle = true,
                _ => {
                    let value = arguments.next().ok_or(USAGE)?;
                    options
                        .set(&name, &value)
                        .map_err(|why| format!("{name} {value}: {why}"))?;
                }
            }
        }
        if options.port == 0 || options.on_every == 0 || options.silent_every == Some(0) {
            return Err(USAGE.into());
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let number = || value.parse::<usize>().map_err(|error| error.to_string());
        match name {
            "--first" => self.first = value.parse().map_err(|_| "not an IPv4 address")?,
            "--port" => self.port = value.parse().map_err(|_| "not a port")?,
            "--count" => self.count = number()?,
            "--sweeps" => self.sweeps = number()?,
            "--reads" => self.reads = number()?,
            "--at-once" => self.at_once = Some(number()?),
            "--retry-for" => self.retry_for = Duration::from_secs(number()? as u64),
            "--on-every" => self.on_every = number()?,
            "--silent-every" => self.silent_every = Some(number()?),
            "--threads" => self.threads = number()?,
            "--suite" => {
                self.suite = match value {
                    "3" => Suite::Three,
                    "17" => Suite::Seventeen,
                    _ => return Err("only suites 3 and 17".into()),
                }
            }
            _ => return Err(USAGE.into()),
        }
        Ok(())
    }

    fn address(&self, n: usize) -> SocketAddr {
        let ip = u32::from(self.first).wrapping_add(n as u32);
        SocketAddr::from((Ipv4Addr::from(ip), self.port))
    }

    fn is_live(&self, n: usize) -> bool {
        self.silent_every
            .is_none_or(|every| !n.is_multiple_of(every))
    }

    fn is_on(&self, n: usize) -> bool {
        n.is_multiple_of(self.on_every)
    }
}

/// What one sweep found.
#[derive(Default)]
struct Tally {
    right: AtomicU64,
    wrong: AtomicU64,
    /// Asked again after an error.
    repeated: AtomicU64,
    failed: AtomicU64,
    /// Power cycles that may or may not have been executed.
    unconfirmed: AtomicU64,
    /// Live BMCs that were asked all their questions.
    visited: AtomicU64,
    /// When the last of them was, and the CPU time used until then.
    end: OnceLock<(Instant, f64)>,
    done: Notify,
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

enum Outcome {
    Right,
    Wrong,
    Failed,
    Unconfirmed,
}

/// One question, or cycle, and what came of it in the end.
async fn ask(bmc: &Bmc, on: bool, options: &Options, tally: &Tally) -> Outcome {
    let begin = Instant::now();
    loop {
        let result = if options.cycle {
            let control = bmc.chassis_control(ChassisControl::PowerCycle);
            control.await.map(|()| true)
        } else {
            let status = bmc.chassis_status().await;
            status.map(|status| status.power_on == on)
        };
        if options.fresh {
            bmc.close().await;
        }
        let error = match result {
            Ok(true) => return Outcome::Right,
            Ok(false) => return Outcome::Wrong,
            Err(error) => error,
        };
        if let ErrorKind::Unconfirmed { .. } = error.kind {
            return Outcome::Unconfirmed;
        }
        // A cycle that may have been sent is not sent again.
        let is_safe = !options.cycle || error.attempt == "open a session";
        if !is_safe || begin.elapsed() >= options.retry_for {
            return Outcome::Failed;
        }
        add(&tally.repeated);
        tokio::time::sleep(PAUSE).await;
    }
}

/// One BMC's part of a sweep.
async fn visit(n: usize, bmc: Bmc, options: Arc<Options>, tally: Arc<Tally>, live: u64) {
    for _ in 0..options.reads {
        let outcome = ask(&bmc, options.is_on(n), &options, &tally).await;
        add(match outcome {
            Outcome::Right => &tally.right,
            Outcome::Wrong => &tally.wrong,
            Outcome::Failed => &tally.failed,
            Outcome::Unconfirmed => &tally.unconfirmed,
        });
    }
    if options.is_live(n) && tally.visited.fetch_add(1, Ordering::Relaxed) + 1 == live {
        tally.end.get_or_init(|| (Instant::now(), cpu_secs()));
        tally.done.notify_one();
    }
}

fn cpu_secs() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap_or(0)
}

async fn sweep(bmcs: &[Bmc], slots: &Slots, options: &Arc<Options>, name: &str, idle_kib: u64) {
    let tally = Arc::new(Tally::default());
    let live = (0..bmcs.len()).filter(|n| options.is_live(*n)).count() as u64;
    let (begin, cpu) = (Instant::now(), cpu_secs());
    let all = slots.for_each(bmcs.iter().enumerate(), |(n, bmc)| {
        let (options, tally) = (Arc::clone(options), Arc::clone(&tally));
        visit(n, bmc.clone(), options, tally, live)
    });
    // The silent ones go on for half a minute; what is measured ends with the last live one.
    tokio::select! {
        () = all => {}
        () = tally.done.notified() => {}
    }
    let (end, cpu_end) = *tally.end.get_or_init(|| (Instant::now(), cpu_secs()));
    let (wall, cpu) = ((end - begin).as_secs_f64(), cpu_end - cpu);
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{{\"sweep\":\"{name}\",\"live\":{live},\"due\":{},\"right\":{},\"wrong\":{},\"repeated\":{},\"failed\":{},\"unconfirmed\":{},\
         \"wall_s\":{wall:.6},\"cpu_s\":{cpu:.6},\"rss_kib\":{},\"idle_rss_kib\":{idle_kib}}}",
        live * options.reads as u64,
        count(&tally.right),
        count(&tally.wrong),
        count(&tally.repeated),
        count(&tally.failed),
        count(&tally.unconfirmed),
        rss_kib(),
    );
}

async fn run(options: Arc<Options>) {
    let slots = options.at_once.map_or_else(Slots::default, Slots::new);
    let transport = Transport::new();
    let idle_kib = rss_kib();
    let bmcs: Vec<Bmc> = (0..options.count)
        .map(|n| {
            let login = BmcConfig::new(options.address(n), "admin", Secret::new("Rack-pw-1"));
            transport.bmc(BmcConfig {
                suite: Some(options.suite),
                ..login
            })
        })
        .collect();
    if !options.fresh && !options.cycle {
        sweep(&bmcs, &slots, &options, "open", idle_kib).await;
    }
    for _ in 0..options.sweeps {
        sweep(&bmcs, &slots, &options, "measured", idle_kib).await;
    }
    slots
        .for_each(bmcs, |bmc| async move { bmc.close().await })
        .await;
}

fn main() -> ExitCode {
    let options = match Options::parse() {
        Ok(options) => Arc::new(options),
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::FAILURE;
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.threads)
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(run(options)),
        Err(error) => {
            eprintln!("start {} threads: {error}", options.threads);
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
