//! What every worker keeps of every node: enough for lists, lookups, boot scripts, alarms and the power sync.
//! It travels beside the record; every decision reads the record itself.
use crate::boot::{Boot, boot_for};
use crate::id::{Actor, NodeName, OpId};
use crate::node::{
    BmcAddress, Ended, Job, LastError, Maintenance, Node, Phase, Power, Rest, Trait,
};
use crate::time::Time;
use crate::turn::Turn;
use alloc::string::String;
use alloc::vec::Vec;
use ironbeat_common::heartbeat::Status;
use ironbeat_common::id::{AllocationId, BootId, Mac, NodeId, StepId, SystemUuid};
use ironbeat_common::login::UserKey;
use serde::{Deserialize, Serialize};

/// An entry repeats this many characters of an error, for a line of a list. The record has it whole.
const MAX_ERROR_CHARS: usize = 200;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Of its record: what a later version wrote is not understood.
    pub schema: u32,
    pub id: NodeId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<NodeName>,
    /// Ironic's names.
    pub provision_state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_provision_state: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_power_state: Option<String>,
    /// None: it is busy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<Rest>,
    pub since: Time,
    /// Its alarm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_at: Option<Time>,
    /// Of a job of which only so many run at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<Turn>,
    /// Who drives its BMC now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acting: Option<Actor>,
    /// The act that it shall let go of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<OpId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<Power>,
    /// What its agent was told to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentAt>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc_error: Option<String>,
    /// The ticket with which its ramdisk comes, or came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<UserKey>,
    /// See [`crate::node::Tickets`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<Ended>,
    /// What it boots.
    pub boot: Boot,
    /// See [`crate::boot::loader_of`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<bool>,
    pub bmc: BmcAddress,
    /// See [`crate::node::Versions`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc_secrets: Option<OpId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub macs: Vec<Mac>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_uuid: Option<SystemUuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_class: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lessee: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traits: Vec<Trait>,
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub protected: bool,
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub retired: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation: Option<AllocationId>,
}

/// It is in line, and maintenance keeps its turn from coming.
fn lets_others_pass(node: &Node) -> bool {
    let in_line = |job: &Job| matches!(job.phase, Phase::InLine { .. });
    node.is_held() && node.job().is_some_and(in_line)
}

/// A step of an agent, in the boot that it was given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentAt {
    pub boot: BootId,
    pub step: StepId,
}

impl Entry {
    /// Whether a beat says what is expected: the agent is at the step that it was given. Such a beat changes nothing, and
    /// is answered with nothing new.
    pub fn goes_on(&self, boot: BootId, status: &Status) -> bool {
        match status {
            Status::Running { step, .. } => self.agent == Some(AgentAt { boot, step: *step }),
            Status::Idle | Status::Done { .. } | Status::Failed { .. } => false,
        }
    }

    pub fn of(node: &Node) -> Self {
        let phase = node.job().map(|job| &job.phase);
        let (acting, stopped, agent) = match phase {
            Some(Phase::Acting {
                worker,
                incarnation,
                op,
                instead,
                ..
            }) => {
                let actor = Actor {
                    worker: worker.clone(),
                    incarnation: *incarnation,
                };
                (Some(actor), instead.as_ref().map(|_| op.clone()), None)
            }
            // Whether it still lives is asked when a boot script was fetched beside it.
            Some(Phase::AgentStep { .. }) if node.tickets.open.is_some() => (None, None, None),
            Some(Phase::AgentStep { id, .. }) => {
                let agent = node.boot.map(|boot| AgentAt { boot, step: *id });
                (None, None, agent)
            }
            Some(
                Phase::InLine { .. }
                | Phase::Held { .. }
                | Phase::Waiting { .. }
                | Phase::Backoff { .. }
                | Phase::AwaitingAgent { .. },
            )
            | None => (None, None, None),
        };
        let short = |error: &LastError| short(&error.what);
        Self {
            schema: node.schema,
            id: node.id,
            name: node.name.clone(),
            provision_state: node.state.provision_state().into(),
            target_provision_state: node.target_provision_state().map(Into::into),
            target_power_state: node.job().and_then(Job::target_power_state).map(Into::into),
            rest: node.state.resting(),
            since: node.since,
            wake_at: node.wake_at,
            turn: node
                .job()
                .filter(|_| !lets_others_pass(node))
                .and_then(Turn::of),
            acting,
            stopped,
            power: node.power.clone(),
            agent,
            maintenance: node.maintenance.clone(),
            last_error: node.last_error.as_ref().map(short),
            bmc_error: node.bmc_error.as_ref().map(short),
            ticket: node.tickets.present(),
            ended: node.tickets.ended.clone(),
            boot: boot_for(node),
            secure_boot: node.secure_boot,
            bmc: node.bmc.address().clone(),
            bmc_secrets: node.beside.bmc_secrets.clone(),
            macs: node.macs.clone(),
            system_uuid: node.system_uuid,
            serial: node.serial.clone(),
            resource_class: node.resource_class.clone(),
            owner: node.owner.clone(),
            lessee: node.lessee.clone(),
            traits: node.traits.clone(),
            protected: node.protected.is_some(),
            retired: node.retired.is_some(),
            allocation: node.allocation,
        }
    }
}

/// What was cut ends in `…`: half a checksum looks like a whole one.
fn short(what: &str) -> String {
    let mut short: String = what.chars().take(MAX_ERROR_CHARS).collect();
    if short.len() < what.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_was_cut_says_so() {
        let whole = "ö".repeat(MAX_ERROR_CHARS);
        assert_eq!(short(&whole), whole);
        assert_eq!(short(&(whole.clone() + "x")), whole + "…");
    }
}
