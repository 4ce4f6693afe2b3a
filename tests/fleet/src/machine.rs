//! One simulated machine: power, what its firmware boots, and the ledger of what was done to it.
//! Its agent is in `agent`; its BMC is one of `ironbeat-bmc-sim`, which turns the power here.
use crate::link::Link;
use ironbeat_agent::heart::login::Access;
use ironbeat_bmc_sim::{BootFlags, Chassis, Control};
use ironbeat_common::id::{BootId, StepId};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// What runs on a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// The power is off.
    Nothing,
    Ramdisk(BootId),
    /// What is on its disk.
    System,
}

/// A step that an agent has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    pub boot: BootId,
    pub step: StepId,
    /// Ironic's name for it.
    pub order: &'static str,
    /// It came to its end, before the power went.
    pub done: bool,
}

/// What a machine was told, and what was touched.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Lookups that were answered, and how many of them with a welcome.
    pub lookups: u64,
    pub welcomes: u64,
    /// Heartbeats that were answered.
    pub beats: u64,
    /// Questions without an answer.
    pub unanswered: u64,
    pub nudges: u64,
    /// Times that a BMC command cut or gave the power, resets included.
    pub powered_off: u64,
    pub powered_on: u64,
    /// In the order in which they began.
    pub acts: Vec<Act>,
}

impl Ledger {
    /// Steps that were begun more than once: a step's id is used once in a node's life, so the metal saw them twice.
    pub fn twice(&self) -> Vec<&Act> {
        let acts = self.acts.iter().enumerate();
        acts.filter(|(at, act)| self.acts[..*at].iter().any(|other| other.step == act.step))
            .map(|(_, act)| act)
            .collect()
    }
}

pub struct Machine {
    pub number: usize,
    state: Mutex<State>,
    life: watch::Sender<Runs>,
    seat: Mutex<Option<Seat>>,
}

/// With what an agent that is welcome speaks, for whoever measures that.
#[derive(Clone)]
pub(crate) struct Seat {
    pub access: Arc<Access>,
    pub own: Link,
}

#[derive(Default)]
struct State {
    flags: BootFlags,
    starts: u64,
    ledger: Ledger,
}

impl Machine {
    pub(crate) fn new(number: usize) -> Arc<Self> {
        Arc::new(Self {
            number,
            state: Mutex::default(),
            life: watch::Sender::new(Runs::Nothing),
            seat: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn runs(&self) -> Runs {
        *self.life.borrow()
    }

    pub fn ledger(&self) -> Ledger {
        self.lock().ledger.clone()
    }

    pub(crate) fn sits(&self, seat: Seat) {
        *self.seat.lock().unwrap_or_else(PoisonError::into_inner) = Some(seat);
    }

    pub(crate) fn seat(&self) -> Option<Seat> {
        let seat = self.seat.lock().unwrap_or_else(PoisonError::into_inner);
        seat.clone()
    }

    pub(crate) fn life(&self) -> watch::Receiver<Runs> {
        self.life.subscribe()
    }

    pub(crate) fn note(&self, note: impl FnOnce(&mut Ledger)) {
        note(&mut self.lock().ledger);
    }

    /// Switches it on, or resets it: firmware obeys its boot flags, and boots the disk without any.
    pub fn start(&self) {
        let mut state = self.lock();
        state.starts += 1;
        let flags = state.flags;
        if !flags.is_persistent() {
            state.flags = BootFlags::default();
        }
        let pxe = flags.is_valid() && flags.device() == 1;
        self.life.send_replace(match pxe {
            true => Runs::Ramdisk(BootId::from_bytes(*uuid::Uuid::new_v4().as_bytes())),
            false => Runs::System,
        });
    }

    /// Pulls the plug, or ends by order.
    pub fn stop(&self) {
        self.life.send_replace(Runs::Nothing);
    }

    /// Boots the ramdisk, whatever the flags say: somebody chose the network at the console.
    pub fn netboot(&self) {
        self.lock().flags = BootFlags([0x80, 1 << 2, 0, 0, 0]);
        self.start();
    }
}

/// The machine as its BMC sees it.
pub(crate) struct Behind(pub Arc<Machine>);

impl Chassis for Behind {
    fn is_on(&mut self) -> bool {
        self.0.runs() != Runs::Nothing
    }

    fn control(&mut self, control: Control) -> bool {
        let on = self.is_on();
        match control {
            Control::Up if on => true,
            Control::Up => {
                self.0.note(|ledger| ledger.powered_on += 1);
                self.0.start();
                true
            }
            Control::Down | Control::Soft => {
                if on {
                    self.0.note(|ledger| ledger.powered_off += 1);
                    self.0.stop();
                }
                true
            }
            Control::Cycle | Control::Reset if on => {
                self.0.note(|ledger| ledger.powered_off += 1);
                self.0.start();
                true
            }
            Control::Cycle | Control::Reset | Control::Diag => false,
        }
    }

    fn set_boot(&mut self, flags: BootFlags) {
        self.0.lock().flags = flags;
    }

    fn starts(&mut self) -> u64 {
        self.0.lock().starts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PXE: BootFlags = BootFlags([0xa0, 1 << 2, 0, 0, 0]);

    #[test]
    fn a_machine_boots_the_network_once_when_it_is_told_to() {
        let machine = Machine::new(1);
        let mut chassis = Behind(Arc::clone(&machine));
        chassis.set_boot(PXE);
        assert!(chassis.control(Control::Up));
        let Runs::Ramdisk(first) = machine.runs() else {
            panic!("{:?}", machine.runs());
        };
        assert!(chassis.control(Control::Up), "it is on already");
        assert_eq!(machine.runs(), Runs::Ramdisk(first));
        machine.start();
        assert_eq!(machine.runs(), Runs::System);
        assert!(chassis.control(Control::Down));
        assert!(!chassis.control(Control::Reset), "it is off");
        let ledger = machine.ledger();
        assert_eq!((ledger.powered_on, ledger.powered_off), (1, 1));
    }

    #[test]
    fn a_step_that_is_begun_again_shows() {
        let act = |step| Act {
            boot: BootId::from_bytes([1; 16]),
            step: StepId(step),
            order: "write_image",
            done: true,
        };
        let mut ledger = Ledger {
            acts: vec![act(1), act(2)],
            ..Ledger::default()
        };
        assert!(ledger.twice().is_empty());
        ledger.acts.push(act(1));
        assert_eq!(ledger.twice(), [&act(1)]);
    }
}
