//! What a run has seen: decisions, and which events met which states.
//! What was wrong with it is in `judge`.
use ironbeat_common::heartbeat::Status;
use ironbeat_core::decide::{Event, Verb};
use ironbeat_core::node::{Node, Phase, State};
use std::collections::BTreeSet;

/// No node, eight rests, six kinds of jobs in the phases that each can have, and two of them in line.
const STATES: usize = 1 + 8 + 3 * 2 + 3 * 4 + 2;
const EVENTS: usize = EVENT_NAMES.len();
const EVENT_NAMES: [&str; 32] = [
    "enrolled",
    "manage",
    "inspect",
    "provide",
    "deploy",
    "rebuild",
    "undeploy",
    "abort",
    "maintenance",
    "set",
    "delete",
    "power",
    "boot-device",
    "reset-bmc",
    "booted",
    "beat-idle",
    "beat-running",
    "beat-done",
    "beat-failed",
    "bmc-ok",
    "bmc-fault",
    "alarm",
    "worker-lost",
    "power-read",
    "power-unread",
    "seen",
    "turn",
    "identified",
    "script",
    "logins-ended",
    "set-password",
    "password-found",
];

/// Of the pairs below, how many could be.
pub const ALL_PAIRS: usize = STATES * EVENTS;

#[derive(Default, Clone)]
pub struct Tally {
    /// Events carried to a node by a worker; a lost race is no second one.
    pub events: u64,
    pub pairs: BTreeSet<(String, &'static str)>,
    /// Steps that were given up, or begun again, because their time was over.
    pub timeouts: Vec<String>,
    /// Second machines that asked for a node's script, and that came with it.
    pub rivals: [u64; 2],
    /// Passwords that BMCs took, and changes that a login settled.
    pub passwords: [u64; 2],
    /// Ramdisks that were told to end, and are as silent as those that did.
    pub hung_on_the_way_down: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.events += other.events;
        self.timeouts.extend(other.timeouts.iter().cloned());
        self.hung_on_the_way_down += other.hung_on_the_way_down;
        for (sum, more) in self.passwords.iter_mut().zip(other.passwords) {
            *sum += more;
        }
        for (sum, more) in self.rivals.iter_mut().zip(other.rivals) {
            *sum += more;
        }
        self.pairs.extend(other.pairs.iter().cloned());
    }

    pub fn met(&mut self, node: Option<&Node>, event: &'static str) {
        let state = state_name(node);
        if !self.pairs.contains(&(state.clone(), event)) {
            self.pairs.insert((state, event));
        }
    }

    pub fn share(&self) -> f64 {
        self.pairs.len() as f64 / ALL_PAIRS as f64
    }
}

pub fn event_name(event: &Event) -> &'static str {
    EVENT_NAMES[match event {
        Event::Enrolled(_) => 0,
        Event::Asked { verb, .. } => match verb {
            Verb::Manage => 1,
            Verb::Inspect => 2,
            Verb::Provide => 3,
            Verb::Deploy(_) => 4,
            Verb::Rebuild(_) => 5,
            Verb::Undeploy => 6,
            Verb::Abort => 7,
            Verb::Maintenance(_) => 8,
            Verb::Set(_) => 9,
            Verb::Delete => 10,
            Verb::Power(_) => 11,
            Verb::BootDevice { .. } => 12,
            Verb::ResetBmc => 13,
            Verb::SetPassword(_) => 30,
        },
        Event::Seen { .. } => 25,
        Event::Identified { .. } => 26,
        Event::Confirmed { .. } => 27,
        Event::Script { .. } => 28,
        Event::LoginsEnded { .. } => 29,
        Event::PasswordFound { .. } => 31,
        Event::Booted { .. } => 14,
        Event::Beat { status, .. } => match status {
            Status::Idle => 15,
            Status::Running { .. } => 16,
            Status::Done { .. } => 17,
            Status::Failed { .. } => 18,
        },
        Event::Bmc { result, .. } => {
            if result.is_ok() {
                19
            } else {
                20
            }
        }
        Event::Alarm { .. } => 21,
        Event::WorkerLost { .. } => 22,
        Event::PowerRead { result, .. } => {
            if result.is_ok() {
                23
            } else {
                24
            }
        }
        Event::Turn { .. } => 25,
    }]
}

fn state_name(node: Option<&Node>) -> String {
    let Some(node) = node else {
        return "none".into();
    };
    match &node.state {
        State::Resting(rest) => rest.name().into(),
        State::Busy(job) => format!("{:?}/{}", job.kind, phase_name(&job.phase)),
    }
}

fn phase_name(phase: &Phase) -> &'static str {
    match phase {
        Phase::InLine { .. } => "in line",
        Phase::Acting { .. } => "acting",
        Phase::Backoff { .. } => "backoff",
        Phase::AwaitingAgent { .. } => "awaiting",
        Phase::AgentStep { .. } => "step",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_core::node::{JobKind, Rest};

    #[test]
    fn the_states_are_counted_as_the_core_has_them() {
        let by_agent = [JobKind::Inspect, JobKind::Deploy, JobKind::Clean];
        let phases = JobKind::ALL
            .iter()
            .map(|kind| match by_agent.contains(kind) {
                true => 4,
                false => 2,
            });
        let in_line = 2;
        assert_eq!(
            STATES,
            1 + Rest::ALL.len() + phases.sum::<usize>() + in_line
        );
    }
}
