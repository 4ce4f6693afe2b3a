//! Follows the keys of a bucket: everything that is there, then every change, until the first doubt.
//! Whoever follows begins again after an error, and so never misses a change or keeps a key that is gone.
use super::Cause;
use super::kv::{ENTRY, Kv, KvError, Revision, is_deletion};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, push};
use async_nats::jetstream::message;
use async_nats::{StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use ironbeat_core::time::Time;
use std::time::Duration;

/// How often the server says that there is nothing new.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// After this long without a word the consumer counts as dead: two lost heartbeats, and some.
pub(crate) const SILENCE: Duration = Duration::from_secs(5);
/// The server forgets a consumer that nobody listens to after this long.
const FORGOTTEN: Duration = Duration::from_secs(30);
/// Heartbeats in a row after which the server has shown all that it will.
const IDLE_BEATS: u32 = 2;

/// One key as it is now.
#[derive(Debug)]
pub(crate) struct Change {
    pub key: String,
    /// None: deleted.
    pub value: Option<Bytes>,
    /// The entry that its writer put into the header, for followers that need no more.
    pub entry: Option<String>,
    pub revision: Revision,
    /// When a server stored it, by its clock.
    pub stored: Time,
}

/// How much of each key a follower is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    Whole,
    /// Headers alone: values are empty, and do not travel.
    Entries,
}

#[derive(Debug)]
pub(crate) enum Followed {
    Change(Change),
    /// Everything that was there has been shown. Comes once.
    Loaded,
}

#[derive(Debug, PartialEq, Eq)]
enum Load {
    /// Until the key with the last revision that was there before.
    Until(Revision),
    Reported,
}

/// A plain push consumer, without the client's own way of beginning again in the middle: a stream that was emptied or
/// restored in the meantime would leave keys behind that are no more.
pub(crate) struct Follow {
    kv: Kv,
    subscriber: Subscriber,
    keys: String,
    /// Consumer sequence of the last message: they come without gaps.
    delivered: u64,
    /// Of the last key that was shown.
    revision: Revision,
    load: Load,
    idle_beats: u32,
}

impl Kv {
    /// `keys` may have wildcards: `node.>`.
    pub async fn follow(&self, keys: &str, depth: Depth) -> Result<Follow, KvError> {
        // The server's own count of what is still to come is no use: nats-server 2.9 gets it wrong when keys are purged
        // meanwhile, and a purge that finds nothing makes it pass over all that it has not shown yet.
        let last = self.last(keys).await?;
        self.consume(keys, depth, 0, Load::Until(last)).await
    }

    /// Shows what comes after revision `after`.
    async fn consume(
        &self,
        keys: &str,
        depth: Depth,
        after: Revision,
        load: Load,
    ) -> Result<Follow, KvError> {
        let fail = |source: Cause| KvError::Follow {
            keys: keys.into(),
            source,
        };
        let client = self.js.client();
        let inbox = client.new_inbox();
        let subscriber = client
            .subscribe(inbox.clone())
            .await
            .map_err(|error| fail(error.into()))?;
        let config = push::Config {
            deliver_subject: inbox,
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: after + 1,
            },
            ack_policy: AckPolicy::None,
            max_deliver: 1,
            filter_subject: format!("{}{keys}", self.prefix),
            headers_only: depth == Depth::Entries,
            flow_control: true,
            idle_heartbeat: HEARTBEAT,
            inactive_threshold: FORGOTTEN,
            num_replicas: 1,
            memory_storage: true,
            ..push::Config::default()
        };
        let made = self.stream.create_consumer(config).await;
        made.map_err(|error| fail(error.into()))?;
        Ok(Follow {
            kv: self.clone(),
            subscriber,
            keys: keys.into(),
            delivered: 0,
            revision: after,
            load,
            idle_beats: 0,
        })
    }

    /// Every key and value there is now, in the order in which they were written.
    pub async fn scan(&self, keys: &str, each: impl FnMut(Change)) -> Result<(), KvError> {
        self.scan_to(keys, Depth::Whole, each).await
    }

    /// The same, so much of each.
    pub async fn scan_to(
        &self,
        keys: &str,
        depth: Depth,
        mut each: impl FnMut(Change),
    ) -> Result<(), KvError> {
        let mut follow = self.follow(keys, depth).await?;
        loop {
            match follow.next().await? {
                Followed::Change(change) => each(change),
                Followed::Loaded => return Ok(()),
            }
        }
    }
}

impl Follow {
    /// From here on with values, once all that was there has been shown.
    pub async fn whole(self) -> Result<Self, KvError> {
        let (keys, after) = (&self.keys, self.revision);
        self.kv
            .consume(keys, Depth::Whole, after, Load::Reported)
            .await
    }

    /// Waits for the next change. After an error nothing more comes.
    pub async fn next(&mut self) -> Result<Followed, KvError> {
        loop {
            if self.is_loaded().await? {
                self.load = Load::Reported;
                return Ok(Followed::Loaded);
            }
            let message = match tokio::time::timeout(SILENCE, self.subscriber.next()).await {
                Ok(Some(message)) => message,
                Ok(None) => return Err(self.fail("the connection was closed")),
                Err(_) => return Err(self.fail(format!("silent for {SILENCE:?}"))),
            };
            match message.status {
                None => return self.message(message).map(Followed::Change),
                Some(StatusCode::IDLE_HEARTBEAT) => self.status(message).await?,
                Some(status) => return Err(self.fail(format!("the server says {status}"))),
            }
        }
    }

    /// Whether what comes next is news.
    async fn is_loaded(&mut self) -> Result<bool, KvError> {
        let Load::Until(last) = self.load else {
            return Ok(false);
        };
        if self.revision >= last {
            return Ok(true);
        }
        if self.idle_beats < IDLE_BEATS {
            return Ok(false);
        }
        // The last key may have been erased since.
        let last = self.kv.last(&self.keys).await?;
        if self.revision >= last {
            return Ok(true);
        }
        let shown = self.revision;
        Err(self.fail(format!(
            "the server shows nothing after revision {shown}, and there is {last}"
        )))
    }

    fn fail(&self, source: impl Into<Cause>) -> KvError {
        KvError::Follow {
            keys: self.keys.clone(),
            source: source.into(),
        }
    }

    fn message(&mut self, message: async_nats::Message) -> Result<Change, KvError> {
        let message = message::Message {
            message,
            context: self.kv.js.clone(),
        };
        let info = message.info().map_err(|error| self.fail(error))?;
        let (number, revision) = (info.consumer_sequence, info.stream_sequence);
        let stored = info.published.unix_timestamp_nanos() / 1_000_000;
        self.expect_delivered(number.saturating_sub(1))?;
        self.delivered = number;
        self.revision = revision;
        self.idle_beats = 0;
        let message = message.message;
        let Some(key) = message.subject.strip_prefix(&self.kv.prefix) else {
            return Err(self.fail(format!("{} is none of its keys", message.subject)));
        };
        let gone = message.headers.as_ref().is_some_and(is_deletion);
        let entry = message.headers.as_ref().and_then(|headers| {
            let entry = headers.get(ENTRY)?;
            Some(entry.as_str().to_string())
        });
        Ok(Change {
            key: key.into(),
            value: (!gone).then_some(message.payload),
            entry,
            revision,
            stored: Time::from_unix_ms(u64::try_from(stored).unwrap_or_default()),
        })
    }

    /// Idle heartbeats, and flow control, which must be answered, or the server stops sending (ADR-15).
    async fn status(&mut self, message: async_nats::Message) -> Result<(), KvError> {
        let header = |name: &str| {
            let headers = message.headers.as_ref()?;
            headers.get(name).map(|value| value.as_str().to_string())
        };
        let stalled = header("Nats-Consumer-Stalled");
        if let Some(subject) = message.reply.as_ref().map(ToString::to_string).or(stalled) {
            let answered = self.kv.js.client().publish(subject, Bytes::new()).await;
            return answered.map_err(|error| self.fail(error));
        }
        if let Some(last) = header("Nats-Last-Consumer").and_then(|last| last.parse().ok()) {
            self.expect_delivered(last)?;
        }
        self.idle_beats += 1;
        Ok(())
    }

    fn expect_delivered(&self, number: u64) -> Result<(), KvError> {
        if number == self.delivered {
            return Ok(());
        }
        let why = format!("message {} is missing", self.delivered + 1);
        Err(self.fail(why))
    }
}
