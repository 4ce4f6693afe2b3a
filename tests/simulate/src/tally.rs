//! What a run has seen: decisions, and which events met which states.
//! What was wrong with it is in `judge`.
use ironbeat_common::heartbeat::Status;
use ironbeat_core::decide::{Event, Verb};
use ironbeat_core::node::{Node, Phase, State};
use std::collections::BTreeSet;

/// No node, fourteen rests, eleven kinds of jobs in the phases that each can have, three of them in line, four on hold, two waiting.
const STATES: usize = 1 + 14 + 5 * 2 + 6 * 4 + 3 + 4 + 2;
/// What [`event_name`] says.
const EVENTS: usize = 40;

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
    match event {
        Event::Enrolled(_) => "enrolled",
        Event::Asked { verb, .. } => match verb {
            Verb::Manage => "manage",
            Verb::Inspect => "inspect",
            Verb::Provide => "provide",
            Verb::Deploy(_) => "deploy",
            Verb::Rebuild(_) => "rebuild",
            Verb::Undeploy => "undeploy",
            Verb::Adopt(_) => "adopt",
            Verb::Clean(_) => "clean",
            Verb::Service(_) => "service",
            Verb::Rescue(_) => "rescue",
            Verb::Unrescue => "unrescue",
            Verb::Abort => "abort",
            Verb::Hold => "hold",
            Verb::Unhold => "unhold",
            Verb::Maintenance(_) => "maintenance",
            Verb::Set(_) => "set",
            Verb::Allocate { .. } => "allocate",
            Verb::Deallocate(_) => "deallocate",
            Verb::Delete => "delete",
            Verb::Power(_) => "power",
            Verb::BootDevice { .. } => "boot-device",
            Verb::ResetBmc => "reset-bmc",
            Verb::SetPassword(_) => "set-password",
        },
        Event::Seen { .. } => "seen",
        Event::Script { .. } => "script",
        Event::Booted { .. } => "booted",
        Event::LoginsEnded { .. } => "logins-ended",
        Event::Identified { .. } => "identified",
        Event::Confirmed { .. } => "confirmed",
        Event::Beat { status, .. } => match status {
            Status::Idle => "beat-idle",
            Status::Running { .. } => "beat-running",
            Status::Done { .. } => "beat-done",
            Status::Failed { .. } => "beat-failed",
        },
        Event::Bmc { result: Ok(_), .. } => "bmc-ok",
        Event::Bmc { result: Err(_), .. } => "bmc-fault",
        Event::Alarm { .. } => "alarm",
        Event::WorkerLost { .. } => "worker-lost",
        Event::Turn { .. } => "turn",
        Event::PowerRead { result: Ok(_), .. } => "power-read",
        Event::PowerRead { result: Err(_), .. } => "power-unread",
        Event::PasswordFound { .. } => "password-found",
    }
}

fn state_name(node: Option<&Node>) -> String {
    let Some(node) = node else {
        return "none".into();
    };
    match &node.state {
        State::Resting(rest) => format!("{rest:?}"),
        State::Busy(job) => format!("{:?}/{}", job.kind, phase_name(&job.phase)),
    }
}

fn phase_name(phase: &Phase) -> &'static str {
    match phase {
        Phase::InLine { .. } => "in line",
        Phase::Held { .. } => "on hold",
        Phase::Waiting { .. } => "waiting",
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
        let by_agent = [
            JobKind::Inspect,
            JobKind::Deploy,
            JobKind::Clean,
            JobKind::ManualClean,
            JobKind::Service,
            JobKind::Rescue,
        ];
        let phases = JobKind::ALL
            .iter()
            .map(|kind| match by_agent.contains(kind) {
                true => 4,
                false => 2,
            });
        let (in_line, on_hold, waiting) = (3, 4, 2);
        assert_eq!(
            STATES,
            1 + Rest::ALL.len() + phases.sum::<usize>() + in_line + on_hold + waiting
        );
    }
}
