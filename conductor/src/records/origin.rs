//! Which bucket the records are in: a word that its first worker wrote into it, and every worker remembers while it runs.
//! A bucket that is empty although somebody remembers one was lost, or is another server's; no worker starts on it.
use super::kv::{KvError, Revision};
use super::{Cause, Kv, Names, Store, StoreError};
use crate::secrets::MasterKeys;
use async_nats::RequestErrorKind;
use async_nats::jetstream::{self, context::GetStreamErrorKind};
use futures_util::StreamExt;
use ironbeat_core::id::WorkerId;
use ironbeat_core::time::Time;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::task::JoinHandle;

/// In the bucket of the records.
pub const KEY: &str = "origin";
/// How long to wait for the first worker that remembers. Those who live answer in milliseconds unless their host is very
/// busy, and nobody costs no wait: the server says so.
const PATIENCE: Duration = Duration::from_secs(8);

/// How often the first word is written, and the pause in between.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(250);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub id: String,
    pub made: Time,
}

/// What a live worker answers.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    worker: WorkerId,
    origin: Origin,
}

/// Heard by every worker, so that a new one can ask.
fn subject(prefix: &str) -> String {
    format!("{prefix}.worker.origin")
}

/// Opens the store, and says which one it is.
///
/// # Errors
/// [`StoreError::Emptied`] when a live worker remembers another bucket; nothing was made then. As [`Store::open`] else.
pub async fn open(
    client: &async_nats::Client,
    names: &Names,
    masters: &MasterKeys,
    now: Time,
) -> Result<(Store, Origin), StoreError> {
    let found = find(client, names).await?;
    if let Some(Remembered { worker, origin }) = ask(client, &names.prefix).await
        && found.as_ref() != Some(&origin)
    {
        return Err(StoreError::Emptied {
            bucket: names.nodes.clone(),
            worker: format!("worker {worker}"),
            made: origin.made,
        });
    }
    let store = Store::open(client.clone(), names, masters).await?;
    let origin = match found {
        Some(origin) => origin,
        None => make(&store.nodes.kv, now).await?,
    };
    Ok((store, origin))
}

/// Looks without making the bucket.
async fn find(client: &async_nats::Client, names: &Names) -> Result<Option<Origin>, StoreError> {
    let js = jetstream::new(client.clone());
    let name = format!("KV_{}", names.nodes);
    let stream = match js.get_stream(&name).await {
        Ok(stream) => stream,
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(error) if error.code() == 404 => return Ok(None),
            _ => {
                return Err(StoreError::Stream {
                    what: format!("open stream {name}"),
                    source: Cause::from(error),
                });
            }
        },
    };
    let prefix = format!("$KV.{}.", names.nodes);
    read(&Kv { js, stream, prefix }).await
}

async fn read(kv: &Kv) -> Result<Option<Origin>, StoreError> {
    Ok(read_at(kv).await?.0)
}

async fn read_at(kv: &Kv) -> Result<(Option<Origin>, Revision), StoreError> {
    let (value, at) = kv.read(KEY).await?;
    let corrupt = |error: serde_json::Error| StoreError::Corrupt {
        key: KEY.into(),
        why: error.to_string(),
    };
    let origin = value.map(|value| serde_json::from_slice(&value).map_err(corrupt));
    Ok((origin.transpose()?, at))
}

/// The words for a bucket that its servers do not know any more; any other error stays what it is.
pub(super) fn missing(error: StoreError, kv: &Kv, known: Option<&Origin>) -> StoreError {
    match known {
        Some(known) if error.no_stream() => emptied(kv, known),
        Some(_) | None => error,
    }
}

fn emptied(kv: &Kv, known: &Origin) -> StoreError {
    StoreError::Emptied {
        bucket: kv.bucket().into(),
        worker: "this worker".into(),
        made: known.made,
    }
}

/// What the bucket says now.
///
/// # Errors
/// [`StoreError::Emptied`] when it said something else before.
pub(super) async fn same(kv: &Kv, known: &mut Option<Origin>) -> Result<(), StoreError> {
    let now = read(kv).await?;
    match known {
        Some(before) if now.as_ref() != Some(before) => Err(emptied(kv, before)),
        Some(_) | None => {
            *known = now;
            Ok(())
        }
    }
}

/// Workers may start at the same moment: the first one's word counts. Servers that have only just made the bucket lose the
/// word at times, or refuse it for another that nobody can read yet: whoever finds none writes again.
pub(super) async fn make(kv: &Kv, now: Time) -> Result<Origin, StoreError> {
    let origin = Origin {
        id: uuid::Uuid::new_v4().to_string(),
        made: now,
    };
    let value = serde_json::to_vec(&origin).expect("it is JSON");
    let mut tries = 0;
    loop {
        let (present, at) = read_at(kv).await?;
        if let Some(present) = present {
            return Ok(present);
        }
        match kv.write(KEY, value.clone(), at).await {
            Ok(_) => return Ok(origin),
            Err(KvError::Conflict { .. } | KvError::Unclear { .. }) if tries < TRIES => {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The first live worker that answers; a worker of an earlier version does not know the question.
async fn ask(client: &async_nats::Client, prefix: &str) -> Option<Remembered> {
    let question = client.request(subject(prefix), bytes::Bytes::new());
    match tokio::time::timeout(PATIENCE, question).await {
        Ok(Ok(reply)) => serde_json::from_slice(&reply.payload).ok(),
        Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => None,
        Ok(Err(error)) => {
            tracing::warn!("ask who remembers the bucket: {error}");
            None
        }
        Err(_) => None,
    }
}

/// Whether any worker answers, and which.
pub(super) async fn anybody(client: &async_nats::Client, prefix: &str) -> Option<WorkerId> {
    ask(client, prefix).await.map(|answer| answer.worker)
}

/// Answers those who start later, until the task is stopped.
///
/// # Errors
/// When the subject cannot be subscribed.
pub async fn answer(
    client: async_nats::Client,
    prefix: &str,
    worker: WorkerId,
    origin: Origin,
) -> anyhow::Result<JoinHandle<()>> {
    let mut questions = client.subscribe(subject(prefix)).await?;
    let answer = serde_json::to_vec(&Remembered { worker, origin })?;
    let answer = bytes::Bytes::from(answer);
    Ok(tokio::spawn(async move {
        while let Some(question) = questions.next().await {
            if let Some(to) = question.reply
                && let Err(error) = client.publish(to, answer.clone()).await
            {
                tracing::warn!("answer which bucket this is: {error}");
            }
        }
    }))
}
