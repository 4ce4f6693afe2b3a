//! `cargo xtask simulate`: many runs, one after another; figures as JSON lines, a failing run with its last steps.
//! What a run is, and what is judged in it, is in the library.
use clap::Parser;
use ironbeat_simulate::{Outcome, Size, Tally, run};
use std::process::ExitCode;
use std::time::Instant;

#[derive(Parser)]
#[command(name = "cargo xtask simulate")]
struct Args {
    /// How many runs, each from a seed of its own.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// One run, from this seed, with its last steps.
    #[arg(long)]
    seed: Option<u64>,
    /// Minutes of trouble in each run, by the simulated clock.
    #[arg(long, default_value_t = Size::default().minutes)]
    minutes: u64,
    #[arg(long, default_value_t = Size::default().machines)]
    machines: usize,
    #[arg(long, default_value_t = Size::default().workers)]
    workers: usize,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let size = Size {
        machines: args.machines,
        workers: args.workers,
        minutes: args.minutes,
        ..Size::default()
    };
    if let Some(seed) = args.seed {
        let outcome = run(seed, size, true);
        outcome.trace.iter().for_each(|line| println!("{line}"));
        println!("seed {seed}: hash {:016x}", outcome.hash);
        return report(&[outcome]);
    }
    let begin = Instant::now();
    let outcomes: Vec<Outcome> = (args.from..args.from + args.seeds)
        .map(|seed| run(seed, size, false))
        .collect();
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
        // The same run once more, this time with its steps.
        let again = run(failed.seed, size, true);
        again.trace.iter().for_each(|line| eprintln!("{line}"));
    }
    report(&outcomes)
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
    for finding in ironbeat_simulate::Finding::ALL {
        let times = outcomes.iter().filter_map(|it| it.known.get(&finding));
        eprintln!("known: {}: {} times", finding.name(), times.sum::<u64>());
    }
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
