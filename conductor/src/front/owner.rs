//! Questions to a BMC go to the worker that owns its node, so that a BMC has one session with us, not one per worker.
//! The workers' presence says who owns which node; `answer` makes the reply.
use super::named::resolve;
use super::operator::{Asked, Body};
use super::refusal::{ApiError, fail};
use crate::loops::power::PowerSync;
use crate::records::presence::Liveness;
use crate::worker::Worker;
use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE};
use async_nats::{HeaderMap, Message, RequestErrorKind};
use futures_util::StreamExt;
use ironbeat_core::id::WorkerId;
use ironbeat_ops::{Request, handover};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Longer than any client waits: nobody wants the answer any more, and its place here is free again.
const LONGEST: Duration = Duration::from_secs(120);
/// An explanation is needed most when something hangs: it comes from here then.
const HASTE: Duration = Duration::from_secs(2);
/// How often to check on the owner of a question under way: nothing ticks when a worker falls silent.
const LOOK: Duration = Duration::from_secs(1);
/// Questions of others answered at once. They have places of their own: two workers whose places were all taken by
/// questions that they handed to each other would wait for ever.
const PARALLEL: usize = 256;

/// The owner's answer, if this question is for another worker to answer.
///
/// # Errors
/// The owner's error, or why it gave no answer.
pub(super) async fn elsewhere(
    worker: &Worker,
    asked: &Asked,
    request: &Request,
) -> Result<Option<Body>, ApiError> {
    let Some(node) = whose_bmc(request) else {
        return Ok(None);
    };
    // The owner knows how the power sync fares; all the rest anybody can explain.
    if let Request::ExplainNode(_) = request {
        let asking = tokio::time::timeout(HASTE, handed_over(worker, asked, request, node)).await;
        return Ok(asking.ok().and_then(Result::ok).flatten());
    }
    handed_over(worker, asked, request, node).await
}

async fn handed_over(
    worker: &Worker,
    asked: &Asked,
    request: &Request,
    node: &str,
) -> Result<Option<Body>, ApiError> {
    let node = resolve(worker, node).await?;
    let owner = worker.presence.owner_of(node);
    let Some(owner) = owner.filter(|owner| *owner != worker.id) else {
        return Ok(None);
    };
    tracing::debug!(%node, endpoint = asked.endpoint, %owner, "handed to the owner of the BMC");
    let mut headers = HeaderMap::new();
    headers.insert(handover::ENDPOINT, asked.endpoint.as_str());
    headers.insert("Content-Type", asked.content_type());
    let ask = async_nats::Request::new()
        .headers(headers)
        .payload(asked.bytes.clone())
        .timeout(Some(LONGEST));
    let subject = handover::subject(&worker.prefix, &owner);
    let failed = |code, why: &str| {
        let endpoint = &asked.endpoint;
        fail(
            code,
            format!(
                "{endpoint} was handed to worker {owner}, which owns the BMC of node {node}: {why}"
            ),
        )
    };
    let reply = tokio::select! {
        reply = worker.client.send_request(subject, ask) => reply,
        () = lapse(worker, &owner) => {
            return Err(failed(503, &format!("that worker went away before it answered{}", doubt(request))));
        }
    };
    match reply {
        Ok(reply) => passed_on(asked, &reply).map(Some),
        // The owner is starting, or has just died. Nobody heard the question, so nothing is done twice.
        Err(error) if error.kind() == RequestErrorKind::NoResponders => {
            tracing::debug!(%node, endpoint = asked.endpoint, %owner, "the owner does not listen: answered here");
            Ok(None)
        }
        Err(error) => Err(failed(503, &format!("{error}{}", doubt(request)))),
    }
}

/// The node whose BMC the question is for, or whose power sync it is about, if the node's owner is to answer it. A job's acts
/// are not among these: the worker in the record does them.
fn whose_bmc(request: &Request) -> Option<&str> {
    match request {
        Request::BmcInfo(ask) => Some(&ask.node),
        Request::BmcSensors(ask) => Some(&ask.node),
        Request::BmcSel(ask) => Some(&ask.node),
        Request::BmcFru(ask) => Some(&ask.node),
        Request::RawBmc(ask) => Some(&ask.node),
        Request::SyncPower(ask) => Some(&ask.node),
        Request::ExplainNode(ask) => Some(&ask.node),
        Request::CheckBmc(ask) if ask.bmc.is_none() => ask.node.as_deref(),
        Request::CheckBmc(_)
        | Request::Enroll(_)
        | Request::ListNodes(_)
        | Request::ShowNode(_)
        | Request::ValidateNode(_)
        | Request::Manage(_)
        | Request::Inspect(_)
        | Request::Provide(_)
        | Request::Deploy(_)
        | Request::Rebuild(_)
        | Request::Undeploy(_)
        | Request::Adopt(_)
        | Request::Clean(_)
        | Request::Service(_)
        | Request::Rescue(_)
        | Request::Unrescue(_)
        | Request::Hold(_)
        | Request::Unhold(_)
        | Request::Abort(_)
        | Request::SetMaintenance(_)
        | Request::UnsetMaintenance(_)
        | Request::SetNode(_)
        | Request::DeleteNode(_)
        | Request::CreateAllocation(_)
        | Request::ListAllocations(_)
        | Request::ShowAllocation(_)
        | Request::DeleteAllocation(_)
        | Request::CreateRunbook(_)
        | Request::ListRunbooks(_)
        | Request::ShowRunbook(_)
        | Request::SetRunbook(_)
        | Request::DeleteRunbook(_)
        | Request::CreateTemplate(_)
        | Request::ListTemplates(_)
        | Request::ShowTemplate(_)
        | Request::SetTemplate(_)
        | Request::DeleteTemplate(_)
        | Request::CreateRule(_)
        | Request::SetRule(_)
        | Request::ListRules(_)
        | Request::ShowRule(_)
        | Request::DeleteRule(_)
        | Request::TestRule(_)
        | Request::ChangePower(_)
        | Request::SetBootDevice(_)
        | Request::ResetBmc(_)
        | Request::SetBmcPassword(_)
        | Request::ConsoleHistory(_)
        | Request::ListLookups(_)
        | Request::ShowLookup(_)
        | Request::ListWorkers(_)
        | Request::ListEvents(_)
        | Request::NodeHistory(_)
        | Request::NodeRecord(_)
        | Request::ShowSealKey(_)
        | Request::RotateKey(_)
        | Request::RevokeLogin(_)
        | Request::ShowPolicy(_) => None,
    }
}

/// What to add when nobody knows how far the owner got.
fn doubt(request: &Request) -> &'static str {
    let acts = match request {
        Request::BmcSel(ask) => ask.clear,
        request => matches!(request, Request::RawBmc(_)),
    };
    match acts {
        true => "; it may have been carried out",
        false => "",
    }
}

/// Returns when `owner` may no longer act.
async fn lapse(worker: &Worker, owner: &WorkerId) {
    let mut changes = worker.presence.changes();
    loop {
        match worker.presence.is_live(owner) {
            Liveness::Lapsed => return,
            Liveness::Live | Liveness::Unknown => {}
        }
        let _ = tokio::time::timeout(LOOK, changes.changed()).await;
    }
}

/// The reply of another worker as this one's own.
fn passed_on(asked: &Asked, reply: &Message) -> Result<Body, ApiError> {
    let header = |name| {
        let value = reply.headers.as_ref()?.get(name)?;
        Some(value.as_str())
    };
    match header(NATS_SERVICE_ERROR) {
        None => Ok((reply.payload.clone(), asked.content_type())),
        Some(why) => {
            let code = header(NATS_SERVICE_ERROR_CODE).and_then(|code| code.parse().ok());
            Err(fail(code.unwrap_or(500), why))
        }
    }
}

/// Answers what other workers hand over, until the task that is returned is stopped.
///
/// # Errors
/// When the subject cannot be subscribed.
pub(super) async fn serve(
    worker: &Arc<Worker>,
    power: &Arc<PowerSync>,
) -> anyhow::Result<JoinHandle<()>> {
    let subject = handover::subject(&worker.prefix, &worker.id);
    let mut questions = worker.front.subscribe(subject).await?;
    let (worker, power) = (Arc::clone(worker), Arc::clone(power));
    let places = Arc::new(Semaphore::new(PARALLEL));
    Ok(tokio::spawn(async move {
        while let Some(message) = questions.next().await {
            let place = Arc::clone(&places).acquire_owned().await;
            let place = place.expect("the places are never closed");
            let (worker, power) = (Arc::clone(&worker), Arc::clone(&power));
            worker.clone().spawn(async move {
                reply(&worker, &power, &message).await;
                drop(place);
            });
        }
    }))
}

async fn reply(worker: &Arc<Worker>, power: &PowerSync, message: &Message) {
    let Some(to) = &message.reply else {
        return;
    };
    let mut headers = HeaderMap::new();
    let body = match answer(worker, power, message).await {
        Ok((body, content_type)) => {
            headers.insert("Content-Type", content_type);
            body
        }
        Err(error) => {
            headers.insert(NATS_SERVICE_ERROR, error.one_line());
            headers.insert(NATS_SERVICE_ERROR_CODE, error.code.to_string());
            bytes::Bytes::new()
        }
    };
    let sent = worker.front.publish_with_headers(to.clone(), headers, body);
    if let Err(error) = sent.await {
        tracing::warn!("reply to another worker: {error}");
    }
}

/// Answers here, whoever owns the node by now: a question is handed over once.
async fn answer(
    worker: &Arc<Worker>,
    power: &PowerSync,
    message: &Message,
) -> Result<Body, ApiError> {
    let headers = message.headers.as_ref();
    let endpoint = headers.and_then(|headers| headers.get(handover::ENDPOINT));
    let endpoint =
        endpoint.ok_or_else(|| fail(400, format!("no header {}", handover::ENDPOINT)))?;
    let asked = Asked::of(endpoint.as_str().to_owned(), message);
    let question = asked.request(worker).await?;
    // Anything else would bypass what the server allows on the question's own subject.
    if whose_bmc(&question.request).is_none() {
        let endpoint = &asked.endpoint;
        return Err(fail(
            400,
            format!("{endpoint} is no question for a BMC's owner"),
        ));
    }
    asked.answer(worker, power, question).await
}
