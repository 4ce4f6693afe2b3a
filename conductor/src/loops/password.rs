//! Tells a node's record which password its BMC accepts, where that is in question.
//! Whoever logs in finds out (`bmc/`); the core decides whether the change is over.
use crate::bmc::Found;
use crate::worker::Worker;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Findings that wait to be told. One that is dropped is found again by the next login.
pub const WAITING: usize = 256;

/// Runs until the worker stops.
pub async fn run(worker: Arc<Worker>, mut found: mpsc::Receiver<Found>) {
    while let Some((node, event)) = found.recv().await {
        // A login is told a moment after it, and by whoever logged in: there is no hurry, and no order.
        if let Err(error) = worker.drive.deliver(node, &event).await {
            tracing::warn!(%node, "which password the BMC accepts is not recorded yet: {error}");
        }
    }
}
