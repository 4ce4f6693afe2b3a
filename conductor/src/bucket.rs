//! One key-value bucket of JetStream: leader reads, compare-and-swap writes, deletes that say what they delete.
//! What the keys mean is the business of `store`, `presence` and `knocks`.
use async_nats::HeaderMap;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::kv::{Entry, Operation, Watch};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, kv, stream};
use bytes::Bytes;
use std::time::Duration;

/// The revision of a key: the stream sequence of its last write. Zero: never written.
pub type Revision = u64;

/// JetStream's "wrong last sequence" and, on replicated streams, "wrong last sequence constant".
const CONFLICTS: [u64; 2] = [10071, 10164];

#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    #[error("open bucket {bucket}: {why}")]
    Open { bucket: String, why: String },
    #[error("bucket {bucket} has {field} {found}, needs {needed}: it was made by something else")]
    Config {
        bucket: String,
        field: &'static str,
        found: String,
        needed: String,
    },
    #[error("read {key}: {why}")]
    Read { key: String, why: String },
    #[error("write {key}: it was changed by another writer")]
    Conflict { key: String },
    /// Whether it was written is not known.
    #[error("write {key}: {why}")]
    Unclear { key: String, why: String },
}

/// How a bucket keeps what it is given.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    pub storage: stream::StorageType,
    /// Zero: for ever.
    pub max_age: Duration,
    /// −1: no limit.
    pub max_bytes: i64,
}

#[derive(Clone)]
pub struct Bucket {
    js: jetstream::Context,
    name: String,
    kv: kv::Store,
}

impl Bucket {
    /// Opens the bucket, making it if it is not there. Several workers may do so at once.
    ///
    /// The stream is made by hand: nats-server 2.9 does not answer what the client's own constructor asks first. Direct
    /// gets stay off, because a follower may answer them with an older revision.
    pub async fn open(
        js: &jetstream::Context,
        name: &str,
        keep: Keep,
    ) -> Result<Self, BucketError> {
        let fail = |why: String| BucketError::Open {
            bucket: name.into(),
            why,
        };
        let wanted = stream::Config {
            name: format!("KV_{name}"),
            subjects: vec![format!("$KV.{name}.>")],
            max_messages_per_subject: 1,
            discard: stream::DiscardPolicy::New,
            allow_rollup: true,
            deny_delete: true,
            allow_direct: false,
            storage: keep.storage,
            max_age: keep.max_age,
            max_bytes: keep.max_bytes,
            ..stream::Config::default()
        };
        let stream = js
            .get_or_create_stream(wanted.clone())
            .await
            .map_err(|error| fail(error.to_string()))?;
        let found = &stream.cached_info().config;
        let pairs = [
            (
                "history",
                found.max_messages_per_subject.to_string(),
                wanted.max_messages_per_subject.to_string(),
            ),
            (
                "allow_direct",
                found.allow_direct.to_string(),
                wanted.allow_direct.to_string(),
            ),
            (
                "subjects",
                format!("{:?}", found.subjects),
                format!("{:?}", wanted.subjects),
            ),
        ];
        if let Some((field, found, needed)) =
            pairs.into_iter().find(|(_, found, needed)| found != needed)
        {
            return Err(BucketError::Config {
                bucket: name.into(),
                field,
                found,
                needed,
            });
        }
        let kv = js
            .get_key_value(name)
            .await
            .map_err(|error| fail(error.to_string()))?;
        Ok(Self {
            js: js.clone(),
            name: name.into(),
            kv,
        })
    }

    /// What the leader holds under a key, and its revision; a deleted key has a revision and no value.
    pub async fn read(&self, key: &str) -> Result<(Option<Bytes>, Revision), BucketError> {
        let entry = self
            .kv
            .entry(key)
            .await
            .map_err(|error| BucketError::Read {
                key: key.into(),
                why: error.to_string(),
            })?;
        Ok(match entry {
            None => (None, 0),
            Some(Entry {
                operation: Operation::Put,
                value,
                revision,
                ..
            }) => (Some(value), revision),
            Some(Entry {
                operation: Operation::Delete | Operation::Purge,
                revision,
                ..
            }) => (None, revision),
        })
    }

    /// Writes if the key is still at `expected`.
    pub async fn write(
        &self,
        key: &str,
        value: Vec<u8>,
        expected: Revision,
    ) -> Result<Revision, BucketError> {
        let message = PublishMessage::build()
            .payload(value.into())
            .expected_last_subject_sequence(expected);
        self.publish(key, message).await
    }

    /// Writes whatever was there.
    pub async fn put(&self, key: &str, value: Vec<u8>) -> Result<Revision, BucketError> {
        self.publish(key, PublishMessage::build().payload(value.into()))
            .await
    }

    /// Deletes if the key is still at `expected`; leaves a marker that watchers see.
    pub async fn delete(&self, key: &str, expected: Revision) -> Result<(), BucketError> {
        let mut headers = HeaderMap::new();
        headers.insert("KV-Operation", "DEL");
        let message = PublishMessage::build()
            .headers(headers)
            .expected_last_subject_sequence(expected);
        self.publish(key, message).await.map(drop)
    }

    async fn publish(&self, key: &str, message: PublishMessage) -> Result<Revision, BucketError> {
        let subject = format!("$KV.{}.{key}", self.name);
        let ack = match self.js.send_publish(subject, message).await {
            Ok(ack) => ack.await,
            Err(error) => Err(error),
        };
        ack.map(|ack| ack.sequence).map_err(|error| {
            if is_conflict(&error) {
                BucketError::Conflict { key: key.into() }
            } else {
                BucketError::Unclear {
                    key: key.into(),
                    why: error.to_string(),
                }
            }
        })
    }

    /// All keys with their present values, then every change.
    pub async fn watch(&self, keys: &str) -> Result<Watch, BucketError> {
        let fail = |why: String| BucketError::Read {
            key: keys.into(),
            why,
        };
        self.kv
            .watch_with_history(keys)
            .await
            .map_err(|error| fail(error.to_string()))
    }

    /// The highest revision in the bucket; zero while it has never been written.
    pub async fn last_revision(&self) -> Result<Revision, BucketError> {
        Ok(self.state().await?.last_sequence)
    }

    /// As the server has it now: the client's own status of a bucket is from when it was opened.
    async fn state(&self) -> Result<stream::State, BucketError> {
        let fail = |why: String| BucketError::Read {
            key: self.name.clone(),
            why,
        };
        let stream = self
            .js
            .get_stream(format!("KV_{}", self.name))
            .await
            .map_err(|error| fail(error.to_string()))?;
        Ok(stream.cached_info().state.clone())
    }

    /// Every key and value that is there now. At most `limit` of them.
    pub async fn all(&self, keys: &str, limit: usize) -> Result<Vec<(String, Bytes)>, BucketError> {
        use futures_util::StreamExt;
        let fail = |why: String| BucketError::Read {
            key: keys.into(),
            why,
        };
        let mut watch = self.watch(keys).await?;
        let mut found = Vec::new();
        // An empty watch never says that it has shown everything: ask first.
        let count = self.state().await?.messages;
        if count == 0 {
            return Ok(found);
        }
        while let Ok(Some(entry)) =
            tokio::time::timeout(Duration::from_millis(500), watch.next()).await
        {
            let entry = entry.map_err(|error| fail(error.to_string()))?;
            if entry.operation == Operation::Put && found.len() < limit {
                found.push((entry.key, entry.value));
            }
            if entry.delta == 0 {
                break;
            }
        }
        Ok(found)
    }
}

fn is_conflict(error: &PublishError) -> bool {
    let source = std::error::Error::source(error);
    let code = source
        .and_then(|source| source.downcast_ref::<jetstream::Error>())
        .map(|error| error.error_code().0);
    error.kind() == PublishErrorKind::WrongLastSequence
        || code.is_some_and(|code| CONFLICTS.contains(&code))
}
