//! Whole fleets simulated: shipped `Drive`s on a ground that fails in every way, all from one seed, in virtual time.
//! It decides nothing about nodes: what is under test is the conductor's, what is simulated is everything around it.
//!
//! What runs is real: `Drive` (load, decide, save, act, report), `loops::alarm::due`, the presence `Roster` and its fence,
//! the `Index`, and all of the core. What is simulated, each in a file: the record store, workers as processes, BMCs and
//! how acts are made of BMC commands, machines, agents, operators.
//!
//! Not simulated: NATS's client, the claims' own protocol (the store gives claims in one piece), IPMI packets, HTTP.
mod acts;
mod agent;
mod asks;
mod bmc;
mod case;
mod disks;
mod faults;
mod front;
mod ground;
mod judge;
mod machine;
mod operator;
mod rival;
mod rng;
mod run;
mod scene;
mod store;
mod tally;
mod work;
mod worker;

pub use case::{Case, Size, cases, cut_down};
pub use run::{Outcome, run};
pub use tally::{ALL_PAIRS, Tally};

use asks::{Answer, Ask, Slot};
use faults::Faults;
use front::Job;
use ironbeat_common::heartbeat::{HeartbeatReply, Status};
use ironbeat_common::id::NodeId;
use ironbeat_common::login::UserKey;
use ironbeat_common::lookup::LookupReply;
use ironbeat_core::decide::Verb;
use ironbeat_core::id::{Incarnation, RequestId, WorkerId};
use ironbeat_core::node::Node;
use ironbeat_core::policy::Policy;
use ironbeat_core::time::Time;
use ironbeat_ops::reply::WorkerInfo;
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};

/// A task of a worker: which worker, and a number that is never used twice.
type TaskId = (usize, u64);
type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One thread runs everything: the lock is there because the ground's futures have to be `Send`.
type Shared = Arc<Mutex<World>>;

fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world
        .lock()
        .expect("a run that panicked is over, and nobody looks at its world again")
}

/// What happens next, at its time.
#[expect(clippy::large_enum_variant, reason = "some thousands wait at a time")]
enum Happens {
    /// A task of a worker goes on.
    Wake(TaskId),
    /// A question arrives where it is answered; `lose`: the answer does not come back.
    Arrives {
        ask: Ask,
        slot: Slot,
        task: TaskId,
        lose: bool,
    },
    /// Nobody waits for an answer any longer.
    Expires {
        slot: Slot,
        task: TaskId,
    },
    /// A worker's process starts again.
    Starts(usize),
    /// A worker looks at its alarms; of which incarnation, as in the next two.
    Looks(usize, Incarnation),
    /// A worker renews its presence.
    Renews(usize, Incarnation),
    /// A worker reads the power of its nodes.
    Syncs(usize, Incarnation),
    /// A worker hears of a renewal, of another worker or its own.
    Hears {
        to: usize,
        info: Box<WorkerInfo>,
        revision: u64,
        /// By the server's clock.
        stored: u64,
    },
    /// A worker's index follows a record.
    Follows {
        to: usize,
        node: NodeId,
        record: Option<Box<Node>>,
        revision: u64,
    },
    /// A worker that missed changes of the records has all of them again.
    Rereads(usize, Incarnation),
    /// A request that came over NATS to one of the workers.
    Comes {
        to: usize,
        job: Job,
    },
    Machine {
        machine: usize,
        /// What was meant for an earlier life of the machine is void.
        epoch: u64,
        what: OfMachine,
    },
    Power {
        machine: usize,
        turn: u64,
        on: bool,
    },
    /// A second machine asks for the boot script of this one.
    Rival(usize),
    /// It looks up with the ticket that it got.
    RivalComes {
        machine: usize,
        ticket: UserKey,
    },
    /// An operator wants something of a node.
    Operates(usize),
    /// An operator's request, or its repetition.
    Requests {
        machine: usize,
        request: RequestId,
        verb: Verb,
    },
    /// The same of one that makes a node known.
    Enrols(usize),
    /// JetStream has no leader for a while, a worker is stopped, a BMC falls silent, a machine reboots by itself.
    Strikes,
    /// The store has been without a leader for so long that followers notice.
    Blinds,
    /// The store has a leader again.
    Returns,
}

/// What happens to a machine by itself.
enum OfMachine {
    PostOver,
    Loaded,
    /// It is time to beat or to look up; older turns are void.
    AgentDue(u64),
    /// The agent's answer does not come.
    AskOver(u64),
    Welcomed(u64, LookupReply),
    Replied(u64, Box<HeartbeatReply>),
    Refused(u64),
    /// The running step goes on.
    Works(u64),
    Nudged,
    /// Its kernel failed a while ago.
    Resets,
    /// The last beat before a reboot has had its time.
    Ends,
    AgentAsks(u64, Box<AgentAsk>),
    /// A worker answered its request for a boot script: it may boot the ramdisk with its ticket, or shall not; none: it
    /// has to ask again.
    Script(UserKey, Option<bool>),
}

enum AgentAsk {
    LookUp,
    Beat {
        node: NodeId,
        status: Status,
        /// A nudge asked for it.
        nudged: bool,
    },
}

pub(crate) struct World {
    /// Milliseconds since 1970, as the servers count.
    now: u64,
    rng: rng::Rng,
    faults: Faults,
    /// By time; at the same time by chance.
    queue: BTreeMap<(u64, u64), Happens>,
    policy: Policy,
    store: store::Store,
    workers: Vec<worker::Worker>,
    machines: Vec<machine::Machine>,
    judge: judge::Judge,
    tally: Tally,
    /// The task that is polled.
    current: TaskId,
    /// What each task has in hand, for the tally.
    in_hand: BTreeMap<TaskId, &'static str>,
    spawned: Vec<(usize, Task)>,
    jobs: Vec<(usize, Job)>,
    requests: u64,
    /// Tickets made.
    tickets: u64,
    renewals: u64,
    /// Workers whose processes began or ended in this step.
    started: Vec<usize>,
    killed: Vec<usize>,
    /// Zero from the first difference on would be another run.
    hash: u64,
    trace: Option<VecDeque<String>>,
}

/// Of the trace, as many lines are kept.
const LAST_STEPS: usize = 1000;

impl World {
    fn time(&self) -> Time {
        Time::from_unix_ms(self.now)
    }

    fn after(&mut self, ms: u64, what: Happens) {
        // Chance decides between what happens at the same time, never the order of the code.
        let mut tie = self.rng.next();
        while self.queue.contains_key(&(self.now + ms, tie)) {
            tie = tie.wrapping_add(1);
        }
        self.queue.insert((self.now + ms, tie), what);
    }

    fn of_machine(&mut self, ms: u64, machine: usize, what: OfMachine) {
        let epoch = self.machines[machine].epoch;
        self.after(
            ms,
            Happens::Machine {
                machine,
                epoch,
                what,
            },
        );
    }

    /// Answers a task that waits, unless it gave up waiting.
    fn answer(&mut self, slot: &Slot, task: TaskId, answer: Answer) {
        if slot.fill(answer) {
            self.after(0, Happens::Wake(task));
        }
    }

    /// Goes into the trace and its hash.
    fn note(&mut self, what: &'static str, who: usize, text: impl FnOnce() -> String) {
        let bytes = what.as_bytes().iter().copied();
        let numbers = self.now.to_le_bytes().into_iter().chain([who as u8]);
        for byte in bytes.chain(numbers) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Some(trace) = &mut self.trace {
            if trace.len() == LAST_STEPS {
                trace.pop_front();
            }
            let secs = (self.now - scene::BEGIN) as f64 / 1000.0;
            trace.push_back(format!("{secs:>10.3} {what} {who}: {}", text()));
        }
    }

    fn machine_of(&self, node: NodeId) -> Option<usize> {
        self.machines.iter().position(|it| it.node == node)
    }

    /// One of the workers that NATS would hand a request to: those that are stopped have not left.
    fn any_worker(&mut self) -> Option<usize> {
        let listening = self.workers.iter().enumerate();
        let listening: Vec<usize> = listening
            .filter(|(_, worker)| worker.is_there())
            .map(|(n, _)| n)
            .collect();
        if listening.is_empty() {
            return None;
        }
        Some(self.rng.pick(&listening))
    }

    fn worker_id(n: usize) -> WorkerId {
        format!("w{n}")
            .parse()
            .expect("a letter and digits are a token")
    }
}
