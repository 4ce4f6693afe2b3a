//! One arm per effect: the only place that touches the world because a decision said so.
//! How a BMC is driven is in `bmc`; what becomes of the result is decided again.
use super::{ReconcileError, deliver};
use crate::bmc::BootWish;
use crate::worker::Worker;
use ironbeat_common::id::NodeId;
use ironbeat_common::subject;
use ironbeat_core::boot::firmware_mode;
use ironbeat_core::decide::{Effect, Event};
use ironbeat_core::id::OpId;
use ironbeat_core::node::{BmcAct, Node};
use ironbeat_core::time::Time;
use std::sync::Arc;
use std::time::Duration;

/// A worker stops this long before its budget ends, so that its last command is over when another may begin.
const MARGIN: Duration = Duration::from_secs(5);
/// A result that cannot be saved is offered again this often, doubling up to 16 s: about two minutes in all. After
/// that the alarm in the record takes over.
const REPORTS: u32 = 10;

pub fn perform(worker: &Arc<Worker>, node: &Node, effect: Effect) {
    match effect {
        Effect::Bmc { op, act, until } => {
            worker.spawn(drive_bmc(Arc::clone(worker), node.clone(), op, act, until));
        }
        Effect::Nudge => worker.spawn(nudge(Arc::clone(worker), node.id)),
    }
}

async fn drive_bmc(worker: Arc<Worker>, node: Node, op: OpId, act: BmcAct, until: Time) {
    let budget = until.since(crate::clock::now()).saturating_sub(MARGIN);
    let deadline = tokio::time::Instant::now() + budget;
    let fence = || worker.presence.may_act();
    let wish = BootWish {
        mode: firmware_mode(&node),
    };
    let result = worker
        .bmcs
        .perform(&node.bmc, act, wish, deadline, &fence)
        .await;
    match &result {
        Ok(report) => {
            tracing::debug!(node = %node.id, act = act.name(), power_on = report.power_on, "bmc act done")
        }
        Err(fault) => {
            tracing::warn!(node = %node.id, act = act.name(), permanent = fault.permanent, "{}", fault.what)
        }
    }
    report(&worker, node.id, &Event::Bmc { op, result }).await;
}

async fn report(worker: &Arc<Worker>, id: NodeId, event: &Event) {
    let mut pause = Duration::from_millis(100);
    for _ in 0..REPORTS {
        match deliver(worker, id, event).await {
            Ok(_) => return,
            Err(
                ReconcileError::NoNode(_)
                | ReconcileError::Rejected(_)
                | ReconcileError::Broken(..),
            ) => {
                tracing::error!(node = %id, ?event, "a result found no taker");
                return;
            }
            Err(error @ (ReconcileError::Store(_) | ReconcileError::Races(_))) => {
                tracing::warn!(node = %id, "the result of a BMC act could not be saved yet: {error}");
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(16));
    }
    tracing::error!(node = %id, "the result of a BMC act was not saved; the node's alarm will have it done again");
}

async fn nudge(worker: Arc<Worker>, id: NodeId) {
    let subject = subject::nudge(&worker.prefix, &id);
    if let Err(error) = worker.client.publish(subject, bytes::Bytes::new()).await {
        // The agent finds out at its next heartbeat.
        tracing::warn!(node = %id, "nudge: {error}");
    }
}
