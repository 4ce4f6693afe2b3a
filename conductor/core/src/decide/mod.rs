//! The deciding core: `decide(node, event) -> node and effects`. All that can happen to a node is on this page.
//! It reads no clock and touches nothing; the conductor loads, calls this, saves by compare-and-swap, and only then acts.
mod agent;
mod alarm;
mod bmc;
#[cfg(test)]
mod histories;
mod job;
mod power;
#[cfg(test)]
mod power_tests;
#[cfg(test)]
mod tests;
mod verbs;

use crate::hints::Hints;
use crate::id::{NodeName, OpId, RequestId, WorkerId};
use crate::node::{BmcAccess, BmcAct, BootDevice, Instance, Node};
use crate::time::Time;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use ironbeat_common::heartbeat::Status;
use ironbeat_common::id::{BootId, Mac};
use ironbeat_common::inventory::{BootMode, Inventory};
use serde::{Deserialize, Serialize};

pub use agent::wanted;
pub use bmc::{BmcFault, BmcReport};
pub use power::power_is_synced;

/// Everything that can happen to a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "an event lives on the stack of one decision"
)]
pub enum Event {
    /// An operator asked for something; a repeat carries the same request id.
    Asked { request: RequestId, verb: Verb },
    /// A ramdisk looked up and was matched to this node.
    Booted { boot: BootId, inventory: Inventory },
    /// An agent's heartbeat.
    Beat { boot: BootId, status: Status },
    /// What came of an act.
    Bmc {
        op: OpId,
        result: Result<BmcReport, BmcFault>,
    },
    /// The time in `wake_at` has come, as far as the sender knows. Brings the last beat along, which was not stored here.
    Alarm { last_beat: Option<LastBeat> },
    /// A worker's presence has lapsed, and with it its right to act.
    WorkerLost { worker: WorkerId },
    /// The BMC was asked for the power state at `at`, of the worker's own accord. `troubles`: how many readings in a
    /// row, this one included, failed or differed from the record; counted by who reads.
    PowerRead {
        at: Time,
        result: Result<BmcReport, BmcFault>,
        troubles: u32,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastBeat {
    pub boot: BootId,
    pub at: Time,
    pub status: Status,
}

/// What an operator can ask of a node; Ironic's verbs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    Manage,
    Inspect,
    Provide,
    Deploy(Instance),
    /// Deploy again; what is not given stays as it is.
    Rebuild(Option<Instance>),
    Undeploy,
    Abort,
    /// `None` ends it.
    Maintenance(Option<String>),
    Set(Patch),
    Power(PowerVerb),
    BootDevice {
        device: BootDevice,
        persistent: bool,
    },
}

/// Ironic's power targets, and what else a BMC can do to the power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerVerb {
    On,
    Off,
    /// Off, then on, each confirmed.
    Reboot,
    /// The operating system is asked to switch off. Without a time it gets [`Policy::soft_power_off_secs`].
    SoftOff {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_secs: Option<u32>,
        /// By force when the time is over; else that is a failure.
        #[serde(default)]
        then_hard: bool,
    },
    /// As `SoftOff`, then on.
    SoftReboot {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_secs: Option<u32>,
        #[serde(default)]
        then_hard: bool,
    },
    /// The BMC's own off and on; carried out at most once.
    Cycle,
    /// The reset line; carried out at most once.
    Reset,
    /// A diagnostic interrupt (NMI); carried out at most once.
    Diag,
}

impl Verb {
    pub fn name(&self) -> &'static str {
        match self {
            Verb::Manage => "manage",
            Verb::Inspect => "inspect",
            Verb::Provide => "provide",
            Verb::Deploy(_) => "deploy",
            Verb::Rebuild(_) => "rebuild",
            Verb::Undeploy => "undeploy",
            Verb::Abort => "abort",
            Verb::Maintenance(_) => "maintenance",
            Verb::Set(_) => "set",
            Verb::Power(_) => "change the power of",
            Verb::BootDevice { .. } => "set the boot device of",
        }
    }
}

/// What of a node's description shall change; absent fields stay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<NodeName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc: Option<BmcAccess>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub macs: Option<Vec<Mac>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_mode: Option<BootMode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_device: Option<Hints>,
}

/// What the winner of the save does next, and nobody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Do it by `until` of your own clock, or stop; report as `Event::Bmc` with this `op`.
    Bmc { op: OpId, act: BmcAct, until: Time },
    /// Tell the agent to heartbeat now.
    Nudge,
}

/// The new record, what to do once it is saved, and why, in a few words for the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub node: Node,
    pub effects: Vec<Effect>,
    pub because: String,
}

/// The event changes nothing, and its sender should know why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejected {
    /// The verb is not possible in this state.
    WrongState {
        verb: String,
        state: String,
    },
    InMaintenance {
        verb: String,
        reason: String,
    },
    Invalid {
        why: String,
    },
    /// The heartbeat's boot is not the one this node listens to.
    UnknownBoot,
    /// A lookup of a boot that has already been replaced by a later one.
    OldBoot,
    /// A ramdisk is up on a node that has no work for it.
    AgentNotWanted {
        state: String,
    },
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejected::WrongState { verb, state } => {
                write!(f, "cannot {verb} a node that is {state}")
            }
            Rejected::InMaintenance { verb, reason } => {
                write!(f, "cannot {verb}: the node is in maintenance ({reason})")
            }
            Rejected::Invalid { why } => f.write_str(why),
            Rejected::UnknownBoot => f.write_str("this boot is not the node's present one"),
            Rejected::OldBoot => f.write_str("this boot was replaced by a later one"),
            Rejected::AgentNotWanted { state } => {
                write!(f, "no work for a ramdisk: the node is {state}")
            }
        }
    }
}

impl core::error::Error for Rejected {}

/// What a decision may know beside the node and the event.
#[derive(Clone, Copy, Debug)]
pub struct Ctx<'a> {
    pub now: Time,
    /// Fresh for every call: names the write and the act that follows.
    pub op: &'a OpId,
    pub worker: &'a WorkerId,
    pub policy: &'a Policy,
}

/// The operator's time-outs and limits. Each default is Ironic's where it has one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// A machine that has not beaten for this long is lost (Ironic `ramdisk_heartbeat_timeout`).
    pub heartbeat_timeout_secs: u32,
    /// From power-on to lookup. With [`Policy::max_boots`] it makes up Ironic's `deploy_callback_timeout` of 1800 s.
    pub boot_timeout_secs: u32,
    /// How often one job boots the ramdisk before it gives up.
    pub max_boots: u32,
    /// How often one step is begun before the job gives up.
    pub max_tries: u32,
    /// What a worker has for one act, POST excluded: power off and on again, each confirmed within 60 s
    /// (Ironic `power_state_change_timeout`), and room for retransmissions.
    pub bmc_budget_secs: u32,
    /// First pause after a BMC failure; doubled each time, up to [`Policy::bmc_backoff_cap_secs`].
    pub bmc_backoff_secs: u32,
    pub bmc_backoff_cap_secs: u32,
    /// What any agent step may take at most.
    pub step_budget_secs: u32,
    /// A step whose progress has not changed for this long has hung, however alive its agent is.
    pub step_stall_secs: u32,
    /// How long inspection waits for LLDP; switches send every 30 s by default.
    pub lldp_wait_secs: u32,
    /// Erase metadata on the way to `available` (Ironic `automated_clean`).
    pub automated_clean: bool,
    /// How long an operating system has for switching off (Ironic `soft_power_off_timeout`).
    pub soft_power_off_secs: u32,
    /// How often every BMC is asked for the power state; 0: never (Ironic `sync_power_state_interval`).
    pub power_sync_secs: u32,
    /// More troubles in a row than this put the node into maintenance (Ironic `power_state_sync_max_retries`).
    pub power_sync_max_retries: u32,
    /// How often a node in maintenance for its power is asked again (Ironic `power_failure_recovery_interval`).
    pub power_recovery_secs: u32,
    /// A power state that nobody ordered is put right; else it is recorded (Ironic's option of this name).
    pub force_power_state_during_sync: bool,
    /// A reading that agrees is recorded when the recorded one is older than this, to save writes.
    pub power_evidence_secs: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            heartbeat_timeout_secs: 300,
            boot_timeout_secs: 900,
            max_boots: 2,
            max_tries: 5,
            bmc_budget_secs: 180,
            bmc_backoff_secs: 2,
            bmc_backoff_cap_secs: 60,
            step_budget_secs: 7200,
            step_stall_secs: 600,
            lldp_wait_secs: 32,
            automated_clean: true,
            soft_power_off_secs: 600,
            power_sync_secs: 120,
            power_sync_max_retries: 3,
            power_recovery_secs: 300,
            force_power_state_during_sync: true,
            power_evidence_secs: 900,
        }
    }
}

fn secs(seconds: u32) -> Duration {
    Duration::from_secs(u64::from(seconds))
}

/// One event, one answer. Delivering the same event twice gives the same node as once, and no further effect.
///
/// # Errors
/// When the event is not possible now; the node is as it was.
pub fn decide(node: &Node, event: &Event, ctx: Ctx<'_>) -> Result<Decision, Rejected> {
    let mut draft = Draft {
        node: node.clone(),
        effects: Vec::new(),
        ctx,
    };
    let because = match event {
        Event::Asked { request, verb } => verbs::asked(&mut draft, request, verb)?,
        Event::Booted { boot, inventory } => agent::booted(&mut draft, *boot, inventory)?,
        Event::Beat { boot, status } => agent::beat(&mut draft, *boot, status)?,
        Event::Bmc { op, result } => bmc::reported(&mut draft, op, result),
        Event::Alarm { last_beat } => alarm::due(&mut draft, last_beat.as_ref()),
        Event::WorkerLost { worker } => alarm::worker_lost(&mut draft, worker),
        Event::PowerRead {
            at,
            result,
            troubles,
        } => power::read(&mut draft, *at, result, *troubles),
    };
    Ok(draft.finish(node, because))
}

/// A decision in the making.
struct Draft<'a> {
    node: Node,
    effects: Vec<Effect>,
    ctx: Ctx<'a>,
}

impl Draft<'_> {
    /// What follows from the rest of the record is written here, once: since when, the alarm, who wrote it.
    fn finish(mut self, before: &Node, because: String) -> Decision {
        self.node.wake_at = job::wake_at(&self.node, self.ctx.policy);
        if self.node.state.provision_state() != before.state.provision_state() {
            self.node.since = self.ctx.now;
        }
        if self.node != *before {
            self.node.op = self.ctx.op.clone();
        }
        Decision {
            node: self.node,
            effects: self.effects,
            because,
        }
    }
}
