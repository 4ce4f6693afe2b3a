//! Time since the kernel started, and the moments of this boot that the conductor wants to know.
//! It decides nothing.
use ironbeat_common::lookup::BootTimings;
use std::sync::Mutex;
use std::time::Duration;

/// Since the kernel started.
pub fn uptime() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(
        now.tv_sec.unsigned_abs(),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

pub fn uptime_ms() -> u64 {
    u64::try_from(uptime().as_millis()).unwrap_or(u64::MAX)
}

/// The moments of this boot, each written when it is reached.
#[derive(Debug, Default)]
pub struct Timings(Mutex<BootTimings>);

impl Timings {
    pub fn note(&self, write: impl FnOnce(&mut BootTimings, u64)) {
        let mut timings = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        write(&mut timings, uptime_ms());
    }

    pub fn get(&self) -> BootTimings {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}
