//! What is wrong with the records as this worker sees them, and what its login is refused, told to whoever lists workers.
//! The view and the connections find it, and say it in the log; `presence` tells the others.
use crate::login::Refusals;
use crate::worker::Worker;
use std::sync::Arc;
use std::time::Duration;

const LOOK: Duration = Duration::from_secs(2);
/// Records that are named; of the others, how many there are. A renewal carries them, every few seconds.
const MAX_NAMED: usize = 4;
const MAX_CHARS: usize = 200;

/// Runs until the worker stops.
pub async fn watch(worker: Arc<Worker>, refusals: Refusals) {
    loop {
        let mut records: Vec<String> = worker.view.lost().into_iter().collect();
        let unreadable = worker.view.unreadable();
        let named = unreadable.iter().take(MAX_NAMED);
        records.extend(named.map(|(key, why)| {
            let why: String = why.chars().take(MAX_CHARS).collect();
            format!("cannot read {key}: {why}")
        }));
        if unreadable.len() > MAX_NAMED {
            let more = unreadable.len() - MAX_NAMED;
            records.push(format!("cannot read {more} more"));
        }
        worker.presence.tell(|wrong| {
            wrong.records = records;
            wrong.refused = refusals.all();
        });
        tokio::time::sleep(LOOK).await;
    }
}
