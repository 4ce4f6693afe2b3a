//! The machine behind a BMC: on or off, starting after a delay, using its boot flags once (IPMI 2.0 §28.3, §28.12).
//! Nothing happens by itself: whoever asks says what time it is, and what was due is then done.
use std::time::Duration;

/// Boot flags are forgotten when no start follows within this (§28.13, parameter 3).
const FLAG_TIMER: Duration = Duration::from_secs(60);
const VALID: u8 = 0x80;
const PERSISTENT: u8 = 0x40;
/// Starts remembered for whoever asks.
const MAX_STARTS: usize = 64;

#[derive(Clone, Debug)]
pub(crate) struct Machine {
    on: bool,
    /// In the order of time.
    due: Vec<(Duration, Change)>,
    flags: [u8; 5],
    flags_set: Duration,
    keep_flags: bool,
    starts: Vec<[u8; 5]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Off,
    On,
    /// Firmware looks at the boot flags.
    Post,
}

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delays {
    pub power: Duration,
    pub cycle: Duration,
    pub post: Duration,
}

impl Machine {
    pub(crate) fn new(on: bool) -> Self {
        Self {
            on,
            due: Vec::new(),
            flags: [0; 5],
            flags_set: Duration::ZERO,
            keep_flags: false,
            starts: Vec::new(),
        }
    }

    /// Does what was due.
    pub(crate) fn advance(&mut self, now: Duration) {
        while self.due.first().is_some_and(|(due, _)| *due <= now) {
            let (when, change) = self.due.remove(0);
            self.expire_flags(when);
            match change {
                Change::Off => self.on = false,
                Change::On => self.on = true,
                Change::Post => {
                    if self.starts.len() == MAX_STARTS {
                        self.starts.remove(0);
                    }
                    self.starts.push(self.flags);
                    if self.flags[0] & PERSISTENT == 0 {
                        self.flags = [0; 5];
                    }
                }
            }
        }
        self.expire_flags(now);
    }

    fn expire_flags(&mut self, now: Duration) {
        let transient = self.flags[0] & PERSISTENT == 0 && !self.keep_flags;
        if transient && now.saturating_sub(self.flags_set) >= FLAG_TIMER {
            self.flags[0] &= !VALID;
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// Boot flags of each start, as they were then.
    pub(crate) fn starts(&self) -> &[[u8; 5]] {
        &self.starts
    }

    pub(crate) fn flags(&self) -> [u8; 5] {
        self.flags
    }

    pub(crate) fn set_flags(&mut self, flags: [u8; 5], now: Duration) {
        self.flags = flags;
        self.flags_set = now;
    }

    pub(crate) fn keep_flags(&mut self, keep: bool) {
        self.keep_flags = keep;
    }

    pub(crate) fn keeps_flags(&self) -> bool {
        self.keep_flags
    }

    /// Chassis Control by its code; false: not possible in this state, or no such code.
    pub(crate) fn control(&mut self, code: u8, now: Duration, delays: Delays) -> bool {
        let soon = now + delays.power;
        let start = |at: Duration| [(at, Change::On), (at + delays.post, Change::Post)];
        match code {
            0x00 | 0x05 => self.due = vec![(soon, Change::Off)],
            // Pressed twice is once.
            0x01 if self.on || !self.due.is_empty() => {}
            0x01 => self.due.extend(start(soon)),
            // Cycle and reset need a machine that runs (§28.3).
            0x02 if self.on => {
                self.due = vec![(soon, Change::Off)];
                self.due.extend(start(soon + delays.cycle));
            }
            0x03 if self.on => self.due = start(soon).to_vec(),
            0x04 => {}
            _ => return false,
        }
        self.advance(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }
    const DELAYS: Delays = Delays {
        power: secs(1),
        cycle: secs(2),
        post: secs(10),
    };

    #[test]
    fn a_start_takes_its_time_and_uses_the_flags_once() {
        let mut machine = Machine::new(false);
        machine.set_flags([0xa0, 0x04, 0, 0, 0], secs(0));
        assert!(machine.control(0x01, secs(0), DELAYS));
        assert!(!machine.is_on());
        // Pressed twice: one start.
        assert!(machine.control(0x01, secs(0), DELAYS));
        machine.advance(secs(1));
        assert!(machine.is_on());
        assert_eq!(machine.starts().len(), 0);
        machine.advance(secs(11));
        assert_eq!(machine.starts(), [[0xa0, 0x04, 0, 0, 0]]);
        assert_eq!(machine.flags(), [0; 5]);
        assert!(machine.control(0x02, secs(20), DELAYS));
        machine.advance(secs(21));
        assert!(!machine.is_on());
        machine.advance(secs(33));
        assert!(machine.is_on());
        assert_eq!(machine.starts()[1], [0; 5]);
        assert!(machine.control(0x00, secs(40), DELAYS));
        machine.advance(secs(41));
        assert!(!machine.is_on() && !machine.control(0x02, secs(42), DELAYS));
    }

    #[test]
    fn flags_are_forgotten_after_a_minute_unless_told_otherwise() {
        for (keep, persistent, valid) in [
            (false, false, false),
            (true, false, true),
            (false, true, true),
        ] {
            let mut machine = Machine::new(false);
            machine.keep_flags(keep);
            let first = VALID | if persistent { PERSISTENT } else { 0 };
            machine.set_flags([first, 0x04, 0, 0, 0], secs(0));
            machine.advance(secs(59));
            assert_eq!(machine.flags()[0] & VALID, VALID);
            machine.advance(secs(60));
            assert_eq!(machine.flags()[0] & VALID != 0, valid);
        }
    }
}
