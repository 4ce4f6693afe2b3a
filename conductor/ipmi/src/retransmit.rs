//! When to send one message again, and when to give up; it is handed the time.
//! `pace` says how long to wait for an answer; `attempt` (logins), `open` (sessions) and `ask` (neither) send.
use crate::config::Timing;
use crate::error::ErrorKind;
use crate::message::Repeat;
use crate::pace::{Pace, REMEMBERED};
use tokio::time::Instant;

/// The transmissions of one message.
#[derive(Debug)]
pub(crate) struct Retransmit {
    repeat: Repeat,
    allowed: u32,
    begin: Instant,
    made: u32,
    last: Instant,
}

impl Retransmit {
    pub(crate) fn begin(allowed: u32, repeat: Repeat, now: Instant) -> Self {
        Self {
            repeat,
            allowed,
            begin: now,
            made: 0,
            last: now,
        }
    }

    /// Whether the message may be sent at `at`, for the first time or again.
    pub(crate) fn may_send(&self, at: Instant) -> bool {
        let remembered = self.made == 0 || at - self.begin <= REMEMBERED;
        self.made < self.allowed
            && match self.repeat {
                Repeat::Harmless => true,
                Repeat::Never => remembered,
            }
    }

    /// It was sent at `at`. Returns until when to wait for the answer.
    pub(crate) fn sent(&mut self, at: Instant, timing: &Timing, pace: &Pace) -> Instant {
        let tried = self.made;
        self.made += 1;
        self.last = at;
        let patience = match self.repeat {
            Repeat::Never if self.made < self.allowed => {
                pace.timeout_once(timing, tried, at - self.begin)
            }
            Repeat::Never | Repeat::Harmless => pace.timeout(timing, tried),
        };
        at + patience
    }

    pub(crate) fn last_sent(&self) -> Instant {
        self.last
    }

    /// The answer came: `pace` learns from it.
    pub(crate) fn answered(&self, now: Instant, pace: &mut Pace) {
        pace.answered(self.made.saturating_sub(1), now - self.last);
    }

    /// No answer came.
    pub(crate) fn silence(&self, now: Instant) -> ErrorKind {
        ErrorKind::Unreachable {
            tries: self.made,
            waited: now - self.begin,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// When a message that is never answered is sent, and when it is given up, in milliseconds.
    fn schedule(repeat: Repeat, tries: u32, pace: &Pace) -> (Vec<u128>, u128) {
        let begin = Instant::now();
        let mut retransmit = Retransmit::begin(tries, repeat, begin);
        let (mut now, mut sent) = (begin, Vec::new());
        while retransmit.may_send(now) {
            sent.push((now - begin).as_millis());
            now = retransmit.sent(now, &Timing::default(), pace);
        }
        let silence = ErrorKind::Unreachable {
            tries: sent.len() as u32,
            waited: now - begin,
        };
        assert_eq!(retransmit.silence(now), silence);
        (sent, (now - begin).as_millis())
    }

    #[test]
    fn a_message_is_repeated_until_its_tries_are_used_up_or_the_bmc_may_have_forgotten_it() {
        let unknown = Pace::default();
        let mut fast = Pace::default();
        fast.answered(0, Duration::from_millis(2));
        for (repeat, tries, pace, sent, given_up) in [
            (Repeat::Harmless, 1, unknown, &[0][..], 1000),
            (Repeat::Harmless, 3, unknown, &[0, 1000, 3000], 7000),
            (Repeat::Harmless, 3, fast, &[0, 250, 750], 1750),
            (Repeat::Never, 1, unknown, &[0], 1000),
            // The last transmission is given the usual wait.
            (Repeat::Never, 3, unknown, &[0, 1000, 2000], 6000),
            (Repeat::Never, 9, unknown, &[0, 1000, 2000, 3000], 8000),
        ] {
            let expected = (sent.to_vec(), given_up);
            assert_eq!(
                schedule(repeat, tries, &pace),
                expected,
                "{repeat:?} {tries}"
            );
        }
    }

    #[test]
    fn the_first_transmission_goes_out_however_late_it_is() {
        let begin = Instant::now();
        let late = begin + REMEMBERED * 2;
        let mut retransmit = Retransmit::begin(2, Repeat::Never, begin);
        assert!(retransmit.may_send(late));
        retransmit.sent(late, &Timing::default(), &Pace::default());
        assert!(!retransmit.may_send(late));
    }

    #[test]
    fn an_answer_teaches_how_long_this_bmc_takes() {
        let begin = Instant::now();
        let mut pace = Pace::default();
        let mut retransmit = Retransmit::begin(2, Repeat::Harmless, begin);
        retransmit.sent(begin, &Timing::default(), &pace);
        retransmit.answered(begin + Duration::from_millis(30), &mut pace);
        assert_eq!(pace.round_trip(), Some(Duration::from_millis(30)));
    }
}
