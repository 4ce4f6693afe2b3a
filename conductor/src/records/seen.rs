//! The last heartbeat of every node, kept by the server: one message per subject, no write of ours. In a file: a stream in
//! memory is gone when the server restarts, and every live agent would look silent.
//! `front::agent` answers heartbeats; this stream never does, or it would race the real reply.
use crate::records::{Store, StoreError};
use async_nats::jetstream::stream::{self, DiscardPolicy, LastRawMessageErrorKind, StorageType};
use ironbeat_common::codec;
use ironbeat_common::heartbeat::Heartbeat;
use ironbeat_common::id::NodeId;
use ironbeat_common::subject;
use ironbeat_core::decide::LastBeat;
use ironbeat_core::time::Time;
use std::time::Duration;

/// Longer than any heartbeat timeout that makes sense.
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// 100,000 nodes at some 300 bytes a beat are 30 MB; a thousand of them may carry an inventory of 40 KB at once. Beyond
/// it the oldest beats go. The server sets that much aside at once.
const MAX_BYTES: i64 = 128 << 20;

#[derive(Clone)]
pub struct Seen {
    stream: stream::Stream,
    prefix: String,
}

impl Seen {
    /// # Errors
    /// When the stream cannot be made, or the one that is there would answer the agents.
    pub async fn open(store: &Store) -> Result<Self, StoreError> {
        let prefix = store.names.prefix.clone();
        let config = stream::Config {
            name: store.names.seen.clone(),
            description: Some("Ironbeat: the last heartbeat of each machine (CBOR)".into()),
            subjects: vec![format!("{prefix}.heartbeat.*")],
            storage: StorageType::File,
            discard: DiscardPolicy::Old,
            max_messages_per_subject: 1,
            max_age: MAX_AGE,
            max_bytes: MAX_BYTES,
            no_ack: true,
            ..stream::Config::default()
        };
        Ok(Self {
            stream: store.stream(config).await?,
            prefix,
        })
    }

    /// The newest beat and when the server got it. One that cannot be decoded was refused on arrival, and counts as none.
    ///
    /// # Errors
    /// When the stream does not answer.
    pub async fn last_beat(&self, id: NodeId) -> Result<Option<LastBeat>, StoreError> {
        let subject = subject::heartbeat(&self.prefix, &id);
        let message = match self.stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => message,
            Err(error) if matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound) => {
                return Ok(None);
            }
            Err(error) => {
                return Err(StoreError::Stream {
                    what: format!("read the last {subject}"),
                    source: error.into(),
                });
            }
        };
        let Ok(beat) = codec::decode::<Heartbeat>(&message.payload) else {
            return Ok(None);
        };
        let ms = u64::try_from(message.time.unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
        Ok(Some(LastBeat {
            boot: beat.boot,
            at: Time::from_unix_ms(ms),
            status: beat.status,
        }))
    }
}

#[cfg(test)]
mod tests;
