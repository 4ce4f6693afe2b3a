//! The node record: one JSON document per node, its lock and its state. Nothing secret or large is in it: see `beside`.
//! `decide` changes it; the conductor stores it and decides who may write it.
mod access;
mod address;
mod astray;
mod beside;
mod cipher;
mod cleaned;
mod collisions;
mod error;
mod flagged;
mod hide;
mod instance;
mod job;
mod kg;
mod measured;
mod notes;
mod password;
mod power;
mod rescue;
mod schema;
mod secret;
mod spec;
mod step;
mod ticket;
mod traits;

use crate::hints::Hints;
use crate::id::{NodeName, OpId, RequestId};
use crate::time::Time;
use alloc::string::String;
use alloc::vec::Vec;
use ironbeat_common::id::{AllocationId, BootId, Mac, NodeId, StepId, SystemUuid};
use ironbeat_common::inventory::BootMode;
use serde::{Deserialize, Serialize};

pub use access::{BmcAccess, BmcEndpoint, BmcSecrets};
pub use address::{BadAddress, BmcAddress, Host};
pub use astray::Astray;
pub use beside::{Beside, BesideKind, Versions};
pub use cipher::{BadSuite, CipherSuite};
pub use cleaned::{LeftAlone, LeftDisk, MAX_LEFT_DISKS, WhyLeft};
pub use collisions::{Collisions, MAX_PLACES};
pub use error::{During, LastError};
pub use flagged::Flagged;
pub use instance::{
    BadSource, Confirm, ConfirmToken, FileName, HttpUrl, Image, ImageSource, Instance,
    InstanceData, NewInstance,
};
pub(crate) use job::deaths;
pub use job::{Bounded, Goal, Instead, Job, Mark, Phase, Sign, State, Work};
pub use kg::{BadKgKey, KgKey};
pub use measured::{MeasuredBoot, Part, Unknown};
pub(crate) use notes::merge;
pub use notes::{MAX_DESCRIPTION, MAX_OBJECT_BYTES, Notes};
pub use password::{Candidate, MAX_PASSWORD, PasswordChange, SHORT_PASSWORD, check_password};
pub use power::{HardwareFault, Maintenance, Power, PowerSource};
pub use rescue::{Rescue, RescueLogin};
pub use schema::SCHEMA;
pub(crate) use secret::KEPT_BACK;
pub use secret::Secret;
pub use spec::{JobKind, Names, OnFailure, Rest, Spec};
pub use step::{
    AgentStep, BMC_RESTART_SECS, BmcAct, BootDevice, Delivery, LEAVE_SECS, RescueSystem, Step,
    WriteImage,
};
pub use ticket::{Ended, MAX_ENDED, MAX_VOID, Rival, RivalSign, Ticket, Tickets, Used};
pub use traits::{MAX_TRAIT_BYTES, MAX_TRAITS, Trait};

/// Requests remembered, to recognise repetitions. A client repeats within seconds.
pub const MAX_REQUESTS: usize = 16;
/// Boots remembered, to refuse late messages of old ones.
pub const MAX_PAST_BOOTS: usize = 4;
/// Entries of a skip list: a server has a few disks that nobody may touch, or many that one hint fits.
pub const MAX_SKIPS: usize = 16;
/// MAC addresses a node may claim: one claim key each. The largest servers have fewer ports.
pub const MAX_MACS: usize = 32;
/// As SMBIOS bounds nothing, and a record must stay small.
pub const MAX_SERIAL_BYTES: usize = 255;
/// Characters of a resource class, as in Ironic.
pub const MAX_RESOURCE_CLASS: usize = 80;
/// Characters of an owner and of a lessee, as in Ironic.
pub const MAX_OWNER: usize = 255;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its version, see [`Node::lowest_schema`]. A worker refuses a record of a later version than it knows rather than lose fields of it.
    pub schema: u32,
    pub id: NodeId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<NodeName>,
    pub bmc: BmcEndpoint,
    #[serde(default)]
    pub macs: Vec<Mac>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_uuid: Option<SystemUuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// How the firmware should boot; none: see `boot::firmware_mode`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_mode: Option<BootMode>,
    /// Whether UEFI firmware starts signed loaders only; none: see `boot::loader_of`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<bool>,
    /// Choose the root device, unless the instance says otherwise.
    #[serde(default, skip_serializing_if = "Hints::is_empty")]
    pub root_device: Hints,
    /// Disks that are neither cleaned nor deployed to: those that all hints of one entry fit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip_block_devices: Vec<Hints>,
    /// What kind of machine it is, for those who allocate: `baremetal-large`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_class: Option<String>,
    /// Whose machine it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Who uses it at present, by leave of the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lessee: Option<String>,
    /// In order, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traits: Vec<Trait>,
    /// Its instance is not taken away: no undeploy, no rebuild, no delete. Only where there is an instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected: Option<Flagged>,
    /// It serves nobody else after its present instance: it is not made available, and not deployed. Never while it is available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired: Option<Flagged>,
    /// Nobody switches it off: an operator's reboot is a reset, and jobs that boot the ramdisk do not begin.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub disable_power_off: bool,
    /// Whether it is cleaned on its way to `available`; none: as the policy has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub automated_clean: Option<bool>,
    /// Whose it is, of those who asked for any node of its kind; it ends with the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation: Option<AllocationId>,
    /// The owner's order; present exactly from deploy to the end of undeploy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Instance>,
    pub state: State,
    /// When `state` last changed its name.
    pub since: Time,
    /// When to look at this node again without being asked. Present exactly while it is busy and nobody holds its job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_at: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<Power>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// What the last job of the node's life failed at. No verb for the BMC alone and no power reading changes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
    /// What went wrong beside the node's life: the last verb for the BMC alone, the power sync, a disk that does not boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc_error: Option<LastError>,
    /// The ramdisk that may speak for this node, or was the last that might.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootId>,
    #[serde(default)]
    pub past_boots: Vec<BootId>,
    /// How that ramdisk has to show that it is this node's.
    #[serde(default, skip_serializing_if = "Tickets::is_empty")]
    pub tickets: Tickets,
    /// The firmware mode that the ramdisk found at its last lookup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found_boot_mode: Option<BootMode>,
    /// What was measured of the last ramdisk that looked up, with its ticket where it needs one. None: nobody compares it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_boot: Option<MeasuredBoot>,
    /// Of a node that is active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub astray: Option<Astray>,
    /// Other disks that may be taken for the deployed one.
    #[serde(default, skip_serializing_if = "Collisions::is_empty")]
    pub collisions: Collisions,
    /// Disks that the last cleaning did not erase.
    #[serde(default, skip_serializing_if = "LeftAlone::is_empty")]
    pub left_alone: LeftAlone,
    /// How people reach the rescue system, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rescue: Option<Rescue>,
    /// The BMC's password is being changed, and nobody knows yet which one it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_change: Option<PasswordChange>,
    /// What is large or secret lies in documents of its own; this says which.
    pub beside: Versions,
    /// Steps and acts are numbered from this.
    pub counter: u64,
    #[serde(default)]
    pub requests: Vec<RequestId>,
    /// The write that made this revision: after an unclear write, it tells whether that one landed.
    pub op: OpId,
}

impl Node {
    /// Maintenance holds its job: nothing new is asked of the machine, and no time counts. What an operator asks of the BMC
    /// alone is done, and so is what tidies up.
    pub fn is_held(&self) -> bool {
        let holds = |job: &Job| job.kind != JobKind::Bmc && !job.is_tidying();
        self.maintenance.is_some() && self.job().is_some_and(holds)
    }

    /// When its BMC said that the machine is off, in the middle of a step of its agent, of which nobody has heard since.
    pub fn off_since(&self) -> Option<Time> {
        let seen = match self.job().map(|job| &job.phase) {
            Some(Phase::AgentStep { seen, .. }) => *seen,
            Some(
                Phase::InLine { .. }
                | Phase::Held { .. }
                | Phase::Waiting { .. }
                | Phase::Acting { .. }
                | Phase::Backoff { .. }
                | Phase::AwaitingAgent { .. },
            )
            | None => return None,
        };
        let power = self.power.as_ref()?;
        let said = !power.on && power.source == PowerSource::Bmc && power.at > seen;
        said.then_some(power.at)
    }

    /// The step that its agent is to run now.
    pub fn agent_step(&self) -> Option<StepId> {
        match self.job().map(|job| &job.phase) {
            Some(Phase::AgentStep { id, .. }) => Some(*id),
            Some(
                Phase::InLine { .. }
                | Phase::Held { .. }
                | Phase::Waiting { .. }
                | Phase::Acting { .. }
                | Phase::Backoff { .. }
                | Phase::AwaitingAgent { .. },
            )
            | None => None,
        }
    }

    /// Ironic's `target_provision_state`: where a busy or failed node is headed.
    pub fn target_provision_state(&self) -> Option<&'static str> {
        match self.state.target_provision_state() {
            Some(target) if target == Rest::Available.name() => {
                Some(self.or_retired(Rest::Available).name())
            }
            target => target,
        }
    }

    /// Where it rests instead, should it be retired.
    pub(crate) fn or_retired(&self, rest: Rest) -> Rest {
        match rest == Rest::Available && self.retired.is_some() {
            true => Rest::Manageable,
            false => rest,
        }
    }

    /// Whether its machine serves somebody, or is on its way back to that.
    pub fn serves(&self) -> bool {
        let served = |rest: Rest| {
            matches!(
                rest,
                Rest::Active
                    | Rest::ServiceFailed
                    | Rest::Rescue
                    | Rest::RescueFailed
                    | Rest::UnrescueFailed
            )
        };
        match &self.state {
            State::Resting(rest) => served(*rest),
            State::Busy(job) => match (job.kind, job.goal) {
                _ if job.instead().is_some() => false,
                (JobKind::Service | JobKind::Rescue | JobKind::Unrescue, _) => true,
                (JobKind::Bmc, Goal::Rest(rest)) => served(rest),
                (
                    JobKind::Verify
                    | JobKind::Inspect
                    | JobKind::Adopt
                    | JobKind::Deploy
                    | JobKind::Delete
                    | JobKind::Clean
                    | JobKind::ManualClean
                    | JobKind::Bmc,
                    _,
                ) => false,
            },
        }
    }

    pub(crate) fn job_mut(&mut self) -> Option<&mut Job> {
        match &mut self.state {
            State::Busy(job) => Some(job),
            State::Resting(_) => None,
        }
    }

    pub fn job(&self) -> Option<&Job> {
        match &self.state {
            State::Busy(job) => Some(job),
            State::Resting(_) => None,
        }
    }
}
