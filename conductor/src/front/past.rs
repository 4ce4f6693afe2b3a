//! What happened to a node: its history, and its flight record in pages.
//! `records::events` keeps both; `ironbeat_core::flight` says what an entry of the latter is.
use super::named::resolve_past;
use super::refusal::ApiError;
use crate::clock;
use crate::worker::Worker;
use ironbeat_common::id::NodeId;
use ironbeat_core::flight;
use ironbeat_core::node::{Node, SCHEMA};
use ironbeat_ops::history::{HistoryEntry, RecordHead, RecordPage};
use ironbeat_ops::policy::changed;
use ironbeat_ops::request::{NodeHistory, NodeRecord};
use serde::Serialize;
use serde_json::Value;

/// Entries of a history in one reply at most, some 500 bytes each: a message holds them.
const MAX_HISTORY: usize = 1000;
const USUAL_HISTORY: usize = 100;
/// Bytes of the entries of a flight record in one reply: a message of the NATS servers' usual 1 MiB holds them, and the head.
const PAGE_BYTES: usize = 600_000;

pub(super) async fn history(
    worker: &Worker,
    ask: NodeHistory,
) -> Result<Vec<HistoryEntry>, ApiError> {
    let id = resolve_past(worker, &ask.node).await?;
    let limit = ask.limit.unwrap_or(USUAL_HISTORY).min(MAX_HISTORY);
    let happened = worker.events.happened(id, ask.since).await?;
    let mut all: Vec<HistoryEntry> = happened.into_iter().filter_map(HistoryEntry::of).collect();
    all.drain(..all.len().saturating_sub(limit));
    Ok(all)
}

pub(super) async fn record(worker: &Worker, ask: NodeRecord) -> Result<RecordPage, ApiError> {
    let id = resolve_past(worker, &ask.node).await?;
    let after = ask.after.unwrap_or_default();
    let (entries, next) = worker.events.entries(id, after, PAGE_BYTES).await?;
    let head = match ask.after {
        None => Some(Box::new(head(worker, id).await?)),
        Some(_) => None,
    };
    Ok(RecordPage {
        head,
        entries,
        next,
    })
}

async fn head(worker: &Worker, id: NodeId) -> Result<RecordHead, ApiError> {
    // Of one that is gone there is nothing beside.
    let node = worker.store.nodes.load(id).await?.map(|(node, _)| node);
    let (mut inventory, mut notes) = (None, None);
    if let Some(node) = &node {
        let of_version = |version: Option<&_>| version.map(ToString::to_string);
        let version = of_version(node.beside.inventory.as_ref());
        inventory = version.zip(json(worker.store.beside.inventory(node).await?.as_ref()));
        let version = of_version(node.beside.notes.as_ref());
        notes = version.zip(json(worker.store.beside.notes(node).await?.as_ref()));
    }
    Ok(RecordHead {
        ironbeat: env!("CARGO_PKG_VERSION").into(),
        flight: flight::SCHEMA,
        schema: SCHEMA,
        node: id,
        name: node.and_then(|node: Node| node.name),
        at: clock::now(),
        worker: worker.id.clone(),
        policy: serde_json::to_value(&worker.policy).expect("its keys are strings"),
        changed: changed(&worker.policy),
        inventory,
        notes,
    })
}

fn json(document: Option<&impl Serialize>) -> Option<Value> {
    let json = document.map(serde_json::to_value);
    json.map(|json| json.expect("its keys are strings"))
}
