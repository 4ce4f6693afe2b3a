//! Bytes to events: the NATS service that answers lookups, heartbeats and the operators' API.
//! Every endpoint is in the service, so that `nats micro info ironbeat` is the index; what is answered is elsewhere.
use crate::api::{self, ApiError};
use crate::reconcile::{ReconcileError, reconcile};
use crate::worker::Worker;
use async_nats::service::error::Error as ServiceError;
use async_nats::service::{Request, ServiceExt};
use bytes::Bytes;
use futures_util::StreamExt;
use ironbeat_common::codec;
use ironbeat_common::heartbeat::{Heartbeat, HeartbeatReply};
use ironbeat_common::id::NodeId;
use ironbeat_common::lookup::{Lookup, LookupReply};
use ironbeat_common::order::Order;
use ironbeat_common::subject;
use ironbeat_core::decide::{Event, Rejected, wanted};
use ironbeat_core::lookup::{Identity, Match, find};
use ironbeat_core::node::{Node, State};
use ironbeat_core::plan::is_file_name;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// What a machine that has no work is told. Ironic's agent waits 1 to 60 s.
const RETRY_SECS: u32 = 20;
/// A server that is busy with an election takes up to 9 s.
const ECHO: Duration = Duration::from_secs(15);
/// Requests handled at once by one worker; more wait in their subscription.
const PARALLEL: usize = 256;

/// Announces the service and answers until the connection is drained.
///
/// # Errors
/// When an endpoint cannot be subscribed.
pub async fn start(worker: &Arc<Worker>) -> anyhow::Result<async_nats::service::Service> {
    let fail = |what: &str, error: async_nats::Error| anyhow::anyhow!("{what}: {error}");
    let service = worker
        .client
        .service_builder()
        .description("Ironbeat conductor: bare metal from rack to running")
        .queue_group(subject::QUEUE_GROUP)
        .start("ironbeat", env!("CARGO_PKG_VERSION"))
        .await
        .map_err(|error| fail("announce the service", error))?;
    let gate = Arc::new(Semaphore::new(PARALLEL));
    let mut endpoints = vec![
        ("lookup".to_string(), subject::lookup(&worker.prefix)),
        (
            "heartbeat".to_string(),
            format!("{}.heartbeat.*", worker.prefix),
        ),
    ];
    endpoints.extend(api::ENDPOINTS.iter().map(|name| {
        let (noun, verb) = name.split_once('.').expect("an endpoint is noun.verb");
        (
            name.replace('.', "-"),
            ironbeat_ops::subject::api(&worker.prefix, noun, verb),
        )
    }));
    for (name, subject) in endpoints {
        let mut endpoint = service
            .endpoint_builder()
            .name(&name)
            .queue_group(subject::QUEUE_GROUP)
            .add(&subject)
            .await
            .map_err(|error| fail(&format!("listen on {subject}"), error))?;
        let (worker, gate) = (Arc::clone(worker), Arc::clone(&gate));
        tokio::spawn(async move {
            while let Some(request) = endpoint.next().await {
                let permit = Arc::clone(&gate)
                    .acquire_owned()
                    .await
                    .expect("the gate is never closed");
                let task = answer(Arc::clone(&worker), name.clone(), request);
                worker.tasks.spawn(async move {
                    task.await;
                    drop(permit);
                });
            }
        });
    }
    arrived(&worker.client).await?;
    Ok(service)
}

/// Returns when the server has all that was sent before, subscriptions too: it takes them in order, and sends this back.
async fn arrived(client: &async_nats::Client) -> anyhow::Result<()> {
    let inbox = client.new_inbox();
    let mut echo = client.subscribe(inbox.clone()).await?;
    client.publish(inbox, Bytes::new()).await?;
    let echo = tokio::time::timeout(ECHO, echo.next()).await;
    let silent = || anyhow::anyhow!("listen: the NATS server is silent for {ECHO:?}");
    echo.ok().flatten().map(drop).ok_or_else(silent)
}

async fn answer(worker: Arc<Worker>, endpoint: String, request: Request) {
    let reply = match endpoint.as_str() {
        "lookup" => lookup(&worker, &request.message.payload).await,
        "heartbeat" => heartbeat(&worker, &request.message.subject, &request.message.payload).await,
        api => api::answer(&worker, &api.replacen('-', ".", 1), &request.message).await,
    };
    let sent = match reply {
        Ok(Reply { body, content_type }) => {
            let mut headers = async_nats::HeaderMap::new();
            headers.insert("Content-Type", content_type);
            request.respond_with_headers(Ok(body), headers).await
        }
        Err(ApiError { code, why }) => {
            tracing::debug!(endpoint, code, why, "refused");
            // A header is one line of visible characters.
            let status = why
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .take(1000)
                .collect();
            request.respond(Err(ServiceError { status, code })).await
        }
    };
    if let Err(error) = sent {
        tracing::warn!(endpoint, "reply: {error}");
    }
}

/// A body and what it is.
pub struct Reply {
    pub body: Bytes,
    pub content_type: &'static str,
}

impl Reply {
    fn cbor<T: serde::Serialize>(message: &T) -> Self {
        Self {
            body: codec::encode(message).into(),
            content_type: codec::CONTENT_TYPE,
        }
    }
}

fn malformed(what: &str, error: &codec::DecodeError) -> ApiError {
    ApiError {
        code: 400,
        why: format!("{what}: {error}"),
    }
}

async fn lookup(worker: &Arc<Worker>, payload: &[u8]) -> Result<Reply, ApiError> {
    let lookup: Lookup = codec::decode(payload).map_err(|error| malformed("lookup", &error))?;
    let machine = Identity::of_machine(&lookup.inventory);
    let nodes = worker.view.all();
    let known: Vec<(NodeId, Identity)> = nodes
        .iter()
        .map(|node| (node.id, Identity::of_node(node)))
        .collect();
    let matched = find(&machine, known.iter().map(|(id, node)| (*id, node)));
    let (outcome, welcome) = match &matched {
        Match::None => ("unknown machine: discovered".to_string(), None),
        Match::Ambiguous { nodes } => {
            (format!("refused: {} nodes answer to it", nodes.len()), None)
        }
        Match::One { node, by } => {
            let event = Event::Booted {
                boot: lookup.boot,
                inventory: lookup.inventory.clone(),
            };
            match reconcile(worker, *node, &event).await {
                Ok(_) => (format!("welcome, by {by}"), Some(*node)),
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
    tracing::info!(boot = %lookup.boot, serial = machine.serial, matched = ?matched, outcome, "lookup");
    if let Some(node) = welcome {
        let body = serde_json::json!({ "node": node, "at": crate::clock::now(), "boot": lookup.boot, "agent": lookup.agent, "timings": lookup.timings });
        worker.events.publish(
            node,
            "lookup",
            &body,
            &format!("{node}:lookup:{}", lookup.boot),
        );
    }
    worker
        .knocks
        .record(&machine, lookup.boot, matched, outcome, lookup.inventory);
    // The same answer for unknown, ambiguous and unwanted: nothing can be learnt by knocking.
    Ok(Reply::cbor(&match welcome {
        Some(node) => LookupReply::Welcome {
            node,
            heartbeat_timeout_secs: worker.policy.heartbeat_timeout_secs,
        },
        None => LookupReply::Wait {
            retry_secs: RETRY_SECS,
        },
    }))
}

/// What happens on a heartbeat: decode, `decide` through `reconcile`, and the reply follows from the record.
async fn heartbeat(worker: &Arc<Worker>, subject: &str, payload: &[u8]) -> Result<Reply, ApiError> {
    let token = subject.rsplit('.').next().unwrap_or_default();
    let id: NodeId = token.parse().map_err(|bad| ApiError {
        code: 400,
        why: format!("heartbeat: {bad}"),
    })?;
    let beat: Heartbeat = codec::decode(payload).map_err(|error| malformed("heartbeat", &error))?;
    let event = Event::Beat {
        boot: beat.boot,
        status: beat.status,
    };
    let reply = match reconcile(worker, id, &event).await {
        Ok(node) => with_mirrors(worker, &node, wanted(&node, beat.boot)),
        Err(ReconcileError::Rejected(Rejected::UnknownBoot) | ReconcileError::NoNode(_)) => {
            HeartbeatReply::LookUp
        }
        Err(error) => {
            return Err(ApiError {
                code: 503,
                why: format!("heartbeat: {error}"),
            });
        }
    };
    if let Some(latency) = beat.nudge {
        let body = serde_json::json!({ "node": id, "at": crate::clock::now(), "step": latency.step, "micros": latency.micros });
        worker
            .events
            .publish(id, "nudge", &body, &format!("{id}:nudge:{}", latency.step));
    }
    Ok(Reply::cbor(&reply))
}

/// An image that the workers serve is had from any worker that lives now.
fn with_mirrors(worker: &Worker, node: &Node, reply: HeartbeatReply) -> HeartbeatReply {
    let HeartbeatReply::Step {
        id,
        order: Order::WriteImage(mut write),
    } = reply
    else {
        return reply;
    };
    debug_assert!(matches!(node.state, State::Busy(_)));
    let mirrors = worker.presence.live();
    write.urls = write
        .urls
        .iter()
        .flat_map(|source| match is_file_name(source) {
            true => mirrors
                .iter()
                .map(|mirror| format!("{}/images/{source}", mirror.url))
                .collect(),
            false => vec![source.clone()],
        })
        .collect();
    HeartbeatReply::Step {
        id,
        order: Order::WriteImage(write),
    }
}
