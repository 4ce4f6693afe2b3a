//! A simulated agent: looks up, beats, does what replies name, and ends. As the agent's `heart/beat.rs`, in virtual time.
//! How a step is worked off is in `work`; a real agent, with real disks, is tried in racks.
use crate::front::Job;
use crate::work::{Current, Ending};
use crate::{AgentAsk, Happens, OfMachine, World};
use ironbeat_common::heartbeat::HeartbeatReply;
use ironbeat_common::id::{BootId, NodeId, StepId};
use ironbeat_common::login::UserKey;
use ironbeat_common::lookup::LookupReply;
use ironbeat_common::order::Order;
use ironbeat_core::decide::{LastBeat, Proof};

/// An agent waits this long for an answer, and does nothing that one which comes later says.
pub(crate) const ANSWER_MS: u64 = 5_000;
const FINAL_BEAT_MS: u64 = 5_000;
const RETRY_LIMIT_MS: u64 = 30_000;

pub(crate) struct Agent {
    pub boot: BootId,
    /// Who it was welcomed as.
    node: Option<NodeId>,
    pub current: Current,
    pub next: Option<(StepId, Order)>,
    /// Runs no more, though the machine is on.
    pub hung: bool,
    /// Void are all turns but the last that was set.
    turn: u64,
    /// The question that it waits for.
    waits: Option<u64>,
    nudged: bool,
    /// A nudge has come that no answer has followed.
    is_called: bool,
    failures: u32,
    /// When it last asked and there was no worker.
    pub unheard: Option<u64>,
    timeout_ms: u64,
    pub works: u64,
}

impl Agent {
    pub fn new(boot: BootId) -> Self {
        Self {
            boot,
            node: None,
            current: Current::Nothing,
            next: None,
            hung: false,
            turn: 0,
            waits: None,
            nudged: false,
            is_called: false,
            failures: 0,
            unheard: None,
            timeout_ms: 300_000,
            works: 0,
        }
    }
}

/// The key that a ramdisk makes for itself.
pub(crate) fn key_of(boot: BootId) -> UserKey {
    let mut key = [0; 32];
    key[..16].copy_from_slice(boot.as_bytes());
    UserKey::from_bytes(key)
}

impl World {
    /// The agent beats or looks up after so long, unless something makes it do so earlier.
    pub(crate) fn agent_due(&mut self, machine: usize, ms: u64) {
        let Some(agent) = self.machines[machine].agent() else {
            return;
        };
        agent.turn += 1;
        let turn = agent.turn;
        self.of_machine(ms, machine, OfMachine::AgentDue(turn));
    }

    pub(crate) fn agent_is_due(&mut self, machine: usize, turn: u64) {
        let Some(agent) = self.machines[machine].agent() else {
            return;
        };
        // While an answer is waited for nothing else is asked; what was due follows it.
        if agent.hung || agent.turn != turn || agent.waits.is_some() {
            return;
        }
        let ask = match agent.node {
            None => AgentAsk::LookUp,
            Some(node) => AgentAsk::Beat {
                node,
                status: agent.current.status(),
                nudged: std::mem::take(&mut agent.is_called),
            },
        };
        self.machines[machine].asks += 1;
        let number = self.machines[machine].asks;
        if let Some(agent) = self.machines[machine].agent() {
            agent.waits = Some(number);
        }
        let ms = self.rng.between(1, 10);
        self.of_machine(ms, machine, OfMachine::AgentAsks(number, Box::new(ask)));
        self.of_machine(ANSWER_MS, machine, OfMachine::AskOver(number));
    }

    /// The question is at the NATS server, which hands it to a worker and keeps the last beat of each node.
    pub(crate) fn agent_asks(&mut self, machine: usize, number: u64, ask: AgentAsk) {
        let Some(boot) = self.machines[machine].ramdisk() else {
            return;
        };
        if let AgentAsk::Beat { node, status, .. } = &ask
            && !self.store.away
        {
            let beat = LastBeat {
                boot,
                at: self.time(),
                status: status.clone(),
            };
            self.store.beats.insert(*node, beat);
        }
        let Some(to) = self.any_worker() else {
            let now = self.now;
            if let Some(agent) = self.machines[machine].agent() {
                agent.unheard = Some(now);
            }
            self.of_machine(1, machine, OfMachine::Refused(number));
            return;
        };
        let epoch = self.machines[machine].epoch;
        let inventory = || Box::new(self.machines[machine].inventory());
        let proof = self.proof(machine, boot);
        let job = match ask {
            AgentAsk::LookUp => Job::LookUp {
                machine,
                epoch,
                number,
                boot,
                inventory: inventory(),
                proof,
            },
            AgentAsk::Beat {
                node,
                status,
                nudged,
            } => Job::Beat {
                machine,
                epoch,
                number,
                node,
                boot,
                status,
                nudged,
            },
        };
        self.note("asks", machine, || job.words());
        self.after(1, Happens::Comes { to, job });
    }

    /// The ticket of the script that it booted from, and a key of this boot.
    fn proof(&self, machine: usize, boot: BootId) -> Proof {
        match self.machines[machine].ticket {
            Some(ticket) => Proof::Ticket {
                ticket,
                key: key_of(boot),
            },
            None => Proof::Missing,
        }
    }

    fn heard(&mut self, machine: usize, number: u64) -> bool {
        let Some(agent) = self.machines[machine].agent() else {
            return false;
        };
        if agent.hung || agent.waits != Some(number) {
            return false;
        }
        agent.waits = None;
        true
    }

    pub(crate) fn ask_failed(&mut self, machine: usize, number: u64) {
        if !self.heard(machine, number) {
            return;
        }
        let jitter = self.rng.between(500, 1_500);
        if let Some(agent) = self.machines[machine].agent() {
            agent.failures += 1;
            // Whether a nudge was answered is not known: it counts on.
            agent.is_called = true;
            let doubled = 500u64 << agent.failures.min(7);
            let ms = doubled.min(RETRY_LIMIT_MS) * jitter / 1_000;
            self.agent_due(machine, ms);
        }
    }

    pub(crate) fn welcomed(&mut self, machine: usize, number: u64, reply: &LookupReply) {
        if !self.heard(machine, number) {
            return;
        }
        let jitter = self.rng.between(500, 1_500);
        let Some(agent) = self.machines[machine].agent() else {
            return;
        };
        agent.failures = 0;
        match reply {
            LookupReply::Welcome {
                node,
                heartbeat_timeout_secs,
                login: _,
            } => {
                agent.node = Some(*node);
                agent.timeout_ms = u64::from(*heartbeat_timeout_secs) * 1_000;
                self.agent_due(machine, 0);
            }
            LookupReply::Wait { retry_secs } => {
                let ms = u64::from(*retry_secs) * jitter;
                self.agent_due(machine, ms);
            }
        }
    }

    pub(crate) fn replied(&mut self, machine: usize, number: u64, reply: HeartbeatReply) {
        if !self.heard(machine, number) {
            return;
        }
        let share = self.rng.between(300, 600);
        let Some(agent) = self.machines[machine].agent() else {
            return;
        };
        agent.failures = 0;
        let nudged = std::mem::take(&mut agent.nudged);
        let due = match nudged {
            true => 0,
            false => agent.timeout_ms * share / 1_000,
        };
        if agent.current.ending().is_some() {
            self.agent_ends(machine);
            return;
        }
        match reply {
            HeartbeatReply::Idle => {
                agent.next = None;
                self.agent_due(machine, due);
            }
            HeartbeatReply::LookUp => {
                agent.node = None;
                agent.next = None;
                agent.current.forget();
                self.agent_due(machine, 0);
            }
            HeartbeatReply::Step { id, order } => {
                let started = self.agent_wants(machine, id, order);
                self.agent_due(machine, if started { 0 } else { due });
            }
        }
    }

    pub(crate) fn agent_nudged(&mut self, machine: usize) {
        let Some(agent) = self.machines[machine].agent() else {
            return;
        };
        if agent.node.is_none() {
            return;
        }
        agent.is_called = true;
        if agent.waits.is_some() {
            agent.nudged = true;
        } else {
            self.agent_due(machine, 0);
        }
    }

    /// A step has ended: that is told at once. The one that ends the agent has a while for being told.
    pub(crate) fn agent_tells_end(&mut self, machine: usize) {
        let Some(agent) = self.machines[machine].agent() else {
            return;
        };
        let ends = agent.current.ending().is_some();
        if agent.waits.is_some() {
            agent.nudged = true;
        } else {
            self.agent_due(machine, 0);
        }
        if ends {
            self.of_machine(FINAL_BEAT_MS, machine, OfMachine::Ends);
        }
    }

    pub(crate) fn agent_ends(&mut self, machine: usize) {
        let hangs = self.faults.hangs_on_the_way_down;
        let hangs = self.faults.chance(&mut self.rng, hangs);
        let Some(agent) = self.machines[machine].agent() else {
            return;
        };
        if agent.hung {
            return;
        }
        match agent.current.ending() {
            Some(_) if hangs => {
                agent.hung = true;
                self.tally.hung_on_the_way_down += 1;
                self.note("hangs on the way down", machine, String::new);
            }
            Some(Ending::Reboot) => self.reset(machine),
            Some(Ending::PowerOff) => self.set_power(machine, false),
            None => {}
        }
    }
}
