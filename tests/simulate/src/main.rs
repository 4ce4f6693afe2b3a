//! `cargo xtask simulate`: many runs, on all cores; figures as JSON lines, a failing run cut down and kept.
//! What a run is, and what is judged in it, is in the library.
use clap::Parser;
use ironbeat_simulate::{Case, Outcome, Size, Tally, cut_down, run};
use std::io::Write;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Cases that failed once, each of which `cargo test` runs again for ever.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/kept");

/// Runs that it may take to cut a case down.
const TRIES: u32 = 400;

#[derive(Parser)]
#[command(name = "cargo xtask simulate")]
struct Args {
    /// How many runs, each from a seed of its own.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// More, until so many events have happened.
    #[arg(long, default_value_t = 0)]
    events: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// One run, from this seed, with its last steps.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    size: Size,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(seed) = args.seed {
        let outcome = run(seed, &args.size, true);
        outcome.trace.iter().for_each(|line| println!("{line}"));
        println!("seed {seed}: hash {:016x}", outcome.hash);
        return report(&[outcome]);
    }
    let begin = Instant::now();
    let outcomes = many(&args);
    let took = begin.elapsed().as_secs_f64();
    let mut tally = Tally::default();
    outcomes.iter().for_each(|it| tally.add(&it.tally));
    let violations: usize = outcomes.iter().map(|it| it.violations.len()).sum();
    line("simulate.events", tally.events as f64, "events");
    let rate = tally.events as f64 / took;
    line("simulate.events_per_s", rate.round(), "1/s");
    line("simulate.violations", violations as f64, "violations");
    line("simulate.pairs", tally.share(), "share");
    if let Some(failed) = outcomes.iter().find(|it| !it.violations.is_empty()) {
        keep(failed.seed, &args.size);
    }
    report(&outcomes)
}

/// All runs, in the order of their seeds. Each core takes the next seed until there is enough.
fn many(args: &Args) -> Vec<Outcome> {
    let (next, events) = (AtomicU64::new(0), AtomicU64::new(0));
    let outcomes = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= args.seeds && events.load(Ordering::Relaxed) >= args.events {
                        break;
                    }
                    let outcome = run(args.from + n, &args.size, false);
                    events.fetch_add(outcome.tally.events, Ordering::Relaxed);
                    outcomes.lock().expect("no run panics").push(outcome);
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().expect("no run panicked");
    outcomes.sort_by_key(|it| it.seed);
    outcomes
}

/// Cuts a failing case down, shows its steps, and keeps it.
fn keep(seed: u64, size: &Size) {
    let size = size.clone();
    let case = Case { seed, size };
    let kind = |outcome: &Outcome| outcome.violations.first().map(|it| kind(it));
    let wanted = kind(&run(case.seed, &case.size, false));
    let case = cut_down(&case, TRIES, |case| {
        let outcome = run(case.seed, &case.size, false);
        (kind(&outcome) == wanted).then_some(outcome.minutes)
    });
    let outcome = run(case.seed, &case.size, true);
    outcome.trace.iter().for_each(|line| eprintln!("{line}"));
    let why = outcome.violations.first().map_or("", String::as_str);
    eprintln!("cut down: {why}\nrepeat it: cargo xtask simulate -- {case}");
    let why = why.lines().next().unwrap_or_default();
    let mut options = std::fs::OpenOptions::new();
    let kept = options.append(true).create(true).open(KEPT);
    match kept.and_then(|mut file| writeln!(file, "{case} # {why}")) {
        Ok(()) => eprintln!("kept in {KEPT}: every test run repeats it from now on"),
        Err(error) => eprintln!("not kept in {KEPT}: {error}"),
    }
}

/// What went wrong, whichever machine, worker and act it was: a case must not be cut down to another fault.
fn kind(violation: &str) -> String {
    let words = violation.lines().next().unwrap_or_default().split(' ');
    let kind = words.filter(|word| !word.contains(|c: char| c.is_ascii_digit()));
    kind.take(4).collect::<Vec<_>>().join(" ")
}

fn line(name: &str, value: f64, unit: &str) {
    let line = serde_json::json!({ "name": name, "value": value, "unit": unit });
    println!("{line}");
}

fn report(outcomes: &[Outcome]) -> ExitCode {
    let mut good = true;
    for outcome in outcomes {
        for violation in &outcome.violations {
            good = false;
            eprintln!("seed {}: {violation}", outcome.seed);
        }
    }
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
