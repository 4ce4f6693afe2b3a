//! The time of this host, for lines such as "for 20 min".
//! Whatever can be tested is handed the time.
use ironbeat_core::time::Time;
use std::time::{SystemTime, UNIX_EPOCH};

/// 1970 if the clock is before that.
#[expect(
    clippy::disallowed_methods,
    reason = "how long ago something was is reckoned from now"
)]
pub(super) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    });
    Time::from_unix_ms(ms)
}
