//! The node that an operator means, by id or name, as the leader has it.
//! The records decide who holds which name.
use super::refusal::{ApiError, fail};
use crate::worker::Worker;
use ironbeat_common::id::NodeId;
use ironbeat_core::id::NodeName;
use ironbeat_core::node::Node;

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
