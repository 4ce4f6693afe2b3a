//! What is wrong with the records as this worker sees them, and what its login is refused, told to whoever lists workers.
//! The view and the connections find it, and say it in the log; `presence` tells the others.
use crate::login::Refusals;
use crate::records::{Store, StoreError};
use crate::worker::Worker;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const LOOK: Duration = Duration::from_secs(2);
/// One read of the keys' document.
const LOOK_AT_KEYS: Duration = Duration::from_secs(10);
/// Records that are named; of the others, how many there are. A renewal carries them, every few seconds.
const MAX_NAMED: usize = 4;
const MAX_CHARS: usize = 200;

/// Runs until the worker stops.
pub async fn watch(worker: Arc<Worker>, refusals: Refusals) {
    let (mut keys, mut keys_due) = (Keys::Good, Instant::now());
    loop {
        if Instant::now() >= keys_due {
            keys_due = Instant::now() + LOOK_AT_KEYS;
            keys = look_at_keys(&worker.store, keys).await;
        }
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
        let foreign = match &keys {
            Keys::Good => None,
            Keys::Bad(why) => {
                records.push(why.clone());
                None
            }
            Keys::Foreign(why) => Some(why.clone()),
        };
        worker.presence.tell(|wrong| {
            wrong.keys = foreign;
            wrong.records = records;
            wrong.refused = refusals.all();
        });
        tokio::time::sleep(LOOK).await;
    }
}

/// What is wrong with the keys of what is sealed.
#[derive(Clone)]
enum Keys {
    Good,
    /// They are not there, which a restart would notice: this worker goes on with those that it knows.
    Bad(String),
    /// Others can open them, and this worker cannot: a rotation has passed while nobody heard it.
    Foreign(String),
}

async fn look_at_keys(store: &Store, before: Keys) -> Keys {
    match store.keys.ready().await {
        Ok(()) => Keys::Good,
        Err(error) if error.is_foreign() => Keys::Foreign(format!(
            "give it the master keys of the other workers, and restart it: {error}"
        )),
        Err(error @ StoreError::Sealed { .. }) => Keys::Bad(error.to_string()),
        // What the servers say when they can be asked again counts.
        Err(_) => before,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Names;
    use crate::records::tests::{connect, server};
    use crate::secrets::{MasterKey, MasterKeys};

    /// It would fail all that needs a password, node by node.
    #[tokio::test]
    async fn a_worker_that_was_away_while_the_master_key_changed_stands_by() {
        let server = server();
        let (old, new) = (MasterKey::generate(), MasterKey::generate());
        let both = MasterKeys::parse(&format!("{}{}", *new.line(), *old.line())).unwrap();
        let open = async |masters: &MasterKeys| {
            let client = connect(&server.url()).await;
            Store::open(client, &Names::default(), masters)
                .await
                .unwrap()
        };
        let away = open(&old.into()).await;
        assert!(matches!(look_at_keys(&away, Keys::Good).await, Keys::Good));
        open(&both).await.rotate().await.unwrap();
        let Keys::Foreign(why) = look_at_keys(&away, Keys::Good).await else {
            panic!("it has not noticed");
        };
        assert!(why.contains("master key"), "{why}");
    }
}
