//! A point in time as a number the caller hands in; RFC 3339 in documents, so that people can read them.
//! No clock is read here.
use core::fmt;
use core::str::FromStr;
use core::time::Duration;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::error::ComponentRange;
use time::{Date, Month, OffsetDateTime};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

/// 9999-12-31T23:59:59.999Z: the last moment RFC 3339 can write.
const LAST_MS: u64 = 253_402_300_799_999;

impl Time {
    pub const fn from_unix_ms(ms: u64) -> Self {
        Self(if ms > LAST_MS { LAST_MS } else { ms })
    }
    pub const fn unix_ms(self) -> u64 {
        self.0
    }
    /// Zero when `earlier` is later: the clocks of two workers may disagree.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
    pub fn after(self, wait: Duration) -> Time {
        Time::from_unix_ms(
            self.0
                .saturating_add(u64::try_from(wait.as_millis()).unwrap_or(LAST_MS)),
        )
    }
}

pub const fn secs(seconds: u32) -> Duration {
    Duration::from_secs(seconds as u64)
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = OffsetDateTime::UNIX_EPOCH + Duration::from_millis(self.0);
        let (year, month, day) = at.to_calendar_date();
        let (hour, minute, second, ms) = at.to_hms_milli();
        write!(
            f,
            "{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z",
            u8::from(month)
        )
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadTime;

impl fmt::Display for BadTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a time of the form 2026-01-31T23:59:59.000Z")
    }
}

impl FromStr for Time {
    type Err = BadTime;
    fn from_str(s: &str) -> Result<Self, BadTime> {
        let b = s.as_bytes();
        let shape = b"0000-00-00T00:00:00.000Z";
        let fits = b.len() == shape.len()
            && b.iter().zip(shape).all(|(have, want)| {
                if *want == b'0' {
                    have.is_ascii_digit()
                } else {
                    have == want
                }
            });
        if !fits {
            return Err(BadTime);
        }
        let number = |from: usize, to: usize| {
            b[from..to]
                .iter()
                .fold(0u16, |n, d| n * 10 + u16::from(d - b'0'))
        };
        // Two digits fit a byte, and so does everything below but the year and the milliseconds.
        let two = |from: usize| number(from, from + 2) as u8;
        let moment = || {
            let month = Month::try_from(two(5))?;
            let date = Date::from_calendar_date(i32::from(number(0, 4)), month, two(8))?;
            let at = date.with_hms_milli(two(11), two(14), two(17), number(20, 23))?;
            Ok::<_, ComponentRange>(at.assume_utc() - OffsetDateTime::UNIX_EPOCH)
        };
        let since_epoch = moment().map_err(|_| BadTime)?;
        match u64::try_from(since_epoch.whole_milliseconds()) {
            Ok(ms) => Ok(Self(ms)),
            // Before 1970.
            Err(_) => Err(BadTime),
        }
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        ironbeat_common::text_form::deserialize(d)
    }
}

ironbeat_common::text_schema!(Time);

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 86_400_000;

    #[test]
    fn known_moments_read_and_write() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_236_676_123, "2026-11-21T04:51:16.123Z"),
            (LAST_MS, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Time(ms).to_string(), text);
            assert_eq!(text.parse(), Ok(Time(ms)));
        }
    }

    #[test]
    fn every_day_of_four_centuries_survives_the_round_trip() {
        for day in 0..146_097 {
            let time = Time(day * DAY_MS + 86_399_999);
            assert_eq!(time.to_string().parse(), Ok(time));
        }
    }

    #[test]
    fn impossible_times_are_refused() {
        for wrong in [
            "",
            "2026-02-29T00:00:00.000Z",
            "2026-13-01T00:00:00.000Z",
            "2026-01-01T24:00:00.000Z",
            "2026-01-01T00:00:00Z",
            "1969-12-31T23:59:59.999Z",
            "2026-00-01T00:00:00.000Z",
        ] {
            assert_eq!(wrong.parse::<Time>(), Err(BadTime), "{wrong}");
        }
    }
}
