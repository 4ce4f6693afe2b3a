//! All records in a file and back: nodes, what lies beside them, claims. Secrets are in it as they lie in the bucket.
//! A worker is not needed for either, and none may run while records come back.
use super::document::parse;
use super::follow::Followed;
use super::kv::ENTRY;
use super::{Cause, Depth, Document, Names, Store, StoreError, keys, origin};
use crate::secrets::MasterKeys;
use anyhow::{Context, bail, ensure};
use ironbeat_core::node::{Maintenance, Node};
use ironbeat_core::time::Time;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// The version of the file's form.
const VERSION: u32 = 1;
/// Writes on their way to the server at once.
const IN_FLIGHT: usize = 64;
/// A line longer than this is not ours: the largest value is a message of NATS.
const MAX_LINE_BYTES: usize = 16 << 20;

/// How often it is looked whether anything was written meanwhile. Each look takes a round trip, in most of which nothing is
/// written even while a whole fleet is deployed.
const MAX_LOOKS: u32 = 100_000;
/// After this long without a change it is looked again whether there is one to come.
const QUIET: Duration = Duration::from_secs(1);
/// So often in a row; a follower gives up no sooner.
const MAX_QUIET: u32 = 10;

/// When the last backup was made, for operators; not part of it.
const LAST: &str = "backup.last";

/// The lines of the file, each a JSON object: the head, keys in the order in which they were last written, the end.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    Head {
        ironbeat_backup: u32,
        bucket: String,
        at: Time,
    },
    Key {
        key: String,
        value: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        entry: Option<String>,
    },
    /// Without it, the file was cut.
    End { keys: u64 },
}

/// Writes all that is in the bucket to a new file, which its owner alone may read. Returns how many keys there were.
///
/// A key that is written anew before it was shown is shown at its new place alone. So the file is whole at a moment when
/// nothing is left to be shown: then it has all that is in the bucket, and it is read on until such a moment comes.
///
/// # Errors
/// When the bucket cannot be read to its end, or the file is there, or cannot be written.
pub async fn backup(store: &Store, file: &Path, now: Time) -> anyhow::Result<u64> {
    ensure!(!file.exists(), "{} exists already", file.display());
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = Path::new(&unfinished);
    let context = || format!("write {}", unfinished.display());
    // What an earlier one left goes, and a link that lies there with it: neither its mode nor where it leads is ours to choose.
    match std::fs::remove_file(unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(context);
        }
        Ok(()) | Err(_) => {}
    }
    let open = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(unfinished);
    let mut out = BufWriter::new(open.with_context(context)?);
    let mut put = |line: &Line| -> anyhow::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        out.write_all(text.as_bytes()).with_context(context)
    };
    put(&Line::Head {
        ironbeat_backup: VERSION,
        bucket: store.names.nodes.clone(),
        at: now,
    })?;
    let (mut keys, mut written) = (0, BTreeSet::new());
    let kv = &store.nodes.kv;
    let mut follow = kv.follow(">", Depth::Whole).await?;
    let (mut shown, mut end) = (0, kv.last(">").await?);
    let (mut looks, mut quiet) = (0, 0);
    loop {
        if shown >= end {
            end = kv.last(">").await?;
            if shown >= end {
                break;
            }
            looks += 1;
            ensure!(
                looks < MAX_LOOKS,
                "records are written faster than they can be read"
            );
        }
        let change = match tokio::time::timeout(QUIET, follow.next()).await {
            Ok(Ok(Followed::Change(change))) => change,
            Ok(Ok(Followed::Loaded)) => continue,
            Ok(Err(error)) => return Err(error.into()),
            // What was to come has been erased, or does not come.
            Err(_) => {
                end = kv.last(">").await?;
                quiet += 1;
                ensure!(
                    quiet < MAX_QUIET,
                    "the server shows nothing after revision {shown}, and there is {end}"
                );
                continue;
            }
        };
        (shown, quiet) = (change.revision, 0);
        let key = change.key;
        // Of a deleted key nothing is kept, unless it was there a moment ago.
        if key == LAST || (change.value.is_none() && !written.contains(&key)) {
            continue;
        }
        written.insert(key.clone());
        let value = change.value.unwrap_or_default();
        let value = String::from_utf8(value.into());
        put(&Line::Key {
            value: value.with_context(|| format!("{key} is no text"))?,
            key,
            entry: change.entry,
        })?;
        keys += 1;
    }
    put(&Line::End { keys })?;
    let out = out.into_inner().map_err(|error| error.into_error());
    out.and_then(|out| out.sync_all()).with_context(context)?;
    std::fs::rename(unfinished, file)
        .with_context(|| format!("rename it to {}", file.display()))?;
    let noted = kv.put(LAST, serde_json::to_vec(&now)?).await;
    noted.with_context(|| format!("{} is whole; note that it was made", file.display()))?;
    Ok(keys)
}

/// What is true of the machines now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Much may have happened since the backup: every node is in maintenance until somebody has looked at it.
    Unknown,
    /// Nothing has happened since: the records are taken as they are.
    Nothing,
}

/// Brings a backup back into a bucket that is empty or not there. Returns how many keys there are.
///
/// # Errors
/// When the bucket is not empty, a worker runs, the file is not a whole backup, or a write fails; after the last, purge the
/// bucket and try again.
pub async fn restore(
    client: &async_nats::Client,
    names: &Names,
    file: &Path,
    since: Since,
    now: Time,
) -> anyhow::Result<u64> {
    let at = check(file).with_context(|| format!("read {}", file.display()))?;
    if let Some(worker) = origin::anybody(client, &names.prefix).await {
        bail!("worker {worker} runs: stop all workers first, lest they act on half of the records");
    }
    let store = Store::open(client.clone(), names, &MasterKeys::none()).await?;
    let messages = store.nodes.kv.stream.get_info().await?.state.messages;
    let bucket = &names.nodes;
    let mut ours = 0;
    // A worker that was started and stopped again has left its word and a data key, and a backup of nothing its time.
    for key in [origin::KEY, keys::KEY, LAST] {
        ours += u64::from(store.nodes.kv.read(key).await?.1 > 0);
    }
    ensure!(
        messages == ours,
        "bucket {bucket} is not empty: it has {messages} keys, which a backup does not replace"
    );
    let reason = format!("restored from a backup of {at}: see whether it is still true");
    let mut waiting = VecDeque::new();
    let mut keys = 0;
    for line in lines(file)? {
        let Line::Key { key, value, entry } = line? else {
            continue;
        };
        let (value, entry) = match since {
            Since::Unknown => held(&key, value, entry, &reason, now)?,
            Since::Nothing => (value, entry),
        };
        if waiting.len() >= IN_FLIGHT {
            acknowledged(waiting.pop_front()).await?;
        }
        let subject = format!("{}{key}", store.nodes.kv.prefix);
        let mut headers = async_nats::HeaderMap::new();
        match (value.is_empty(), entry) {
            (true, _) => headers.insert("KV-Operation", "DEL"),
            (false, Some(entry)) => headers.insert(ENTRY, entry),
            (false, None) => {}
        }
        let sent = store
            .js
            .publish_with_headers(subject, headers, value.into())
            .await;
        waiting.push_back(sent.with_context(|| format!("write {key}"))?);
        keys += 1;
    }
    while let Some(ack) = waiting.pop_front() {
        acknowledged(Some(ack)).await?;
    }
    Ok(keys)
}

async fn acknowledged(
    ack: Option<async_nats::jetstream::context::PublishAckFuture>,
) -> Result<(), StoreError> {
    let Some(ack) = ack else { return Ok(()) };
    let fail = |source: Cause| StoreError::Stream {
        what: "write a key".into(),
        source,
    };
    ack.await.map(drop).map_err(|error| fail(error.into()))
}

/// A node's record, put into maintenance; all else, and a record that this version cannot read, as it is.
fn held(
    key: &str,
    value: String,
    entry: Option<String>,
    reason: &str,
    now: Time,
) -> anyhow::Result<(String, Option<String>)> {
    if !key.starts_with("node.") {
        return Ok((value, entry));
    }
    let mut node: Node = match parse(key, value.as_bytes()) {
        Ok(node) => node,
        Err(error) => {
            tracing::warn!("not put into maintenance: {error}");
            return Ok((value, entry));
        }
    };
    node.maintenance.get_or_insert_with(|| Maintenance {
        since: now,
        reason: reason.into(),
        fault: None,
    });
    let entry = serde_json::to_string(&node.entry())?;
    Ok((serde_json::to_string(&node)?, Some(entry)))
}

/// Reads the whole file before anything is written. Returns when it was made.
fn check(file: &Path) -> anyhow::Result<Time> {
    let mut lines = lines(file)?;
    let head = lines.next().context("it is empty")??;
    let Line::Head {
        ironbeat_backup,
        at,
        ..
    } = head
    else {
        bail!("it is no backup");
    };
    ensure!(
        ironbeat_backup == VERSION,
        "it has form {ironbeat_backup}, this program knows {VERSION}"
    );
    let mut count = 0;
    for line in lines.by_ref() {
        match line? {
            Line::Key { .. } => count += 1,
            Line::Head { .. } => bail!("it has two beginnings"),
            Line::End { keys } => {
                ensure!(keys == count, "it has {count} keys of {keys}");
                ensure!(lines.next().is_none(), "it goes on after its end");
                return Ok(at);
            }
        }
    }
    bail!("it was cut after {count} keys")
}

fn lines(file: &Path) -> anyhow::Result<impl Iterator<Item = anyhow::Result<Line>>> {
    let open = File::open(file).with_context(|| format!("open {}", file.display()))?;
    let mut reader = BufReader::new(open);
    let mut number = 0;
    Ok(std::iter::from_fn(move || {
        number += 1;
        let mut text = String::new();
        let mut bounded = std::io::Read::take(&mut reader, MAX_LINE_BYTES as u64);
        match bounded.read_line(&mut text) {
            Ok(0) => None,
            Ok(_) => {
                let line = serde_json::from_str(&text).map_err(anyhow::Error::from);
                // What is in a line may be secret: its number and column say enough.
                Some(line.map_err(|error| {
                    let error = error.downcast::<serde_json::Error>();
                    let column = error.map_or(0, |error| error.column());
                    anyhow::anyhow!("line {number} is no part of a backup, column {column}")
                }))
            }
            Err(error) => Some(Err(error.into())),
        }
    }))
}
