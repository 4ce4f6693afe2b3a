//! Delivers the nodes' alarms: a `wake_at` has come, or an acting worker is gone, or is another than it was.
//! The core decides what an alarm means.
use crate::clock;
use crate::drive::ReconcileError;
use crate::records::presence::Lost;
use crate::worker::Worker;
use futures_util::stream::{self, StreamExt};
use ironbeat_common::id::NodeId;
use ironbeat_core::decide::Event;
use ironbeat_core::id::Actor;
use ironbeat_core::index::Entry;
use ironbeat_core::time::Time;
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
        if !worker.presence.may_act() {
            continue;
        }
        let now = tokio::time::Instant::now();
        quiet.retain(|_, until| *until > now);
        let due = all_due(&worker, |id| !quiet.contains_key(&id));
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

fn all_due(worker: &Worker, may: impl Fn(NodeId) -> bool) -> Vec<(NodeId, Event)> {
    let owners = worker.presence.owners();
    let looker = Looker {
        now: clock::now(),
        owns: &|node| owners.is_mine(node),
        lost: &|actor| worker.presence.lost(actor),
    };
    let busy = worker.view.busy();
    busy.iter()
        .filter(|node| may(node.id))
        .filter_map(|node| due(node, &looker).map(|event| (node.id, event)))
        .collect()
}

/// What a worker knows when it looks through the busy nodes.
pub struct Looker<'a> {
    pub now: Time,
    pub owns: &'a dyn Fn(NodeId) -> bool,
    pub lost: &'a dyn Fn(&Actor) -> Option<Lost>,
}

/// What this worker has to tell a busy node now, if anything. It reads no clock and asks nobody.
pub fn due(node: &Entry, looker: &Looker<'_>) -> Option<Event> {
    if let (Some(acting), Some(until)) = (&node.acting, node.wake_at)
        && let Some(lost) = (looker.lost)(acting)
        && (looker.owns)(node.id)
    {
        return Some(Event::WorkerLost {
            actor: acting.clone(),
            until,
            replaced: lost == Lost::Replaced,
        });
    }
    let (now, at) = (looker.now, node.wake_at?);
    let mine = (looker.owns)(node.id) || now.since(at) >= OWNER_GRACE;
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
