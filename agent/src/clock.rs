//! Time since the kernel started, the time of day, and the moments of this boot that the conductor wants to know.
//! It decides nothing: what time it is finds `heart::set_clock`.
use crate::latch::Latch;
use ironbeat_common::lookup::BootTimings;
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Since the kernel started.
pub fn uptime() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(
        now.tv_sec.unsigned_abs(),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

pub fn uptime_ms() -> u64 {
    u64::try_from(uptime().as_millis()).unwrap_or(u64::MAX)
}

/// The time of day: the kernel's, and what is known to be wrong with it.
#[derive(Default)]
pub struct Wall {
    /// Added to the kernel's time, in seconds: what could not be set there.
    off_secs: AtomicI64,
    /// Whether the kernel's clock is this process's to set.
    owns_machine: bool,
    asked: Latch,
}

impl Wall {
    pub fn of_machine() -> Self {
        Self {
            owns_machine: true,
            ..Self::default()
        }
    }

    /// As on a machine whose clock is so wrong.
    pub fn off_by(secs: i64) -> Self {
        Self {
            off_secs: secs.into(),
            ..Self::default()
        }
    }

    /// Since 1970.
    pub fn now(&self) -> Duration {
        let off = self.off_secs.load(Ordering::Relaxed);
        let kernel = clock_gettime(ClockId::Realtime);
        let secs = kernel.tv_sec.saturating_add(off);
        Duration::new(
            u64::try_from(secs).unwrap_or(0),
            u32::try_from(kernel.tv_nsec).unwrap_or(0),
        )
    }

    /// It is this late. A process on a machine in use, or one that may not, remembers how wrong the machine's clock is.
    pub fn set(&self, now: Duration) {
        let secs = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let time = Timespec {
            tv_sec: secs,
            tv_nsec: now.subsec_nanos().into(),
        };
        let off = match self.owns_machine && clock_settime(ClockId::Realtime, time).is_ok() {
            true => 0,
            false => secs.saturating_sub(clock_gettime(ClockId::Realtime).tv_sec),
        };
        self.off_secs.store(off, Ordering::Relaxed);
    }

    /// Whoever could know the time has been asked, and it is as right as it gets for now.
    pub fn was_asked(&self) {
        self.asked.set();
    }

    /// Returns when that has happened, or after `limit`.
    pub fn wait(&self, limit: Duration) {
        self.asked.wait(limit);
    }
}

impl std::fmt::Debug for Wall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Wall({})", self.now().as_secs())
    }
}

/// The day of a time since 1970: `2026-11-30` (days to a civil date, by counting eras of 400 years from 1 March).
pub fn day(secs: u64) -> String {
    const ERA_DAYS: u64 = 146_097;
    let days = secs / 86_400 + 719_468;
    let (era, of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = match month_from_march {
        0..10 => month_from_march + 3,
        _ => month_from_march - 9,
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (secs, printed) in [
            (0, "1970-01-01"),
            (86_399, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_796_009_753, "2026-11-30"),
            (4_102_444_799, "2099-12-31"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(day(secs), printed);
        }
    }

    #[test]
    fn a_machine_in_use_keeps_its_clock_and_the_agent_goes_by_what_it_learnt() {
        let kernel = || clock_gettime(ClockId::Realtime).tv_sec;
        let wall = Wall::off_by(-kernel());
        assert!(wall.now().as_secs() < 100);
        let before = kernel();
        wall.set(Duration::from_secs(4_000_000_000));
        assert!((4_000_000_000..4_000_000_100).contains(&wall.now().as_secs()));
        assert!((before..before + 100).contains(&kernel()));
    }
}
