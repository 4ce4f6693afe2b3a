//! Load, decide, save, act: the only place where a node record is written. A lost race is one more decision.
//! What is decided is in `ironbeat_core::decide`; what an effect does is in `act`.
use crate::clock;
use crate::records::StoreError;
use crate::worker::Worker;
use ironbeat_common::id::NodeId;
use ironbeat_core::decide::{Ctx, Effect, Event, Rejected, decide};
use ironbeat_core::invariant;
use ironbeat_core::invariant::Broken;
use ironbeat_core::node::{Job, Node};
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
            announce(worker, &before, &after, &decision.because);
        }
        return Ok((after, decision.effects));
    }
    Err(ReconcileError::Races(id))
}

/// One log line and one event per transition, emitted where it is saved.
fn announce(worker: &Arc<Worker>, before: &Node, after: &Node, because: &str) {
    let (from, to) = (
        before.state.provision_state(),
        after.state.provision_state(),
    );
    let step = after.job().map(|job| job.step().name());
    let name = after.name.as_ref().map(|name| name.as_str());
    tracing::info!(node = %after.id, name, from, to, step, because, "node");
    let error = after
        .last_error
        .as_ref()
        .filter(|_| before.last_error != after.last_error);
    let body = serde_json::json!({
        "node": after.id, "name": name, "at": clock::now(), "worker": worker.id,
        "from": from, "to": to, "step": step, "because": because, "error": error,
    });
    let kind = if from == to { "step" } else { "state" };
    worker
        .events
        .publish(after.id, kind, &body, &format!("{}:{}", after.id, after.op));
    if let Some(kind) = power_event(before, after) {
        let power = after.power.as_ref();
        let body = serde_json::json!({
            "node": after.id, "name": name, "at": clock::now(), "worker": worker.id,
            "from": before.power.as_ref().map(|power| power.on), "to": power.map(|power| power.on),
            "target": before.job().or(after.job()).and_then(Job::target_power_state),
            "because": because, "error": error,
        });
        let id = format!("{}:{}:{kind}", after.id, after.op);
        worker.events.publish(after.id, kind, &body, &id);
    }
}

/// Ironic's notifications of power: of an ordered change its begin and end, of another that it was seen.
fn power_event(before: &Node, after: &Node) -> Option<&'static str> {
    let target = |node: &Node| node.job().and_then(Job::target_power_state);
    match (target(before), target(after)) {
        (None, Some(_)) => Some("power_set.start"),
        (Some(_), None) if before.last_error != after.last_error && after.last_error.is_some() => {
            Some("power_set.error")
        }
        (Some(_), None) => Some("power_set.end"),
        (Some(_), Some(_)) => None,
        (None, None) => {
            let on = |node: &Node| node.power.as_ref().map(|power| power.on);
            let by_itself = before.job().is_none() && after.job().is_none();
            let differs = on(before).is_some() && on(before) != on(after);
            (by_itself && differs).then_some("power_state_corrected.success")
        }
    }
}
