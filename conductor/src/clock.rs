//! The one place that reads the time. Decisions get it handed in.
//! Timeouts of sockets use tokio's own clock; `servers` reckons the time of the NATS servers.
mod servers;

pub use servers::ServersTime;

use ironbeat_core::time::Time;
use rustix::time::{ClockId, clock_gettime};
use std::ops::Add;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// One for the process, so that no two of its parts live in different times.
static SERVERS: Mutex<ServersTime> = Mutex::new(ServersTime::unknown());

/// For tests of clocks that are wrong, on hosts whose clock is right: the name of a file that says how many milliseconds
/// this process sees the wall clock ahead (or behind, below zero). It may change at any time.
const WRONG_CLOCK: &str = "IRONBEAT_TEST_CLOCK";

static WRONG: LazyLock<Option<PathBuf>> =
    LazyLock::new(|| std::env::var_os(WRONG_CLOCK).map(PathBuf::from));

/// The time of the NATS servers, by which all records are written and compared, whatever the host's clock says.
/// Until a worker has measured it, that of its host.
pub fn now() -> Time {
    let servers = servers().now(Moment::now());
    servers.unwrap_or_else(wall)
}

/// What the clock of this host says. Nothing is decided by it.
#[expect(clippy::disallowed_methods, reason = "this is the conductor's clock")]
pub fn wall() -> Time {
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let ms = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
    Time::from_unix_ms(ms.saturating_add_signed(wrong_by_ms()))
}

fn wrong_by_ms() -> i64 {
    let Some(path) = &*WRONG else { return 0 };
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.trim().parse().unwrap_or_default()
}

/// A message left at `sent`, a NATS server stamped it, and it is back.
pub fn measured(sent: Moment, stamp: Time) {
    servers().measured(sent, stamp, Moment::now());
}

/// By how many ms the host's clock is certainly ahead of the servers' time, or behind it (below zero). None: it was not
/// compared yet.
pub fn ahead_ms() -> Option<i64> {
    let (at, wall) = (Moment::now(), wall());
    servers().ahead_ms(at, wall)
}

fn servers() -> MutexGuard<'static, ServersTime> {
    // It is whole between any two statements, so a panic elsewhere cannot have torn it.
    SERVERS.lock().unwrap_or_else(PoisonError::into_inner)
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
