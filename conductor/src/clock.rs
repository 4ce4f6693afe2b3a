//! The one place that reads the time. Decisions get it handed in.
//! Timeouts of sockets use tokio's own clock.
use ironbeat_core::time::Time;
use std::time::SystemTime;

/// The wall clock's time: records of several workers are compared with it, so their hosts keep NTP time.
#[expect(clippy::disallowed_methods, reason = "this is the conductor's clock")]
pub fn now() -> Time {
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Time::from_unix_ms(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
