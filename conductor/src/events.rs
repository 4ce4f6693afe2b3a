//! What happened, as a stream that operators and other programs follow: JSON, one subject per node and kind.
//! What is worth an event is decided where it happens; publishing never holds up a decision.
use crate::store::{Store, StoreError};
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{self, StorageType};
use async_nats::jetstream::{self, consumer};
use futures_util::StreamExt;
use ironbeat_common::id::NodeId;
use ironbeat_common::wire::subject;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::sync::mpsc;

/// Kept for a month, in at most 256 MiB: some half a million events. The server sets that much aside at once.
const MAX_AGE: Duration = Duration::from_secs(30 * 24 * 3600);
const MAX_BYTES: i64 = 256 << 20;
/// A repeated publish of the same event within this time counts once.
const DUPLICATES: Duration = Duration::from_secs(600);
/// Events that wait while NATS is away. Beyond it they are dropped and counted: records matter more.
const QUEUE: usize = 4096;
/// Tries to publish one event, a second apart and longer.
const TRIES: u32 = 10;

#[derive(Clone)]
pub struct Events {
    queue: mpsc::Sender<Queued>,
    js: jetstream::Context,
    stream: String,
    prefix: String,
}

struct Queued {
    subject: String,
    body: Vec<u8>,
    id: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    pub subject: String,
    pub body: serde_json::Value,
}

impl Events {
    pub async fn open(store: &Store) -> Result<Self, StoreError> {
        let (name, prefix) = (store.names.events.clone(), store.names.prefix.clone());
        let config = stream::Config {
            name: name.clone(),
            subjects: vec![format!("{prefix}.event.>")],
            storage: StorageType::File,
            max_age: MAX_AGE,
            max_bytes: MAX_BYTES,
            duplicate_window: DUPLICATES,
            ..stream::Config::default()
        };
        store
            .js
            .get_or_create_stream(config)
            .await
            .map_err(|error| StoreError::Stream {
                what: format!("open stream {name}"),
                why: error.to_string(),
            })?;
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(send(store.js.clone(), waiting));
        Ok(Self {
            queue,
            js: store.js.clone(),
            stream: name,
            prefix,
        })
    }

    /// Queues an event. `id` is the same for the same event, whoever publishes it.
    pub fn publish(&self, node: NodeId, kind: &str, body: &serde_json::Value, id: &str) {
        let queued = Queued {
            subject: subject::event(&self.prefix, &node, kind),
            body: body.to_string().into_bytes(),
            id: id.into(),
        };
        if self.queue.try_send(queued).is_err() {
            tracing::warn!(%node, kind, "event dropped: {QUEUE} are waiting already");
        }
    }

    /// The last events of one node or of all, oldest first.
    pub async fn read(&self, node: Option<NodeId>, last: usize) -> Result<Vec<Event>, StoreError> {
        let fail = |why: String| StoreError::Stream {
            what: format!("read stream {}", self.stream),
            why,
        };
        let stream = self
            .js
            .get_stream(&self.stream)
            .await
            .map_err(|error| fail(error.to_string()))?;
        let token = node.map_or("*".into(), |id| id.to_string());
        let end = stream.cached_info().state.last_sequence;
        // Of all nodes: the tail of the stream. Of one node: all of it is looked through, as its events may be rare.
        let start = if node.is_some() {
            1
        } else {
            end.saturating_sub(last as u64 - 1).max(1)
        };
        let config = OrderedConfig {
            filter_subject: format!("{}.event.{token}.>", self.prefix),
            deliver_policy: consumer::DeliverPolicy::ByStartSequence {
                start_sequence: start,
            },
            ..OrderedConfig::default()
        };
        let consumer = stream
            .create_consumer(config)
            .await
            .map_err(|error| fail(error.to_string()))?;
        let mut pending = consumer.cached_info().num_pending;
        let mut messages = consumer
            .messages()
            .await
            .map_err(|error| fail(error.to_string()))?;
        let mut found = std::collections::VecDeque::new();
        while pending > 0 {
            let message = match tokio::time::timeout(Duration::from_secs(5), messages.next()).await
            {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => return Err(fail(error.to_string())),
                Ok(None) | Err(_) => return Err(fail("it ends before its end".into())),
            };
            pending = message.info().map_or(0, |info| info.pending);
            if found.len() == last {
                found.pop_front();
            }
            let body = serde_json::from_slice(&message.payload).unwrap_or_default();
            found.push_back(Event {
                subject: message.subject.to_string(),
                body,
            });
        }
        Ok(found.into())
    }
}

/// One after the other, so that they arrive in order.
async fn send(js: jetstream::Context, mut waiting: mpsc::Receiver<Queued>) {
    while let Some(Queued { subject, body, id }) = waiting.recv().await {
        let mut pause = Duration::from_secs(1);
        for attempt in 1..=TRIES {
            let message = PublishMessage::build()
                .payload(body.clone().into())
                .message_id(&id);
            let sent = match js.send_publish(subject.clone(), message).await {
                Ok(ack) => ack.await.map(drop),
                Err(error) => Err(error),
            };
            match sent {
                Ok(()) => break,
                Err(error) => tracing::warn!(subject, attempt, "event not stored yet: {error}"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(30));
        }
    }
}
