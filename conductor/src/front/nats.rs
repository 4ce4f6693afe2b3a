//! The NATS service: requests to the core's questions and answers, and back into bytes.
//! Every endpoint is in the service, so that `nats micro info ironbeat` is the index; what is answered is in `answer`.
use super::agent;
use super::answer;
use super::body::{self, BadBody, Encoding};
use super::refusal::{ApiError, fail};
use crate::loops::power::PowerSync;
use crate::worker::Worker;
use async_nats::Message;
use async_nats::service::error::Error as ServiceError;
use async_nats::service::{Request as ServiceRequest, ServiceExt};
use bytes::Bytes;
use futures_util::StreamExt;
use ironbeat_common::{codec, subject};
use ironbeat_ops::{Decode, ENDPOINTS, Reply, Request, Role};
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// A server that is busy with an election takes up to 9 s.
const ECHO: Duration = Duration::from_secs(15);
/// Requests handled at once by one worker; more wait in their subscription.
const PARALLEL: usize = 256;

/// Announces the service and answers until the connection is drained.
///
/// # Errors
/// When an endpoint cannot be subscribed.
pub async fn start(
    worker: &Arc<Worker>,
    power: &Arc<PowerSync>,
) -> anyhow::Result<async_nats::service::Service> {
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
    for Served {
        name,
        subject,
        about,
        request,
        reply,
        role,
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
        let (worker, power, gate) = (Arc::clone(worker), Arc::clone(power), Arc::clone(&gate));
        tokio::spawn(async move {
            while let Some(request) = endpoint.next().await {
                let permit = Arc::clone(&gate)
                    .acquire_owned()
                    .await
                    .expect("the gate is never closed");
                let task = serve(
                    Arc::clone(&worker),
                    Arc::clone(&power),
                    name.clone(),
                    request,
                );
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

/// One endpoint as the service's index shows it.
struct Served {
    name: String,
    subject: String,
    about: &'static str,
    request: &'static str,
    reply: &'static str,
    /// None: agents ask.
    role: Option<Role>,
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
        },
        Served {
            name: HEARTBEAT.into(),
            subject: format!("{prefix}.heartbeat.*"),
            about: "A machine says how it is doing, and is told its step.",
            request: "Heartbeat",
            reply: "HeartbeatReply",
            role: None,
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
    });
    agents.into_iter().chain(operators).collect()
}

const LOOKUP: &str = "lookup";
const HEARTBEAT: &str = "heartbeat";

async fn serve(
    worker: Arc<Worker>,
    power: Arc<PowerSync>,
    endpoint: String,
    request: ServiceRequest,
) {
    let message = &request.message;
    let reply = match endpoint.as_str() {
        LOOKUP => agent::lookup(&worker, &message.payload).await.map(cbor),
        HEARTBEAT => agent::heartbeat(&worker, &message.subject, &message.payload)
            .await
            .map(cbor),
        api => operator(&worker, &power, &api.replacen('-', ".", 1), message).await,
    };
    let sent = match reply {
        Ok((body, content_type)) => {
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

fn cbor(body: Vec<u8>) -> (Bytes, &'static str) {
    (body.into(), codec::CONTENT_TYPE)
}

const JSON: &str = "application/json";

/// As the header says; without one, by the first byte: JSON documents begin with a bracket, a quote or white space.
fn encoding(message: &Message) -> Encoding {
    let headers = message.headers.as_ref();
    let header = headers.and_then(|headers| headers.get("Content-Type"));
    match header.map(|value| value.as_str()) {
        Some(codec::CONTENT_TYPE) => Encoding::Cbor,
        Some(JSON) => Encoding::Json,
        Some(_) | None => match message.payload.first() {
            None | Some(b'{' | b'[' | b'"' | b' ' | b'\n' | b'\r' | b'\t') => Encoding::Json,
            Some(_) => Encoding::Cbor,
        },
    }
}

struct Payload<'a> {
    encoding: Encoding,
    bytes: &'a [u8],
}

impl Decode for Payload<'_> {
    type Error = BadBody;
    fn decode<T: DeserializeOwned>(&self) -> Result<T, BadBody> {
        body::read(self.encoding, self.bytes)
    }
}

/// A question of an operator, answered in the encoding it was asked in.
async fn operator(
    worker: &Arc<Worker>,
    power: &PowerSync,
    endpoint: &str,
    message: &Message,
) -> Result<(Bytes, &'static str), ApiError> {
    let encoding = encoding(message);
    let payload = Payload {
        encoding,
        bytes: &message.payload,
    };
    let read = Request::read(endpoint, &payload);
    let request = read.ok_or_else(|| fail(404, format!("no endpoint {endpoint}")))?;
    let request = request.map_err(|bad| fail(400, bad))?;
    match (answer::answer(worker, power, request).await?, encoding) {
        (Reply::ConsoleHistory(bytes), _) => Ok((bytes.into(), "application/octet-stream")),
        (reply, Encoding::Cbor) => Ok(cbor(codec::encode(&reply))),
        (reply, Encoding::Json) => {
            let body = serde_json::to_vec(&reply).map_err(|error| fail(500, error))?;
            Ok((body.into(), JSON))
        }
    }
}
