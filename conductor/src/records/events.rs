//! Events, as a stream that operators and other programs follow: JSON, one subject per node and kind.
//! The source of an event decides that it is worth one; publishing never holds up a decision.
use crate::config::RecordOptions;
use crate::records::{Cause, Store, StoreError, is_final, read_stream, read_stream_while};
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::context::{PublishAckFuture, PublishError};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{self, LastRawMessageErrorKind, StorageType};
use async_nats::jetstream::{self, consumer};
use bytes::Bytes;
use futures_util::future::join_all;
use ironbeat_common::id::NodeId;
use ironbeat_core::flight::Entry;
use ironbeat_core::time::Time;
use ironbeat_ops::happening::{Body, Event, FLIGHT, Happening};
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// A repeated publish of the same event within this time counts once. Longer than all tries together.
const DUPLICATES: Duration = Duration::from_secs(600);
/// Events that wait while NATS is away, some 10 MB: those of 1,600 deploys. Beyond it they are dropped and counted: records matter
/// more.
const QUEUE: usize = 16_384;
/// Events on their way to the server at once.
const AT_ONCE: usize = 256;
/// Of an entry of a flight record, in bytes. What a machine says of itself has up to 200 KB, and a message 1 MiB.
const MAX_FLIGHT: usize = 400_000;
/// Tries to publish one event, with pauses that double from the first to the longest: about three minutes in all.
const TRIES: u32 = 10;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub struct Events {
    queue: mpsc::Sender<Queued>,
    dropped: Arc<AtomicU64>,
    js: jetstream::Context,
    stream: String,
    prefix: String,
}

enum Queued {
    Event(Outgoing),
    /// Nobody stores it.
    Told {
        subject: String,
        body: Bytes,
    },
    /// Answered when everything before it has been stored or dropped.
    Flush(oneshot::Sender<()>),
}

struct Outgoing {
    subject: String,
    body: Bytes,
    id: String,
    /// What was decided, in a header.
    flight: Option<String>,
}

impl Events {
    /// # Errors
    /// When the stream cannot be made, or the one that is there is another kind of stream.
    pub async fn open(store: &Store) -> Result<Self, StoreError> {
        Self::open_with(store, &RecordOptions::default()).await
    }

    /// # Errors
    /// As of [`Self::open`].
    pub async fn open_with(store: &Store, bounds: &RecordOptions) -> Result<Self, StoreError> {
        let (name, prefix) = (store.names.events.clone(), store.names.prefix.clone());
        let config = stream::Config {
            name: name.clone(),
            description: Some("Ironbeat: what happened, by node and kind (JSON)".into()),
            subjects: vec![format!("{prefix}.event.>")],
            storage: StorageType::File,
            max_messages_per_subject: bounds.per_node.into(),
            max_age: DAY * bounds.days,
            max_bytes: i64::from(bounds.mib) << 20,
            duplicate_window: DUPLICATES,
            ..stream::Config::default()
        };
        let stream = store.stream(config.clone()).await?;
        if let Some(change) = other_bounds(&stream.cached_info().config, &config) {
            tracing::info!(
                stream = name,
                "it keeps what it was told when it was made, or what somebody has set since; for what [records] says: nats \
                 stream edit {name} {change}"
            );
        }
        let (queue, waiting) = mpsc::channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        tokio::spawn(send(store.js.clone(), waiting, Arc::clone(&dropped)));
        Ok(Self {
            queue,
            dropped,
            js: store.js.clone(),
            stream: name,
            prefix,
        })
    }

    /// Queues an event. Those of one kind and node with the same `once` count once, whoever publishes them.
    pub fn publish(&self, happening: &Happening, once: &str) {
        self.publish_with(happening, once, None);
    }

    /// As [`Self::publish`], with the entry of the node's flight record: one message has both.
    pub fn publish_with(&self, happening: &Happening, once: &str, entry: Option<&Entry>) {
        let (node, kind) = (happening.node, happening.kind());
        let event = Outgoing {
            subject: ironbeat_ops::subject::event(&self.prefix, happening),
            body: serde_json::to_vec(happening)
                .expect("its keys are strings")
                .into(),
            id: format!("{node}:{kind}:{once}"),
            flight: entry.and_then(|entry| flight(node, entry)),
        };
        if self.queue.try_send(Queued::Event(event)).is_err() {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::warn!(%node, kind, dropped, "event dropped: {QUEUE} are waiting already");
        }
    }

    /// Queues a message that whoever listens now hears, behind the events before it.
    pub fn notify(&self, node: NodeId, event_type: &str, body: &Value) {
        let subject = ironbeat_ops::subject::ironic(&self.prefix, &node, event_type);
        let body = body.to_string().into();
        // Where the queue is full, events are dropped too, and that is said.
        let _ = self.queue.try_send(Queued::Told { subject, body });
    }

    /// Events that were never stored, since this worker began.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything published so far is stored or dropped: before a worker ends.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.queue.send(Queued::Flush(done)).await.is_ok() {
            // A lost answer is lost with the queue: there is nothing left to wait for.
            let _ = wait.await;
        }
    }

    /// The last event of one kind of one node.
    ///
    /// # Errors
    /// As of [`Self::read`].
    pub async fn last(&self, node: NodeId, kind: &str) -> Result<Option<Happening>, StoreError> {
        let stream = self.js.get_stream_no_info(&self.stream).await;
        let stream = stream.map_err(|error| self.unread(error))?;
        let subject = format!("{}.event.{node}.{kind}", self.prefix);
        match stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => Ok(serde_json::from_slice(&message.payload).ok()),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(self.unread(error)),
        }
    }

    fn unread(&self, source: impl Into<Cause>) -> StoreError {
        StoreError::Stream {
            what: format!("read stream {}", self.stream),
            source: source.into(),
        }
    }

    /// The node that was deleted last among those with this name; none: no such event is kept.
    ///
    /// # Errors
    /// As of [`Self::read`].
    pub async fn deleted(&self, name: &str) -> Result<Option<NodeId>, StoreError> {
        let stream = self.js.get_stream(&self.stream).await;
        let stream = stream.map_err(|error| self.unread(error))?;
        let config = OrderedConfig {
            filter_subject: format!("{}.event.*.deleted", self.prefix),
            ..OrderedConfig::default()
        };
        let mut found = None;
        read_stream(&stream, config, |message| {
            let happening = serde_json::from_slice::<Happening>(&message.payload);
            if let Ok(Happening {
                node,
                name: Some(had),
                ..
            }) = happening
                && had.as_str() == name
            {
                found = Some(node);
            }
        })
        .await?;
        Ok(found)
    }

    /// What is kept of one node, oldest first, and what this version knows of it.
    ///
    /// # Errors
    /// As of [`Self::read`].
    pub async fn happened(
        &self,
        node: NodeId,
        since: Option<Time>,
    ) -> Result<Vec<Happening>, StoreError> {
        let stream = self.js.get_stream(&self.stream).await;
        let stream = stream.map_err(|error| self.unread(error))?;
        let config = OrderedConfig {
            filter_subject: format!("{}.event.{node}.>", self.prefix),
            ..OrderedConfig::default()
        };
        let mut found = Vec::new();
        read_stream(&stream, config, |message| {
            let happening = serde_json::from_slice::<Happening>(&message.payload);
            // Not by the server's time, which is a moment later.
            let wanted = |it: &Happening| since.is_none_or(|since| it.at >= since);
            found.extend(happening.ok().filter(wanted));
        })
        .await?;
        Ok(found)
    }

    /// Entries of one node's flight record behind the message `after`, some `max_bytes` of them, oldest first; and the last
    /// message, if there are more behind it.
    ///
    /// # Errors
    /// As of [`Self::read`].
    pub async fn entries(
        &self,
        node: NodeId,
        after: u64,
        max_bytes: usize,
    ) -> Result<(Vec<Value>, Option<u64>), StoreError> {
        let stream = self.js.get_stream(&self.stream).await;
        let stream = stream.map_err(|error| self.unread(error))?;
        let config = OrderedConfig {
            filter_subject: format!("{}.event.{node}.>", self.prefix),
            deliver_policy: consumer::DeliverPolicy::ByStartSequence {
                start_sequence: after + 1,
            },
            ..OrderedConfig::default()
        };
        let (mut found, mut bytes, mut last, mut more) = (Vec::new(), 0, after, false);
        read_stream_while(&stream, config, |message| {
            let sequence = message.info().map_or(0, |info| info.stream_sequence);
            let headers = message.headers.as_ref();
            let entry = headers.and_then(|headers| headers.get(FLIGHT));
            let size = entry.map_or(0, |entry| entry.as_str().len());
            if bytes > 0 && bytes + size > max_bytes {
                more = true;
                return false;
            }
            (bytes, last) = (bytes + size, sequence);
            let entry = entry.and_then(|entry| serde_json::from_str::<Value>(entry.as_str()).ok());
            found.extend(entry);
            true
        })
        .await?;
        Ok((found, more.then_some(last)))
    }

    /// The last events of one node or of all, oldest first.
    ///
    /// # Errors
    /// When the stream does not answer, or stops in the middle.
    pub async fn read(&self, node: Option<NodeId>, last: usize) -> Result<Vec<Event>, StoreError> {
        if last == 0 {
            return Ok(vec![]);
        }
        let stream = self
            .js
            .get_stream(&self.stream)
            .await
            .map_err(|error| self.unread(error))?;
        let token = node.map_or("*".into(), |id| id.to_string());
        let end = stream.cached_info().state.last_sequence;
        // Of all nodes: the tail of the stream. Of one node: the whole stream, as its events may be rare.
        let start = match node {
            Some(_) => 1,
            None => (end + 1).saturating_sub(last as u64).max(1),
        };
        let config = OrderedConfig {
            filter_subject: format!("{}.event.{token}.>", self.prefix),
            deliver_policy: consumer::DeliverPolicy::ByStartSequence {
                start_sequence: start,
            },
            ..OrderedConfig::default()
        };
        let mut found = VecDeque::new();
        read_stream(&stream, config, |message| {
            if found.len() == last {
                found.pop_front();
            }
            let body = serde_json::from_slice(&message.payload);
            found.push_back(Event {
                subject: message.subject.to_string(),
                body: body.unwrap_or(Body::Other(Value::Null)),
            });
        })
        .await?;
        Ok(found.into())
    }
}

/// What to change of a stream that is there, so that it keeps what is wanted.
fn other_bounds(found: &stream::Config, wanted: &stream::Config) -> Option<String> {
    let (per_node, bytes) = (wanted.max_messages_per_subject, wanted.max_bytes);
    let hours = wanted.max_age.as_secs() / 3600;
    let options = [
        (
            found.max_messages_per_subject != per_node,
            format!("--max-msgs-per-subject {per_node}"),
        ),
        (
            found.max_age != wanted.max_age,
            format!("--max-age {hours}h"),
        ),
        (found.max_bytes != bytes, format!("--max-bytes {bytes}")),
    ];
    let differ = options.into_iter().filter(|(differs, _)| *differs);
    let differ: Vec<String> = differ.map(|(_, option)| option).collect();
    (!differ.is_empty()).then(|| differ.join(" "))
}

/// As a header has it: JSON has no line's end in it.
fn flight(node: NodeId, entry: &Entry) -> Option<String> {
    let json = serde_json::to_string(entry).expect("its keys are strings");
    if json.len() > MAX_FLIGHT {
        let bytes = json.len();
        tracing::warn!(%node, bytes, "an entry of its flight record is too large, and not kept");
        return None;
    }
    Some(json)
}

/// One connection carries them in order; what the server did not take at once is tried again one after the other, in order.
async fn send(
    js: jetstream::Context,
    mut waiting: mpsc::Receiver<Queued>,
    dropped: Arc<AtomicU64>,
) {
    let mut queued = Vec::with_capacity(AT_ONCE);
    while waiting.recv_many(&mut queued, AT_ONCE).await > 0 {
        let mut sent = Vec::with_capacity(queued.len());
        let mut done = Vec::new();
        for queued in queued.drain(..) {
            match queued {
                Queued::Flush(flushed) => done.push(flushed),
                Queued::Told { subject, body } => {
                    if let Err(error) = js.client().publish(subject, body).await {
                        tracing::warn!("notify: {error}");
                    }
                }
                Queued::Event(event) => sent.push((publish(&js, &event).await, event)),
            }
        }
        // Together: what a dying server swallowed costs one time-out, however much it was.
        let stored = join_all(sent.into_iter().map(async |(ack, event)| {
            let stored = match ack {
                Ok(ack) => ack.await.map(drop),
                Err(error) => Err(error),
            };
            (stored, event)
        }));
        for (stored, event) in stored.await {
            if let Err(error) = again(&js, &event, stored).await {
                let dropped = dropped.fetch_add(1, Ordering::Relaxed) + 1;
                tracing::warn!(subject = event.subject, dropped, "event dropped: {error}");
            }
        }
        for flushed in done {
            // Whoever waited may be gone.
            let _ = flushed.send(());
        }
    }
}

async fn publish(
    js: &jetstream::Context,
    event: &Outgoing,
) -> Result<PublishAckFuture, PublishError> {
    let mut message = PublishMessage::build()
        .payload(event.body.clone())
        .message_id(&event.id);
    if let Some(flight) = &event.flight {
        message = message.header(FLIGHT, flight.as_str());
    }
    js.send_publish(event.subject.clone(), message).await
}

/// Tries until it is stored. One that was stored though nobody heard of it counts once, by its id.
async fn again(
    js: &jetstream::Context,
    event: &Outgoing,
    mut stored: Result<(), PublishError>,
) -> Result<(), PublishError> {
    let mut pause = FIRST_PAUSE;
    for attempt in 1.. {
        match stored {
            Ok(()) => break,
            Err(error) if attempt == TRIES || is_final(&error) => return Err(error),
            Err(error) => {
                tracing::warn!(event.subject, attempt, "event not stored yet: {error}");
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        stored = match publish(js, event).await {
            Ok(ack) => ack.await.map(drop),
            Err(error) => Err(error),
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests;
