//! What each thread tries at the moment, and what becomes of it when it does not come back: a hang, or the end of the process.
//! All that is `unsafe` for it is here. Panics come back, and are told by `replay`.
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Threads at once.
pub const MAX_THREADS: usize = 64;
/// What one mutant may take of a processor's time. Whoever else uses the machine is not held against it.
const MAX_TIME: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(50);

/// What one thread tries. A slot is written by its thread, and read by the watch and by a dying process.
struct Slot {
    /// Index of the target, plus one; 0: nothing.
    target: AtomicUsize,
    seed: AtomicU64,
    number: AtomicU64,
    /// Of the thread's processor time.
    clock: AtomicI32,
}

static SLOTS: [Slot; MAX_THREADS] = [const {
    Slot {
        target: AtomicUsize::new(0),
        seed: AtomicU64::new(0),
        number: AtomicU64::new(0),
        clock: AtomicI32::new(0),
    }
}; MAX_THREADS];

thread_local! {
    static OWN: Cell<Option<usize>> = const { Cell::new(None) };
}

/// One mutant: the index of its target, the run's seed, its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    pub target: usize,
    pub seed: u64,
    pub number: u64,
}

/// This thread is number `n` from now on.
pub fn enter(n: usize) {
    let mut clock = 0;
    // SAFETY: the thread is this one, and the place for the answer is of the right type.
    let known = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut clock) };
    assert_eq!(known, 0, "a thread has a clock");
    SLOTS[n].clock.store(clock, Ordering::Relaxed);
    OWN.set(Some(n));
}

/// This thread tries this mutant from now on; none: nothing.
pub fn tries(tried: Option<Tried>) {
    let Some(slot) = OWN.get().and_then(|n| SLOTS.get(n)) else {
        return;
    };
    if let Some(Tried {
        target,
        seed,
        number,
    }) = tried
    {
        slot.number.store(number, Ordering::Relaxed);
        slot.seed.store(seed, Ordering::Relaxed);
        slot.target.store(target + 1, Ordering::Release);
    } else {
        slot.target.store(0, Ordering::Release);
    }
}

fn tried(slot: &Slot) -> Option<Tried> {
    let target = slot.target.load(Ordering::Acquire).checked_sub(1)?;
    Some(Tried {
        target,
        seed: slot.seed.load(Ordering::Relaxed),
        number: slot.number.load(Ordering::Relaxed),
    })
}

/// Looks at all threads until `over`, and calls `hangs` with what does not come back.
pub fn watch(over: &AtomicBool, hangs: impl Fn(Tried)) {
    let mut seen = [None; MAX_THREADS];
    while !over.load(Ordering::Relaxed) {
        for (slot, seen) in SLOTS.iter().zip(&mut seen) {
            let Some(now) = tried(slot) else {
                *seen = None;
                continue;
            };
            let used = used(slot.clock.load(Ordering::Relaxed));
            match seen {
                Some((before, since)) if *before == now => {
                    if used.saturating_sub(*since) > MAX_TIME {
                        hangs(now);
                    }
                }
                _ => *seen = Some((now, used)),
            }
        }
        std::thread::sleep(LOOK);
    }
}

/// Processor time of a thread.
fn used(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the place for the answer is of the right type; a clock of a thread that is gone is refused.
    match unsafe { libc::clock_gettime(clock, &mut time) } {
        0 => Duration::new(time.tv_sec as u64, time.tv_nsec as u32),
        _ => Duration::ZERO,
    }
}

/// From now on a process that ends by `abort` (a full stack, no memory, a panic in a panic) says what its threads tried.
pub fn tell_at_abort(names: Vec<&'static str>) {
    // The handler reads them as long as there is a process.
    let names: &'static [&'static str] = Box::leak(names.into_boxed_slice());
    NAMES.store(names.as_ptr().cast_mut(), Ordering::Release);
    COUNT.store(names.len(), Ordering::Release);
    // SAFETY: all zeros are an action without flags; the handler calls nothing but `write`.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = aborted as *const () as usize;
        action.sa_flags = libc::SA_ONSTACK | libc::SA_RESETHAND;
        libc::sigaction(libc::SIGABRT, &action, std::ptr::null_mut());
    }
}

static NAMES: std::sync::atomic::AtomicPtr<&'static str> =
    std::sync::atomic::AtomicPtr::new(std::ptr::null_mut());
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// It may be called in the middle of anything: no lock, no allocation.
extern "C" fn aborted(_: libc::c_int) {
    let own = OWN.try_with(Cell::get).ok().flatten();
    for (n, slot) in SLOTS.iter().enumerate() {
        // A thread that a reader has started is none of ours: then all are told.
        if own.is_some_and(|own| own != n) {
            continue;
        }
        let Some(tried) = tried(slot) else { continue };
        let count = COUNT.load(Ordering::Acquire);
        if tried.target >= count {
            continue;
        }
        // SAFETY: `NAMES` is never freed, and has as many as `COUNT` says.
        let name = unsafe { *NAMES.load(Ordering::Acquire).add(tried.target) };
        write(b"\nfuzz: the process ends in target ");
        write(name.as_bytes());
        write(b"; repeat it: cargo xtask fuzz --target ");
        write(name.as_bytes());
        write(b" --mutants 1 --seed ");
        write_number(tried.seed);
        write(b" --first ");
        write_number(tried.number);
        write(b"\n");
    }
}

fn write(bytes: &[u8]) {
    // SAFETY: the bytes are there for as long as the call.
    unsafe { libc::write(2, bytes.as_ptr().cast(), bytes.len()) };
}

fn write_number(mut number: u64) {
    let (mut digits, mut at) = ([b'0'; 20], 20);
    while at == 20 || number > 0 {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    write(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn a_thread_that_does_not_come_back_is_told() {
        let stuck = Tried {
            target: 7,
            seed: 1,
            number: 2,
        };
        let (over, told) = (AtomicBool::new(false), Mutex::new(None));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                enter(MAX_THREADS - 1);
                tries(Some(stuck));
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
                tries(None);
            });
            watch(&over, |tried| {
                *told.lock().unwrap() = Some(tried);
                over.store(true, Ordering::Relaxed);
            });
        });
        assert_eq!(told.into_inner().unwrap(), Some(stuck));
    }
}
