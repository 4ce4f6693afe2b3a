//! The NATS service: machines' and operators' requests, and the replies to them.
//! Every endpoint is in the service, so that `nats micro info ironbeat` is the index; `agent` and `operator` answer.
use super::agent;
use super::gate::{Gate, Kind, Place};
use super::operator::{Asked, Body};
use super::owner;
use super::refusal::ApiError;
use crate::loops::power::PowerSync;
use crate::worker::Worker;
use async_nats::Message;
use async_nats::service::error::Error as ServiceError;
use async_nats::service::{Request as ServiceRequest, Service, ServiceExt};
use bytes::Bytes;
use futures_util::StreamExt;
use ironbeat_common::{codec, subject};
use ironbeat_core::text::said;
use ironbeat_ops::{ENDPOINTS, Role};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// An election keeps a server busy for up to 9 s.
const ECHO: Duration = Duration::from_secs(15);

/// The listeners of a worker.
pub struct Listening {
    /// To machines and operators.
    pub service: Service,
    /// To other workers, for as long as they may take this one for a BMC's owner.
    pub handed_over: JoinHandle<()>,
}

/// Announces the service and answers until the connection is drained.
///
/// # Errors
/// When an endpoint cannot be subscribed.
pub async fn start(worker: &Arc<Worker>, power: &Arc<PowerSync>) -> anyhow::Result<Listening> {
    let fail = |what: &str, error: async_nats::Error| anyhow::anyhow!("{what}: {error}");
    let service = worker
        .front
        .service_builder()
        .description("Ironbeat conductor: bare metal from rack to running")
        .queue_group(subject::QUEUE_GROUP)
        .start("ironbeat", env!("CARGO_PKG_VERSION"))
        .await
        .map_err(|error| fail("announce the service", error))?;
    let gates = Kind::ALL.map(|kind| (kind, Arc::new(Gate::of(kind))));
    for Served {
        name,
        subject,
        about,
        request,
        reply,
        role,
        kind,
    } in served(&worker.prefix)
    {
        let mut metadata = HashMap::from([
            ("about".to_string(), about.to_string()),
            ("request".to_string(), request.to_string()),
            ("reply".to_string(), reply.to_string()),
        ]);
        if let Some(role) = role {
            metadata.insert("role".into(), format!("{role:?}").to_lowercase());
        }
        let mut endpoint = service
            .endpoint_builder()
            .name(&name)
            .queue_group(subject::QUEUE_GROUP)
            .metadata(metadata)
            .add(&subject)
            .await
            .map_err(|error| fail(&format!("listen on {subject}"), error))?;
        let gate = gates.iter().find(|(of, _)| *of == kind);
        let (_, gate) = gate.expect("there is a gate for every kind");
        let (worker, power, gate) = (Arc::clone(worker), Arc::clone(power), Arc::clone(gate));
        // It never waits for a request: what it does not take is refused, and nothing piles up in the subscription.
        tokio::spawn(async move {
            while let Some(request) = endpoint.next().await {
                if worker.answer_to(&request.message).is_none() {
                    drop_unanswered(&worker, &name, &request.message);
                    continue;
                }
                let ticket = gate.admit(request.message.payload.len());
                let (worker, power, name) = (Arc::clone(&worker), Arc::clone(&power), name.clone());
                match ticket {
                    Err(full) => respond(&worker, &name, &request, Err(full)).await,
                    Ok(ticket) => worker.clone().spawn(async move {
                        match ticket.place().await {
                            Err(late) => respond(&worker, &name, &request, Err(late)).await,
                            Ok(place) => serve(&worker, &power, &name, &request, place).await,
                        }
                    }),
                }
            }
        });
    }
    let handed_over = owner::serve(worker, power).await?;
    arrived(&worker.front).await?;
    Ok(Listening {
        service,
        handed_over,
    })
}

/// Of a subject that somebody made up, in the log.
const SHOWN: usize = 200;

/// Nothing is done for whoever is not to hear how it went.
fn drop_unanswered(worker: &Worker, endpoint: &str, message: &Message) {
    if let Some(untold) = worker.unanswered.told(Instant::now()) {
        let reply = message.reply.as_ref().map(|to| said(to, SHOWN));
        tracing::info!(
            endpoint,
            reply,
            untold,
            "dropped: it names no inbox for an answer"
        );
    }
}

/// Returns when the server has taken all that was sent before, subscriptions too: it works in order, and echoes this.
async fn arrived(client: &async_nats::Client) -> anyhow::Result<()> {
    let inbox = client.new_inbox();
    let mut echo = client.subscribe(inbox.clone()).await?;
    client.publish(inbox, Bytes::new()).await?;
    let echo = tokio::time::timeout(ECHO, echo.next()).await;
    let silent = || anyhow::anyhow!("listen: the NATS server has been silent for {ECHO:?}");
    echo.ok().flatten().map(drop).ok_or_else(silent)
}

/// One endpoint as the service's index shows it.
struct Served {
    name: String,
    subject: String,
    about: &'static str,
    request: &'static str,
    reply: &'static str,
    /// None: agents ask.
    role: Option<Role>,
    kind: Kind,
}

fn served(prefix: &str) -> Vec<Served> {
    let agents = [
        Served {
            name: LOOKUP.into(),
            subject: subject::lookup(prefix),
            about: "A machine introduces itself.",
            request: "Lookup",
            reply: "LookupReply",
            role: None,
            kind: Kind::Lookup,
        },
        Served {
            name: HEARTBEAT.into(),
            subject: format!("{prefix}.heartbeat.*"),
            about: "A machine says how it is doing, and gets its step.",
            request: "Heartbeat",
            reply: "HeartbeatReply",
            role: None,
            kind: Kind::Heartbeat,
        },
        Served {
            name: LOGIN.into(),
            subject: format!("{prefix}.agent.*.login"),
            about: "A machine's login ends soon.",
            request: "Renewal",
            reply: "RenewalReply",
            role: None,
            kind: Kind::Heartbeat,
        },
    ];
    let operators = ENDPOINTS.iter().map(|endpoint| Served {
        // The name of an endpoint has no dots (ADR-32).
        name: endpoint.name.replace('.', "-"),
        subject: ironbeat_ops::subject::api(prefix, endpoint.name),
        about: endpoint.about,
        request: endpoint.request,
        reply: endpoint.reply,
        role: Some(endpoint.role),
        kind: Kind::of_api(endpoint.name),
    });
    agents.into_iter().chain(operators).collect()
}

const LOOKUP: &str = "lookup";
const HEARTBEAT: &str = "heartbeat";
const LOGIN: &str = "login";

async fn serve(
    worker: &Arc<Worker>,
    power: &Arc<PowerSync>,
    endpoint: &str,
    request: &ServiceRequest,
    mut place: Place,
) {
    let message = &request.message;
    let reply = match endpoint {
        LOOKUP => agent::lookup(worker, &message.payload).await.map(cbor),
        HEARTBEAT => agent::heartbeat(worker, &message.subject, &message.payload)
            .await
            .map(cbor),
        LOGIN => agent::renew(worker, &message.subject, &message.payload)
            .await
            .map(cbor),
        api => {
            let endpoint = api.replacen('-', ".", 1);
            operator(worker, power, endpoint, message, &mut place).await
        }
    };
    respond(worker, endpoint, request, reply).await;
}

async fn respond(
    worker: &Worker,
    endpoint: &str,
    request: &ServiceRequest,
    reply: Result<Body, ApiError>,
) {
    let sent = match reply {
        Ok((body, content_type)) => {
            let mut headers = async_nats::HeaderMap::new();
            headers.insert("Content-Type", content_type);
            request.respond_with_headers(Ok(body), headers).await
        }
        Err(error) => {
            let (code, status) = (error.code, error.one_line());
            tracing::debug!(endpoint, code, status, "refused");
            request.respond(Err(ServiceError { status, code })).await
        }
    };
    if let Err(error) = sent
        && let Some(untold) = worker.unanswered.told(Instant::now())
    {
        tracing::warn!(endpoint, untold, "reply: {error}");
    }
}

fn cbor(body: Vec<u8>) -> Body {
    (body.into(), codec::CONTENT_TYPE)
}

/// A question of an operator: answered here, or by the worker that owns the BMC in question.
async fn operator(
    worker: &Arc<Worker>,
    power: &PowerSync,
    endpoint: String,
    message: &Message,
    place: &mut Place,
) -> Result<Body, ApiError> {
    let asked = Asked::of(endpoint, message);
    let question = asked.request(worker).await?;
    place.was_read();
    match owner::elsewhere(worker, &asked, &question.request).await? {
        Some(answer) => Ok(answer),
        None => asked.answer(worker, power, question).await,
    }
}
