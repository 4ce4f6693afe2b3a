//! One key-value bucket of JetStream: leader reads, compare-and-swap writes, deletes that say what they delete.
//! `documents`, `beside`, `presence` and `lookups` give the keys their meaning; `follow` follows them.
use super::stream::{Replicas, ensure};
use super::{Cause, StoreError};
use async_nats::HeaderMap;
use async_nats::jetstream::context::{
    PublishError, PublishErrorKind, RequestError, RequestErrorKind,
};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{
    DiscardPolicy, LastRawMessageError, LastRawMessageErrorKind, StorageType,
};
use async_nats::jetstream::{self, stream};
use bytes::Bytes;
use futures_util::StreamExt;
use std::time::Duration;

/// The revision of a key: the stream sequence of its last write. Zero: never written.
pub type Revision = u64;

/// JetStream's "wrong last sequence" and, on replicated streams, "wrong last sequence constant".
const CONFLICTS: [u64; 2] = [10071, 10164];

/// A server that takes a new version of the account, which each revocation is, has no JetStream for a moment: a question is
/// asked again.
const UNHEARD_TRIES: u32 = 20;
const UNHEARD_PAUSE: Duration = Duration::from_millis(50);

/// While nobody leads a stream, the servers drop questions about it: who waits for the answer until the store's patience is over
/// loses up to 10 s after an election that takes 4. An answer takes milliseconds, or a second on a busy server.
const ANSWER: Duration = Duration::from_secs(3);
const ASKS: u32 = 3;

/// The header that carries a document's entry: what a follower of [`Depth::Entries`] sees of it.
pub(super) const ENTRY: &str = "Ironbeat-Entry";
/// The client's header for "this key is deleted", ADR-8.
const OPERATION: &str = "KV-Operation";
/// The server's header for "this key has expired", ADR-43.
const MARKER: &str = "Nats-Marker-Reason";

/// Why an attempt on one key failed.
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    #[error("read {key}: {source}")]
    Read { key: String, source: Cause },
    #[error("write {key}: it was changed by another writer")]
    Conflict { key: String },
    /// It was not written, and trying again will not help.
    #[error("write {key}: {source}")]
    Refused { key: String, source: Cause },
    /// Nobody knows whether it was written.
    #[error("write {key}: {source}")]
    Unclear { key: String, source: Cause },
    #[error("follow {keys}: {source}")]
    Follow { keys: String, source: Cause },
    #[error("erase {key}: {source}")]
    Erase { key: String, source: Cause },
    #[error("list {keys}: {source}")]
    List { keys: String, source: Cause },
}

/// How a bucket keeps what it is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keep {
    /// What it holds, for those who list buckets.
    pub about: &'static str,
    pub storage: StorageType,
    /// Zero: for ever.
    pub max_age: Duration,
    /// −1: no limit.
    pub max_keys: i64,
    /// −1: no limit. The server sets that much aside at once.
    pub max_bytes: i64,
    /// Which keys give way when a limit is reached.
    pub full: DiscardPolicy,
}

impl Keep {
    /// For ever, on disk: node records.
    pub const RECORDS: Keep = Keep {
        about: "Ironbeat: node.<shard>.<id> is a node's record; inventory.*, instance_data.*, bmc_secrets.*, rescue_login.* and notes.* lie beside it; ix.* are the names, MACs, UUIDs and BMCs that nodes have claimed",
        storage: StorageType::File,
        max_age: Duration::ZERO,
        max_keys: -1,
        max_bytes: -1,
        full: DiscardPolicy::New,
    };
}

#[derive(Clone)]
pub(crate) struct Kv {
    pub js: jetstream::Context,
    pub stream: stream::Stream,
    /// `$KV.<bucket>.`
    pub prefix: String,
}

impl Kv {
    /// Opens a bucket, making it if it is not there. Several workers may do so at once.
    ///
    /// The stream is made by hand: nats-server 2.9 does not answer what the client's own constructor asks first. Direct
    /// gets stay off, because a follower may answer them with an older revision; we never ask for one anyway.
    pub async fn open(
        js: &jetstream::Context,
        bucket: &str,
        keep: Keep,
        replicas: Replicas,
    ) -> Result<Self, StoreError> {
        let config = stream::Config {
            name: format!("KV_{bucket}"),
            description: Some(keep.about.into()),
            subjects: vec![format!("$KV.{bucket}.>")],
            max_messages_per_subject: 1,
            discard: keep.full,
            allow_rollup: true,
            deny_delete: false,
            allow_direct: false,
            storage: keep.storage,
            max_age: keep.max_age,
            max_messages: keep.max_keys,
            max_bytes: keep.max_bytes,
            ..stream::Config::default()
        };
        Ok(Self {
            js: js.clone(),
            stream: ensure(js, config, replicas).await?,
            prefix: format!("$KV.{bucket}."),
        })
    }

    pub(super) fn bucket(&self) -> &str {
        let bucket = self.prefix.strip_prefix("$KV.").unwrap_or(&self.prefix);
        bucket.trim_end_matches('.')
    }

    /// What the leader holds under a key, and its revision; a deleted key has a revision and no value.
    pub async fn read(&self, key: &str) -> Result<(Option<Bytes>, Revision), KvError> {
        let subject = format!("{}{key}", self.prefix);
        let (mut tries, mut asks) = (1, 1);
        loop {
            let asked = self.stream.get_last_raw_message_by_subject(&subject);
            let answer = match asks < ASKS {
                true => match tokio::time::timeout(ANSWER, asked).await {
                    Ok(answer) => answer,
                    Err(_) => {
                        asks += 1;
                        continue;
                    }
                },
                false => asked.await,
            };
            let error = match answer {
                Ok(message) => {
                    let value = (!is_deletion(&message.headers)).then_some(message.payload);
                    return Ok((value, message.sequence));
                }
                Err(error) => error,
            };
            if error.kind() == LastRawMessageErrorKind::NoMessageFound {
                return Ok((None, 0));
            }
            if tries == UNHEARD_TRIES || !is_unheard(&error) {
                return Err(KvError::Read {
                    key: key.into(),
                    source: error.into(),
                });
            }
            tries += 1;
            tokio::time::sleep(UNHEARD_PAUSE).await;
        }
    }

    /// Writes if the key is still at `expected`.
    pub async fn write(
        &self,
        key: &str,
        value: Vec<u8>,
        expected: Revision,
    ) -> Result<Revision, KvError> {
        let message = PublishMessage::build()
            .payload(value.into())
            .expected_last_subject_sequence(expected);
        self.publish(key, message).await
    }

    /// As `write`, with headers.
    pub async fn write_with(
        &self,
        key: &str,
        value: Bytes,
        headers: &[(&str, &str)],
        expected: Revision,
    ) -> Result<Revision, KvError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, *value);
        }
        let message = PublishMessage::build()
            .payload(value)
            .headers(map)
            .expected_last_subject_sequence(expected);
        self.publish(key, message).await
    }

    /// As `write`, with an entry for followers of [`Depth::Entries`](super::Depth::Entries), if there is one.
    pub(super) async fn write_entry(
        &self,
        key: &str,
        value: Vec<u8>,
        entry: Option<&str>,
        expected: Revision,
    ) -> Result<Revision, KvError> {
        match entry {
            Some(entry) => {
                let headers = [(ENTRY, entry)];
                self.write_with(key, value.into(), &headers, expected).await
            }
            None => self.write(key, value, expected).await,
        }
    }

    /// The revision of the key that was written last; zero where there is none. `keys` may have wildcards.
    pub(super) async fn last(&self, keys: &str) -> Result<Revision, KvError> {
        Ok(self.read(keys).await?.1)
    }

    /// Drops a key without a trace, and overwrites its bytes. Not by a purge: one that finds nothing makes nats-server 2.9
    /// pass over all that it has not shown its followers yet.
    pub async fn erase(&self, key: &str) -> Result<(), KvError> {
        let mut revision = self.last(key).await?;
        while revision != 0 {
            let Err(error) = self.stream.delete_message(revision).await else {
                break;
            };
            // Another worker may have erased it, or a rotation has sealed it anew.
            let now = self.last(key).await?;
            if now == revision {
                return Err(KvError::Erase {
                    key: key.into(),
                    source: error.into(),
                });
            }
            revision = now;
        }
        Ok(())
    }

    /// The keys there are; `keys` may have wildcards. Deleted ones are among them.
    pub async fn keys(&self, keys: &str) -> Result<Vec<String>, KvError> {
        let fail = |source: Cause| KvError::List {
            keys: keys.into(),
            source,
        };
        let subjects = format!("{}{keys}", self.prefix);
        let listed = self.stream.info_with_subjects(subjects).await;
        let mut listed = listed.map_err(|error| fail(error.into()))?;
        let mut found = Vec::new();
        while let Some(next) = listed.next().await {
            let (subject, _) = next.map_err(|error| fail(error.into()))?;
            found.extend(subject.strip_prefix(&self.prefix).map(String::from));
        }
        Ok(found)
    }

    /// Writes whatever was there.
    pub async fn put(&self, key: &str, value: Vec<u8>) -> Result<Revision, KvError> {
        self.publish(key, PublishMessage::build().payload(value.into()))
            .await
    }

    /// Deletes if the key is still at `expected`; leaves a marker that followers see.
    pub async fn delete(&self, key: &str, expected: Revision) -> Result<Revision, KvError> {
        let mut headers = HeaderMap::new();
        headers.insert(OPERATION, "DEL");
        let message = PublishMessage::build()
            .headers(headers)
            .expected_last_subject_sequence(expected);
        self.publish(key, message).await
    }

    async fn publish(&self, key: &str, message: PublishMessage) -> Result<Revision, KvError> {
        let subject = format!("{}{key}", self.prefix);
        let ack = match self.js.send_publish(subject, message).await {
            Ok(ack) => ack.await,
            Err(error) => Err(error),
        };
        ack.map(|ack| ack.sequence)
            .map_err(|error| write_error(key, error))
    }
}

/// Whether a server has said at once that nobody answers for JetStream.
fn is_unheard(error: &LastRawMessageError) -> bool {
    let source = std::error::Error::source(error);
    let request = source.and_then(|source| source.downcast_ref::<RequestError>());
    request.is_some_and(|error| error.kind() == RequestErrorKind::NoResponders)
}

fn write_error(key: &str, error: PublishError) -> KvError {
    let key = key.to_string();
    let code = api_error(&error).map(|error| error.error_code().0);
    if code.is_some_and(|code| CONFLICTS.contains(&code)) {
        KvError::Conflict { key }
    } else if is_final(&error) {
        let source = error.into();
        KvError::Refused { key, source }
    } else {
        let source = error.into();
        KvError::Unclear { key, source }
    }
}

fn api_error(error: &PublishError) -> Option<&jetstream::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

/// Whether a publish certainly failed and another try would fare no better: it is too large, or the server says what is
/// wrong with it. Its codes from 500 are about the server itself, and pass.
pub(crate) fn is_final(error: &PublishError) -> bool {
    error.kind() == PublishErrorKind::MaxPayloadExceeded
        || api_error(error).is_some_and(|error| error.code() < 500)
}

/// Whether a message says that its key is gone: deleted, purged, or expired.
pub(crate) fn is_deletion(headers: &HeaderMap) -> bool {
    let operation = headers.get(OPERATION).map(|value| value.as_str());
    matches!(operation, Some("DEL" | "PURGE")) || headers.get(MARKER).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A replicated stream answers 10164 where a single server answers 10071, and the client knows only the latter.
    #[test]
    fn both_codes_of_a_lost_race_are_conflicts() {
        for (status, code, expected) in [
            (400, 10071, "Conflict"),
            (400, 10164, "Conflict"),
            (400, 10060, "Refused"),
            (503, 10008, "Unclear"),
        ] {
            let json = format!(r#"{{"code":{status},"err_code":{code},"description":"words"}}"#);
            let error: jetstream::Error = serde_json::from_str(&json).unwrap();
            let error = PublishError::with_source(PublishErrorKind::Other, error);
            let error = format!("{:?}", write_error("node.x", error));
            assert!(error.starts_with(expected), "{code}: {error}");
        }
    }

    #[test]
    fn gone_is_gone_in_three_spellings() {
        for (name, value, gone) in [
            ("KV-Operation", "DEL", true),
            ("KV-Operation", "PURGE", true),
            ("Nats-Marker-Reason", "MaxAge", true),
            ("KV-Operation", "PUT", false),
            ("Nats-Msg-Id", "DEL", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value);
            assert_eq!(is_deletion(&headers), gone, "{name}: {value}");
        }
    }
}
