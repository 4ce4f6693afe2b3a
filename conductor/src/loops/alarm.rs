//! Delivers the nodes' alarms: a `wake_at` has come, or an acting worker is gone.
//! The core decides what an alarm means.
use crate::clock;
use crate::drive::ReconcileError;
use crate::records::presence::Liveness;
use crate::worker::Worker;
use futures_util::stream::{self, StreamExt};
use ironbeat_common::id::NodeId;
use ironbeat_core::decide::Event;
use ironbeat_core::index::Entry;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How often to look through the busy nodes.
const TICK: Duration = Duration::from_millis(500);
/// The owner has this long to deliver an alarm; then any worker does, because the owner may hang.
const OWNER_GRACE: Duration = Duration::from_secs(10);
/// Alarms delivered at once.
const PARALLEL: usize = 64;
/// After an alarm that could not be delivered (store away), the node is left alone for this long.
const AGAIN: Duration = Duration::from_secs(5);

/// Runs until the worker stops.
pub async fn run(worker: Arc<Worker>) {
    worker.view.ready().await;
    let mut quiet: BTreeMap<NodeId, tokio::time::Instant> = BTreeMap::new();
    loop {
        tokio::time::sleep(TICK).await;
        let now = tokio::time::Instant::now();
        quiet.retain(|_, until| *until > now);
        let due: Vec<(NodeId, Event)> = worker
            .view
            .busy()
            .iter()
            .filter(|node| !quiet.contains_key(&node.id))
            .filter_map(|node| due(&worker, node).map(|event| (node.id, event)))
            .collect();
        if due.is_empty() {
            continue;
        }
        let kept: Vec<NodeId> = stream::iter(due)
            .map(|(id, event)| deliver(&worker, id, event))
            .buffer_unordered(PARALLEL)
            .filter_map(|failed| async move { failed })
            .collect()
            .await;
        quiet.extend(kept.into_iter().map(|id| (id, now + AGAIN)));
    }
}

fn due(worker: &Worker, node: &Entry) -> Option<Event> {
    if let Some(acting) = &node.acting {
        let gone = *acting != worker.id && worker.presence.is_live(acting) == Liveness::Lapsed;
        if gone && worker.presence.owns(node.id) {
            let worker = acting.clone();
            return Some(Event::WorkerLost { worker });
        }
    }
    let (now, at) = (clock::now(), node.wake_at?);
    let mine = worker.presence.owns(node.id) || now.since(at) >= OWNER_GRACE;
    (at <= now && mine).then_some(Event::Alarm { last_beat: None })
}

/// Returns the node if its alarm could not be delivered.
async fn deliver(worker: &Arc<Worker>, id: NodeId, event: Event) -> Option<NodeId> {
    let event = match event {
        Event::Alarm { .. } => match worker.seen.last_beat(id).await {
            Ok(last_beat) => Event::Alarm { last_beat },
            Err(error) => {
                // Without the beats a live agent would look dead: better late than wrong.
                tracing::warn!(node = %id, "alarm: {error}");
                return Some(id);
            }
        },
        other => other,
    };
    match worker.drive.deliver(id, &event).await {
        Ok(_) | Err(ReconcileError::NoNode(_) | ReconcileError::Rejected(_)) => None,
        Err(error) => {
            tracing::warn!(node = %id, "alarm: {error}");
            Some(id)
        }
    }
}
