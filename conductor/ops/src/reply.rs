//! Answers about nodes and workers.
//! `request` has the questions; `bmc`, `lookup` and `happening` have the other answers.
use ironbeat_common::id::{AllocationId, KeptId, NodeId, RuleId};
use ironbeat_common::image::Digest;
use ironbeat_common::inventory::Inventory;
use ironbeat_core::allocation::Wanted;
use ironbeat_core::decide::Patch;
use ironbeat_core::id::{Actor, AllocationName, Incarnation, NodeName, RuleName, WorkerId};
use ironbeat_core::index::Entry;
use ironbeat_core::node::{HardwareFault, Job, LastError, Node, Notes, Power, State, Trait};
use ironbeat_core::rules::RuleSpec;
use ironbeat_core::runbook::Runbook;
use ironbeat_core::template::DeployTemplate;
use ironbeat_core::time::Time;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// One line of `node.list`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Summary {
    pub id: NodeId,
    #[serde(default)]
    pub name: Option<NodeName>,
    pub provision_state: String,
    #[serde(default)]
    pub target_provision_state: Option<String>,
    pub since: Time,
    #[serde(default)]
    pub power_on: Option<bool>,
    /// Somebody saw it; otherwise it is the last command.
    #[serde(default)]
    pub power_confirmed: bool,
    /// What the BMC said now, in the answer of `power.sync`: the record may have another word for a moment, while it is put right or
    /// while the BMC is driven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc_power_on: Option<bool>,
    #[serde(default)]
    pub target_power_state: Option<String>,
    /// What is under way; a cleaning of named steps is `clean`. None: it rests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// When the worker stops waiting for what it waits for, and does what comes next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_at: Option<Time>,
    /// The worker that looks after it, in the answer of `node.list`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerId>,
    pub maintenance: bool,
    /// Why it is in maintenance by itself.
    #[serde(default)]
    pub fault: Option<HardwareFault>,
    pub bmc: String,
    #[serde(default)]
    pub last_error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc_error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_class: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lessee: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traits: Vec<Trait>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retired: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation: Option<AllocationId>,
}

/// One reply of `node.list`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NodePage {
    pub nodes: Vec<Summary>,
    /// More follow after this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<NodeId>,
}

impl Summary {
    /// What the last job and the last verb for the BMC failed at.
    pub fn errors(&self) -> String {
        let errors = [&self.last_error, &self.bmc_error];
        let errors: Vec<&str> = errors.into_iter().flatten().map(String::as_str).collect();
        errors.join("; ")
    }

    /// Adds what the BMC has just said. What it contradicts is not confirmed.
    #[must_use]
    pub fn bmc_says(mut self, on: bool) -> Self {
        self.bmc_power_on = Some(on);
        self.power_confirmed &= self.power_on == Some(on);
        self
    }

    pub fn of(node: &Entry) -> Self {
        Self {
            id: node.id,
            name: node.name.clone(),
            provision_state: node.provision_state.clone(),
            target_provision_state: node.target_provision_state.clone(),
            since: node.since,
            power_on: node.power.as_ref().map(|power| power.on),
            power_confirmed: node.power.as_ref().is_some_and(Power::confirmed),
            bmc_power_on: None,
            target_power_state: node.target_power_state.clone(),
            job: node.job_name().map(Into::into),
            wake_at: node.wake_at,
            worker: None,
            maintenance: node.maintenance.is_some(),
            fault: node.maintenance.as_ref().and_then(|m| m.fault),
            bmc: node.bmc.to_string(),
            last_error: node.last_error.clone(),
            bmc_error: node.bmc_error.clone(),
            resource_class: node.resource_class.clone(),
            owner: node.owner.clone(),
            lessee: node.lessee.clone(),
            traits: node.traits.clone(),
            protected: node.protected,
            retired: node.retired,
            allocation: node.allocation,
        }
    }
}

/// A node as it is shown: what clients look at is typed, the rest of the record is JSON. Secrets
/// are not part of it, nor is the query of its image's URL.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Shown {
    pub id: NodeId,
    /// Ironic's names for the state.
    pub provision_state: String,
    #[serde(default)]
    pub target_provision_state: Option<String>,
    pub state: State,
    /// Of the last job of its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
    /// Of the last verb for the BMC alone (power, boot device, restart of the BMC), or of the power sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc_error: Option<LastError>,
    /// Of the request that this answers: what may go wrong with it, as far as can be known now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Shown {
    pub fn of(node: &Node) -> Self {
        let node = node.clone().without_queries();
        let mut rest = match serde_json::to_value(&node) {
            Ok(Value::Object(map)) => map,
            Ok(_) | Err(_) => unreachable!("a node is a JSON object: its maps have string keys"),
        };
        for typed in ["id", "state", "last_error", "bmc_error"] {
            rest.remove(typed);
        }
        Self {
            id: node.id,
            provision_state: node.state.provision_state().into(),
            target_provision_state: node.target_provision_state().map(Into::into),
            state: node.state,
            last_error: node.last_error,
            bmc_error: node.bmc_error,
            warnings: Vec::new(),
            rest,
        }
    }

    /// Adds what the machine is made of.
    #[must_use]
    pub fn with_inventory(mut self, inventory: Option<Inventory>) -> Self {
        if let Some(inventory) = inventory {
            let inventory = serde_json::to_value(inventory);
            let inventory = inventory.expect("an inventory is JSON: its maps have string keys");
            self.rest.insert("inventory".into(), inventory);
        }
        self
    }

    /// Adds what operators have noted of it.
    #[must_use]
    pub fn with_notes(mut self, notes: Option<Notes>) -> Self {
        let notes = serde_json::to_value(notes.unwrap_or_default());
        let notes = notes.expect("notes are JSON: their maps have string keys");
        if let Value::Object(notes) = notes {
            self.rest.extend(notes);
        }
        self
    }

    pub fn job(&self) -> Option<&Job> {
        match &self.state {
            State::Busy(job) => Some(job),
            State::Resting(_) => None,
        }
    }
}

/// Ironic's names; one for which there is no node is refused, and so is not in its third state, `error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum AllocationState {
    Allocating,
    Active,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AllocationInfo {
    pub id: AllocationId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<AllocationName>,
    pub state: AllocationState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<NodeName>,
    pub created: Time,
    pub wanted: Wanted,
}

/// A runbook or a deploy template, and when it was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KeptInfo<T> {
    pub id: KeptId,
    pub created: Time,
    pub updated: Time,
    #[serde(flatten)]
    pub text: T,
}

pub type RunbookInfo = KeptInfo<Runbook>;
pub type TemplateInfo = KeptInfo<DeployTemplate>;
/// One inspection rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RuleInfo {
    pub id: RuleId,
    pub created: Time,
    /// Of a sensitive one without conditions and actions.
    pub rule: RuleSpec,
}

/// What a rule would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RuleTrial {
    pub rule: RuleName,
    pub conditions: Vec<ConditionTrial>,
    /// All conditions hold.
    pub applies: bool,
    /// Why the inspection would fail by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fails: Option<String>,
    /// What it would change of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<Patch>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

/// One condition of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConditionTrial {
    pub op: String,
    /// None: that cannot be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Options by name.
pub type Changed = BTreeMap<String, Value>;

/// One worker that is heard of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkerInfo {
    pub id: WorkerId,
    #[serde(default)]
    pub incarnation: Incarnation,
    /// Its HTTP service, as machines reach it.
    pub url: String,
    /// The same over TLS: ramdisks fetch images there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https: Option<String>,
    pub version: String,
    pub started: Time,
    /// Files that machines need to boot a ramdisk from it, and why it cannot serve them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
    /// What machines boot from it, the newest first; and what they did until a while ago.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub serves: Vec<Served>,
    /// What loads those, and did until a while ago, by SHA-256: loaders as firmware hashes programs, and GRUB's configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loaders: Vec<Digest<32>>,
    /// Why it cannot serve images that a deploy names without a URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacks_images: Option<String>,
    /// What is wrong with the records, as it sees them: the servers have lost them, or it cannot read some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<String>,
    /// What the NATS servers refuse to its login.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
    /// The name of its machine.
    #[serde(default)]
    pub host: String,
    /// Why it does nothing for nodes at present. It still answers, and serves files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stands_by: Option<String>,
    /// Options of its policy that are not the default. All workers are to have the same.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub policy: Changed,
    /// Ids of its master keys: the first wraps data keys, all unwrap them. All workers are to have the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub master_keys: Vec<String>,
    /// The public key with which it makes the logins of agents; none: nobody has a login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mints_with: Option<String>,
    /// Of a worker beside dnsmasq: `ok`, or why machines may get no address or an old rule. Such a worker is listed when it
    /// does not live, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dnsmasq: Option<String>,
}

/// A kernel and a ramdisk, by their SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Served {
    /// Of the file.
    pub kernel: Digest<32>,
    /// Of the kernel as firmware hashes a program, which leaves its signature out (Authenticode); none: it is no UEFI program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Digest<32>>,
    pub ramdisk: Digest<32>,
}

/// With which a client seals secrets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SealKey {
    /// A public xkey of NATS; none: these workers have no master key, and secrets travel in the clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// For a request with a nonce; none: nobody has a login, or the worker lacks the file `sealing.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<KeyProof>,
}

/// That a [`SealKey`] is the workers' answer, as `ironbeat_auth::sealing` checks it. Signatures are Ed25519, in base64.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KeyProof {
    /// The worker's public nkey that signed the key and the nonce.
    pub signer: String,
    /// Of the three lines `ironbeat: secrets are sealed to this key`, the key or `none`, and the nonce; no line break ends them.
    pub signature: String,
    /// Of the two lines `ironbeat: this key proves to which key secrets are sealed` and the signer, by the public keys that
    /// sign people's logins: one's own login names one of them as its issuer.
    pub vouchers: BTreeMap<String, String>,
}

/// What became of the secrets in the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Rotated {
    /// The data key that encrypts from now on.
    pub key: String,
    /// The master key that wraps it.
    pub master: String,
    /// Documents that were encrypted anew.
    pub documents: u64,
    /// Data keys that are no more.
    pub dropped: Vec<String>,
    /// Keys in the bucket of documents that no key opens. They are as they were, and so are their data keys.
    pub unreadable: Vec<String>,
    /// How many more of those there are: a reply has room for some.
    #[serde(default)]
    pub more: u64,
}

/// What became of a revocation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Revoked {
    /// The NATS servers know. If not, a worker that may tell them does so when it can.
    pub pushed: bool,
    /// Why this worker, which may tell them, could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

impl WorkerInfo {
    pub fn actor(&self) -> Actor {
        Actor {
            worker: self.id.clone(),
            incarnation: self.incarnation,
        }
    }
}
