//! The output of consoles, kept as a bounded stream: only where the configuration asks for it.
//! `mod` attaches the consoles that are to be recorded.
use crate::records::{Cause, Store, StoreError, read_stream};
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::stream::{self, StorageType};
use ironbeat_common::id::NodeId;
use ironbeat_ops::console::{Part, subject, subject_of_all};
use std::collections::VecDeque;
use std::time::Duration;

/// A week, which is as long as people remember to look.
const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Per node, so that one that babbles cannot push out all others.
const MAX_MESSAGES_PER_NODE: i64 = 100_000;
/// Shown in one answer; below the size of a message.
const SHOWN: usize = 512 * 1024;

/// Makes the stream of `mib` MiB, which the server sets aside.
///
/// # Errors
/// When it cannot be made, or is there as another kind of stream.
pub(super) async fn open(store: &Store, mib: u32) -> Result<(), StoreError> {
    let config = stream::Config {
        name: store.names.consoles.clone(),
        description: Some("Ironbeat: what serial consoles said; bytes as they are".into()),
        subjects: vec![subject_of_all(&store.names.prefix, Part::Out)],
        storage: StorageType::File,
        max_age: MAX_AGE,
        max_bytes: i64::from(mib) << 20,
        max_messages_per_subject: MAX_MESSAGES_PER_NODE,
        ..stream::Config::default()
    };
    store.stream(config).await.map(drop)
}

/// The last output of a node's console.
///
/// # Errors
/// When nothing is recorded here, or the stream does not answer.
pub async fn read(store: &Store, node: &NodeId) -> Result<Vec<u8>, StoreError> {
    let name = &store.names.consoles;
    let fail = |source: Cause| StoreError::Stream {
        what: format!("read stream {name}"),
        source,
    };
    let stream = store.js.get_stream(name).await;
    let advice = "consoles are recorded where the workers' configuration has `console.record`";
    let stream = stream.map_err(|error| fail(format!("{error}; {advice}").into()))?;
    let config = OrderedConfig {
        filter_subject: subject(&store.names.prefix, node, Part::Out),
        deliver_policy: DeliverPolicy::All,
        ..OrderedConfig::default()
    };
    let mut last = VecDeque::new();
    read_stream(&stream, config, |message| {
        last.extend(message.payload.iter());
        let surplus = last.len().saturating_sub(SHOWN);
        last.drain(..surplus);
    })
    .await?;
    Ok(last.into())
}
