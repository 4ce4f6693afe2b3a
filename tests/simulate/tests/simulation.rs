//! The simulation in ci: the same seed is the same run, a hundred thousand events break nothing, and what is known to be
//! false is still so. More events by `cargo xtask simulate`.
use ironbeat_simulate::{Finding, Outcome, Size, Tally, run};

fn base() -> u64 {
    let seed = std::env::var("IRONBEAT_SEED").ok();
    seed.and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

#[test]
fn the_same_seed_is_the_same_run_and_another_seed_is_another() {
    let size = Size {
        machines: 6,
        minutes: 30,
        ..Size::default()
    };
    let hashes: Vec<u64> = [(7, false), (7, true), (8, false)]
        .map(|(seed, trace)| run(seed, size, trace).hash)
        .into();
    assert_eq!(hashes[0], hashes[1], "keeping a trace changes nothing");
    assert_ne!(hashes[0], hashes[2]);
}

#[test]
fn a_hundred_thousand_events_break_nothing_that_is_not_known() {
    let mut tally = Tally::default();
    let mut still_active_in_the_ramdisk = 0;
    let mut seed = base();
    while tally.events < 100_000 {
        let outcome = run(seed, Size::default(), false);
        if !outcome.violations.is_empty() {
            panic!("{}", words(&run(seed, Size::default(), true)));
        }
        tally.add(&outcome.tally);
        let known = outcome.known.get(&Finding::ActiveInTheRamdisk);
        still_active_in_the_ramdisk += known.copied().unwrap_or_default();
        seed += 1;
    }
    println!("{} events, {:.3} of the pairs", tally.events, tally.share());
    // A simulation that never gets anywhere would prove nothing.
    assert!(tally.share() > 0.6, "{:.3} of the pairs", tally.share());
    // Known: the agent says "done" before the machine has left the ramdisk. Whoever puts that right makes the finding a
    // violation, in `judge.rs`, and this line goes.
    assert!(still_active_in_the_ramdisk > 0, "it is true now");
}

/// Machines and BMCs that are well need no time-out, whatever the clocks of workers say.
#[test]
fn clocks_that_are_set_and_stand_still_end_no_step() {
    let mut tally = Tally::default();
    for seed in base()..base() + 4 {
        let size = Size {
            clocks_alone: true,
            ..Size::default()
        };
        let outcome = run(seed, size, false);
        if !outcome.violations.is_empty() {
            panic!("{}", words(&run(seed, size, true)));
        }
        let none: [&str; 0] = [];
        assert_eq!(outcome.tally.timeouts, none, "seed {seed}");
        tally.add(&outcome.tally);
    }
    assert!(tally.events > 10_000, "{} events", tally.events);
}

fn words(outcome: &Outcome) -> String {
    format!(
        "{}\nseed {seed}: {}\nagain, with its steps: cargo xtask simulate --seed {seed}",
        outcome.trace.join("\n"),
        outcome.violations.join("\n"),
        seed = outcome.seed
    )
}
