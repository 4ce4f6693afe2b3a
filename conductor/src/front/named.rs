//! The node or the machine that an operator means: by id, by name, by the start of a key.
//! The records decide who holds which name.
use super::refusal::{ApiError, fail};
use crate::records::lookups::Found;
use crate::worker::Worker;
use ironbeat_common::id::NodeId;
use ironbeat_core::id::NodeName;
use ironbeat_core::node::Node;
use ironbeat_ops::lookup::LookupEntry;

/// Names are read where they are claimed: the view may lag behind a node that was just enrolled or renamed.
pub(super) async fn resolve(worker: &Worker, text: &str) -> Result<NodeId, ApiError> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let name: NodeName = text.parse().map_err(|bad| fail(400, bad))?;
    let named = worker.store.named(&name).await?;
    named.ok_or_else(|| fail(404, format!("there is no node {name}")))
}

pub(super) async fn load(worker: &Worker, node: &str) -> Result<Node, ApiError> {
    let id = resolve(worker, node).await?;
    let (node, _) = worker
        .store
        .nodes
        .load(id)
        .await?
        .ok_or_else(|| fail(404, format!("there is no node {id}")))?;
    Ok(node)
}

/// As [`resolve`], and when nobody has the name now, the last deleted node that had it.
pub(super) async fn resolve_past(worker: &Worker, text: &str) -> Result<NodeId, ApiError> {
    let present = resolve(worker, text).await;
    match &present {
        Err(unknown) if unknown.code == 404 => {}
        Ok(_) | Err(_) => return present,
    }
    match worker.events.deleted(text).await? {
        Some(id) => Ok(id),
        None => present,
    }
}

/// The machine that looked up under this key, or the start of it. Of machines that claim the same marks none is chosen.
pub(super) async fn looked_up(worker: &Worker, key: &str) -> Result<LookupEntry, ApiError> {
    match worker.lookups.find(key).await? {
        Found::One(entry) => Ok(*entry),
        Found::None => Err(fail(404, format!("no machine {key:?} has looked up"))),
        Found::Several {
            first,
            count,
            is_conflict,
        } => {
            let more = match count - first.len() {
                0 => String::new(),
                more => format!(", and {more} more"),
            };
            let first = first.join(", ");
            let (claim, whose) = match is_conflict {
                false => ("", ""),
                true => (
                    " that claim to be the same one",
                    " of the one whose MAC addresses are the machine's",
                ),
            };
            Err(fail(
                409,
                format!(
                    "{key:?} fits {count} machines{claim}: {first}{more}: give more of the key{whose}"
                ),
            ))
        }
    }
}
