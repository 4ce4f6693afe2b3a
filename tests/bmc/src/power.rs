//! The power and the boot flags behind a BMC: of a made-up machine with its delays, or of a real one (IPMI 2.0 §28).
//! Nothing happens by itself: callers say what time it is, and what is due by then is done.
use crate::chassis::{BootFlags, Chassis, Control};
use std::time::Duration;

/// Boot flags are forgotten when no start follows within this (§28.13, parameter 3).
const FLAG_TIMER: Duration = Duration::from_secs(60);
const VALID: u8 = 0x80;
/// Starts remembered for whoever asks.
const MAX_STARTS: usize = 64;

pub(crate) struct Machine {
    board: Board,
    flags: BootFlags,
    flags_set: Duration,
    keep_flags: bool,
    starts: Vec<BootFlags>,
}

enum Board {
    MadeUp {
        on: bool,
        /// In the order of time.
        due: Vec<(Duration, Change)>,
    },
    Real {
        chassis: Box<dyn Chassis>,
        starts: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Off,
    On,
    /// Firmware looks at the boot flags.
    Post,
}

/// How long things take on a made-up machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delays {
    pub power: Duration,
    pub cycle: Duration,
    pub post: Duration,
}

impl Machine {
    /// A made-up one.
    pub(crate) fn new(on: bool) -> Self {
        Self {
            board: Board::MadeUp {
                on,
                due: Vec::new(),
            },
            flags: BootFlags::default(),
            flags_set: Duration::ZERO,
            keep_flags: false,
            starts: Vec::new(),
        }
    }

    pub(crate) fn real(mut chassis: Box<dyn Chassis>) -> Self {
        let starts = chassis.starts();
        Self {
            board: Board::Real { chassis, starts },
            ..Self::new(false)
        }
    }

    /// Does what was due, and notices what a real machine did.
    pub(crate) fn advance(&mut self, now: Duration) {
        while let Some((when, change)) = self.next_change(now) {
            self.expire_flags(when);
            match (change, &mut self.board) {
                (Change::Post, _) => self.start(),
                (change, Board::MadeUp { on, .. }) => *on = change == Change::On,
                (_, Board::Real { .. }) => {}
            }
        }
        self.expire_flags(now);
    }

    fn next_change(&mut self, now: Duration) -> Option<(Duration, Change)> {
        match &mut self.board {
            Board::MadeUp { due, .. } => {
                let is_due = due.first().is_some_and(|(when, _)| *when <= now);
                is_due.then(|| due.remove(0))
            }
            Board::Real { chassis, starts } => {
                let counted = chassis.starts();
                let started = counted != *starts;
                *starts = counted;
                started.then_some((now, Change::Post))
            }
        }
    }

    fn start(&mut self) {
        if self.starts.len() == MAX_STARTS {
            self.starts.remove(0);
        }
        self.starts.push(self.flags);
        if !self.flags.is_persistent() {
            self.flags = BootFlags::default();
        }
    }

    fn expire_flags(&mut self, now: Duration) {
        if self.flags_end().is_some_and(|end| end <= now) {
            self.flags.0[0] &= !VALID;
            if let Board::Real { chassis, .. } = &mut self.board {
                chassis.set_boot(self.flags);
            }
        }
    }

    /// When the flags will be forgotten.
    fn flags_end(&self) -> Option<Duration> {
        let transient = self.flags.is_valid() && !self.flags.is_persistent() && !self.keep_flags;
        transient.then(|| self.flags_set + FLAG_TIMER)
    }

    /// When a real machine has to be told something. A made-up one can wait until somebody asks.
    pub(crate) fn next_wake(&self) -> Option<Duration> {
        match self.board {
            Board::MadeUp { .. } => None,
            Board::Real { .. } => self.flags_end(),
        }
    }

    pub(crate) fn is_on(&mut self) -> bool {
        match &mut self.board {
            Board::MadeUp { on, .. } => *on,
            Board::Real { chassis, .. } => chassis.is_on(),
        }
    }

    /// Boot flags of each start, as they were then.
    pub(crate) fn starts(&self) -> &[BootFlags] {
        &self.starts
    }

    pub(crate) fn flags(&self) -> BootFlags {
        self.flags
    }

    pub(crate) fn set_flags(&mut self, flags: BootFlags, now: Duration) {
        self.flags = flags;
        self.flags_set = now;
        if let Board::Real { chassis, .. } = &mut self.board {
            chassis.set_boot(flags);
        }
    }

    pub(crate) fn keep_flags(&mut self, keep: bool) {
        self.keep_flags = keep;
    }

    pub(crate) fn keeps_flags(&self) -> bool {
        self.keep_flags
    }

    /// False: not possible in this state.
    pub(crate) fn control(&mut self, control: Control, now: Duration, delays: Delays) -> bool {
        let done = match &mut self.board {
            Board::Real { chassis, .. } => chassis.control(control),
            Board::MadeUp { on, due } => make_up(control, *on, due, now, delays),
        };
        self.advance(now);
        done
    }
}

fn make_up(
    control: Control,
    on: bool,
    due: &mut Vec<(Duration, Change)>,
    now: Duration,
    delays: Delays,
) -> bool {
    let soon = now + delays.power;
    let start = |at: Duration| [(at, Change::On), (at + delays.post, Change::Post)];
    match control {
        Control::Down | Control::Soft => *due = vec![(soon, Change::Off)],
        // Pressed twice is once.
        Control::Up if on || !due.is_empty() => {}
        Control::Up => due.extend(start(soon)),
        // Cycle and reset need a machine that runs (§28.3).
        Control::Cycle if on => {
            *due = vec![(soon, Change::Off)];
            due.extend(start(soon + delays.cycle));
        }
        Control::Reset if on => *due = start(soon).to_vec(),
        Control::Cycle | Control::Reset => return false,
        Control::Diag => {}
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }
    const DELAYS: Delays = Delays {
        power: secs(1),
        cycle: secs(2),
        post: secs(10),
    };
    const PXE_ONCE: BootFlags = BootFlags([0xa0, 0x04, 0, 0, 0]);

    #[test]
    fn a_start_takes_its_time_and_uses_the_flags_once() {
        let mut machine = Machine::new(false);
        machine.set_flags(PXE_ONCE, secs(0));
        assert!(machine.control(Control::Up, secs(0), DELAYS));
        assert!(!machine.is_on());
        // Pressed twice: one start.
        assert!(machine.control(Control::Up, secs(0), DELAYS));
        machine.advance(secs(1));
        assert!(machine.is_on());
        assert_eq!(machine.starts().len(), 0);
        machine.advance(secs(11));
        assert_eq!(machine.starts(), [PXE_ONCE]);
        assert_eq!(machine.flags(), BootFlags::default());
        assert!(machine.control(Control::Cycle, secs(20), DELAYS));
        machine.advance(secs(21));
        assert!(!machine.is_on());
        machine.advance(secs(33));
        assert!(machine.is_on());
        assert_eq!(machine.starts()[1], BootFlags::default());
        assert!(machine.control(Control::Down, secs(40), DELAYS));
        machine.advance(secs(41));
        assert!(!machine.is_on() && !machine.control(Control::Cycle, secs(42), DELAYS));
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
            let first = VALID | if persistent { 0x40 } else { 0 };
            machine.set_flags(BootFlags([first, 0x04, 0, 0, 0]), secs(0));
            machine.advance(secs(59));
            assert!(machine.flags().is_valid());
            machine.advance(secs(60));
            assert_eq!(machine.flags().is_valid(), valid);
        }
    }

    /// What a test's machine was told, and what it did.
    #[derive(Default)]
    struct Told {
        on: bool,
        starts: u64,
        boot: Vec<bool>,
    }

    struct Owned(Arc<Mutex<Told>>);

    impl Chassis for Owned {
        fn is_on(&mut self) -> bool {
            self.0.lock().unwrap().on
        }
        fn control(&mut self, control: Control) -> bool {
            let mut told = self.0.lock().unwrap();
            told.on = control == Control::Up;
            told.starts += u64::from(told.on);
            control != Control::Diag
        }
        fn set_boot(&mut self, flags: BootFlags) {
            self.0.lock().unwrap().boot.push(flags.is_valid());
        }
        fn starts(&mut self) -> u64 {
            self.0.lock().unwrap().starts
        }
    }

    #[test]
    fn a_real_machine_is_told_its_flags_and_uses_them_at_any_start() {
        let told = Arc::new(Mutex::new(Told::default()));
        let mut machine = Machine::real(Box::new(Owned(Arc::clone(&told))));
        machine.set_flags(PXE_ONCE, secs(0));
        assert_eq!(machine.next_wake(), Some(secs(60)));
        assert!(machine.control(Control::Up, secs(1), DELAYS) && machine.is_on());
        assert!(!machine.control(Control::Diag, secs(1), DELAYS));
        assert_eq!(machine.starts(), [PXE_ONCE]);
        assert_eq!((machine.flags(), machine.next_wake()), Default::default());
        // It restarts by itself: that uses the flags up as well.
        machine.set_flags(PXE_ONCE, secs(2));
        told.lock().unwrap().starts += 1;
        machine.advance(secs(3));
        assert_eq!(machine.starts().len(), 2);
        assert!(!machine.flags().is_valid());
        // It does not, and is told after a minute.
        machine.set_flags(PXE_ONCE, secs(4));
        machine.advance(secs(64));
        assert_eq!(told.lock().unwrap().boot, [true, true, true, false]);
    }
}
