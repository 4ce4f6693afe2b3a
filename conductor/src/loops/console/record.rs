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

/// Of a stream that keeps nothing: no message fits. It is there where nothing is recorded, lest a stolen login of a worker
/// make one of this name for itself.
const NOTHING: i64 = 1;

/// Makes the stream of `mib` MiB, which the server sets aside; none: it keeps nothing.
///
/// # Errors
/// When it cannot be made, is there as another kind of stream, or keeps nothing although consoles are to be recorded.
pub(super) async fn open(store: &Store, mib: Option<u32>) -> Result<(), StoreError> {
    let config = stream::Config {
        name: store.names.consoles.clone(),
        description: Some("Ironbeat: what serial consoles said; bytes as they are".into()),
        subjects: vec![subject_of_all(&store.names.prefix, Part::Out)],
        storage: StorageType::File,
        max_age: MAX_AGE,
        max_bytes: mib.map_or(NOTHING, |mib| i64::from(mib) << 20),
        max_messages_per_subject: MAX_MESSAGES_PER_NODE,
        ..stream::Config::default()
    };
    let name = config.name.clone();
    let found = store.stream(config).await?;
    match mib {
        Some(mib) if found.cached_info().config.max_bytes == NOTHING => Err(StoreError::Stream {
            what: format!("record consoles in stream {name}"),
            source: format!(
                "it was made to keep nothing: `nats stream edit {name} --max-bytes {}`, with a login of `ironbeat auth jetstream`",
                i64::from(mib) << 20
            )
            .into(),
        }),
        Some(_) | None => Ok(()),
    }
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
    if stream.cached_info().config.max_bytes == NOTHING {
        return Err(fail(format!("it keeps nothing; {advice}").into()));
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::tests::{server, store};

    #[tokio::test]
    async fn a_stream_that_was_made_to_keep_nothing_is_no_record_and_the_way_to_make_it_one_is_said()
     {
        let server = server();
        let store = store(&server).await;
        open(&store, None).await.unwrap();
        open(&store, None).await.unwrap();
        let error = open(&store, Some(16)).await.unwrap_err().to_string();
        let edit = "nats stream edit IB_CONSOLES --max-bytes 16777216";
        assert!(error.contains(edit), "{error}");
        let subject = format!("{}.console.x.out", store.names.prefix);
        store
            .js
            .client()
            .publish(subject, "kept?".into())
            .await
            .unwrap();
        store.js.client().flush().await.unwrap();
        let stream = store.js.get_stream(&store.names.consoles).await.unwrap();
        let config = stream.cached_info().config.clone();
        assert_eq!(stream.cached_info().state.messages, 0);
        store
            .js
            .update_stream(stream::Config {
                max_bytes: 16 << 20,
                ..config
            })
            .await
            .unwrap();
        open(&store, Some(16)).await.unwrap();
        open(&store, None).await.unwrap();
    }
}
