//! What happens when something happened: `reconcile` (load, decide, save), then `act` (one arm per effect).
//! Only this changes a node's record; where events come from is the business of `front` and `loops`.
mod act;
mod announce;
mod reconcile;

pub use reconcile::ReconcileError;

use crate::worker::Worker;
use ironbeat_common::id::NodeId;
use ironbeat_core::decide::Event;
use ironbeat_core::node::Node;
use std::sync::Arc;

/// Carries one event to one node, and has the effects carried out. Returns the record as it is afterwards.
///
/// # Errors
/// When the event is not possible now, or the record could not be read or written.
pub async fn deliver(
    worker: &Arc<Worker>,
    id: NodeId,
    event: &Event,
) -> Result<Node, ReconcileError> {
    let (node, effects) = reconcile::reconcile(worker, id, event).await?;
    for effect in effects {
        act::perform(worker, &node, effect);
    }
    Ok(node)
}
