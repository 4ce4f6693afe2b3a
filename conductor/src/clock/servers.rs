//! The time of the NATS servers, as a worker reckons it from messages that they stamp, and how far its own is from it.
//! Readings of clocks are handed in; `presence` has the messages.
use super::Moment;
use ironbeat_core::time::Time;
use std::time::Duration;

/// A clock without NTP gains or loses up to 100 ppm, one that NTP slews up to 500 more.
const DRIFT_PER_MILLE: u32 = 1;

/// Between a message's departure and its return lies the moment in which a server stamped it. So each bounds the
/// difference of two clocks by its round trip, and all of them together by their best one.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServersTime {
    known: Option<Bounds>,
}

/// The servers' time at a moment, in ms: what it is at the least, and at the most.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    at: Moment,
    least: u64,
    most: u64,
}

impl Bounds {
    /// The same at a later moment, which is known less well.
    fn aged(self, now: Moment) -> Self {
        let passed = now.since(self.at);
        let doubt = ms(passed * DRIFT_PER_MILLE / 1000);
        Self {
            at: now,
            least: (self.least + ms(passed)).saturating_sub(doubt),
            most: self.most + ms(passed) + doubt,
        }
    }

    fn middle(self) -> u64 {
        self.least.midpoint(self.most)
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl ServersTime {
    pub const fn unknown() -> Self {
        Self { known: None }
    }

    /// A message left at `sent`, a server stamped it, and it was back at `heard`.
    pub fn measured(&mut self, sent: Moment, stamp: Time, heard: Moment) {
        let least = stamp.unix_ms();
        let new = Bounds {
            at: heard,
            least,
            // The stamp has lost a part of a millisecond, and so has the difference.
            most: least + ms(heard.since(sent)) + 2,
        };
        let known = self.known.map(|known| known.aged(heard));
        self.known = Some(match known {
            Some(known) if known.least <= new.most && new.least <= known.most => Bounds {
                at: heard,
                least: known.least.max(new.least),
                most: known.most.min(new.most),
            },
            // The servers' clock was set, or another server stamps.
            Some(_) | None => new,
        });
    }

    /// None: nothing was measured yet.
    pub fn now(&self, at: Moment) -> Option<Time> {
        let known = self.known?.aged(at);
        Some(Time::from_unix_ms(known.middle()))
    }

    /// By how many ms at the least a wall clock is ahead of the servers' time, or behind it (below zero).
    pub fn ahead_ms(&self, at: Moment, wall: Time) -> Option<i64> {
        let (known, wall) = (self.known?.aged(at), wall.unix_ms());
        let ahead = wall.saturating_sub(known.most);
        let behind = known.least.saturating_sub(wall);
        let signed = |ms| i64::try_from(ms).unwrap_or(i64::MAX);
        Some(signed(ahead) - signed(behind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1_800_000_000_000;

    fn at(ms: u64) -> Moment {
        Moment::since_boot(Duration::from_millis(ms))
    }

    fn time(ms: u64) -> Time {
        Time::from_unix_ms(NOON + ms)
    }

    /// Messages that left, were stamped, and came back; then the time at a moment lies between these two.
    fn check(messages: &[(u64, u64, u64)], now: u64, between: (u64, u64)) {
        let mut servers = ServersTime::unknown();
        for (sent, stamp, heard) in messages {
            servers.measured(at(*sent), time(*stamp), at(*heard));
        }
        let found = servers.now(at(now)).unwrap();
        let (least, most) = (time(between.0), time(between.1));
        assert!(least <= found && found <= most, "{messages:?}: {found}");
    }

    #[test]
    fn the_servers_time_is_known_as_well_as_the_best_round_trip_allows() {
        check(&[(1_000, 5_000, 1_002)], 1_002, (5_000, 5_003));
        check(&[(1_000, 5_000, 1_002)], 9_002, (12_999, 13_004));
        // A slow message does not spoil what a quick one told, whichever comes first.
        let (quick, slow) = ((1_000, 5_000, 1_002), (4_000, 8_000, 6_000));
        check(&[quick, slow], 6_000, (9_990, 10_010));
        let quick = (9_000, 13_000, 9_002);
        check(&[slow, quick], 9_002, (13_000, 13_004));
    }

    #[test]
    fn servers_that_are_set_are_believed() {
        let before = (1_000, 5_000, 1_002);
        check(
            &[before, (4_000, 128_000, 4_004)],
            4_004,
            (128_000, 128_006),
        );
        check(&[before, (4_000, 1_000, 4_004)], 4_004, (1_000, 1_006));
    }

    #[test]
    fn a_clock_that_gains_a_little_is_followed() {
        let mut servers = ServersTime::unknown();
        // 500 ppm for a day.
        for n in 0..28_800u64 {
            let sent = n * 3_000;
            let stamp = sent + sent / 2_000 + 1;
            servers.measured(at(sent), time(stamp), at(sent + 2));
            let now = servers.now(at(sent + 2)).unwrap();
            let wrong = now.unix_ms().abs_diff(NOON + stamp);
            assert!(wrong <= 5, "{wrong} ms after {n} messages");
        }
    }

    #[test]
    fn a_wall_clock_is_wrong_by_what_is_beyond_doubt() {
        let mut servers = ServersTime::unknown();
        assert_eq!(servers.ahead_ms(at(0), time(0)), None);
        assert_eq!(servers.now(at(0)), None);
        servers.measured(at(1_000), time(50_000), at(1_100));
        for (wall, ahead) in [
            (50_050, 0),
            (170_102, 120_000),
            (50_000, 0),
            (40_000, -10_000),
        ] {
            assert_eq!(servers.ahead_ms(at(1_100), time(wall)), Some(ahead));
        }
    }
}
