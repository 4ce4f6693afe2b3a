//! Every question that an operator can ask: one variant, one body and one reply type each.
//! Fronts carry them; endpoint names, the service's index and the command line follow from here.
use crate::bmc::{BmcFacts, Check, FruInventory, LogEntry, RawAnswer, SensorRow};
use crate::happening::Event;
use crate::history::{HistoryEntry, RecordPage};
use crate::lookup::LookupEntry;
use crate::reply::{
    AllocationInfo, NodePage, Revoked, Rotated, RuleInfo, RuleTrial, RunbookInfo, SealKey, Shown,
    Summary, TemplateInfo, WorkerInfo,
};
use ironbeat_common::id::{AllocationId, KeptId, Mac, NodeId, SystemUuid};
use ironbeat_common::inventory::BootMode;
use ironbeat_core::decide::{Patch, Policy, PowerVerb};
use ironbeat_core::explain::Explanation;
use ironbeat_core::hints::Hints;
use ironbeat_core::id::{AllocationName, NodeName, RequestId};
use ironbeat_core::manual::Wish;
use ironbeat_core::node::{BmcAccess, BootDevice, NewInstance, RescueLogin, Secret, Trait};
use ironbeat_core::rules::RuleSpec;
use ironbeat_core::runbook::Runbook;
use ironbeat_core::template::DeployTemplate;
use ironbeat_core::time::Time;
use ironbeat_core::validate::Validation;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Who may ask. Each role may ask what the one before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Observer,
    /// Changes nodes.
    Operator,
    /// Speaks to BMCs past the node's state, and gives them passwords with which one can do so by other ways.
    Admin,
}

/// A question as the index of the API shows it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Endpoint {
    /// `noun.verb`.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    pub role: Role,
    /// Names of the body's and the reply's type.
    pub request: &'static str,
    pub reply: &'static str,
}

/// The body of one kind of question.
pub trait Question: Serialize + DeserializeOwned {
    const ENDPOINT: &'static str;
    /// What it does.
    const ABOUT: &'static str;
    type Reply: Serialize + DeserializeOwned;
}

/// Reads a body in whatever encoding it came.
pub trait Decode {
    type Error;
    /// # Errors
    /// When the body is not a `T`.
    fn decode<T: DeserializeOwned>(&self) -> Result<T, Self::Error>;
}

macro_rules! questions {
    ($($name:ident: $endpoint:literal, $role:ident, $about:literal, $reply:ty;)*) => {
        /// Everything that can be asked.
        #[derive(Clone, Debug)]
        pub enum Request {
            $(#[doc = $about] $name($name),)*
        }

        /// The answers, in the order of the questions.
        #[derive(Clone, Debug, Serialize)]
        #[serde(untagged)]
        pub enum Reply {
            $($name($reply),)*
        }

        /// In the order in which operators read them.
        pub const ENDPOINTS: &[Endpoint] = &[
            $(Endpoint {
                name: $endpoint,
                about: $about,
                role: Role::$role,
                request: stringify!($name),
                reply: stringify!($reply),
            },)*
        ];

        impl Request {
            /// Reads the body of a question to `endpoint`; none: there is no such endpoint.
            ///
            /// # Errors
            /// When the body is not what the endpoint takes.
            pub fn read<D: Decode>(endpoint: &str, body: &D) -> Option<Result<Self, D::Error>> {
                match endpoint {
                    $($endpoint => Some(body.decode().map(Self::$name)),)*
                    _ => None,
                }
            }
        }

        /// The schemas of each question's body and its reply, by the names of [`ENDPOINTS`] and in their order.
        #[cfg(feature = "schema")]
        pub fn schemas(
            requests: &mut schemars::SchemaGenerator,
            replies: &mut schemars::SchemaGenerator,
        ) -> Vec<(&'static str, schemars::Schema, schemars::Schema)> {
            vec![$((
                $endpoint,
                requests.subschema_for::<$name>(),
                replies.subschema_for::<$reply>(),
            ),)*]
        }

        $(impl Question for $name {
            const ENDPOINT: &'static str = $endpoint;
            const ABOUT: &'static str = $about;
            type Reply = $reply;
        })*
    };
}

questions! {
    Enroll: "node.enroll", Operator, "Make a node known: its BMC, and how its machine is recognised.", Shown;
    ListNodes: "node.list", Observer, "All nodes, or those that fit some conditions, a line each, in pages.", NodePage;
    ShowNode: "node.show", Observer, "One node's record, without its secrets.", Shown;
    ExplainNode: "node.explain", Observer, "What a node waits for, since when, until when, and what comes next.", Explanation;
    ValidateNode: "node.validate", Observer, "What is missing before a node can do what it may be asked for, by Ironic's interfaces.", Vec<Validation>;
    Manage: "node.manage", Operator, "Check the BMC's address and credentials; or take an available node back.", Shown;
    Inspect: "node.inspect", Operator, "Boot the ramdisk and record the machine's hardware.", Shown;
    Provide: "node.provide", Operator, "Clean a node and make it available.", Shown;
    Deploy: "node.deploy", Operator, "Write an image to the machine's disk and boot it.", Shown;
    Rebuild: "node.rebuild", Operator, "Deploy again; what is not given stays as it is.", Shown;
    Undeploy: "node.undeploy", Operator, "Take the machine from its user: power off, then clean.", Shown;
    Adopt: "node.adopt", Operator, "Take over a machine as it runs: neither its disks nor its power are touched.", Shown;
    Clean: "node.clean", Operator, "Do named steps on a manageable machine.", Shown;
    Service: "node.service", Operator, "Do named steps on a machine that serves its owner, and have it do so again.", Shown;
    Rescue: "node.rescue", Operator, "Let people log in to the ramdisk of an active machine. Its disks stay as they are.", Shown;
    Unrescue: "node.unrescue", Operator, "End a rescue: the machine boots its disk again.", Shown;
    Hold: "node.hold", Operator, "Begin no further step of the job under way; a ramdisk that runs stays.", Shown;
    Unhold: "node.unhold", Operator, "Go on with a job that is on hold.", Shown;
    Abort: "node.abort", Operator, "End the job under way.", Shown;
    SetMaintenance: "node.maintenance_set", Operator, "Begin maintenance: no new jobs, and the power is left alone.", Shown;
    UnsetMaintenance: "node.maintenance_unset", Operator, "End maintenance.", Shown;
    SetNode: "node.set", Operator, "Change what is said of a node. Name, BMC, how its machine is recognised and boots, class, owner, traits, notes, what is kept from it.", Shown;
    DeleteNode: "node.delete", Operator, "Forget a node. Once more, by id, drops what a delete or an enrolment that was cut short left; the answer is then 404.", Shown;
    CreateAllocation: "allocation.create", Operator, "Have any free node of a kind, or one that serves somebody already.", AllocationInfo;
    ListAllocations: "allocation.list", Observer, "All allocations, and the node that each has.", Vec<AllocationInfo>;
    ShowAllocation: "allocation.show", Observer, "One allocation.", AllocationInfo;
    DeleteAllocation: "allocation.delete", Operator, "End an allocation: its node is free for others. By the id of one that is gone, frees a node that names it still; the answer is then 404.", AllocationInfo;
    CreateRunbook: "runbook.create", Operator, "Keep named steps, for cleanings and services of the nodes that they are for.", RunbookInfo;
    ListRunbooks: "runbook.list", Observer, "All runbooks, in the order of their names.", Vec<RunbookInfo>;
    ShowRunbook: "runbook.show", Observer, "One runbook and its steps.", RunbookInfo;
    SetRunbook: "runbook.set", Operator, "Put another text in a runbook's place; jobs that have begun keep their steps.", RunbookInfo;
    DeleteRunbook: "runbook.delete", Operator, "Forget a runbook; jobs that have begun keep their steps.", RunbookInfo;
    CreateTemplate: "template.create", Operator, "Keep steps for deploys of instances that ask for the trait of the same name.", TemplateInfo;
    ListTemplates: "template.list", Observer, "All deploy templates, in the order of their names.", Vec<TemplateInfo>;
    ShowTemplate: "template.show", Observer, "One deploy template and its steps.", TemplateInfo;
    SetTemplate: "template.set", Operator, "Put another text in a template's place; what was asked for before keeps its steps.", TemplateInfo;
    DeleteTemplate: "template.delete", Operator, "Forget a deploy template; what was asked for before keeps its steps.", TemplateInfo;
    CreateRule: "rule.create", Operator, "Say what follows from what an inspection finds.", RuleInfo;
    SetRule: "rule.set", Operator, "Replace the rule of this name.", RuleInfo;
    ListRules: "rule.list", Observer, "All inspection rules, in the order in which they apply.", Vec<RuleInfo>;
    ShowRule: "rule.show", Observer, "One inspection rule.", RuleInfo;
    DeleteRule: "rule.delete", Operator, "Forget an inspection rule. What it has set stays.", RuleInfo;
    TestRule: "rule.test", Operator, "Which conditions of a rule hold for a machine, and what it would set. Nothing is changed.", RuleTrial;
    ChangePower: "node.power", Operator, "Switch the machine on or off, reboot or reset it.", Shown;
    SetBootDevice: "node.boot_device", Operator, "Choose what the machine boots next, or always.", Shown;
    SyncPower: "power.sync", Operator, "Ask the BMC now whether the machine is on.", Summary;
    CheckBmc: "bmc.check", Operator, "What is wrong with a BMC, in words.", Check;
    BmcInfo: "bmc.info", Observer, "What a BMC is: firmware, network, users, boot device, state of the chassis.", BmcFacts;
    BmcSensors: "bmc.sensors", Observer, "What a BMC measures: temperatures, fans, voltages.", Vec<SensorRow>;
    BmcSel: "bmc.sel", Operator, "A BMC's event log; empties it after reading, if asked to.", Vec<LogEntry>;
    BmcFru: "bmc.fru", Observer, "A BMC's inventory: board, product, serial numbers.", FruInventory;
    ResetBmc: "bmc.reset", Operator, "Restart a BMC; the machine goes on.", Shown;
    SetBmcPassword: "bmc.set_password", Admin, "Give the BMC's user that the workers log in as another password.", Shown;
    RawBmc: "bmc.raw", Admin, "Send a BMC any command.", RawAnswer;
    ConsoleHistory: "console.history", Observer, "The recording of a serial console, as plain bytes.", Vec<u8>;
    ListLookups: "lookup.list", Observer, "Machines that looked up, and the answers to them.", Vec<LookupEntry>;
    ShowLookup: "lookup.show", Observer, "One machine that looked up, in full.", LookupEntry;
    ListWorkers: "worker.list", Observer, "Workers with a presence, and why one does nothing for nodes.", Vec<WorkerInfo>;
    ListEvents: "event.list", Observer, "What happened, oldest first.", Vec<Event>;
    NodeHistory: "node.history", Observer, "What happened to a node and who asked for it, oldest first.", Vec<HistoryEntry>;
    NodeRecord: "node.record", Observer, "A node's flight record: what was decided, on what. In pages.", RecordPage;
    ShowSealKey: "secrets.key", Observer, "The public key that secrets are sealed to on their way to a worker.", SealKey;
    RotateKey: "secrets.rotate", Admin, "Encrypt all secrets in the store with a new data key, while all runs.", Rotated;
    RevokeLogin: "auth.revoke", Admin, "By the operator's order: end a login before its time, and the NATS servers drop it; or a key that signs logins; or have one more such key.", Revoked;
    ShowPolicy: "policy.show", Observer, "The worker's timeouts and limits.", Policy;
}

/// Bodies without a field.
macro_rules! empty {
    ($($name:ident),*) => {$(
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(deny_unknown_fields)]
        pub struct $name {}
    )*};
}
empty!(
    ListAllocations,
    ListRunbooks,
    ListTemplates,
    ListLookups,
    ListRules,
    ListWorkers,
    RotateKey,
    ShowPolicy
);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ShowSealKey {
    /// What nobody has asked with before, at most 64 bytes: the proof in the answer is made for it. None: no proof.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
}

/// One page of the nodes, in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ListNodes {
    /// The page after this node; none: the first one.
    pub after: Option<NodeId>,
    /// How many, at most 500; 500 unless told.
    pub limit: Option<usize>,
    /// Only nodes that fit every one of these: `state=active`, `name=rack7-*`, `power!=on`. In a value `*` stands for any
    /// characters and `?` for one; the keys are in operator.md.
    #[serde(rename = "where", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<String>,
}

/// Bodies that only name a node, by id or name.
macro_rules! of_node {
    ($($name:ident),*) => {$(
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            pub node: String,
        }

        impl $name {
            pub fn of(node: impl Into<String>) -> Self {
                Self { node: node.into() }
            }
        }
    )*};
}
of_node!(ShowNode, ExplainNode, ValidateNode, DeleteNode, SyncPower);
of_node!(BmcInfo, BmcSensors, BmcFru, ConsoleHistory);

/// Bodies that ask for a verb on a node, named by id or name. Without a request id each request counts; with one, a
/// repetition counts once.
macro_rules! verb {
    ($($name:ident { $($(#[$attr:meta])* $field:ident: $type:ty),* })*) => {$(
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            pub node: String,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub request: Option<RequestId>,
            $($(#[$attr])* pub $field: $type,)*
        }
    )*};
}
verb! {
    Manage {}
    Inspect {}
    Provide {}
    Undeploy {}
    Abort {}
    Hold {}
    Unhold {}
    Deploy { instance: NewInstance }
    Adopt {
        /// What the machine runs, as far as it is known: a rebuild writes it.
        instance: NewInstance
    }
    Clean { wish: Wish }
    Service { wish: Wish }
    Rescue {
        /// Who may log in.
        login: RescueLogin
    }
    Unrescue {}
    Rebuild {
        /// What it does not say (host name, keys, hints, user data, network data) stays as it is.
        #[serde(default, skip_serializing_if = "Option::is_none")] instance: Option<NewInstance>
    }
    SetMaintenance {
        /// For whoever finds the node in it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>
    }
    UnsetMaintenance {}
    SetNode { patch: Patch }
    ChangePower { power: PowerVerb }
    SetBootDevice {
        boot_device: BootDevice,
        /// Every boot from now on, not only the next one.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        persistent: bool
    }
    ResetBmc {}
    SetBmcPassword {
        /// 1 to 20 ASCII letters, digits and signs; 16 are what every BMC takes.
        password: Secret
    }
}

/// A new node. The client chooses `id`, so that a repeated request enrolls one node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Enroll {
    #[serde(default)]
    pub id: Option<NodeId>,
    #[serde(default)]
    pub name: Option<NodeName>,
    pub bmc: BmcAccess,
    #[serde(default)]
    pub macs: Vec<Mac>,
    #[serde(default)]
    pub system_uuid: Option<SystemUuid>,
    #[serde(default)]
    pub serial: Option<String>,
    #[serde(default)]
    pub boot_mode: Option<BootMode>,
    /// Whether its UEFI firmware starts signed loaders only; default: `policy.secure_boot`.
    #[serde(default)]
    pub secure_boot: Option<bool>,
    #[serde(default)]
    pub root_device: Hints,
    /// Disks that are neither cleaned nor deployed to: those that all hints of one entry fit. One by `by_path` names a
    /// controller without a driver, too.
    #[serde(default)]
    pub skip_block_devices: Vec<Hints>,
    /// For people; at most 4,096 characters.
    #[serde(default)]
    pub description: Option<String>,
    /// What kind of machine it is, for those who allocate; at most 80 characters.
    #[serde(default)]
    pub resource_class: Option<String>,
    /// Whose machine it is; at most 255 characters.
    #[serde(default)]
    pub owner: Option<String>,
    /// Who uses it by leave of the owner; at most 255 characters.
    #[serde(default)]
    pub lessee: Option<String>,
    /// At most 50.
    #[serde(default)]
    pub traits: Vec<Trait>,
    /// What the operator says of its hardware, `cpu_arch` or `memory_mb`; at most 16,384 bytes of JSON.
    #[serde(default)]
    pub properties: Map<String, Value>,
    /// Whatever else, likewise.
    #[serde(default)]
    pub extra: Map<String, Value>,
    /// Whether it is never to be switched off.
    #[serde(default)]
    pub disable_power_off: Option<bool>,
    /// Whether it is cleaned on its way to `available`; default: `policy.automated_clean`.
    #[serde(default)]
    pub automated_clean: Option<bool>,
    /// Take MACs, UUID, serial and inventory from what this machine sent: a key of `lookup.list`, or the start of one.
    #[serde(default)]
    pub from: Option<String>,
}

impl Enroll {
    /// What is said of the node beyond its machine.
    pub fn further(&self) -> Patch {
        Patch {
            description: self.description.clone(),
            resource_class: self.resource_class.clone(),
            owner: self.owner.clone(),
            lessee: self.lessee.clone(),
            add_traits: self.traits.clone(),
            properties: self.properties.clone(),
            extra: self.extra.clone(),
            disable_power_off: self.disable_power_off,
            automated_clean: self.automated_clean,
            ..Patch::default()
        }
    }
}

/// The client chooses `id`, so that a repeated request has one node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct CreateAllocation {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<AllocationId>,
    /// A node that has the same name is tried first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<AllocationName>,
    /// Needed, but for a backfill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_class: Option<String>,
    /// The node has all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub traits: Vec<Trait>,
    /// The node is one of these, by id or name; empty: any. At most 500.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub candidate_nodes: Vec<String>,
    /// The node is theirs, or lent to them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Exactly this node, which is active already (a backfill): id or name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// By id or name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ShowAllocation {
    pub allocation: String,
}

/// By id or name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DeleteAllocation {
    pub allocation: String,
}

/// Bodies about documents that are kept under a name.
macro_rules! kept {
    ($text:ty, $create:ident, $set:ident, $show:ident, $delete:ident, $which:ident) => {
        /// A new one. The client chooses `id`, so that a repeated request makes one.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(deny_unknown_fields)]
        pub struct $create {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub id: Option<KeptId>,
            pub $which: $text,
        }

        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(deny_unknown_fields)]
        pub struct $set {
            /// Id or name.
            pub $which: String,
            /// Only if it was changed last then, and so is as the client read it.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub updated: Option<Time>,
            pub text: $text,
        }

        /// By id or name.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(deny_unknown_fields)]
        pub struct $show {
            pub $which: String,
        }

        /// By id or name.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(deny_unknown_fields)]
        pub struct $delete {
            pub $which: String,
        }
    };
}
kept!(
    Runbook,
    CreateRunbook,
    SetRunbook,
    ShowRunbook,
    DeleteRunbook,
    runbook
);
kept!(
    DeployTemplate,
    CreateTemplate,
    SetTemplate,
    ShowTemplate,
    DeleteTemplate,
    template
);

/// The same rule again is the same rule; another of its name is refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateRule {
    pub rule: RuleSpec,
}

/// It keeps its id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SetRule {
    pub rule: RuleSpec,
}

/// By id or name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ShowRule {
    pub rule: String,
}

/// By id or name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DeleteRule {
    pub rule: String,
}

/// A rule that is stored or one that is given, and a node or a machine that looked up: one of either two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct TestRule {
    /// By id or name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// One that is not stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given: Option<RuleSpec>,
    /// Id or name of a node that has an inventory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// A key of `lookup.list`, or the start of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lookup: Option<String>,
}

/// A node's BMC, or one that no node has yet: exactly one of the two.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CheckBmc {
    /// Id or name of a node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// How to reach it, before anybody enrolls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc: Option<BmcAccess>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BmcSel {
    pub node: String,
    /// Empty the log after reading it.
    #[serde(default)]
    pub clear: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawBmc {
    pub node: String,
    /// Network function, command and data as hex bytes: `06 01`.
    pub raw: String,
}

/// The public key of a login, or of a key that signs logins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RevokeLogin {
    /// Begins with `U`; one that signs logins with `A`.
    pub key: String,
    /// That it has ended, signed by the operator's key that signs accounts: workers keep it. `ironbeat auth user revoke` makes it,
    /// and tells the NATS servers itself. Or it is the operator's grant of a signing key: then nothing is ended, and the account has that key from
    /// now on.
    pub order: String,
}

/// A key of `lookup.list`, or the start of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ShowLookup {
    pub key: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ListEvents {
    /// Only this node: id or name.
    pub node: Option<String>,
    /// How many, counted from the end; 100 by default.
    pub last: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NodeHistory {
    /// Id or name; also of a node that is gone.
    pub node: String,
    /// Only what has happened since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// How many, counted from the end; 100 by default, at most 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// One page of a flight record, in the order in which it was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NodeRecord {
    /// Id or name; also of a node that is gone.
    pub node: String,
    /// The page after this one; none: the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}
