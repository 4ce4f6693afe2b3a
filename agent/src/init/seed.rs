//! Fills the kernel's entropy pool from timing jitter on machines without RDRAND or a random device, where the first random
//! number of the TLS and NATS libraries would wait a second. Random numbers are left to the kernel and `random`.
use ring::digest::{Context, SHA512};
use rustix::rand::{GetRandomFlags, getrandom};
use std::fs::File;
use std::hint::black_box;
use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// What the kernel wants before it calls its generator ready (`POOL_READY_BITS` of `drivers/char/random.c`), in bits.
const WANTED_BITS: usize = 256;
/// Samples per bit credited. jitterentropy, which is certified (AIS 31, SP 800-90B), takes one to three; this is eight.
const SAMPLES_PER_BIT: usize = 8;
/// Samples taken at most, in case the clock is too coarse to see any jitter.
const MAX_SAMPLES: usize = 16 * WANTED_BITS * SAMPLES_PER_BIT;
/// Memory walked between two readings of the clock: more than a first-level cache, in bytes.
const WALK_BYTES: usize = 128 * 1024;
/// Steps of that walk per sample.
const WALK_STEPS: usize = 16;
/// `RNDADDENTROPY` of `linux/random.h`.
const ADD_ENTROPY: libc::c_ulong = 0x4008_5203;

/// How often jitter is looked for, and the pause between two looks: a virtual machine shows none at one moment and enough at
/// the next.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(250);

/// Does nothing when the kernel is ready, which it is at once on anything with RDRAND.
pub fn when_needed() {
    let started = Instant::now();
    let is_ready = || getrandom(&mut [0u8; 1][..], GetRandomFlags::NONBLOCK).is_ok();
    let pause = || std::thread::sleep(PAUSE);
    match find(&mut Clock::new(), &is_ready, &pause) {
        Found::Ready => {}
        Found::Seed(seed) => match credit(&seed) {
            Ok(()) => tracing::debug!(ms = started.elapsed().as_millis(), "entropy pool filled"),
            Err(error) => tracing::warn!(%error, "the kernel did not take entropy"),
        },
        Found::Nothing => {
            tracing::info!("too little jitter for an entropy seed: waiting for the kernel's own")
        }
    }
}

#[derive(Debug, PartialEq)]
enum Found {
    /// The kernel has become ready by itself.
    Ready,
    Seed([u8; 64]),
    Nothing,
}

fn find(noise: &mut dyn Noise, is_ready: &dyn Fn() -> bool, pause: &dyn Fn()) -> Found {
    for _ in 0..TRIES {
        if is_ready() {
            return Found::Ready;
        }
        if let Some(seed) = gather(noise) {
            return Found::Seed(seed);
        }
        pause();
    }
    Found::Nothing
}

/// Something that takes a slightly different time each time, and how long it took, in nanoseconds.
trait Noise {
    fn sample(&mut self) -> u64;
}

struct Clock {
    memory: Vec<u8>,
    at: usize,
}

impl Clock {
    fn new() -> Self {
        Self {
            memory: vec![1; WALK_BYTES],
            at: 0,
        }
    }
}

impl Noise for Clock {
    fn sample(&mut self) -> u64 {
        let started = Instant::now();
        for _ in 0..WALK_STEPS {
            // A stride that is prime to the size visits every byte, a new cache line each time.
            self.at = (self.at + 4093) % WALK_BYTES;
            self.memory[self.at] = black_box(self.memory[self.at].wrapping_add(1));
        }
        started.elapsed().as_nanos() as u64
    }
}

/// A seed from enough samples that moved; `None` when they did not.
fn gather(noise: &mut dyn Noise) -> Option<[u8; 64]> {
    let mut hash = Context::new(&SHA512);
    let (mut last, mut last_step, mut last_change) = (0u64, 0u64, 0u64);
    let mut good = 0;
    let mut seen = [0usize; 256];
    for _ in 0..MAX_SAMPLES {
        let sample = noise.sample();
        hash.update(&sample.to_le_bytes());
        // jitterentropy's test for a stuck source: the value, its change and the change of that must all be new.
        let step = sample.wrapping_sub(last);
        let change = step.wrapping_sub(last_step);
        if step != 0 && change != 0 && change != last_change {
            good += 1;
            seen[sample as usize % 256] += 1;
        }
        (last, last_step, last_change) = (sample, step, change);
        if good == WANTED_BITS * SAMPLES_PER_BIT {
            // The other test (SP 800-90B section 4.4.2): no value may be too common. A quarter would still be two bits a sample.
            let commonest = seen.into_iter().max().unwrap_or(good);
            let seed = hash.finish().as_ref().try_into().ok();
            return seed.filter(|_| commonest <= good / 4);
        }
    }
    None
}

/// `struct rand_pool_info`.
#[repr(C)]
struct PoolInfo {
    entropy_bits: libc::c_int,
    bytes: libc::c_int,
    seed: [u8; 64],
}

fn credit(seed: &[u8; 64]) -> io::Result<()> {
    let device = File::options().write(true).open("/dev/random")?;
    let mut info = PoolInfo {
        entropy_bits: WANTED_BITS as libc::c_int,
        bytes: seed.len() as libc::c_int,
        seed: *seed,
    };
    // SAFETY: the code names `rand_pool_info` with `bytes` bytes behind it, which `info` is and which lives until the return.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), ADD_ENTROPY as _, &mut info) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_mutate::Mutator;

    struct Made<F>(F);
    impl<F: FnMut() -> u64> Noise for Made<F> {
        fn sample(&mut self) -> u64 {
            (self.0)()
        }
    }

    #[test]
    fn a_clock_that_shows_no_jitter_gives_no_seed() {
        assert_eq!(gather(&mut Made(|| 1000)), None);
        let mut ramp = 0;
        assert_eq!(
            gather(&mut Made(|| {
                ramp += 7;
                ramp
            })),
            None,
            "a constant step is not jitter"
        );
        let mut flip = 0;
        assert_eq!(
            gather(&mut Made(|| {
                flip ^= 64;
                flip
            })),
            None,
            "two alternating values are not jitter"
        );
    }

    #[test]
    fn a_clock_that_jitters_gives_a_seed_of_all_its_samples() {
        let seed = |change_at: usize| {
            let (mut random, mut count) = (Mutator::new(1), 0);
            gather(&mut Made(|| {
                count += 1;
                1000 + random.random() % 64 + u64::from(count == change_at)
            }))
        };
        let never = seed(usize::MAX);
        assert!(never.is_some() && never == seed(usize::MAX));
        for changed in [seed(1), seed(1000)] {
            assert!(changed.is_some() && changed != never);
        }
    }

    #[test]
    fn a_clock_that_shows_no_jitter_yet_is_asked_again() {
        let (mut random, mut count) = (Mutator::new(1), 0);
        let mut late = Made(|| {
            count += 1;
            let jitters = count > 2 * MAX_SAMPLES;
            1000 + if jitters { random.random() % 64 } else { 0 }
        });
        let found = find(&mut late, &|| false, &|| {});
        assert!(matches!(found, Found::Seed(_)), "{found:?}");
        let mut never = Made(|| 1000);
        assert_eq!(find(&mut never, &|| false, &|| {}), Found::Nothing);
        // The kernel may get there first.
        let looks = std::cell::Cell::new(0);
        let ready_later = || looks.replace(looks.get() + 1) == 3;
        assert_eq!(find(&mut never, &ready_later, &|| {}), Found::Ready);
    }

    #[test]
    fn a_clock_that_often_shows_the_same_value_gives_no_seed() {
        let gather_with = |common_of_ten: u64| {
            let (mut random, mut last) = (Mutator::new(1), 0);
            gather(&mut Made(|| {
                let common = random.random() % 10 < common_of_ten && last != 1000;
                last = if common {
                    1000
                } else {
                    1001 + random.random() % 64
                };
                last
            }))
        };
        assert!(gather_with(2).is_some());
        assert_eq!(gather_with(6), None);
    }

    /// Whether a machine jitters enough differs from one moment to the next; a seed that it gives is always a new one.
    #[test]
    fn this_machine_never_gives_the_same_seed_twice() {
        let seeds: Vec<_> = (0..8).filter_map(|_| gather(&mut Clock::new())).collect();
        for (number, seed) in seeds.iter().enumerate() {
            assert!(!seeds[..number].contains(seed));
        }
    }
}
