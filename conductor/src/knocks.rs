//! Who looked up: machines known and unknown, with what they sent and what they were told, for the operator's eyes.
//! The match is made in `listen`; a hostile network cannot fill more than the bucket's bound.
use crate::bucket::{Bucket, Keep};
use crate::clock;
use crate::store::{Store, StoreError};
use async_nats::jetstream::stream::StorageType;
use ironbeat_common::id::BootId;
use ironbeat_common::inventory::Inventory;
use ironbeat_common::lookup::{Identity, Match};
use ironbeat_common::time::Time;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A machine that has not knocked for a week is forgotten; all of them may fill 64 MiB, some 1,500 large inventories.
const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
const MAX_BYTES: i64 = 64 << 20;
/// Machines shown in one list.
const MAX_LISTED: usize = 2000;
/// The same machine with the same answer is written again only after this long.
const QUIET: Duration = Duration::from_secs(30);
/// Machines remembered for that; beyond it the memory is emptied, and they are written once more.
const MAX_REMEMBERED: usize = 4096;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Knock {
    pub at: Time,
    pub boot: BootId,
    #[serde(rename = "match")]
    pub matched: Match,
    pub outcome: String,
    pub inventory: Inventory,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KnockEntry {
    pub key: String,
    #[serde(flatten)]
    pub knock: Knock,
}

#[derive(Clone)]
pub struct Knocks {
    bucket: Bucket,
    written: Arc<Mutex<HashMap<String, (String, tokio::time::Instant)>>>,
}

/// One key per machine: its UUID, else its first MAC, else its serial.
fn key_of(machine: &Identity) -> Option<String> {
    let uuid = machine.uuid.map(|uuid| uuid.to_string());
    let serial = || {
        let serial = machine.serial.as_ref()?;
        Some(
            serial
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
                .take(64)
                .collect(),
        )
    };
    uuid.or_else(|| machine.macs.first().map(|mac| mac.hex()))
        .or_else(serial)
}

impl Knocks {
    pub async fn open(store: &Store) -> Result<Self, StoreError> {
        let keep = Keep {
            storage: StorageType::File,
            max_age: MAX_AGE,
            max_bytes: MAX_BYTES,
        };
        let bucket = Bucket::open(&store.js, &store.names.knocks, keep).await?;
        Ok(Self {
            bucket,
            written: Arc::default(),
        })
    }

    /// Remembers a lookup, in the background: an answer to a machine does not wait for it.
    pub fn record(
        &self,
        machine: &Identity,
        boot: BootId,
        matched: Match,
        outcome: String,
        inventory: Inventory,
    ) {
        let Some(key) = key_of(machine) else { return };
        {
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            if written
                .get(&key)
                .is_some_and(|(before, at)| *before == outcome && at.elapsed() < QUIET)
            {
                return;
            }
            if written.len() >= MAX_REMEMBERED {
                written.clear();
            }
            written.insert(key.clone(), (outcome.clone(), tokio::time::Instant::now()));
        }
        let knock = Knock {
            at: clock::now(),
            boot,
            matched,
            outcome,
            inventory,
        };
        let bucket = self.bucket.clone();
        tokio::spawn(async move {
            let value = serde_json::to_vec(&knock).expect("a knock is JSON");
            if let Err(error) = bucket.put(&key, value).await {
                tracing::warn!("remember a lookup: {error}");
            }
        });
    }

    /// Latest first.
    pub async fn list(&self) -> Result<Vec<KnockEntry>, StoreError> {
        let mut entries = Vec::new();
        for (key, value) in self.bucket.all(">", MAX_LISTED).await? {
            match serde_json::from_slice::<Knock>(&value) {
                Ok(knock) => entries.push(KnockEntry { key, knock }),
                Err(error) => tracing::warn!(key, "a knock that is not understood: {error}"),
            }
        }
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.knock.at));
        Ok(entries)
    }

    /// The one machine whose key begins so.
    pub async fn get(&self, start: &str) -> Result<Option<Knock>, StoreError> {
        let mut fitting: Vec<KnockEntry> = self
            .list()
            .await?
            .into_iter()
            .filter(|entry| entry.key.starts_with(start))
            .collect();
        if let Some(exact) = fitting.iter().position(|entry| entry.key == start) {
            return Ok(Some(fitting.swap_remove(exact).knock));
        }
        Ok(if fitting.len() == 1 {
            fitting.pop().map(|entry| entry.knock)
        } else {
            None
        })
    }
}
