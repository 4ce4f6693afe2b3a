//! Who looked up: machines known and unknown, what they sent and what they were answered, for the operator's eyes.
//! `front::agent` makes the match; a hostile network cannot fill more than the bucket's bound.
use crate::clock;
use crate::fnv::fnv1a;
use crate::records::{Depth, Keep, Kv, KvError, Revision, Store, StoreError};
use async_nats::jetstream::stream::{DiscardPolicy, StorageType};
use ironbeat_common::id::BootId;
use ironbeat_common::image::Digest;
use ironbeat_common::inventory::{Inventory, Nic, Problem, System};
use ironbeat_core::lookup::{Identity, Match};
use ironbeat_ops::lookup::{LookupEntry, LookupRecord};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;

/// A machine that has not looked up for a week is forgotten. When what is remembered is larger than this, those that looked
/// up longest ago are forgotten first: it has room for 15,000 machines that nobody knows, or 60,000 nodes,
/// and for 10,000 that were made up as large as they are kept.
const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
const MAX_BYTES: i64 = 192 << 20;
/// What is kept of a machine, as JSON: servers with two dozen disks have half as much. Whoever has the token of boot scripts, which
/// is everybody, may send what he likes.
const MAX_INVENTORY_BYTES: usize = 16 << 10;
/// Of an inventory that is larger: NICs, and characters of a text.
const MAX_NICS: usize = 16;
const MAX_TEXT: usize = 64;
/// Problems of an inventory in a list, and characters of each.
const MAX_PROBLEMS: usize = 8;
const MAX_PROBLEM: usize = 200;
/// What a list is made from: the last 500 machines at least. It has less of each, so that it is seldom longer.
const MAX_READ_BYTES: usize = 8 << 20;
/// Characters of a key; and those of its end, digits in hex of a hash that nobody finds twice.
const MAX_KEY: usize = 64;
const HASH: usize = 16;
/// MAC addresses by which each of them is told from the others.
const MAX_TOLD: usize = 4;
/// Machines that are named of those whose keys begin alike.
pub const MAX_FITTING: usize = 8;
/// A reader waits for another to be done for so long.
const TURN: Duration = Duration::from_secs(5);
/// A list is one NATS message with room for its envelope; a stock server takes 1 MiB.
const MAX_LIST_BYTES: usize = 512 << 10;
/// The same machine with the same answer is written again only after this long.
const QUIET: Duration = Duration::from_secs(30);
/// Machines remembered for that, in each of two generations, some 200 bytes each.
const GENERATION: usize = 1 << 15;
/// Writes under way at once.
const WRITES: usize = 64;
/// Lookups that wait to be written: at most some 10 MB with their inventories.
const QUEUE: usize = 256;
/// How long the answer to a machine waits for room among them. It is away for longer only when the store is.
const ROOM: Duration = Duration::from_secs(3);
/// Other workers that write the same machine's lookup at the same moment.
const MAX_RACES: u32 = 4;

#[derive(Clone)]
pub struct Lookups {
    bucket: Kv,
    remembered: Arc<Mutex<Memory>>,
    queue: mpsc::Sender<Queued>,
    /// One reads the bucket at a time: it has up to 192 MiB, and reading is for whoever may look.
    readers: Arc<Semaphore>,
}

struct Remembered {
    outcome: u64,
    written: Instant,
    since_then: u64,
    /// What this worker wrote last, unless another has written since.
    stored: Option<Stored>,
}

#[derive(Clone, Copy)]
struct Stored {
    revision: Revision,
    count: u64,
}

/// The machines of late. When the young generation is full, it becomes the old one, which is forgotten: whoever looked up
/// among the last 32,768 machines is known.
#[derive(Default)]
struct Memory {
    young: HashMap<String, Remembered>,
    old: HashMap<String, Remembered>,
}

impl Memory {
    fn get(&mut self, key: &str) -> Option<&mut Remembered> {
        if let Some(known) = self.old.remove(key) {
            self.put(key, known);
        }
        self.young.get_mut(key)
    }

    fn put(&mut self, key: &str, machine: Remembered) {
        if self.young.len() >= GENERATION && !self.young.contains_key(key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key.into(), machine);
    }

    fn forget(&mut self, key: &str) {
        self.young.remove(key);
        self.old.remove(key);
    }
}

enum Queued {
    Lookup(Box<News>),
    /// Answered when everything before it is written.
    Flush(oneshot::Sender<()>),
}

/// A lookup to write down: `lookup.count` lookups since `before` was written.
struct News {
    key: String,
    before: Option<Stored>,
    lookup: LookupRecord,
}

/// Characters that no key can hold become `-`.
fn token(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(MAX_KEY)
        .collect()
}

/// One key per machine: its UUID, else its first MAC, else its serial; and a hash of all that it claims to be. Whoever claims
/// the UUID of another, with NICs of his own, gets a key of his own: each would have the other's place otherwise.
fn key_of(machine: &Identity) -> Option<String> {
    let Identity { uuid, serial, .. } = machine;
    let mac = || machine.macs.first().map(|mac| mac.hex());
    let mut name = uuid
        .map(|uuid| uuid.to_string())
        .or_else(mac)
        .or_else(|| serial.as_deref().map(token))
        .filter(|name| !name.is_empty())?;
    name.truncate(MAX_KEY - 1 - HASH);
    let mut macs = machine.macs.clone();
    macs.sort_unstable();
    macs.dedup();
    let marks = serde_json::to_vec(&(uuid, macs, serial)).expect("marks are JSON");
    let hash = Digest::<32>(Sha256::digest(marks).into()).to_string();
    Some(format!("{name}-{}", &hash[..HASH]))
}

/// What the machine of this key claims to be, without the hash.
fn name_of(key: &str) -> &str {
    key.rsplit_once('-').map_or(key, |(name, _)| name)
}

impl Lookups {
    /// # Errors
    /// When the bucket cannot be opened.
    pub async fn open(store: &Store) -> Result<Self, StoreError> {
        Self::open_with(store, MAX_BYTES).await
    }

    async fn open_with(store: &Store, max_bytes: i64) -> Result<Self, StoreError> {
        let keep = Keep {
            about: "Ironbeat: the last lookup of each machine, and what it was told",
            storage: StorageType::File,
            max_age: MAX_AGE,
            max_keys: -1,
            max_bytes,
            full: DiscardPolicy::Old,
        };
        let bucket = store.bucket(&store.names.lookups, keep).await?;
        let (queue, waiting) = mpsc::channel(QUEUE);
        let remembered = Arc::<Mutex<Memory>>::default();
        tokio::spawn(write(bucket.clone(), Arc::clone(&remembered), waiting));
        Ok(Self {
            bucket,
            remembered,
            queue,
            readers: Arc::new(Semaphore::new(1)),
        })
    }

    /// Remembers a lookup, in the background: the answer to a machine waits only for room.
    pub async fn record(
        &self,
        machine: &Identity,
        boot: BootId,
        matched: Match,
        outcome: String,
        inventory: impl FnOnce() -> Option<Inventory>,
    ) {
        let Some(key) = key_of(machine) else { return };
        let Some((count, before)) = self.due(&key, &outcome, Instant::now()) else {
            return;
        };
        let Some(mut inventory) = inventory() else {
            lock(&self.remembered).forget(&key);
            return;
        };
        if let Match::One { .. } = matched {
            shorten(&mut inventory);
        }
        fit(&mut inventory);
        let lookup = LookupRecord {
            at: clock::now(),
            boot,
            matched,
            outcome,
            inventory,
            count,
        };
        let news = Queued::Lookup(Box::new(News {
            key: key.clone(),
            before,
            lookup,
        }));
        if let Err(refused) = self.queue.send_timeout(news, ROOM).await {
            tracing::warn!(key, "a lookup is not remembered: {refused}");
            lock(&self.remembered).forget(&key);
        }
    }

    /// How many lookups to write down now, and what was written last; none while the machine only repeats itself.
    fn due(&self, key: &str, outcome: &str, now: Instant) -> Option<(u64, Option<Stored>)> {
        let outcome = fnv1a(outcome.as_bytes());
        let mut remembered = lock(&self.remembered);
        match remembered.get(key) {
            Some(known) if known.outcome == outcome && now - known.written < QUIET => {
                known.since_then += 1;
                None
            }
            Some(known) => {
                let count = known.since_then + 1;
                (known.outcome, known.written, known.since_then) = (outcome, now, 0);
                Some((count, known.stored))
            }
            None => {
                let fresh = Remembered {
                    outcome,
                    written: now,
                    since_then: 0,
                    stored: None,
                };
                remembered.put(key, fresh);
                Some((1, None))
            }
        }
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
        let _turn = turn(&self.readers).await?;
        let (mut last, mut bytes) = (VecDeque::new(), 0);
        self.bucket
            .scan(">", |change| {
                let Some(value) = change.value else { return };
                bytes += value.len();
                // They come in the order of their writing: the first is the oldest.
                last.push_front((change.key, value));
                while bytes > MAX_READ_BYTES {
                    bytes -= last.pop_back().map_or(bytes, |(_, value)| value.len());
                }
            })
            .await?;
        let mut bytes = 0;
        let mut named: HashMap<String, Vec<String>> = HashMap::new();
        for (key, _) in &last {
            let alike = named.entry(name_of(key).into()).or_default();
            // One of them is the machine itself.
            if alike.len() <= MAX_FITTING {
                alike.push(key.clone());
            }
        }
        let entries = last.into_iter().filter_map(|(key, value)| {
            let mut lookup = parse(&key, &value)?;
            shorten(&mut lookup.inventory);
            let alike = named.get(name_of(&key)).into_iter().flatten();
            Some(LookupEntry {
                conflicts: others(&key, alike.cloned()),
                key,
                lookup,
            })
        });
        let fitting = entries.take_while(|entry| {
            bytes += serde_json::to_vec(entry).map_or(0, |json| json.len());
            bytes <= MAX_LIST_BYTES
        });
        Ok(fitting.collect())
    }

    /// The machine whose key this is, or begins with this, with its whole inventory.
    ///
    /// # Errors
    /// When the bucket does not answer.
    pub async fn find(&self, start: &str) -> Result<Found, StoreError> {
        if start.is_empty() || token(start) != start {
            return Ok(Found::None);
        }
        let _turn = turn(&self.readers).await?;
        let (mut fitting, mut count, mut is_whole) = (Vec::new(), 0, false);
        let (mut alike, mut names) = (Vec::new(), BTreeSet::new());
        let keys = self.bucket.scan_to(">", Depth::Entries, |change| {
            if change.value.is_none() {
                return;
            }
            let key = change.key;
            is_whole |= key == start;
            if name_of(&key) == name_of(start) && alike.len() <= MAX_FITTING {
                alike.push(key.clone());
            }
            if key.starts_with(start) {
                count += 1;
                if names.len() < 2 {
                    names.insert(name_of(&key).to_string());
                }
                if fitting.len() < MAX_FITTING {
                    fitting.push(key);
                }
            }
        });
        keys.await?;
        let read = async |key: &str| -> Result<Option<LookupRecord>, StoreError> {
            let (value, _) = self.bucket.read(key).await?;
            Ok(value.and_then(|value| parse(key, &value)))
        };
        let chosen = match fitting.as_slice() {
            _ if is_whole => Some(start),
            [key] => Some(key.as_str()),
            _ => None,
        };
        if let Some(key) = chosen {
            return Ok(match read(key).await? {
                Some(lookup) => Found::One(Box::new(LookupEntry {
                    key: key.into(),
                    conflicts: others(key, alike.into_iter()),
                    lookup,
                })),
                None => Found::None,
            });
        }
        let mut first = Vec::new();
        for key in fitting {
            first.push(match read(&key).await? {
                Some(lookup) => format!("{key} ({})", told(&lookup.inventory)),
                None => key,
            });
        }
        Ok(match first.is_empty() {
            true => Found::None,
            false => Found::Several {
                first,
                count,
                is_conflict: names.len() == 1,
            },
        })
    }
}

/// The answer of [`Lookups::find`].
#[derive(Debug, PartialEq)]
pub enum Found {
    None,
    One(Box<LookupEntry>),
    /// How many keys fit, and [`MAX_FITTING`] of them, with the serial numbers and MAC addresses of their machines.
    Several {
        first: Vec<String>,
        count: usize,
        /// They all claim to be the same machine.
        is_conflict: bool,
    },
}

/// Of keys with the same name, [`MAX_FITTING`] that are not this one.
fn others(key: &str, alike: impl Iterator<Item = String>) -> Vec<String> {
    alike.filter(|it| it != key).take(MAX_FITTING).collect()
}

/// By what an operator tells a machine from others.
fn told(inventory: &Inventory) -> String {
    let serial = inventory.system.serial.iter();
    let serial = serial.map(|serial| {
        let serial: String = serial.chars().take(MAX_TEXT).collect();
        format!("serial {serial}")
    });
    let macs = inventory.nics.iter().take(MAX_TOLD);
    let macs = macs.map(|nic| format!("MAC {}", nic.mac));
    let words: Vec<String> = serial.chain(macs).collect();
    words.join(", ")
}

/// One reader's turn.
async fn turn(readers: &Semaphore) -> Result<SemaphorePermit<'_>, StoreError> {
    let busy = || StoreError::Stream {
        what: "read the lookups".into(),
        source: format!("others have been reading them for {TURN:?}: ask again").into(),
    };
    let turn = tokio::time::timeout(TURN, readers.acquire()).await;
    turn.map_err(|_| busy())?.map_err(|_| busy())
}

pub(super) fn parse(key: &str, value: &[u8]) -> Option<LookupRecord> {
    serde_json::from_slice(value)
        .inspect_err(|error| tracing::warn!(key, "a lookup that is not understood: {error}"))
        .ok()
}

fn shorten(inventory: &mut Inventory) {
    inventory.cpu.flags.clear();
    inventory.memory.modules.clear();
    // Why something is missing is what one looks for.
    inventory.problems.truncate(MAX_PROBLEMS);
    for problem in &mut inventory.problems {
        problem.what = problem.what.chars().take(MAX_PROBLEM).collect();
    }
    for nic in &mut inventory.nics {
        nic.lldp = None;
    }
}

/// Shortens an inventory that is larger than what is kept, and if need be to what a machine is known and enrolled by; says so.
fn fit(inventory: &mut Inventory) {
    let size = |inventory: &Inventory| serde_json::to_vec(inventory).map_or(0, |json| json.len());
    let bytes = size(inventory);
    if bytes <= MAX_INVENTORY_BYTES {
        return;
    }
    shorten(inventory);
    // With room for the problem below.
    if size(inventory) > MAX_INVENTORY_BYTES - 1024 {
        *inventory = marks(inventory);
    }
    inventory.problems = vec![Problem {
        collector: "lookup".into(),
        what: format!(
            "an inventory of {bytes} bytes is not remembered whole: {MAX_INVENTORY_BYTES} are"
        ),
        by_path: None,
    }];
}

fn marks(inventory: &Inventory) -> Inventory {
    let cut = |text: &Option<String>| -> Option<String> {
        let text = text.as_deref()?;
        Some(text.chars().take(MAX_TEXT).collect())
    };
    let system = &inventory.system;
    let nics = inventory.nics.iter().take(MAX_NICS).map(|nic| Nic {
        name: nic.name.chars().take(MAX_TEXT).collect(),
        driver: None,
        pci_address: None,
        pci_id: None,
        addresses: vec![],
        lldp: None,
        ..*nic
    });
    Inventory {
        system: System {
            uuid: system.uuid,
            manufacturer: cut(&system.manufacturer),
            product: cut(&system.product),
            serial: cut(&system.serial),
            ..System::default()
        },
        nics: nics.collect(),
        ..Inventory::default()
    }
}

async fn write(bucket: Kv, remembered: Arc<Mutex<Memory>>, mut waiting: mpsc::Receiver<Queued>) {
    let room = Arc::new(Semaphore::new(WRITES));
    let all = u32::try_from(WRITES).expect("a few");
    while let Some(queued) = waiting.recv().await {
        let share = match queued {
            Queued::Lookup(_) => 1,
            Queued::Flush(_) => all,
        };
        let permit = Arc::clone(&room).acquire_many_owned(share).await;
        let permit = permit.expect("it is never closed");
        match queued {
            Queued::Flush(done) => drop(done.send(())),
            Queued::Lookup(news) => {
                let (bucket, remembered) = (bucket.clone(), Arc::clone(&remembered));
                tokio::spawn(async move {
                    let key = news.key.clone();
                    match add(&bucket, *news).await {
                        Ok(stored) => {
                            if let Some(known) = lock(&remembered).get(&key) {
                                known.stored = Some(stored);
                            }
                        }
                        Err(error) => {
                            tracing::warn!("remember a lookup: {error}");
                            lock(&remembered).forget(&key);
                        }
                    }
                    drop(permit);
                });
            }
        }
    }
}

/// Replaces the machine's last lookup, and adds to its count. What is there is read only when it is not what this worker
/// wrote.
async fn add(bucket: &Kv, news: News) -> Result<Stored, KvError> {
    let News {
        key,
        before,
        mut lookup,
    } = news;
    let new = lookup.count;
    let none = Stored {
        revision: 0,
        count: 0,
    };
    let mut known = before.unwrap_or(none);
    for race in 1.. {
        lookup.count = new + known.count;
        let value = serde_json::to_vec(&lookup).expect("a lookup is JSON");
        match bucket.write(&key, value, known.revision).await {
            Err(KvError::Conflict { .. }) if race < MAX_RACES => {}
            Err(error) => return Err(error),
            Ok(revision) => {
                let count = lookup.count;
                return Ok(Stored { revision, count });
            }
        }
        let (present, revision) = bucket.read(&key).await?;
        let count = present.and_then(|value| parse(&key, &value));
        let count = count.map_or(0, |known| known.count);
        known = Stored { revision, count };
    }
    unreachable!("the last race returns")
}

fn lock(remembered: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    remembered.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
