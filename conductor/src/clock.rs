//! The one place that reads the time. Decisions get it handed in.
//! Timeouts of sockets use tokio's own clock.
use ironbeat_core::time::Time;
use rustix::time::{ClockId, clock_gettime};
use std::ops::Add;
use std::time::{Duration, SystemTime};

/// The wall clock's time: records of several workers are compared with it, so their hosts keep NTP time.
#[expect(clippy::disallowed_methods, reason = "this is the conductor's clock")]
pub fn now() -> Time {
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Time::from_unix_ms(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// A moment by CLOCK_BOOTTIME, which goes on while the machine is suspended. The clock of std and tokio stands still
/// then, and a worker that wakes up would think that it had renewed its presence a moment ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    pub fn now() -> Self {
        let since_boot = clock_gettime(ClockId::Boottime);
        let since_boot = Duration::try_from(since_boot);
        Self(since_boot.expect("a machine boots before it runs this"))
    }

    pub const fn since_boot(time: Duration) -> Self {
        Self(time)
    }

    /// Zero when `earlier` is later.
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// No earlier than the boot.
    #[must_use]
    pub fn earlier(self, by: Duration) -> Moment {
        Self(self.0.saturating_sub(by))
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;
    fn add(self, time: Duration) -> Moment {
        Self(self.0 + time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// /proc/uptime counts what CLOCK_BOOTTIME counts (proc_uptime(5)).
    #[test]
    fn moments_count_the_time_that_the_kernel_counts_since_the_boot() {
        let uptime = || -> Duration {
            let text = std::fs::read_to_string("/proc/uptime").unwrap();
            let secs = text.split_whitespace().next().unwrap().parse().unwrap();
            Duration::from_secs_f64(secs)
        };
        // It is cut off after hundredths.
        let (before, now) = (uptime(), Moment::now());
        assert!(now >= Moment::since_boot(before), "{now:?}");
        assert!(now <= Moment::since_boot(uptime() + Duration::from_millis(10)));
    }
}
