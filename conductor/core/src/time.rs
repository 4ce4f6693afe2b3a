//! A point in time as a number the caller hands in; RFC 3339 in documents, so that people can read them.
//! No clock is read here.
use alloc::string::String;
use core::fmt;
use core::str::FromStr;
use core::time::Duration;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

const DAY_MS: u64 = 86_400_000;
/// 9999-12-31T23:59:59.999Z: the last moment RFC 3339 can write.
const LAST_MS: u64 = 253_402_300_799_999;

impl Time {
    pub const fn from_unix_ms(ms: u64) -> Self {
        Self(if ms > LAST_MS { LAST_MS } else { ms })
    }
    pub const fn unix_ms(self) -> u64 {
        self.0
    }
    /// Zero when `earlier` is in fact later: clocks of two workers may disagree.
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
        let (days, ms) = (self.0 / DAY_MS, self.0 % DAY_MS);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
            ms % 1000
        )
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Days since 1970-01-01 to year, month, day, counting years from March so that leap days come last.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

fn days_before(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let year_of_era = year % 400;
    year / 400 * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year
        - 719_468
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
                .fold(0u64, |n, d| n * 10 + u64::from(d - b'0'))
        };
        let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
        let (hour, minute, second) = (number(11, 13), number(14, 16), number(17, 19));
        if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return Err(BadTime);
        }
        if hour > 23
            || minute > 59
            || second > 59
            || civil(days_before(year, month, day)) != (year, month, day)
        {
            return Err(BadTime);
        }
        let of_day = hour * 3_600_000 + minute * 60_000 + second * 1000 + number(20, 23);
        Ok(Self(days_before(year, month, day) * DAY_MS + of_day))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
