//! The node record: one JSON document per node, which is also its lock and its whole state.
//! How it changes is `decide`'s affair; how it is stored and who may write it is the conductor's.
use crate::hints::Hints;
use crate::id::{NodeName, OpId, RequestId, WorkerId};
use crate::time::Time;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use ironbeat_common::heartbeat::Progress;
use ironbeat_common::id::{BootId, Mac, NodeId, StepId, SystemUuid};
use ironbeat_common::image::{Checksum, ImageFormat};
use ironbeat_common::inventory::{BootMode, Inventory};
use ironbeat_common::order::Order;
use serde::{Deserialize, Serialize};

/// Version of the document. A worker refuses a document of a later version rather than lose fields of it.
pub const SCHEMA: u32 = 1;
/// Requests remembered, so that a repeated one is recognised. An operator's client repeats within seconds.
pub const MAX_REQUESTS: usize = 16;
/// Boots remembered, so that a late word of an old one is refused.
pub const MAX_PAST_BOOTS: usize = 4;
/// MAC addresses a node may claim: one claim key each. The largest servers have fewer ports.
pub const MAX_MACS: usize = 32;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    pub schema: u32,
    pub id: NodeId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<NodeName>,
    pub bmc: BmcAccess,
    #[serde(default)]
    pub macs: Vec<Mac>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_uuid: Option<SystemUuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// How the firmware shall boot; none: as it was found, BIOS where nothing was found yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_mode: Option<BootMode>,
    /// Which disk is the root device, unless the instance says otherwise.
    #[serde(default, skip_serializing_if = "Hints::is_empty")]
    pub root_device: Hints,
    /// What the owner asked for; present exactly from deploy to the end of undeploy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Instance>,
    pub state: State,
    /// When `state` last changed its name.
    pub since: Time,
    /// When to look at this node again without being asked. Present exactly while it is busy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_at: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<Power>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
    /// The ramdisk that is, or was last, allowed to speak for this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootId>,
    #[serde(default)]
    pub past_boots: Vec<BootId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<Inventory>,
    /// Steps and acts are numbered from this.
    pub counter: u64,
    #[serde(default)]
    pub requests: Vec<RequestId>,
    /// The write that made this revision: after an unclear write, a reader can tell whether it landed.
    pub op: OpId,
}

/// How to reach the BMC. One variant per protocol; Redfish comes as another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "protocol", rename_all = "lowercase", deny_unknown_fields)]
pub enum BmcAccess {
    Ipmi {
        /// `10.77.1.1`, `10.77.1.1:6230`, `[fd00::1]:623`.
        address: String,
        username: String,
        password: Secret,
        /// Exact RMCP+ cipher suite; none: 17, then 3.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cipher_suite: Option<u8>,
        /// Key K_g, hex.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kg: Option<Secret>,
        /// Speak IPMI 1.5, which protects the password with MD5 and nothing else at all: for BMCs that know no better.
        #[serde(default, skip_serializing_if = "core::ops::Not::not")]
        ipmi_1_5: bool,
    },
}

impl BmcAccess {
    pub fn address(&self) -> &str {
        match self {
            BmcAccess::Ipmi { address, .. } => address,
        }
    }

    /// The host part of the address: what a machine's own BMC address is compared with.
    pub fn host(&self) -> &str {
        let address = self.address();
        if let Some(inner) = address.strip_prefix('[') {
            return inner.split(']').next().unwrap_or(inner);
        }
        match address.rsplit_once(':') {
            Some((host, _)) if !host.contains(':') => host,
            _ => address,
        }
    }
}

/// A password or key. Serialises as it is, for the record alone; shows itself nowhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// What replaces a secret in every reply.
pub const REDACTED: &str = "******";

impl Secret {
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }
    pub fn reveal(&self) -> &str {
        &self.0
    }
    pub fn redacted() -> Self {
        Self(REDACTED.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Node {
    /// The record without its secrets: what replies, events and lists may show.
    pub fn redacted(&self) -> Node {
        let mut node = self.clone();
        match &mut node.bmc {
            BmcAccess::Ipmi { password, kg, .. } => {
                *password = Secret::redacted();
                *kg = kg.as_ref().map(|_| Secret::redacted());
            }
        }
        if let Some(instance) = &mut node.instance {
            instance.redact();
        }
        if let State::Busy(job) = &mut node.state {
            for step in &mut job.steps {
                if let Step::Agent(Order::WriteImage(write)) = step {
                    write
                        .config_drive
                        .iter_mut()
                        .for_each(|file| file.content = REDACTED.into());
                }
            }
        }
        node
    }

    pub fn job(&self) -> Option<&Job> {
        match &self.state {
            State::Busy(job) => Some(job),
            State::Enroll
            | State::Manageable
            | State::Available
            | State::Active
            | State::Failed(_) => None,
        }
    }
}

/// What the owner wants to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    pub image: Image,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// cloud-init's user data, as it is to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// OpenStack network_data.json, as it is to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_data: Option<String>,
    #[serde(default)]
    pub ssh_keys: Vec<String>,
    /// Beats the node's own hints.
    #[serde(default, skip_serializing_if = "Hints::is_empty")]
    pub root_device: Hints,
}

impl Instance {
    fn redact(&mut self) {
        for secret in [&mut self.user_data, &mut self.network_data] {
            *secret = secret.as_ref().map(|_| REDACTED.into());
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// `http://…`, or a bare name of a file that the workers serve.
    pub source: String,
    pub checksum: Checksum,
    /// None: by the name's extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<ImageFormat>,
}

/// Where a node is in its life. Ironic's names are in `provision_state`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Enroll,
    Manageable,
    Available,
    Active,
    /// A job of this kind ended in failure and somebody has to say what now. Verify fails back to `Enroll`.
    Failed(JobKind),
    Busy(Job),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    Verify,
    Inspect,
    Deploy,
    /// Tear down, then clean: two jobs in Ironic's words, told apart by their names.
    Delete,
    Clean,
    /// Something is asked of the BMC alone; the node is then where it was.
    Bmc,
}

/// Where a node can be when nothing is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    Enroll,
    Manageable,
    Available,
    Active,
    Failed(JobKind),
}

impl From<Rest> for State {
    fn from(rest: Rest) -> Self {
        match rest {
            Rest::Enroll => State::Enroll,
            Rest::Manageable => State::Manageable,
            Rest::Available => State::Available,
            Rest::Active => State::Active,
            Rest::Failed(kind) => State::Failed(kind),
        }
    }
}

/// Work in flight: a list of steps, and how far it has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    pub kind: JobKind,
    /// What the node becomes when the last step is done.
    pub goal: Goal,
    pub began: Time,
    pub steps: Vec<Step>,
    /// Index of the present step.
    pub at: usize,
    /// How often the present step was begun.
    pub tries: u32,
    /// How often this job has booted the ramdisk.
    pub boots: u32,
    pub phase: Phase,
}

impl Job {
    pub fn step(&self) -> &Step {
        &self.steps[self.at]
    }

    /// Ironic's `target_power_state`: what the power shall be, if this job is about nothing else.
    pub fn target_power_state(&self) -> Option<&'static str> {
        if self.kind != JobKind::Bmc {
            return None;
        }
        match self.steps.as_slice() {
            [Step::Bmc(BmcAct::EnsureOn)] => Some("power on"),
            [Step::Bmc(BmcAct::PowerOff)] => Some("power off"),
            [Step::Bmc(BmcAct::SoftOff { .. })] => Some("soft power off"),
            [Step::Bmc(BmcAct::SoftOff { .. }), _] => Some("soft rebooting"),
            [Step::Bmc(BmcAct::Cycle | BmcAct::Reset)] | [Step::Bmc(BmcAct::PowerOff), _] => {
                Some("rebooting")
            }
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    Manageable,
    Available,
    Active,
    /// Tear-down is over; cleaning follows.
    Clean,
    /// Only tidying up after a failure is left.
    Failed,
    /// Where it was before.
    Back(Rest),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// A worker drives the BMC.
    Bmc(BmcAct),
    /// The ramdisk shall call.
    AwaitAgent,
    /// The agent does something.
    Agent(Order),
}

impl Step {
    pub fn name(&self) -> &'static str {
        match self {
            Step::Bmc(act) => act.name(),
            Step::AwaitAgent => "await_agent",
            Step::Agent(order) => order.name(),
        }
    }
}

/// What a worker does to a BMC. Each is read, compare, act, and so may be done twice, save those of [`BmcAct::is_once`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BmcAct {
    /// Prove that address and credentials are good, and read the power state.
    Check,
    /// Off (confirmed), next boot from the network, on (confirmed).
    Netboot,
    /// Every boot from now on from the disk; the power is left as it is.
    SetBootDisk,
    /// The machine, told to boot its disk, is on (confirmed); turned on if it is not.
    EnsureOn,
    /// Boot from the disk by force: off (confirmed), boot device disk, on (confirmed).
    BootDisk,
    /// Off (confirmed).
    PowerOff,
    /// The operating system is asked to switch off, and is (confirmed) within so many seconds; then by force, if wanted.
    SoftOff { patience_secs: u32, then_hard: bool },
    /// Off and on by the BMC itself; the machine is on before and after (confirmed).
    Cycle,
    /// The reset line; the power stays on.
    Reset,
    /// A diagnostic interrupt (NMI).
    Diag,
    /// What to boot next, or always; the power is left as it is.
    SetBootDevice {
        device: BootDevice,
        persistent: bool,
    },
}

/// What firmware can be told to boot (IPMI 2.0 table 28-14, Ironic's names).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BootDevice {
    /// Whatever firmware does by itself.
    None,
    Pxe,
    Disk,
    /// The disk, in firmware's safe mode.
    Safe,
    Cdrom,
    /// Firmware's set-up.
    Bios,
}

impl BootDevice {
    pub const ALL: [BootDevice; 6] = [
        BootDevice::None,
        BootDevice::Pxe,
        BootDevice::Disk,
        BootDevice::Safe,
        BootDevice::Cdrom,
        BootDevice::Bios,
    ];

    pub fn name(self) -> &'static str {
        match self {
            BootDevice::None => "none",
            BootDevice::Pxe => "pxe",
            BootDevice::Disk => "disk",
            BootDevice::Safe => "safe",
            BootDevice::Cdrom => "cdrom",
            BootDevice::Bios => "bios",
        }
    }
}

impl BmcAct {
    pub fn name(&self) -> &'static str {
        match self {
            BmcAct::Check => "check_bmc",
            BmcAct::Netboot => "boot_ramdisk",
            BmcAct::SetBootDisk => "set_boot_device",
            BmcAct::EnsureOn => "ensure_power_on",
            BmcAct::BootDisk => "boot_instance",
            BmcAct::PowerOff => "power_off",
            BmcAct::SoftOff { .. } => "soft_power_off",
            BmcAct::Cycle => "power_cycle",
            BmcAct::Reset => "reset",
            BmcAct::Diag => "diagnostic_interrupt",
            BmcAct::SetBootDevice { .. } => "set_boot_device",
        }
    }

    /// Doing it twice is not doing it once: when nobody knows whether it was done, it is not begun again.
    pub fn is_once(self) -> bool {
        match self {
            BmcAct::Cycle | BmcAct::Reset | BmcAct::Diag => true,
            BmcAct::Check
            | BmcAct::Netboot
            | BmcAct::SetBootDisk
            | BmcAct::EnsureOn
            | BmcAct::BootDisk
            | BmcAct::PowerOff
            | BmcAct::SoftOff { .. }
            | BmcAct::SetBootDevice { .. } => false,
        }
    }
}

/// What the present step is waiting for. Every wait says since when and until when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// `worker` acts on the BMC and stops acting at `until` by its own clock.
    Acting {
        op: OpId,
        worker: WorkerId,
        since: Time,
        until: Time,
    },
    /// The BMC did not do it; the next try begins at `until`.
    Backoff {
        since: Time,
        until: Time,
        because: String,
    },
    /// The ramdisk has not called yet.
    AwaitingAgent { since: Time, until: Time },
    /// `boot` shall run the step by this id.
    AgentStep {
        id: StepId,
        since: Time,
        /// The step's own budget ends here, whatever the agent says.
        until: Time,
        /// Last sign of life that a decision was based on; later ones are with the heartbeats.
        seen: Time,
        /// How far the step had come when that was last looked at, and when that last changed.
        mark: Option<Progress>,
        marked: Time,
    },
}

/// What is known of the power, and how it is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Power {
    pub on: bool,
    pub at: Time,
    pub source: PowerSource,
}

impl Power {
    /// Whether somebody saw it; else it is what was commanded last.
    pub fn confirmed(&self) -> bool {
        match self.source {
            PowerSource::Bmc | PowerSource::Agent => true,
            PowerSource::Command => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerSource {
    /// The BMC was asked and said so.
    Bmc,
    /// An agent that lives needs power.
    Agent,
    /// The BMC accepted a command, and then nobody could see what came of it.
    Command,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Maintenance {
    pub since: Time,
    pub reason: String,
    /// None: an operator's wish, and an operator ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<HardwareFault>,
}

/// Why a node went into maintenance by itself, and comes out of it by itself (Ironic's `fault`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HardwareFault {
    /// The power state could not be read, or not be kept as it should be.
    #[serde(rename = "power failure")]
    Power,
}

/// What went wrong last: what was attempted, and why it did not work. Cleared by the next success.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastError {
    pub at: Time,
    /// The state and step, in operator's words.
    pub during: String,
    pub what: String,
}

impl State {
    /// Ironic's `provision_state`.
    pub fn provision_state(&self) -> &'static str {
        match self {
            State::Enroll => "enroll",
            State::Manageable => "manageable",
            State::Available => "available",
            State::Active => "active",
            State::Failed(JobKind::Verify) => "enroll",
            State::Failed(JobKind::Inspect) => "inspect failed",
            State::Failed(JobKind::Deploy) => "deploy failed",
            State::Failed(JobKind::Delete) => "error",
            State::Failed(JobKind::Clean) => "clean failed",
            State::Failed(JobKind::Bmc) => "error",
            State::Busy(Job {
                goal: Goal::Back(rest),
                ..
            }) => State::from(*rest).provision_state(),
            State::Busy(job) => {
                let waits = match job.phase {
                    Phase::Acting { .. } | Phase::Backoff { .. } => false,
                    Phase::AwaitingAgent { .. } | Phase::AgentStep { .. } => true,
                };
                match (job.kind, waits) {
                    (JobKind::Verify, _) => "verifying",
                    (JobKind::Inspect, false) => "inspecting",
                    (JobKind::Inspect, true) => "inspect wait",
                    (JobKind::Deploy, false) => "deploying",
                    (JobKind::Deploy, true) => "wait call-back",
                    (JobKind::Delete, _) => "deleting",
                    (JobKind::Clean, false) => "cleaning",
                    (JobKind::Clean, true) => "clean wait",
                    (JobKind::Bmc, _) => "error",
                }
            }
        }
    }

    /// Ironic's `target_provision_state`: where a busy or failed node is headed.
    pub fn target_provision_state(&self) -> Option<&'static str> {
        let of_kind = |kind| match kind {
            JobKind::Verify | JobKind::Bmc => None,
            JobKind::Inspect => Some("manageable"),
            JobKind::Deploy => Some("active"),
            JobKind::Delete | JobKind::Clean => Some("available"),
        };
        match self {
            State::Enroll | State::Manageable | State::Available | State::Active => None,
            State::Failed(kind) => of_kind(*kind),
            State::Busy(job) => match job.goal {
                Goal::Manageable => Some("manageable"),
                Goal::Available | Goal::Clean => Some("available"),
                Goal::Active => Some("active"),
                Goal::Failed => of_kind(job.kind),
                Goal::Back(rest) => State::from(rest).target_provision_state(),
            },
        }
    }
}
