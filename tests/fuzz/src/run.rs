//! Tries the mutants of one target after the other, on all cores.
//! Which mutants there are is said in `mutant`; what one try comes to, in `replay`.
use crate::mutant::mutant;
use crate::replay::{self, Failure};
use crate::targets::Target;
use crate::watch::{self, MAX_THREADS, Tried};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures of one target, until it is left.
const MAX_FAILURES: usize = 3;
/// Mutants that a thread takes at once.
const BATCH: u64 = 64;

/// How many mutants, and which.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub seed: u64,
    /// The first number.
    pub first: u64,
    pub mutants: u64,
    /// For each target, whatever it has tried by then.
    pub limit: Option<Duration>,
}

/// What became of one target.
#[derive(Debug)]
pub struct Done {
    pub target: &'static str,
    pub mutants: u64,
    pub understood: u64,
    pub took: Duration,
    /// What one mutant held of memory at most, in bytes.
    pub peak: usize,
    pub failures: Vec<Failure>,
}

/// Runs `chosen`, indices of `targets`, and tells of each when it is done. A hang ends the process with status 1.
pub fn run(targets: &[Target], chosen: &[usize], order: Order, mut tell: impl FnMut(&Done)) {
    // What the threads try is kept for the whole process.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    watch::tell_at_abort(targets.iter().map(|target| target.name).collect());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| watch::watch(&over, |tried| hangs(targets, tried)));
        for index in chosen {
            tell(&done(targets, *index, order));
        }
        over.store(true, Ordering::Relaxed);
    });
}

fn hangs(targets: &[Target], tried: Tried) {
    let target = &targets[tried.target];
    let bytes = mutant(target, tried.seed, tried.number);
    let failure = Failure::of(target, &bytes, "it takes more than 1 s".into());
    eprintln!("{failure}");
    std::process::exit(1);
}

fn done(targets: &[Target], index: usize, order: Order) -> Done {
    let target = &targets[index];
    let begin = Instant::now();
    let (next, understood, peak) = (AtomicU64::new(0), AtomicU64::new(0), AtomicUsize::new(0));
    let tried = AtomicU64::new(0);
    let failures: Mutex<Vec<Failure>> = Mutex::default();
    let is_over = || {
        let late = order.limit.is_some_and(|limit| begin.elapsed() >= limit);
        late || failures.lock().expect("no try holds it").len() >= MAX_FAILURES
    };
    let work = |n: usize| {
        watch::enter(n);
        while !is_over() {
            let from = next.fetch_add(BATCH, Ordering::Relaxed);
            let to = (from + BATCH).min(order.mutants);
            if from >= to {
                break;
            }
            for number in from..to {
                let number = order.first + number;
                let bytes = mutant(target, order.seed, number);
                watch::tries(Some(Tried {
                    target: index,
                    seed: order.seed,
                    number,
                }));
                let result = replay::one(target, &bytes);
                watch::tries(None);
                match result {
                    Ok(one) => {
                        understood.fetch_add(one.understood.into(), Ordering::Relaxed);
                        peak.fetch_max(one.peak, Ordering::Relaxed);
                    }
                    Err(why) => {
                        let failure = Failure::of(target, &bytes, why);
                        failures.lock().expect("no try holds it").push(failure);
                    }
                }
            }
            tried.fetch_add(to - from, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let work = &work;
        for n in 0..threads() {
            scope.spawn(move || work(n));
        }
    });
    Done {
        target: target.name,
        mutants: tried.into_inner(),
        understood: understood.into_inner(),
        took: begin.elapsed(),
        peak: peak.into_inner(),
        failures: failures.into_inner().expect("no try holds it"),
    }
}

fn threads() -> usize {
    std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(MAX_THREADS)
}
