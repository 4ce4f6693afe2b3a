//! When a serial console is over, and when it needs a sign of life from the BMC. It is handed the time.
//! `sol` numbers and repeats; `console` sends, waits and moves the bytes.
use crate::error::ErrorKind;
use crate::sol::{Ended, Sol};
use std::time::Duration;
use tokio::time::Instant;

/// Keeps the session alive, as BMCs end one after 60 s without a command (§6.12.15) and SOL packets may not count; and
/// notices a take-over, which not every BMC reports to the loser (`ipmi_sim` does not).
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// At the end, what was typed still goes out; a BMC that takes it slower than this loses it.
const DRAIN: Duration = Duration::from_secs(5);
/// A BMC that sends nothing for this long, not even answers to keep-alives, is gone.
const DEAD: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(crate) struct Watch {
    heard: Instant,
    asked: Option<Instant>,
    closing: Option<Instant>,
    /// The BMC's first answer about who has the console.
    owner: Option<[u8; 4]>,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Ask the BMC who has the console.
    Ask,
    /// Nothing before this time, unless something happens.
    Wait(Instant),
    Over(Result<(), ErrorKind>),
}

impl Watch {
    pub(crate) fn begin(now: Instant) -> Self {
        Self {
            heard: now,
            asked: None,
            closing: None,
            owner: None,
        }
    }

    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    pub(crate) fn asked(&mut self, now: Instant) {
        self.asked = Some(now);
    }

    /// The user wants to end.
    pub(crate) fn close(&mut self, now: Instant) {
        self.closing.get_or_insert(now);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// The BMC's answer about who has the console. BMCs disagree about which number this is; what counts is that it stays the
    /// same.
    pub(crate) fn owned_by(&mut self, owner: [u8; 4]) -> Result<(), ErrorKind> {
        match *self.owner.get_or_insert(owner) == owner {
            true => Ok(()),
            false => Err(ErrorKind::ConsoleTaken),
        }
    }

    pub(crate) fn next(&self, sol: &Sol, now: Instant) -> Next {
        match sol.ended() {
            Some(Ended::Deactivated) => return Next::Over(Err(ErrorKind::ConsoleTaken)),
            Some(Ended::Silent) => return Next::Over(Err(ErrorKind::SessionLost)),
            None => {}
        }
        if let Some(since) = self.closing
            && (sol.is_idle() || now - since >= DRAIN)
        {
            return Next::Over(Ok(()));
        }
        if now - self.heard >= DEAD {
            return Next::Over(Err(ErrorKind::SessionLost));
        }
        let ask_at = match self.asked {
            Some(asked) if now - asked < KEEP_ALIVE => asked + KEEP_ALIVE,
            Some(_) | None => return Next::Ask,
        };
        match self.closing {
            Some(since) => Next::Wait(ask_at.min(since + DRAIN)),
            None => Next::Wait(ask_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn sol(typed: &[u8]) -> Sol {
        let mut sol = Sol::new(64);
        sol.type_in(typed);
        sol
    }

    #[test]
    fn a_silent_bmc_is_asked_every_five_seconds_and_given_up_after_twenty() {
        let begin = Instant::now();
        let mut watch = Watch::begin(begin);
        let mut asked = Vec::new();
        let mut now = begin;
        let result = loop {
            match watch.next(&sol(b""), now) {
                Next::Ask => {
                    asked.push((now - begin).as_secs());
                    watch.asked(now);
                }
                Next::Wait(until) => now = until,
                Next::Over(result) => break result,
            }
        };
        assert_eq!(asked, [0, 5, 10, 15]);
        assert_eq!((now - begin, result), (DEAD, Err(ErrorKind::SessionLost)));
        watch.heard(now);
        assert_eq!(watch.next(&sol(b""), now), Next::Ask);
    }

    #[test]
    fn closing_waits_for_what_was_typed_but_not_for_long() {
        let begin = Instant::now();
        let mut watch = Watch::begin(begin);
        watch.asked(begin + secs(1));
        watch.close(begin + secs(2));
        watch.close(begin + secs(3));
        let now = begin + secs(4);
        assert_eq!(watch.next(&sol(b""), now), Next::Over(Ok(())));
        let typed = sol(b"poweroff\n");
        assert_eq!(watch.next(&typed, now), Next::Wait(begin + secs(6)));
        watch.asked(begin + secs(6));
        let now = begin + secs(6);
        assert_eq!(watch.next(&typed, now), Next::Wait(begin + secs(7)));
        assert_eq!(watch.next(&typed, begin + secs(7)), Next::Over(Ok(())));
    }

    #[test]
    fn a_console_is_taken_when_its_owner_changes_or_the_bmc_ends_it() {
        let begin = Instant::now();
        let mut watch = Watch::begin(begin);
        assert_eq!(watch.owned_by([1; 4]), Ok(()));
        assert_eq!(watch.owned_by([1; 4]), Ok(()));
        assert_eq!(watch.owned_by([2; 4]), Err(ErrorKind::ConsoleTaken));
        let mut ended = sol(b"");
        ended.receive(&[0, 0, 0, 0x10], Duration::ZERO);
        let taken = Next::Over(Err(ErrorKind::ConsoleTaken));
        assert_eq!(watch.next(&ended, begin), taken);
    }
}
