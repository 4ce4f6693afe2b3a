//! Who looked up: machines known and unknown, what they sent and what they were answered, for the operator's eyes.
//! `front::agent` makes the match; a hostile network cannot fill more than the bucket's bound.
use crate::clock;
use crate::records::{Keep, Kv, KvError, Store, StoreError};
use async_nats::jetstream::stream::{DiscardPolicy, StorageType};
use ironbeat_common::id::BootId;
use ironbeat_common::inventory::Inventory;
use ironbeat_core::lookup::{Identity, Match};
use ironbeat_ops::lookup::{LookupEntry, LookupRecord};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// A machine that has not looked up for a week is forgotten. When there are more machines than this, or their inventories
/// are larger, those that looked up longest ago are forgotten first.
const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
const MAX_MACHINES: i64 = 4096;
const MAX_BYTES: i64 = 64 << 20;
/// A list is one NATS message with room for its envelope; a stock server takes 1 MiB.
const MAX_LIST_BYTES: usize = 512 << 10;
/// The same machine with the same answer is written again only after this long.
const QUIET: Duration = Duration::from_secs(30);
/// Machines remembered for that; when it is full, the memory is emptied, and they are written once more.
const MAX_REMEMBERED: usize = 4096;
/// Lookups that wait to be written. They carry inventories: 256 of them are some 10 MB at worst.
const QUEUE: usize = 256;
/// Other workers that write the same machine's lookup at the same moment.
const MAX_RACES: u32 = 4;

#[derive(Clone)]
pub struct Lookups {
    bucket: Kv,
    remembered: Arc<Mutex<HashMap<String, Remembered>>>,
    queue: mpsc::Sender<Queued>,
}

struct Remembered {
    outcome: String,
    written: Instant,
    since_then: u64,
}

enum Queued {
    Lookup(String, Box<LookupRecord>),
    /// Answered when everything before it is written.
    Flush(oneshot::Sender<()>),
}

/// Characters that no key can hold become `-`.
fn token(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(64)
        .collect()
}

/// One key per machine: its UUID, else its first MAC, else its serial.
fn key_of(machine: &Identity) -> Option<String> {
    let mac = || machine.macs.first().map(|mac| mac.hex());
    let serial = || machine.serial.as_deref().map(token);
    let key = machine.uuid.map(|uuid| uuid.to_string());
    key.or_else(mac)
        .or_else(serial)
        .filter(|key| !key.is_empty())
}

impl Lookups {
    /// # Errors
    /// When the bucket cannot be opened.
    pub async fn open(store: &Store) -> Result<Self, StoreError> {
        let keep = Keep {
            about: "Ironbeat: the last lookup of each machine, and what it was told",
            storage: StorageType::File,
            max_age: MAX_AGE,
            max_keys: MAX_MACHINES,
            max_bytes: MAX_BYTES,
            full: DiscardPolicy::Old,
        };
        let bucket = store.bucket(&store.names.lookups, keep).await?;
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(write(bucket.clone(), waiting));
        Ok(Self {
            bucket,
            remembered: Arc::default(),
            queue,
        })
    }

    /// Remembers a lookup, in the background: the answer to a machine does not wait for it.
    pub fn record(
        &self,
        machine: &Identity,
        boot: BootId,
        matched: Match,
        outcome: String,
        inventory: Inventory,
    ) {
        let Some(key) = key_of(machine) else { return };
        let Some(count) = self.due(&key, &outcome, Instant::now()) else {
            return;
        };
        let lookup = Box::new(LookupRecord {
            at: clock::now(),
            boot,
            matched,
            outcome,
            inventory,
            count,
        });
        if let Err(refused) = self.queue.try_send(Queued::Lookup(key.clone(), lookup)) {
            tracing::warn!(key, "a lookup is not remembered: {refused}");
            self.lock().remove(&key);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Remembered>> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// How many lookups to write down now; none while the machine only repeats itself.
    fn due(&self, key: &str, outcome: &str, now: Instant) -> Option<u64> {
        let mut remembered = self.lock();
        let count = match remembered.get_mut(key) {
            Some(known) if known.outcome == outcome && now - known.written < QUIET => {
                known.since_then += 1;
                return None;
            }
            Some(known) => known.since_then + 1,
            None => 1,
        };
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        let fresh = Remembered {
            outcome: outcome.into(),
            written: now,
            since_then: 0,
        };
        remembered.insert(key.into(), fresh);
        Some(count)
    }

    /// Waits until everything recorded so far is written.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.queue.send(Queued::Flush(done)).await.is_ok() {
            // A lost answer is lost with the queue: there is nothing left to wait for.
            let _ = wait.await;
        }
    }

    /// Latest first, as many as one message can carry, their inventories shortened to what a list can show.
    ///
    /// # Errors
    /// When the bucket does not answer.
    pub async fn list(&self) -> Result<Vec<LookupEntry>, StoreError> {
        let mut entries = VecDeque::new();
        let mut bytes = 0;
        self.bucket
            .scan(">", |change| {
                let Some(value) = change.value else { return };
                let Some(mut lookup) = parse(&change.key, &value) else {
                    return;
                };
                shorten(&mut lookup.inventory);
                let entry = LookupEntry {
                    key: change.key,
                    lookup,
                };
                let size = serde_json::to_vec(&entry).map_or(0, |json| json.len());
                bytes += size;
                // They come in the order of their writing: the first is the oldest.
                entries.push_front((entry, size));
                while bytes > MAX_LIST_BYTES {
                    bytes -= entries.pop_back().map_or(bytes, |(_, size)| size);
                }
            })
            .await?;
        Ok(entries.into_iter().map(|(entry, _)| entry).collect())
    }

    /// The machine whose key this is, or begins with this, with its whole inventory.
    ///
    /// # Errors
    /// When the bucket does not answer.
    pub async fn find(&self, start: &str) -> Result<Found, StoreError> {
        if start.is_empty() || token(start) != start {
            return Ok(Found::None);
        }
        let found = |lookup: Option<LookupRecord>| match lookup {
            Some(lookup) => Found::One(Box::new(lookup)),
            None => Found::None,
        };
        if let (Some(value), _) = self.bucket.read(start).await? {
            return Ok(found(parse(start, &value)));
        }
        let mut fitting = Vec::new();
        self.bucket
            .scan(">", |change| {
                if let Some(value) = change.value
                    && change.key.starts_with(start)
                {
                    fitting.push((change.key, value));
                }
            })
            .await?;
        Ok(match fitting.as_slice() {
            [] => Found::None,
            [(key, value)] => found(parse(key, value)),
            several => Found::Several(
                several
                    .iter()
                    .map(|(key, value)| named(key, value))
                    .collect(),
            ),
        })
    }
}

/// The answer of [`Lookups::find`].
#[derive(Debug, PartialEq)]
pub enum Found {
    None,
    One(Box<LookupRecord>),
    /// Keys that fit, with the serial numbers of their machines.
    Several(Vec<String>),
}

fn named(key: &str, value: &[u8]) -> String {
    match parse(key, value).and_then(|lookup| lookup.inventory.system.serial) {
        Some(serial) => format!("{key} (serial {serial})"),
        None => key.into(),
    }
}

fn parse(key: &str, value: &[u8]) -> Option<LookupRecord> {
    serde_json::from_slice(value)
        .inspect_err(|error| tracing::warn!(key, "a lookup that is not understood: {error}"))
        .ok()
}

fn shorten(inventory: &mut Inventory) {
    inventory.cpu.flags.clear();
    inventory.memory.modules.clear();
    inventory.problems.clear();
    for nic in &mut inventory.nics {
        nic.lldp = None;
    }
}

async fn write(bucket: Kv, mut waiting: mpsc::Receiver<Queued>) {
    while let Some(queued) = waiting.recv().await {
        match queued {
            Queued::Flush(done) => drop(done.send(())),
            Queued::Lookup(key, lookup) => {
                if let Err(error) = add(&bucket, &key, *lookup).await {
                    tracing::warn!("remember a lookup: {error}");
                }
            }
        }
    }
}

/// Replaces the machine's last lookup, and adds to its count.
async fn add(bucket: &Kv, key: &str, mut lookup: LookupRecord) -> Result<(), KvError> {
    let news = lookup.count;
    for race in 1.. {
        let (present, revision) = bucket.read(key).await?;
        let known = present.and_then(|value| parse(key, &value));
        lookup.count = news + known.map_or(0, |known| known.count);
        let value = serde_json::to_vec(&lookup).expect("a lookup is JSON");
        match bucket.write(key, value, revision).await {
            Err(KvError::Conflict { .. }) if race < MAX_RACES => {}
            Err(error) => return Err(error),
            Ok(_) => break,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
