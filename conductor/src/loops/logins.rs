//! Once in a while, ends the logins of former ramdisks that the worker that retired them did not see ended.
//! `drive` ends each at once; what ending means for the servers is in `tickets`.
use crate::worker::Worker;
use std::sync::Arc;
use std::time::Duration;

/// Whoever retired a boot has ended its login long before.
const PERIOD: Duration = Duration::from_secs(60);

/// Runs until the worker stops.
pub async fn run(worker: Arc<Worker>) {
    worker.view.ready().await;
    loop {
        tokio::time::sleep(PERIOD).await;
        let owners = worker.presence.owners();
        let left = worker.view.pick(|node| {
            let left = !node.ended.is_empty() && owners.is_mine(node.id);
            left.then(|| (node.id, node.ended.clone()))
        });
        for (node, logins) in left {
            worker.drive.end_logins(node, logins).await;
        }
    }
}
