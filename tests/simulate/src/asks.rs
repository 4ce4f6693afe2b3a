//! Questions of a worker to what it stands on, and futures that wait for answers or for time.
//! Who answers is in `store` and `bmc`; when an answer comes, or is lost, is chance.
use crate::{Happens, Shared, lock};
use ironbeat::records::Revision;
use ironbeat_common::id::NodeId;
use ironbeat_core::decide::LastBeat;
use ironbeat_core::id::OpId;
use ironbeat_core::node::{Beside, BesideKind, BootDevice, Node};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

pub(crate) enum Ask {
    Load(NodeId),
    /// Asks for the revision at which a node that is not there can be made.
    Vacancy(NodeId),
    Beside(NodeId, BesideKind, OpId),
    Put(NodeId, OpId, Box<Beside>),
    Save {
        node: NodeId,
        expected: Revision,
        before: Option<Box<Node>>,
        after: Option<Box<Node>>,
    },
    LastBeat(NodeId),
    Bmc {
        machine: Option<usize>,
        node: NodeId,
        /// None: nobody decided on it, it is a look at the power.
        op: Option<OpId>,
        /// Of the login. None: the one on record, of which nobody doubts that it is right.
        password: Option<u64>,
        command: Command,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Status,
    On,
    Off,
    Soft,
    Cycle,
    Reset,
    Diag,
    Restart,
    Boot {
        device: BootDevice,
        persistent: bool,
    },
    Password(u64),
}

#[derive(Clone)]
pub(crate) enum Answer {
    Loaded(Option<Box<(Node, Revision)>>),
    Beside(Option<Box<Beside>>),
    Put,
    Vacant(Revision),
    Saved(Revision),
    Conflict,
    Claimed {
        what: String,
        by: String,
    },
    LastBeat(Option<LastBeat>),
    /// What the BMC says of the power.
    Power(bool),
    Refused,
    WrongPassword,
    Silence,
}

enum Inside {
    Waiting,
    Answered(Answer),
    Over,
}

/// Where an answer is put; the first one counts.
#[derive(Clone)]
pub(crate) struct Slot(Arc<Mutex<Inside>>);

impl Slot {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Inside::Waiting)))
    }

    pub fn fill(&self, answer: Answer) -> bool {
        let mut inside = self.0.lock().expect("one thread");
        if let Inside::Waiting = *inside {
            *inside = Inside::Answered(answer);
            return true;
        }
        false
    }

    fn take(&self) -> Option<Answer> {
        let mut inside = self.0.lock().expect("one thread");
        match std::mem::replace(&mut *inside, Inside::Over) {
            Inside::Answered(answer) => Some(answer),
            other => {
                *inside = other;
                None
            }
        }
    }
}

/// An answer in the making.
pub(crate) struct Asked {
    world: Shared,
    ask: Option<Ask>,
    slot: Slot,
}

pub(crate) fn ask(world: &Shared, ask: Ask) -> Asked {
    Asked {
        world: Arc::clone(world),
        ask: Some(ask),
        slot: Slot::new(),
    }
}

impl Future for Asked {
    type Output = Answer;
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Answer> {
        if let Some(ask) = self.ask.take() {
            let slot = self.slot.clone();
            lock(&self.world).send(ask, slot);
            return Poll::Pending;
        }
        match self.slot.take() {
            Some(answer) => Poll::Ready(answer),
            None => Poll::Pending,
        }
    }
}

pub(crate) struct Sleep {
    world: Shared,
    ms: u64,
    until: Option<u64>,
}

pub(crate) fn sleep(world: &Shared, ms: u64) -> Sleep {
    Sleep {
        world: Arc::clone(world),
        ms,
        until: None,
    }
}

impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let shared = Arc::clone(&self.world);
        let mut world = lock(&shared);
        match self.until {
            Some(until) if until <= world.now => Poll::Ready(()),
            Some(_) => Poll::Pending,
            None => {
                self.until = Some(world.now + self.ms);
                let task = world.current;
                world.after(self.ms, Happens::Wake(task));
                Poll::Pending
            }
        }
    }
}

/// A client gives JetStream ten seconds (`records/store.rs`): an election takes up to nine.
const STORE_PATIENCE_MS: u64 = 10_000;
/// Four tries of a BMC client, each waited for longer.
const BMC_PATIENCE_MS: u64 = 6_000;

impl crate::World {
    fn send(&mut self, ask: Ask, slot: Slot) {
        let task = self.current;
        let (latency, patience) = match &ask {
            // Two seconds are less than the three between the end of the right to act and its passing to others.
            Ask::Bmc { .. } => (self.faults.bmc_latency(&mut self.rng), BMC_PATIENCE_MS),
            _ => (self.faults.store_latency(&mut self.rng), STORE_PATIENCE_MS),
        };
        let (lost, lose) = match &ask {
            Ask::Bmc { .. } => self.faults.bmc_losses(&mut self.rng),
            _ => self.faults.store_losses(&mut self.rng),
        };
        if lost || lose || latency >= patience {
            let slot = slot.clone();
            self.after(patience, Happens::Expires { slot, task });
        }
        if !lost {
            self.after(
                latency,
                Happens::Arrives {
                    ask,
                    slot,
                    task,
                    lose,
                },
            );
        }
    }

    pub(crate) fn arrives(&mut self, ask: Ask, slot: Slot, task: crate::TaskId, lose: bool) {
        let answer = match ask {
            Ask::Bmc {
                machine,
                node,
                op,
                password,
                command,
            } => machine.and_then(|n| match password {
                Some(wrong) if wrong != self.machines[n].password => self.refuses_login(n),
                Some(_) | None => self.commanded(n, node, op.as_ref(), command),
            }),
            ask => self.stored(ask, task),
        };
        match answer {
            Some(answer) if !lose => self.answer(&slot, task, answer),
            Some(_) => {}
            // Nobody is there to answer.
            None => self.after(STORE_PATIENCE_MS / 2, Happens::Expires { slot, task }),
        }
    }
}
