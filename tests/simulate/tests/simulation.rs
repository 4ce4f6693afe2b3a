//! The simulation in ci: the same seed is the same run, and a hundred thousand events break nothing.
//! More events by `cargo xtask simulate`.
use ironbeat_simulate::{Outcome, Size, Tally, cases, run};

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
        .map(|(seed, trace)| run(seed, &size, trace).hash)
        .into();
    assert_eq!(hashes[0], hashes[1], "keeping a trace changes nothing");
    assert_ne!(hashes[0], hashes[2]);
}

#[test]
fn a_hundred_thousand_events_break_nothing() {
    let mut tally = Tally::default();
    let mut seed = base();
    // What is rarest may need some runs more.
    while tally.events < 100_000 || tally.hung_on_the_way_down == 0 && tally.events < 300_000 {
        let outcome = run(seed, &Size::default(), false);
        if !outcome.violations.is_empty() {
            panic!("{}", words(&run(seed, &Size::default(), true)));
        }
        tally.add(&outcome.tally);
        seed += 1;
    }
    println!("{} events, {:.3} of the pairs", tally.events, tally.share());
    // A simulation that never gets anywhere would prove nothing.
    assert!(tally.share() > 0.6, "{:.3} of the pairs", tally.share());
    let [asked, came] = tally.rivals;
    assert!(
        asked > 10 && came > 5,
        "second machines: {:?}",
        tally.rivals
    );
    let [taken, settled] = tally.passwords;
    assert!(
        taken > 20 && settled > 5,
        "passwords: {:?}",
        tally.passwords
    );
    let hung = tally.hung_on_the_way_down;
    assert!(hung > 0, "no ramdisk hung where it is to be left");
}

/// What failed once, cut down.
#[test]
fn what_failed_once_does_not_fail_again() {
    let kept = cases(include_str!("../kept")).unwrap();
    assert!(!kept.is_empty());
    for case in kept {
        let outcome = run(case.seed, &case.size, false);
        let none: [&str; 0] = [];
        assert_eq!(outcome.violations, none, "cargo xtask simulate -- {case}");
    }
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
        let outcome = run(seed, &size, false);
        if !outcome.violations.is_empty() {
            panic!("{}", words(&run(seed, &size, true)));
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
