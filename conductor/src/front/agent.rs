//! Messages of agents: a lookup finds its node, a heartbeat is an event, and the reply follows from the record.
//! The core says what either means for a node; `nats` carries the bytes.
use super::discover::discover;
use super::identify::identify;
use super::refusal::{ApiError, fail};
use crate::clock;
use crate::confirm;
use crate::drive::ReconcileError;
use crate::measured::compare;
use crate::netboot::mirrors::urls;
use crate::secrets::Purpose;
use crate::tickets::{self, Tickets};
use crate::worker::Worker;
use ironbeat_common::codec;
use ironbeat_common::heartbeat::{Heartbeat, HeartbeatReply, Status};
use ironbeat_common::id::{BootId, NodeId, StepId};
use ironbeat_common::login::{Login, LoginRequest, Renewal, RenewalReply, UserKey};
use ironbeat_common::lookup::{Introduction, Lookup, LookupReply};
use ironbeat_common::measured::Measurements;
use ironbeat_core::decide::{Event, Proof, Rejected, Wanted, may_renew, refusal, wanted};
use ironbeat_core::lookup::{Identity, MAX_NAMED, Match};
use ironbeat_core::node::{
    AgentStep, Delivery, ImageSource, Instance, MeasuredBoot, Node, RescueSystem, WriteImage,
};
use ironbeat_core::plan::config_drive;
use ironbeat_core::policy::OnMeasurement;
use ironbeat_core::text::said;
use ironbeat_core::time::Time;
use ironbeat_ops::happening::{Happening, What};
use ironbeat_ops::reply::Served;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A machine without work asks again after this long. Ironic's agent waits 1 to 60 s.
const RETRY_SECS: u32 = 20;
const WAIT: LookupReply = LookupReply::Wait {
    retry_secs: RETRY_SECS,
};

/// What every message of an agent has, of whatever version.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// What an agent sent. One of another version is refused as that, whatever else is in its message; it shows the refusal on
/// its console and asks again.
fn read<T: DeserializeOwned>(
    what: &str,
    payload: &[u8],
    version: fn(&T) -> u32,
) -> Result<T, ApiError> {
    let why = match codec::decode::<T>(payload) {
        Ok(message) if version(&message) == codec::VERSION => return Ok(message),
        Ok(message) => of_another_version(version(&message)),
        Err(malformed) => match codec::decode::<Versioned>(payload) {
            Ok(head) if head.version != codec::VERSION => of_another_version(head.version),
            Ok(_) | Err(_) => malformed.to_string(),
        },
    };
    Err(ApiError {
        code: 400,
        why: format!("{what}: {why}"),
    })
}

fn of_another_version(theirs: u32) -> String {
    let ours = codec::VERSION;
    format!(
        "message version {theirs}, this worker speaks {ours}: boot the ramdisk that came with it"
    )
}

/// Of a serial number that anybody can make up, in the log.
const SHOWN: usize = 64;

/// A lookup that is not a node's ramdisk's own: anybody who knocks causes it.
fn told(worker: &Worker, boot: BootId, machine: &Identity, matched: &Match, outcome: &str) {
    if let Some(untold) = worker.knocks.told(Instant::now()) {
        let serial = machine.serial.as_deref().map(|it| said(it, SHOWN));
        tracing::info!(%boot, serial, ?matched, outcome, untold, "lookup");
    }
}

pub(super) async fn lookup(worker: &Arc<Worker>, payload: &[u8]) -> Result<Vec<u8>, ApiError> {
    let head = read("lookup", payload, |head: &Introduction| head.version)?;
    let (boot, machine) = (head.boot, Identity::of_marks(head.inventory));
    let matched = worker.view.find(&machine);
    // Nobody asked to hear of it: no look at what it is made of, no line, no key.
    if matched == Match::None && !worker.discovery {
        return Ok(codec::encode(&WAIT));
    }
    let asked = clock::now();
    let proof = match &worker.tickets {
        None => Ok(Proof::NotAsked),
        Some(_) => {
            admit(worker, &matched, head.login.as_ref())?;
            tickets::proof(boot, head.login.as_ref())
        }
    };
    if let Match::One { node, by } = matched
        && let Some(why) = refusal_at_rest(worker, node, boot).await?
    {
        let outcome = format!("refused, by {by}: {why}");
        told(worker, boot, &machine, &matched, &outcome);
        let inventory = || codec::decode::<Lookup>(payload).ok().map(|it| it.inventory);
        let remembered = worker
            .lookups
            .record(&machine, boot, matched, outcome, inventory);
        remembered.await;
        return Ok(codec::encode(&WAIT));
    }
    let mut lookup = read("lookup", payload, |lookup: &Lookup| lookup.version)?;
    // It asks again when it has lost its login or the answer: that is no boot.
    let mut is_news = true;
    let (outcome, welcome) = match &matched {
        Match::None => match &worker.enroller {
            None => ("unknown machine: discovered".to_string(), None),
            Some(enroller) => (discover(worker, enroller, &lookup.inventory).await, None),
        },
        Match::Ambiguous { nodes } => {
            let more = if nodes.len() < MAX_NAMED {
                ""
            } else {
                " or more"
            };
            let outcome = format!("refused: {}{more} nodes match it", nodes.len());
            (outcome, None)
        }
        Match::One { by, .. } if let Err(forged) = &proof => {
            (format!("refused, by {by}: {forged}"), None)
        }
        Match::One { node, by } => {
            let agent = worker.view.get(node).and_then(|it| it.agent);
            is_news = agent.is_none_or(|agent| agent.boot != boot);
            let event = Event::Booted {
                boot,
                inventory: std::mem::take(&mut lookup.inventory),
                proof: proof.unwrap_or(Proof::Missing),
                measured: measured(worker, lookup.measured.take()),
            };
            let delivered = worker.drive.deliver(*node, &event).await;
            if let Event::Booted { inventory, .. } = event {
                lookup.inventory = inventory;
            }
            match delivered {
                Ok(node) => {
                    let welcome = node.boot == Some(boot);
                    let astray = node.astray.as_ref().is_some_and(|it| it.boot == boot);
                    let of_others = match welcome || astray {
                        true => identify(worker, &node, boot, &machine).await,
                        false => vec![],
                    };
                    let rival = node.tickets.rival.as_ref();
                    let refused = refused_measured(worker, &node).filter(|_| !astray);
                    let first = match (welcome, refused, rival) {
                        (true, _, _) if !is_news => format!("welcome again, by {by}"),
                        (true, _, _) => format!("welcome, by {by}"),
                        (false, Some(why), _) => format!("refused, by {by}: {why}"),
                        (false, None, Some(rival)) => {
                            format!("refused, by {by}: {}", rival.sign.words())
                        }
                        (false, None, None) => format!("refused, by {by}: the node is active"),
                    };
                    let suspect = node.measured_boot.as_ref();
                    let suspect = suspect.filter(|it| welcome && it.is_suspect());
                    let suspect = suspect.map(|it| format!("measured boot: {it}"));
                    let words = std::iter::once(first).chain(suspect).chain(of_others);
                    let words: Vec<String> = words.collect();
                    (words.join("; "), welcome.then_some(node))
                }
                Err(ReconcileError::Rejected(why)) => (format!("refused, by {by}: {why}"), None),
                Err(error) => {
                    return Err(ApiError {
                        code: 503,
                        why: format!("lookup: {error}"),
                    });
                }
            }
        }
    };
    match &welcome {
        // With its ticket, where there are logins.
        Some(node) => {
            if let Some(untold) = worker.welcomes.told(Instant::now()) {
                tracing::info!(%boot, node = %node.id, outcome, untold, "lookup");
            }
        }
        None => told(worker, boot, &machine, &matched, &outcome),
    }
    if let Some(node) = welcome.as_ref().filter(|_| is_news) {
        let what = What::Lookup {
            boot,
            agent: lookup.agent,
            timings: lookup.timings,
        };
        let happening = Happening::of(node, clock::now(), &worker.id, what);
        worker.events.publish(&happening, &boot.to_string());
    }
    let inventory = || Some(lookup.inventory);
    worker
        .lookups
        .record(&machine, boot, matched, outcome, inventory)
        .await;
    // The same answer for unknown, ambiguous and unwanted machines: a machine learns nothing by asking.
    let Some(node) = welcome else {
        return Ok(codec::encode(&WAIT));
    };
    let login = match (&worker.tickets, &node.tickets.used) {
        (Some(tickets), Some(used)) => Some(minted(tickets, node.id, &used.key, asked)?),
        (Some(_), None) | (None, _) => None,
    };
    Ok(codec::encode(&LookupReply::Welcome {
        node: node.id,
        heartbeat_timeout_secs: worker.policy.heartbeat_timeout_secs,
        login,
    }))
}

/// Why a policy that wants a measured boot refuses the last one of this node.
fn refused_measured<'a>(worker: &Worker, node: &'a Node) -> Option<&'a MeasuredBoot> {
    let measured = node.measured_boot.as_ref()?;
    let required = worker.policy.measured_boot == OnMeasurement::Require;
    (required && !measured.is_served()).then_some(measured)
}

/// What was measured of this boot.
fn measured(worker: &Worker, measurements: Option<Measurements>) -> MeasuredBoot {
    let is_off = worker.policy.measured_boot == OnMeasurement::Off;
    let Some(measurements) = measurements.filter(|_| !is_off) else {
        return MeasuredBoot::NoTpm;
    };
    let (mut served, mut loaders) = (Vec::<Served>::new(), Vec::new());
    for worker in worker.presence.heard() {
        served.extend(worker.serves);
        loaders.extend(worker.loaders);
    }
    compare(&measurements, &served, &loaders)
}

fn minted(tickets: &Tickets, node: NodeId, key: &UserKey, asked: Time) -> Result<Login, ApiError> {
    tickets.login(node, key, asked).map_err(|error| {
        tracing::error!(%node, "no login for its agent: {error:#}");
        fail(503, "login: this worker cannot sign")
    })
}

/// Whoever does not come with the ticket that its node waits for, as far as this worker can see, is let in slowly.
fn admit(worker: &Worker, matched: &Match, request: Option<&LoginRequest>) -> Result<(), ApiError> {
    let expected = match matched {
        Match::One { node, .. } => worker.view.get(node).and_then(|it| it.ticket),
        Match::None | Match::Ambiguous { .. } => None,
    };
    let is_expected = expected.is_some() && request.map(|it| it.ticket) == expected;
    let now = Instant::now();
    if is_expected || worker.strangers.admit(now) {
        return Ok(());
    }
    if let Some(untold) = worker.refusals.told(now) {
        tracing::warn!(
            ?matched,
            untold,
            "too many lookups without a good ticket: this one is refused"
        );
    }
    Err(fail(
        503,
        "too many lookups without a good ticket: ask again",
    ))
}

/// An agent's login ends soon: it gets the next one while its boot is the node's present one.
pub(super) async fn renew(
    worker: &Arc<Worker>,
    subject: &str,
    payload: &[u8],
) -> Result<Vec<u8>, ApiError> {
    let token = subject.rsplit('.').nth(1).unwrap_or_default();
    let id: NodeId = token.parse().map_err(|bad| ApiError {
        code: 400,
        why: format!("login: {bad}"),
    })?;
    let renewal = read("login", payload, |renewal: &Renewal| renewal.version)?;
    let Some(tickets) = &worker.tickets else {
        return Err(fail(400, "login: nobody needs one here"));
    };
    let asked = clock::now();
    let record = worker.store.nodes.load(id).await?;
    let (boot, key) = (renewal.boot, &renewal.key);
    let goes_on = record.is_some_and(|(node, _)| may_renew(&node, boot, key));
    if !goes_on && let Some(untold) = worker.refusals.told(Instant::now()) {
        tracing::info!(node = %id, %boot, untold, "login refused: another boot or key than the node's");
    }
    Ok(codec::encode(&match goes_on {
        true => RenewalReply::Login(minted(tickets, id, key, asked)?),
        false => RenewalReply::Over,
    }))
}

/// Why a machine is refused whose node rests, as its record says: nearly all lookups of known machines are such, and what
/// the machine is made of makes no difference. None: it may be welcome.
async fn refusal_at_rest(
    worker: &Worker,
    node: NodeId,
    boot: BootId,
) -> Result<Option<Rejected>, ApiError> {
    let rests = worker.view.get(&node).is_some_and(|it| it.rest.is_some());
    if !rests {
        return Ok(None);
    }
    let record = worker.store.nodes.load(node).await?;
    Ok(record.and_then(|(node, _)| refusal(&node, boot)))
}

/// A heartbeat: decode, `decide` through `reconcile`, and the reply follows from the record.
pub(super) async fn heartbeat(
    worker: &Arc<Worker>,
    subject: &str,
    payload: &[u8],
) -> Result<Vec<u8>, ApiError> {
    let token = subject.rsplit('.').next().unwrap_or_default();
    let id: NodeId = token.parse().map_err(|bad| ApiError {
        code: 400,
        why: format!("heartbeat: {bad}"),
    })?;
    let beat = read("heartbeat", payload, |beat: &Heartbeat| beat.version)?;
    let status = beat.status;
    // Most beats say that the step goes on. The record may have moved on a moment ago: then a nudge is on its way, and the
    // agent had its answer a moment before that.
    let known = worker.view.get_current(&id);
    if beat.nudge.is_none() && known.is_some_and(|node| node.goes_on(beat.boot, &status)) {
        return Ok(codec::encode(&HeartbeatReply::Idle));
    }
    let event = Event::Beat {
        boot: beat.boot,
        status: status.clone(),
    };
    let (reply, name) = match worker.drive.deliver(id, &event).await {
        Ok(node) => {
            let reply = reply(worker, &node, beat.boot, &status).await?;
            (reply, node.name.clone())
        }
        Err(ReconcileError::Rejected(Rejected::UnknownBoot) | ReconcileError::NoNode(_)) => {
            (HeartbeatReply::LookUp, None)
        }
        Err(error) => {
            return Err(ApiError {
                code: 503,
                why: format!("heartbeat: {error}"),
            });
        }
    };
    if reply == HeartbeatReply::LookUp
        && let Some(untold) = worker.refusals.told(Instant::now())
    {
        let boot = beat.boot;
        tracing::info!(node = %id, %boot, untold, "heartbeat refused: another boot than the node's");
    }
    if let Some(latency) = beat.nudge {
        let happening = Happening {
            node: id,
            name,
            at: clock::now(),
            worker: worker.id.clone(),
            asked: None,
            what: What::Nudge(latency),
        };
        let once = latency.step.to_string();
        worker.events.publish(&happening, &once);
    }
    Ok(codec::encode(&reply))
}

/// The step that the record wants of the agent, in the protocol's words, with what lies beside the record.
async fn reply(
    worker: &Worker,
    node: &Node,
    boot: BootId,
    status: &Status,
) -> Result<HeartbeatReply, ApiError> {
    Ok(match wanted(node, boot, status) {
        Wanted::Idle => HeartbeatReply::Idle,
        Wanted::LookUp => HeartbeatReply::LookUp,
        Wanted::Step { id, step } => HeartbeatReply::Step {
            id,
            order: step.order(delivery(worker, node, id, step).await?),
        },
    })
}

async fn delivery(
    worker: &Worker,
    node: &Node,
    id: StepId,
    step: &AgentStep,
) -> Result<Delivery, ApiError> {
    match (step, &node.instance) {
        (AgentStep::WriteImage(write), Some(instance)) => {
            image_delivery(worker, node, id, write, instance).await
        }
        (AgentStep::Rescue(system), _) => rescue_delivery(worker, node, id, system).await,
        (
            AgentStep::Inspect { .. }
            | AgentStep::WriteImage(_)
            | AgentStep::SetBootEntry { .. }
            | AgentStep::EraseMetadata { .. }
            | AgentStep::PowerOff,
            _,
        ) => Ok(Delivery::default()),
    }
}

/// Who may log in, and where the system is that lets them.
async fn rescue_delivery(
    worker: &Worker,
    node: &Node,
    id: StepId,
    system: &RescueSystem,
) -> Result<Delivery, ApiError> {
    let login = worker.store.beside.rescue_login(node).await?;
    let login = login.ok_or_else(|| fail(500, "heartbeat: nobody knows who may log in"))?;
    Ok(Delivery {
        urls: urls_of(worker, node.id, id, &system.source),
        login,
        stall_secs: worker.policy.step_stall_secs,
        ..Delivery::default()
    })
}

/// Where an agent gets an image, with a token of its step where it needs one.
fn urls_of(worker: &Worker, node: NodeId, step: StepId, source: &ImageSource) -> Vec<String> {
    let budget = Duration::from_secs(worker.policy.step_budget_secs.into());
    let until = clock::now().after(budget);
    let tokens = worker.image_tokens.as_ref();
    let token = tokens.map(|it| it.give(Purpose::Step { node, step }, source.as_str(), until));
    urls(&worker.presence.heard(), source, token.as_deref())
}

async fn image_delivery(
    worker: &Worker,
    node: &Node,
    id: StepId,
    write: &WriteImage,
    instance: &Instance,
) -> Result<Delivery, ApiError> {
    let data = worker.store.beside.instance_data(node).await?;
    let (data, workers) = (data.unwrap_or_default(), worker.presence.heard());
    let source = data.image_source(&write.source).ok_or_else(|| ApiError {
        code: 500,
        why: format!("heartbeat: the query of {} is lost", write.source),
    })?;
    let token = data.token.as_ref().filter(|_| instance.confirm.is_some());
    let confirm_url = token.zip(workers.first());
    let confirm_url = confirm_url.map(|(token, info)| confirm::url(&info.url, node.id, token));
    Ok(Delivery {
        urls: urls_of(worker, node.id, id, &source),
        config_drive: config_drive(node, instance, &data, confirm_url.as_deref()),
        stall_secs: worker.policy.step_stall_secs,
        ..Delivery::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Serialize;

    #[derive(Serialize)]
    struct Sent<B> {
        version: u32,
        boot: B,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Read {
        version: u32,
        boot: u8,
    }

    fn read_of<B: Serialize>(version: u32, boot: B) -> Result<u8, String> {
        let payload = codec::encode(&Sent { version, boot });
        read("beat", &payload, |read: &Read| read.version)
            .map(|read| read.boot)
            .map_err(|error| error.why)
    }

    #[test]
    fn an_agent_of_another_version_is_told_so_even_where_its_message_has_another_shape() {
        let later = codec::VERSION + 1;
        let told = format!(
            "beat: message version {later}, this worker speaks {}: boot the ramdisk that came with it",
            codec::VERSION
        );
        assert_eq!(read_of(codec::VERSION, 7), Ok(7));
        assert_eq!(read_of(later, 7), Err(told.clone()));
        assert_eq!(read_of(later, "text"), Err(told));
        let malformed = read_of(codec::VERSION, "text").unwrap_err();
        assert!(
            malformed.starts_with("beat: ") && !malformed.contains("version"),
            "{malformed}"
        );
    }
}
