//! Load, decide, save, act: the only place where a node record is written. A lost race is one more decision.
//! What is decided is in `ironbeat_core::decide`; what an effect does is in `act`, what is told of it in `announce`.
use super::announce::announce;
use crate::clock;
use crate::records::StoreError;
use crate::worker::Worker;
use ironbeat_common::id::NodeId;
use ironbeat_core::decide::{Ctx, Effect, Event, Rejected, decide};
use ironbeat_core::invariant;
use ironbeat_core::invariant::Broken;
use ironbeat_core::node::Node;
use ironbeat_core::time::Time;
use std::sync::Arc;

/// Races lost in a row before an event is given up: each means that another worker made progress on this node.
const MAX_RACES: u32 = 32;

#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error("there is no node {0}")]
    NoNode(NodeId),
    #[error(transparent)]
    Rejected(#[from] Rejected),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("node {0}: {1}")]
    Broken(NodeId, Broken),
    #[error("node {0}: {MAX_RACES} races lost in a row")]
    Races(NodeId),
}

/// Returns the record as it is after the event, and what is to be done now that it is saved.
///
/// # Errors
/// When the event is not possible now, or the record could not be read or written.
pub async fn reconcile(
    worker: &Arc<Worker>,
    id: NodeId,
    event: &Event,
) -> Result<(Node, Vec<Effect>), ReconcileError> {
    for _ in 0..MAX_RACES {
        let (before, revision) = worker
            .store
            .load(id)
            .await?
            .ok_or(ReconcileError::NoNode(id))?;
        let op = worker.fresh_op();
        let ctx = Ctx {
            now: clock::now(),
            op: &op,
            worker: &worker.id,
            policy: &worker.policy,
        };
        let decision = decide(&before, event, ctx)?;
        let after = decision.node;
        if after != before {
            invariant::check(&after).map_err(|broken| ReconcileError::Broken(id, broken))?;
            match worker.store.save(&before, &after, revision).await {
                Ok(_) => {}
                Err(StoreError::Conflict { .. }) => continue,
                Err(error) => return Err(error.into()),
            }
            publish(worker, &before, &after, &decision.because, ctx.now);
        }
        return Ok((after, decision.effects));
    }
    Err(ReconcileError::Races(id))
}

/// One log line per transition, and what of it is worth an event.
fn publish(worker: &Worker, before: &Node, after: &Node, because: &str, at: Time) {
    tracing::info!(
        node = %after.id,
        name = after.name.as_ref().map(|name| name.as_str()),
        from = before.state.provision_state(),
        to = after.state.provision_state(),
        step = after.job().map(|job| job.step().name()),
        because,
        "node"
    );
    for happening in announce(before, after, because, at, &worker.id) {
        worker.events.publish(&happening, after.op.as_str());
    }
}
