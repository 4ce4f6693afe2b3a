//! Once in a while, looks beside all records for what a dead worker left there: secrets that no record names.
//! `records/sweep` has it dropped.
use crate::worker::Worker;
use ironbeat_common::id::NodeId;
use std::sync::Arc;
use std::time::Duration;

/// After a start all workers are busy with more than this.
const FIRST: Duration = Duration::from_secs(120);
const PERIOD: Duration = Duration::from_secs(3_600);
/// One worker looks for all of them: the owner of this, which is no node.
const SEAT: [u8; 16] = [0; 16];

/// Runs until the worker stops.
pub async fn run(worker: Arc<Worker>) {
    worker.view.ready().await;
    tokio::time::sleep(FIRST).await;
    loop {
        if worker.presence.owns(NodeId::from_bytes(SEAT)) {
            match worker.store.look_over(&worker.view).await {
                Ok(0) => {}
                Ok(nodes) => {
                    tracing::debug!(nodes, "something may lie beside them that no record names")
                }
                Err(error) => tracing::warn!("look for secrets that no record names: {error}"),
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}
