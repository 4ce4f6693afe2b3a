//! The operators' API: one NATS endpoint per noun and verb, JSON or CBOR, answered in the encoding it was asked in.
//! The command line is one client of it, the `nats` CLI another; what a verb does to a node is decided in the core.
pub mod bmc;
pub mod check;

use crate::clock;
use crate::listen::Reply;
use crate::reconcile::{ReconcileError, reconcile};
use crate::store::StoreError;
use crate::worker::Worker;
use bmc::AskBmc;
use ironbeat_common::codec;
use ironbeat_common::codec::MAX_MESSAGE_BYTES;
use ironbeat_common::id::{Mac, NodeId, SystemUuid};
use ironbeat_common::inventory::BootMode;
use ironbeat_core::decide::{Event, Patch, PowerVerb, Verb};
use ironbeat_core::explain::explain;
use ironbeat_core::hints::Hints;
use ironbeat_core::id::{NodeName, RequestId};
use ironbeat_core::node::{
    BmcAccess, BootDevice, HardwareFault, Instance, Job, MAX_MACS, Node, Power, SCHEMA, State,
};
use ironbeat_core::time::Time;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub const ENDPOINTS: [&str; 30] = [
    "node.enroll",
    "node.list",
    "node.show",
    "node.explain",
    "node.manage",
    "node.inspect",
    "node.provide",
    "node.deploy",
    "node.rebuild",
    "node.undeploy",
    "node.abort",
    "node.maintenance",
    "node.set",
    "node.delete",
    "node.power",
    "node.boot_device",
    "power.sync",
    "bmc.check",
    "bmc.info",
    "bmc.sensors",
    "bmc.sel",
    "bmc.fru",
    "bmc.reset",
    "bmc.raw",
    "console.history",
    "knock.list",
    "knock.show",
    "worker.list",
    "event.list",
    "policy.show",
];

/// Events in one reply at most; with some 400 bytes each they fit a message.
const MAX_EVENTS: usize = 1000;

/// An HTTP-like code and the reason, which travel in the service error headers.
#[derive(Debug)]
pub struct ApiError {
    pub code: usize,
    pub why: String,
}

fn fail(code: usize, why: impl ToString) -> ApiError {
    ApiError {
        code,
        why: why.to_string(),
    }
}

impl From<ReconcileError> for ApiError {
    fn from(error: ReconcileError) -> Self {
        use ironbeat_core::decide::Rejected;
        match &error {
            ReconcileError::NoNode(_) => fail(404, error),
            ReconcileError::Rejected(Rejected::Invalid { .. }) => fail(400, error),
            ReconcileError::Rejected(_) => fail(409, error),
            ReconcileError::Store(StoreError::Claimed { .. }) => fail(409, error),
            ReconcileError::Store(_) | ReconcileError::Broken(..) | ReconcileError::Races(_) => {
                fail(503, error)
            }
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        ReconcileError::Store(error).into()
    }
}

/// A new node. `id` is chosen by the client, so that a repeated request enrolls one node.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    #[serde(default)]
    pub root_device: Hints,
    /// Take MACs, UUID, serial and inventory from what this machine sent: a key of `knock.list`, or the start of one.
    #[serde(default)]
    pub from: Option<String>,
}

/// A verb for one node, named by id or name. Without a request id the request is its own and only one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    pub node: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
    /// For deploy and rebuild.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Instance>,
    /// For maintenance; none ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<Patch>,
    /// For power.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<PowerVerb>,
    /// For boot_device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_device: Option<BootDevice>,
    /// For boot_device: every boot from now on, not only the next one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub persistent: bool,
}

/// One line of `node.list`.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    /// Somebody saw it; else it is what was commanded last.
    #[serde(default)]
    pub power_confirmed: bool,
    #[serde(default)]
    pub target_power_state: Option<String>,
    pub maintenance: bool,
    /// Why it is in maintenance by itself.
    #[serde(default)]
    pub fault: Option<HardwareFault>,
    pub bmc: String,
    #[serde(default)]
    pub last_error: Option<String>,
}

impl Summary {
    fn of(node: &Node) -> Self {
        Self {
            id: node.id,
            name: node.name.clone(),
            provision_state: node.state.provision_state().into(),
            target_provision_state: node.state.target_provision_state().map(Into::into),
            since: node.since,
            power_on: node.power.as_ref().map(|power| power.on),
            power_confirmed: node.power.as_ref().is_some_and(Power::confirmed),
            target_power_state: node.job().and_then(Job::target_power_state).map(Into::into),
            maintenance: node.maintenance.is_some(),
            fault: node.maintenance.as_ref().and_then(|m| m.fault),
            bmc: node.bmc.address().into(),
            last_error: node.last_error.as_ref().map(|error| error.what.clone()),
        }
    }
}

/// `node.show`: the record without its secrets, with Ironic's names for its state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Shown {
    pub provision_state: String,
    #[serde(default)]
    pub target_provision_state: Option<String>,
    #[serde(flatten)]
    pub node: Node,
}

impl Shown {
    fn of(node: &Node) -> Self {
        Self {
            provision_state: node.state.provision_state().into(),
            target_provision_state: node.state.target_provision_state().map(Into::into),
            node: node.redacted(),
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventsWanted {
    pub node: Option<String>,
    pub last: Option<usize>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnockWanted {
    pub key: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Json,
    Cbor,
}

/// As the header says; without one, by the first byte: JSON documents begin with a bracket, a quote or white space.
fn encoding(message: &async_nats::Message) -> Encoding {
    let header = message
        .headers
        .as_ref()
        .and_then(|headers| headers.get("Content-Type"));
    match header.map(|value| value.as_str()) {
        Some(codec::CONTENT_TYPE) => Encoding::Cbor,
        Some("application/json") => Encoding::Json,
        Some(_) | None => match message.payload.first() {
            None | Some(b'{' | b'[' | b'"' | b' ' | b'\n' | b'\r' | b'\t') => Encoding::Json,
            Some(_) => Encoding::Cbor,
        },
    }
}

struct Call<'a> {
    message: &'a async_nats::Message,
    encoding: Encoding,
}

impl Call<'_> {
    fn body<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let bytes = &self.message.payload;
        if bytes.len() > MAX_MESSAGE_BYTES {
            return Err(fail(
                400,
                format!("{} bytes, at most {MAX_MESSAGE_BYTES}", bytes.len()),
            ));
        }
        let refuse = |error: String| fail(400, without_values(&error));
        match self.encoding {
            Encoding::Cbor => codec::decode(bytes).map_err(|error| refuse(error.to_string())),
            Encoding::Json if bytes.is_empty() => {
                serde_json::from_str("{}").map_err(|error| refuse(error.to_string()))
            }
            Encoding::Json => {
                serde_json::from_slice(bytes).map_err(|error| refuse(error.to_string()))
            }
        }
    }

    fn reply<T: Serialize>(&self, value: &T) -> Result<Reply, ApiError> {
        match self.encoding {
            Encoding::Cbor => Ok(Reply {
                body: codec::encode(value).into(),
                content_type: codec::CONTENT_TYPE,
            }),
            Encoding::Json => {
                let body = serde_json::to_vec(value).map_err(|error| fail(500, error))?;
                Ok(Reply {
                    body: body.into(),
                    content_type: "application/json",
                })
            }
        }
    }
}

/// Shorter errors of a decoder are whole; `codec::decode` cuts longer ones, in the middle of a value perhaps.
const SURELY_WHOLE: usize = 200;

/// serde quotes a value of the wrong type, and that may be a password: its kind is enough.
fn without_values(error: &str) -> String {
    const EXPECTED: &str = ", expected ";
    let kind = ["invalid type: ", "invalid value: "]
        .into_iter()
        .find_map(|words| error.find(words).map(|at| at + words.len()));
    let value = kind.and_then(|kind| {
        let quote = error[kind..].find(['`', '"', '\\'])?;
        let is_quoted = !error[kind..kind + quote].contains(EXPECTED);
        is_quoted.then_some(kind + quote)
    });
    let Some(value) = value else {
        return error.into();
    };
    let expected = error.rfind(EXPECTED).filter(|_| error.len() < SURELY_WHOLE);
    let expected = expected.map_or("", |at| &error[at..]);
    format!("{}{expected}", error[..value].trim_end())
}

/// Answers one request of an endpoint of [`ENDPOINTS`].
///
/// # Errors
/// What was wrong with the request, or why it could not be carried out.
pub async fn answer(
    worker: &Arc<Worker>,
    endpoint: &str,
    message: &async_nats::Message,
) -> Result<Reply, ApiError> {
    let call = Call {
        message,
        encoding: encoding(message),
    };
    match endpoint {
        "node.enroll" => call.reply(&Shown::of(&enroll(worker, call.body()?).await?)),
        "node.list" => {
            worker.view.ready().await;
            let mut nodes: Vec<Summary> = worker
                .view
                .all()
                .iter()
                .map(|node| Summary::of(node))
                .collect();
            nodes.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
            call.reply(&nodes)
        }
        "node.show" => call.reply(&Shown::of(&load(worker, &call.body::<Ask>()?.node).await?)),
        "node.explain" => {
            let node = load(worker, &call.body::<Ask>()?.node).await?;
            call.reply(&explain(&node, clock::now(), &worker.policy))
        }
        "node.delete" => {
            let node = delete(worker, &call.body::<Ask>()?.node).await?;
            call.reply(&Shown::of(&node))
        }
        "knock.list" => call.reply(&worker.knocks.list().await?),
        "knock.show" => {
            let KnockWanted { key } = call.body()?;
            let knock = worker
                .knocks
                .get(&key)
                .await?
                .ok_or_else(|| fail(404, format!("no machine {key:?} has knocked")))?;
            call.reply(&knock)
        }
        "worker.list" => call.reply(&worker.presence.live()),
        "event.list" => {
            let EventsWanted { node, last } = call.body()?;
            let id = match node {
                Some(node) => Some(resolve(worker, &node).await?),
                None => None,
            };
            call.reply(
                &worker
                    .events
                    .read(id, last.unwrap_or(100).min(MAX_EVENTS))
                    .await?,
            )
        }
        "policy.show" => call.reply(&worker.policy),
        "console.history" => {
            let id = resolve(worker, &call.body::<Ask>()?.node).await?;
            Ok(Reply {
                body: crate::console::record::read(&worker.store, &id)
                    .await?
                    .into(),
                content_type: "application/octet-stream",
            })
        }
        "power.sync" => {
            let node = load(worker, &call.body::<Ask>()?.node).await?;
            let id = node.id;
            crate::sync::read(worker, &Arc::new(node)).await?;
            call.reply(&Summary::of(&load(worker, &id.to_string()).await?))
        }
        "bmc.check" => {
            let access = bmc::access(worker, &call.body()?).await?;
            let bmc = worker.bmcs.hasty(&access).await;
            let bmc = bmc.map_err(|fault| fail(400, fault.what))?;
            let result = check::check(&bmc, &access).await;
            bmc.close().await;
            call.reply(&result)
        }
        verb if verb.starts_with("bmc.") => {
            let ask: AskBmc = call.body()?;
            call.reply(&bmc::answer(worker, verb.trim_start_matches("bmc."), &ask).await?)
        }
        verb => {
            let ask: Ask = call.body()?;
            let id = resolve(worker, &ask.node).await?;
            let request = ask.request.clone().unwrap_or_else(fresh_request);
            let verb = verb_of(verb, ask)?;
            let node = reconcile(worker, id, &Event::Asked { request, verb }).await?;
            call.reply(&Shown::of(&node))
        }
    }
}

/// A request id that nobody has used.
pub fn fresh_request() -> RequestId {
    uuid::Uuid::new_v4()
        .to_string()
        .parse()
        .expect("a UUID is hex digits and hyphens")
}

fn verb_of(endpoint: &str, ask: Ask) -> Result<Verb, ApiError> {
    let missing = |what: &str| fail(400, format!("{endpoint} needs \"{what}\""));
    Ok(match endpoint {
        "node.manage" => Verb::Manage,
        "node.inspect" => Verb::Inspect,
        "node.provide" => Verb::Provide,
        "node.deploy" => Verb::Deploy(ask.instance.ok_or_else(|| missing("instance"))?),
        "node.rebuild" => Verb::Rebuild(ask.instance),
        "node.undeploy" => Verb::Undeploy,
        "node.abort" => Verb::Abort,
        "node.maintenance" => Verb::Maintenance(ask.reason),
        "node.power" => Verb::Power(ask.power.ok_or_else(|| missing("power"))?),
        "node.boot_device" => Verb::BootDevice {
            device: ask.boot_device.ok_or_else(|| missing("boot_device"))?,
            persistent: ask.persistent,
        },
        "node.set" => Verb::Set(ask.patch.ok_or_else(|| missing("patch"))?),
        other => return Err(fail(404, format!("no endpoint {other}"))),
    })
}

/// Names are read where they are claimed: the view may be behind a node that was just enrolled or renamed.
async fn resolve(worker: &Worker, text: &str) -> Result<NodeId, ApiError> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let name: NodeName = text.parse().map_err(|bad| fail(400, bad))?;
    let named = worker.store.named(&name).await?;
    named.ok_or_else(|| fail(404, format!("there is no node {name}")))
}

async fn load(worker: &Worker, node: &str) -> Result<Node, ApiError> {
    let id = resolve(worker, node).await?;
    let (node, _) = worker
        .store
        .load(id)
        .await?
        .ok_or_else(|| fail(404, format!("there is no node {id}")))?;
    Ok(node)
}

async fn enroll(worker: &Worker, wish: Enroll) -> Result<Node, ApiError> {
    wish.root_device.check().map_err(|bad| fail(400, bad))?;
    let id = wish
        .id
        .unwrap_or_else(|| NodeId::from_bytes(*uuid::Uuid::new_v4().as_bytes()));
    let mut node = Node {
        schema: SCHEMA,
        id,
        name: wish.name,
        bmc: wish.bmc,
        macs: wish.macs,
        system_uuid: wish.system_uuid,
        serial: wish.serial,
        boot_mode: wish.boot_mode,
        root_device: wish.root_device,
        instance: None,
        state: State::Enroll,
        since: clock::now(),
        wake_at: None,
        power: None,
        maintenance: None,
        last_error: None,
        boot: None,
        past_boots: vec![],
        inventory: None,
        counter: 0,
        requests: vec![],
        op: worker.fresh_op(),
    };
    if let Some(key) = wish.from {
        let knock = worker
            .knocks
            .get(&key)
            .await?
            .ok_or_else(|| fail(404, format!("no machine {key:?} has knocked")))?;
        let inventory = knock.inventory;
        node.system_uuid = node
            .system_uuid
            .or(inventory.system.uuid.filter(SystemUuid::is_meaningful));
        node.serial = node.serial.or_else(|| inventory.system.serial.clone());
        if node.macs.is_empty() {
            node.macs = inventory
                .nics
                .iter()
                .map(|nic| nic.mac)
                .take(MAX_MACS)
                .collect();
        }
        node.inventory = Some(inventory);
    }
    node.macs.sort();
    node.macs.dedup();
    if node.macs.len() > MAX_MACS {
        return Err(fail(
            400,
            format!("{} MAC addresses, at most {MAX_MACS}", node.macs.len()),
        ));
    }
    match worker.store.create(&node).await {
        Ok(_) => {
            tracing::info!(node = %node.id, name = node.name.as_ref().map(|n| n.as_str()), bmc = node.bmc.address(), "enrolled");
            Ok(node)
        }
        // The client repeats itself: the node it asked for is there.
        Err(StoreError::Conflict { .. }) => load(worker, &id.to_string()).await,
        Err(error) => Err(error.into()),
    }
}

async fn delete(worker: &Worker, node: &str) -> Result<Node, ApiError> {
    let id = resolve(worker, node).await?;
    let (node, revision) = worker
        .store
        .load(id)
        .await?
        .ok_or_else(|| fail(404, format!("there is no node {id}")))?;
    let idle = match &node.state {
        State::Enroll | State::Manageable | State::Available => true,
        State::Active | State::Failed(_) => node.maintenance.is_some(),
        State::Busy(_) => false,
    };
    if !idle {
        let state = node.state.provision_state();
        return Err(fail(
            409,
            format!("cannot delete a node that is {state} (undeploy it, or set maintenance)"),
        ));
    }
    worker.store.remove(&node, revision).await?;
    tracing::info!(node = %id, "deleted");
    Ok(node)
}

#[cfg(test)]
mod tests {
    use super::without_values;

    #[test]
    fn values_are_left_out_of_errors() {
        let long = "x".repeat(200);
        for (error, told) in [
            (
                "invalid type: integer `5`, expected a string at line 1",
                "invalid type: integer, expected a string at line 1",
            ),
            (
                "invalid type: string \"a, expected b\", expected a map",
                "invalid type: string, expected a map",
            ),
            (
                "x: Semantic(None, \"invalid type: string \\\"a\\\", expected u8\")",
                "x: Semantic(None, \"invalid type: string, expected u8\")",
            ),
            (
                "Semantic(None, \"invalid type: map, expected a string\")",
                "Semantic(None, \"invalid type: map, expected a string\")",
            ),
            (
                "invalid type: map, expected `a`",
                "invalid type: map, expected `a`",
            ),
            (
                "unknown field `nod`, expected `node`",
                "unknown field `nod`, expected `node`",
            ),
            (
                &format!("invalid type: string \"a, expected b{long}"),
                "invalid type: string",
            ),
        ] {
            assert_eq!(without_values(error), told);
        }
    }
}
