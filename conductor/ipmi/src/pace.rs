//! How long to wait for one BMC before asking again: measured round trips, doubled after every silence (RFC 6298).
//! It has no clock; `retransmit` says when a message is sent again.
use crate::config::Timing;
use std::time::Duration;

/// Doublings that are remembered from one command to the next; 2^4 times any estimate is above every sane maximum.
const MAX_BACKOFF: u32 = 4;

/// A BMC may forget a message's number after 5 s (IPMB, sequence number expiration), and then take a retransmission for a
/// new command. So a command that must not be executed twice is sent again only within this time, and at least this often.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(4);
const AT_LEAST_EVERY: Duration = Duration::from_secs(1);

/// An answer belongs to the last retransmission if it comes no later after it than usual, plus this.
const USUAL: Duration = Duration::from_millis(10);

/// One BMC's measured speed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    smooth: Option<Duration>,
    variation: Duration,
    /// Doublings before the last answer; kept until an answer comes without any.
    backoff: u32,
}

impl Pace {
    /// How long to wait after transmission number `tried`, counted from 0.
    pub(crate) fn timeout(&self, timing: &Timing, tried: u32) -> Duration {
        let base = self.smooth.map_or(timing.first_timeout, |smooth| {
            (smooth + 4 * self.variation).max(timing.min_timeout)
        });
        let doublings = self.backoff.saturating_add(tried).min(16);
        base.saturating_mul(1 << doublings).min(timing.max_timeout)
    }

    /// The same for a command that must not be executed twice, `since` its first transmission: as many transmissions as
    /// fit into the time in which the BMC recognises them, and the usual wait after the last.
    pub(crate) fn timeout_once(&self, timing: &Timing, tried: u32, since: Duration) -> Duration {
        let timeout = self.timeout(timing, tried);
        let again = timeout.min(AT_LEAST_EVERY);
        if since + again < REMEMBERED {
            again
        } else {
            timeout
        }
    }

    /// An answer came `after` the latest of `tried` + 1 transmissions.
    pub(crate) fn answered(&mut self, tried: u32, after: Duration) {
        if tried > 0 {
            let is_usual = |smooth| after <= smooth + 4 * self.variation + USUAL;
            if self.smooth.is_some_and(is_usual) {
                // The earlier transmissions or their answers were lost; the BMC is as fast as ever.
                self.backoff = 0;
                return;
            }
            // It is unclear which transmission was answered (Karn): no sample, but wait longer from now on.
            self.backoff = self.backoff.saturating_add(tried).min(MAX_BACKOFF);
            return;
        }
        self.backoff = 0;
        match self.smooth {
            None => {
                self.smooth = Some(after);
                self.variation = after / 2;
            }
            Some(smooth) => {
                self.variation = (self.variation * 3 + smooth.abs_diff(after)) / 4;
                self.smooth = Some((smooth * 7 + after) / 8);
            }
        }
    }

    /// The smoothed round trip, once one was measured.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.smooth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn waits_double_up_to_the_maximum() {
        let (timing, pace) = (Timing::default(), Pace::default());
        let waits: Vec<_> = (0..5).map(|tried| pace.timeout(&timing, tried)).collect();
        assert_eq!(waits, [ms(1000), ms(2000), ms(4000), ms(5000), ms(5000)]);
        assert_eq!(pace.timeout(&timing, u32::MAX), ms(5000));
    }

    #[test]
    fn a_fast_bmc_is_asked_again_soon_and_a_slow_one_is_given_time() {
        let timing = Timing::default();
        let mut fast = Pace::default();
        fast.answered(0, ms(1));
        assert_eq!(fast.timeout(&timing, 0), timing.min_timeout);
        let mut slow = Pace::default();
        slow.answered(0, ms(800));
        assert_eq!(slow.timeout(&timing, 0), ms(2400));
        for _ in 0..20 {
            slow.answered(0, ms(800));
        }
        assert!(slow.timeout(&timing, 0) < ms(850));
    }

    #[test]
    fn losses_do_not_slow_down_a_fast_bmc() {
        let timing = Timing::default();
        let mut pace = Pace::default();
        pace.answered(0, ms(2));
        pace.answered(2, ms(3));
        assert_eq!(pace.timeout(&timing, 0), ms(250));
        // This may be the late answer to the first transmission.
        pace.answered(1, ms(100));
        assert_eq!(pace.timeout(&timing, 0), ms(500));
        pace.answered(1, ms(2));
        assert_eq!(pace.timeout(&timing, 0), ms(250));
    }

    #[test]
    fn a_once_only_command_is_sent_again_only_while_the_bmc_remembers_it() {
        let timing = Timing::default();
        let (mut fast, unknown, mut slow) = (Pace::default(), Pace::default(), Pace::default());
        fast.answered(0, ms(2));
        slow.answered(0, ms(2000));
        for (pace, expected) in [
            (fast, &[0, 250, 750, 1750, 2750, 3750][..]),
            (unknown, &[0, 1000, 2000, 3000]),
            (slow, &[0, 1000, 2000, 3000]),
        ] {
            let (mut sent, mut at) = (Vec::new(), Duration::ZERO);
            while at <= REMEMBERED {
                sent.push(at.as_millis());
                at += pace.timeout_once(&timing, sent.len() as u32 - 1, at);
            }
            assert_eq!(sent, expected);
            assert!(
                at - REMEMBERED >= ms(3000),
                "time for a late answer: {at:?}"
            );
        }
    }

    #[test]
    fn a_bmc_that_always_needs_three_seconds_ends_up_measured() {
        let timing = Timing::default();
        let mut pace = Pace::default();
        let mut needed = Vec::new();
        for _ in 0..4 {
            // The answer to the first transmission comes after 3 s; how many were sent by then?
            let (mut tried, mut waited) = (0, pace.timeout(&timing, 0));
            while waited < ms(3000) {
                tried += 1;
                waited += pace.timeout(&timing, tried);
            }
            pace.answered(tried, ms(3000));
            needed.push(tried);
        }
        assert_eq!(needed, [1, 1, 0, 0]);
    }
}
