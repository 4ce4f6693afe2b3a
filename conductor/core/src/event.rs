//! All that can happen to a node: an operator asks, a ramdisk speaks, a BMC act ends, time passes.
//! `decide` says what follows from it.
use crate::allocation::Wanted;
use crate::hints::Hints;
use crate::id::{Actor, NodeName, OpId, RequestId};
use crate::manual::Wish;
use crate::node::{
    BmcAccess, BootDevice, Candidate, ImageSource, MeasuredBoot, NewInstance, Node, RescueLogin,
    Secret, Sign,
};
use crate::patch::Patch;
use crate::time::Time;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use ironbeat_common::heartbeat::{Outcome, Status};
use ironbeat_common::id::{AllocationId, BootId, Mac, NodeId, SystemUuid};
use ironbeat_common::image::Digest;
use ironbeat_common::inventory::{BootMode, Inventory};
use ironbeat_common::login::UserKey;
use serde::{Deserialize, Serialize};

/// Everything that can happen to a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// An operator makes a node known: the one event of a node that is not there yet.
    Enrolled(Enrolment),
    /// An operator asked for something; a repeat carries the same request id.
    Asked { request: RequestId, verb: Verb },
    /// A machine was seen on its way to the ramdisk.
    Seen { sign: Sign, at: Time },
    /// A machine asked at `at` for the boot script of this node, which is to boot the ramdisk: it gets one with this ticket,
    /// if the record says so afterwards.
    Script { ticket: UserKey, at: Time },
    /// A ramdisk looked up and was matched to this node.
    Booted {
        boot: BootId,
        inventory: Inventory,
        #[serde(default)]
        proof: Proof,
        #[serde(default)]
        measured: MeasuredBoot,
    },
    /// The NATS servers accept logins with these keys no longer.
    LoginsEnded { keys: Vec<UserKey> },
    /// What the machine of this boot is known by, as far as it is no other node's.
    Identified { boot: BootId, marks: Marks },
    /// Whoever has this token says that the instance runs.
    Confirmed { sha256: Digest<32> },
    /// An agent's heartbeat.
    Beat { boot: BootId, status: Status },
    /// The outcome of an act.
    Bmc {
        op: OpId,
        result: Result<BmcReport, BmcFault>,
    },
    /// The time in `wake_at` has come, as far as the sender can see. Carries the last beat, which is not in the record.
    Alarm { last_beat: Option<LastBeat> },
    /// A worker's presence has lapsed, and with it its right to the act that it had until then. Another act, begun since,
    /// is one that it came back for. `replaced`: another life of it has the name, which is certain.
    WorkerLost {
        #[serde(flatten)]
        actor: Actor,
        until: Time,
        #[serde(default)]
        replaced: bool,
    },
    /// A job that was in line begins. `place`: which of the places for its kind it has from now on; none: they are not
    /// counted.
    Turn { place: Option<u16> },
    /// A worker asked the BMC for the power state at `at`, of its own accord. `troubles`: how many readings in a row,
    /// this one included, failed or differed from the record; the worker counts them.
    PowerRead {
        at: Time,
        result: Result<BmcReport, BmcFault>,
        troubles: u32,
    },
    /// While the BMC's password is being changed, somebody logged in, with the secrets of this version: which password the
    /// BMC accepts. None: none of them.
    PasswordFound {
        version: OpId,
        found: Option<Candidate>,
    },
}

/// How a ramdisk shows that it comes from this node's boot script.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// Nobody needs a login here.
    #[default]
    NotAsked,
    /// It shows none.
    Missing,
    /// It has signed with this ticket that `key` is its own.
    Ticket { ticket: UserKey, key: UserKey },
}

/// An operator's description of a new node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Enrolment {
    pub id: NodeId,
    pub name: Option<NodeName>,
    pub bmc: BmcAccess,
    pub macs: Vec<Mac>,
    pub system_uuid: Option<SystemUuid>,
    pub serial: Option<String>,
    pub boot_mode: Option<BootMode>,
    pub secure_boot: Option<bool>,
    pub root_device: Hints,
    pub skip_block_devices: Vec<Hints>,
    /// What else is said of it, of what belongs to no field here: class, owner, traits, notes.
    pub further: Box<Patch>,
    /// From its machine's lookup before it was enrolled: fills in what is not given.
    pub inventory: Option<Inventory>,
}

impl Event {
    /// Whether the decision compares with the BMC's secrets, which lie beside the record.
    pub fn needs_secrets(&self, node: &Node) -> bool {
        match self {
            Event::Enrolled(_) => true,
            Event::Asked {
                verb: Verb::Set(patch),
                ..
            } => patch.is_of_bmc(),
            Event::Asked {
                verb: Verb::SetPassword(_),
                ..
            } => true,
            Event::Bmc { .. } | Event::PasswordFound { .. } => node.password_change.is_some(),
            // It may end one that no BMC has heard of.
            Event::Asked {
                verb: Verb::Abort, ..
            } => node.password_change.is_some(),
            Event::Asked { .. }
            | Event::Booted { .. }
            | Event::Seen { .. }
            | Event::Script { .. }
            | Event::LoginsEnded { .. }
            | Event::Identified { .. }
            | Event::Confirmed { .. }
            | Event::Beat { .. }
            | Event::Alarm { .. }
            | Event::WorkerLost { .. }
            | Event::Turn { .. }
            | Event::PowerRead { .. } => false,
        }
    }

    /// Whether an inspection says that it is done: rules say what follows from what it found.
    pub fn needs_rules(&self) -> bool {
        matches!(
            self,
            Event::Beat {
                status: Status::Done {
                    outcome: Outcome::Inventory(_),
                    ..
                },
                ..
            }
        )
    }

    /// Whether the decision compares with the operator's notes, which lie beside the record.
    pub fn needs_notes(&self) -> bool {
        match self {
            Event::Enrolled(_) => true,
            Event::Beat { .. } => self.needs_rules(),
            Event::Asked {
                verb: Verb::Set(patch),
                ..
            } => patch.is_of_notes(),
            Event::Asked { .. }
            | Event::Booted { .. }
            | Event::Seen { .. }
            | Event::Script { .. }
            | Event::LoginsEnded { .. }
            | Event::Identified { .. }
            | Event::Confirmed { .. }
            | Event::Bmc { .. }
            | Event::Alarm { .. }
            | Event::WorkerLost { .. }
            | Event::Turn { .. }
            | Event::PasswordFound { .. }
            | Event::PowerRead { .. } => false,
        }
    }

    /// Whether the decision keeps a part of the instance's data, which lies beside the record.
    pub fn needs_instance_data(&self, node: &Node) -> bool {
        match self {
            Event::Asked {
                verb: Verb::Rebuild(Some(instance)),
                ..
            } => {
                let kept = [&instance.user_data, &instance.network_data];
                let kept = kept.iter().filter(|given| given.is_none()).count();
                let present = node.instance.as_ref().map(|present| &present.image.source);
                let signed = present.is_some_and(ImageSource::is_masked)
                    || instance.image.source != instance.image.source.without_query();
                // With neither given, no token, and no query that comes or goes, the document stays as it is.
                kept == 1 || kept == 2 && (instance.token.is_some() || signed)
            }
            Event::Enrolled(_)
            | Event::Asked { .. }
            | Event::Booted { .. }
            | Event::Seen { .. }
            | Event::Script { .. }
            | Event::LoginsEnded { .. }
            | Event::Identified { .. }
            | Event::Confirmed { .. }
            | Event::Beat { .. }
            | Event::Bmc { .. }
            | Event::Alarm { .. }
            | Event::WorkerLost { .. }
            | Event::Turn { .. }
            | Event::PasswordFound { .. }
            | Event::PowerRead { .. } => false,
        }
    }
}

/// By which a machine is recognised, whatever boots on it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Marks {
    pub macs: Vec<Mac>,
    pub uuid: Option<SystemUuid>,
    pub serial: Option<String>,
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
    Deploy(NewInstance),
    /// Deploy again; what is not given stays as it is.
    Rebuild(Option<NewInstance>),
    Undeploy,
    /// Take the machine over as it is: it serves this instance.
    Adopt(NewInstance),
    /// Do these steps on a machine that serves nobody.
    Clean(Wish),
    /// Do these steps on a machine that serves its owner, and have it do so again.
    Service(Wish),
    /// Boot the ramdisk and let people in who have this login; the disks stay as they are.
    Rescue(RescueLogin),
    /// Have the machine serve its owner again.
    Unrescue,
    Abort,
    /// Begin nothing more of the job under way.
    Hold,
    /// Go on with what is held.
    Unhold,
    /// `None` ends it.
    Maintenance(Option<String>),
    Set(Box<Patch>),
    /// Give it to this allocation, if it fits.
    Allocate {
        allocation: AllocationId,
        wanted: Box<Wanted>,
    },
    /// End this allocation, if it has it.
    Deallocate(AllocationId),
    /// Forget the node.
    Delete,
    Power(PowerVerb),
    BootDevice {
        device: BootDevice,
        persistent: bool,
    },
    /// Restart the BMC; the machine goes on. Carried out at most once.
    ResetBmc,
    /// Give the user that we log in as another password on the BMC.
    SetPassword(Secret),
}

/// Ironic's power targets, and what else a BMC can do to the power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PowerVerb {
    On,
    Off,
    /// Off, then on, each confirmed.
    Reboot,
    /// Ask the operating system to switch off. Without a time it gets `Policy::soft_power_off_secs`.
    SoftOff {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_secs: Option<u32>,
        /// When the time is over, switch off by force; otherwise the job fails.
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
    pub fn set(patch: Patch) -> Self {
        Self::Set(Box::new(patch))
    }

    pub fn name(&self) -> &'static str {
        match self {
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
            Verb::Deallocate(_) => "end the allocation of",
            Verb::Delete => "delete",
            Verb::Power(_) => "change the power of",
            Verb::BootDevice { .. } => "set the boot device of",
            Verb::ResetBmc => "reset the BMC of",
            Verb::SetPassword(_) => "set the BMC password of",
        }
    }
}

/// The act was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BmcReport {
    /// The power as the BMC last reported it.
    pub power_on: bool,
}

/// The act was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BmcFault {
    /// What was attempted on what, and why it did not work. Holds no secret.
    pub what: String,
    /// Another try cannot help: wrong password, no such user, too little privilege.
    pub permanent: bool,
    /// The BMC accepted this power command, but nobody could see whether it was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Accepted>,
    /// Of [`BmcAct::SetPassword`](crate::node::BmcAct::SetPassword): this try has not told the BMC the new password.
    #[serde(default)]
    pub untold: bool,
    /// The worker had to let go of the act, as it might not act any more: the BMC is not to blame.
    #[serde(default)]
    pub let_go: bool,
}

/// A power command that a BMC accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accepted {
    PowerOn,
    PowerOff,
}
