//! Tells nodes in line that their turn has come.
//! The core says whose turn it is; claims see to it that no two nodes get the same place.
use crate::drive::ReconcileError;
use crate::records::StoreError;
use crate::worker::Worker;
use futures_util::stream::{self, StreamExt};
use ironbeat_common::id::NodeId;
use ironbeat_core::decide::Event;
use std::sync::Arc;
use std::time::Duration;

/// Nothing ticks when a worker falls silent, whose nodes are then another's.
const LOOK: Duration = Duration::from_secs(1);
/// Between two looks, so that many changes at once cost one.
const PAUSE: Duration = Duration::from_millis(20);
/// Turns told at once.
const PARALLEL: usize = 64;

/// Runs until the worker stops.
pub async fn run(worker: Arc<Worker>) {
    worker.view.ready().await;
    let mut changes = worker.view.changes();
    loop {
        let next = worker.view.next_in_line(&worker.policy);
        let mine = next.into_iter().filter(|(id, _)| worker.presence.owns(*id));
        let told = stream::iter(mine.collect::<Vec<_>>())
            .map(|(id, place)| tell(&worker, id, place))
            .buffer_unordered(PARALLEL);
        told.collect::<()>().await;
        tokio::time::sleep(PAUSE).await;
        let _ = tokio::time::timeout(LOOK, changes.changed()).await;
    }
}

async fn tell(worker: &Arc<Worker>, id: NodeId, place: Option<u16>) {
    match worker.drive.deliver(id, &Event::Turn { place }).await {
        Ok(_) | Err(ReconcileError::NoNode(_) | ReconcileError::Rejected(_)) => {}
        // Another worker gave the place to its node a moment ago: the next look has another one.
        Err(ReconcileError::Store(StoreError::Claimed { what, by })) => {
            tracing::debug!(node = %id, "{what} belongs to {by}");
        }
        Err(error) => tracing::warn!(node = %id, "turn: {error}"),
    }
}
