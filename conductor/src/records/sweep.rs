//! What lies beside records and no record names, dropped in the background: one sweeper per worker, node by node.
//! `nodes` says where something may be left; `beside` puts and reads what is named.
use super::beside::key as beside_key;
use super::document::{id_of, key, key_of, parse};
use super::kv::{ENTRY, Kv};
use super::view::View;
use super::{Document, Records, Store, StoreError};
use ironbeat_common::id::NodeId;
use ironbeat_core::index::Entry;
use ironbeat_core::node::{BesideKind, Node, Rest, Versions};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Nodes that wait. What does not fit is left to the next look over all nodes.
const MAX_WAITING: usize = 10_000;
/// What may still be on its way to the store gets this long. A failed sweep is tried again after as long, doubled each
/// time up to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(600);
/// To list keys by wildcard, the server walks all keys of the bucket, and does nothing else for it meanwhile: 4 ms with
/// 80,000 keys in nats-server 2.15, 0.4 s in 2.9. Afterwards it is left alone for so many times as long.
const REST: u32 = 10;
/// More nodes than this are looked up in one list of all that lies beside records.
const ONE_BY_ONE: usize = 8;

#[derive(Clone)]
pub(super) struct Sweeper {
    waiting: Arc<Mutex<BTreeMap<NodeId, Wait>>>,
    more: watch::Sender<()>,
}

#[derive(Clone, Copy)]
struct Wait {
    due: Instant,
    /// Before the next try, should this one fail.
    pause: Duration,
}

impl Sweeper {
    /// Works until the last clone of it is dropped.
    pub fn start(nodes: Records<Node>) -> Self {
        let sweeper = Self {
            waiting: Arc::default(),
            more: watch::Sender::new(()),
        };
        let (waiting, more) = (Arc::clone(&sweeper.waiting), sweeper.more.subscribe());
        tokio::spawn(run(nodes, waiting, more));
        sweeper
    }

    pub fn now(&self, node: NodeId) {
        self.after(Duration::ZERO, node);
    }

    /// Something of it may be on its way to the store.
    pub fn soon(&self, node: NodeId) {
        self.after(FIRST_PAUSE, node);
    }

    fn after(&self, time: Duration, node: NodeId) {
        let wait = Wait {
            due: Instant::now() + time,
            pause: FIRST_PAUSE,
        };
        add(&mut lock(&self.waiting), node, wait);
        self.more.send_replace(());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A node waits once: for the earlier of two times.
fn add(waiting: &mut BTreeMap<NodeId, Wait>, node: NodeId, wait: Wait) {
    if waiting.len() >= MAX_WAITING && !waiting.contains_key(&node) {
        tracing::warn!(%node, "what lies beside it waits for the next look over all nodes: {MAX_WAITING} others are before it");
        return;
    }
    let before = waiting.entry(node).or_insert(wait);
    before.due = before.due.min(wait.due);
}

fn take_due(waiting: &mut BTreeMap<NodeId, Wait>, now: Instant) -> BTreeMap<NodeId, Wait> {
    let mut due = waiting.clone();
    due.retain(|_, wait| wait.due <= now);
    waiting.retain(|_, wait| wait.due > now);
    due
}

async fn run(
    nodes: Records<Node>,
    waiting: Arc<Mutex<BTreeMap<NodeId, Wait>>>,
    mut more: watch::Receiver<()>,
) {
    loop {
        let due = take_due(&mut lock(&waiting), Instant::now());
        if due.is_empty() {
            let next = lock(&waiting).values().map(|wait| wait.due).min();
            let next = next.unwrap_or_else(|| Instant::now() + LAST_PAUSE);
            tokio::select! {
                changed = more.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(next) => {}
            }
            continue;
        }
        let begun = Instant::now();
        let lying = list(&nodes.kv, due.keys()).await;
        let rest = match lying {
            Ok(_) => begun.elapsed() * REST,
            Err(_) => Duration::ZERO,
        };
        for (node, wait) in due {
            let swept = match &lying {
                Ok(lying) => sweep(&nodes, node, lying.get(&node)).await,
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = swept {
                tracing::warn!(%node, "what no record names may lie beside it for now: {error}");
                let again = Wait {
                    due: Instant::now() + wait.pause,
                    pause: (wait.pause * 2).min(LAST_PAUSE),
                };
                add(&mut lock(&waiting), node, again);
            }
        }
        tokio::time::sleep(rest).await;
    }
}

/// The keys beside each of these records.
async fn list(
    kv: &Kv,
    nodes: impl ExactSizeIterator<Item = &NodeId>,
) -> Result<HashMap<NodeId, Vec<String>>, StoreError> {
    let mut lying: HashMap<NodeId, Vec<String>> = HashMap::new();
    if nodes.len() <= ONE_BY_ONE {
        for node in nodes {
            let keys = kv.keys(&format!("{}.>", key_of("*", node))).await?;
            lying.insert(*node, keys);
        }
        return Ok(lying);
    }
    let nodes: HashSet<&NodeId> = nodes.collect();
    for kind in BesideKind::ALL {
        for key in kv.keys(&format!("{}.>", kind.name())).await? {
            if let Some((node, _)) = parts(&key).filter(|(node, _)| nodes.contains(node)) {
                lying.entry(node).or_default().push(key);
            }
        }
    }
    Ok(lying)
}

/// `inventory.17.<id>.<version>`: the id and the version.
fn parts(key: &str) -> Option<(NodeId, &str)> {
    let (_, of_node) = key.split_once('.')?;
    let (of_node, version) = of_node.rsplit_once('.')?;
    Some((id_of::<Node>(&format!("node.{of_node}"))?, version))
}

/// Drops those of the keys `lying` beside a record that it does not name.
///
/// A save puts its documents first, so they may be those of one that is under way. Hence the record is written once more
/// as it is, or its end is: whoever read it before that loses the race, and no record will ever name what was put for it.
async fn sweep(
    nodes: &Records<Node>,
    node: NodeId,
    lying: Option<&Vec<String>>,
) -> Result<(), String> {
    let Some(lying) = lying.filter(|keys| !keys.is_empty()) else {
        return Ok(());
    };
    let done = async {
        let kv = &nodes.kv;
        let key = key::<Node>(node);
        let (value, at) = kv.read(&key).await?;
        let record = match &value {
            Some(value) => Some(parse::<Node>(&key, value)?),
            None => None,
        };
        let named = record.as_ref().map(|record| &record.beside);
        let named = named.map(|named| keys(node, named)).unwrap_or_default();
        let left: Vec<&String> = lying.iter().filter(|key| !named.contains(key)).collect();
        if left.is_empty() {
            return Ok(());
        }
        match value.zip(record) {
            Some((value, record)) => {
                let entry = serde_json::to_string(&record.entry()).expect("entries are JSON");
                let headers = [(ENTRY, entry.as_str())];
                kv.write_with(&key, value, &headers, at).await?;
            }
            None => drop(kv.delete(&key, at).await?),
        }
        for key in left {
            kv.erase(key).await?;
        }
        Ok(())
    };
    match done.await {
        // Whatever it names, in the words of another version.
        Err(error @ StoreError::Corrupt { .. }) => {
            tracing::debug!(%node, "what lies beside it is left alone: {error}");
            Ok(())
        }
        done => done.map_err(|error| error.to_string()),
    }
}

fn keys(node: NodeId, named: &Versions) -> Vec<String> {
    let kinds = BesideKind::ALL.into_iter();
    kinds
        .filter_map(|kind| Some(beside_key(kind, node, named.of(kind)?)))
        .collect()
}

impl Store {
    /// Looks for nodes beside which something may lie that no record names, and has them swept a little later. Returns how
    /// many there are. This is for what a worker left that died: the sweeper hears of all else at once.
    ///
    /// It costs four lists of keys: at 10,000 nodes 0.3 s in all from nats-server 2.15, 1.5 s from 2.9, and 3 MB.
    ///
    /// # Errors
    /// When the store is away, or the view does not know all nodes.
    pub async fn look_over(&self, view: &View) -> Result<usize, StoreError> {
        let mut doubtful = HashSet::new();
        let mut seen = HashSet::new();
        for kind in BesideKind::ALL {
            seen.clear();
            for key in self.nodes.kv.keys(&format!("{}.>", kind.name())).await? {
                let Some((node, version)) = parts(&key) else {
                    tracing::warn!(key, "a key that lies beside no node");
                    continue;
                };
                let entry = view.get(&node);
                let named = entry.is_some_and(|entry| may_name(&entry, kind, version));
                if !seen.insert(node) || !named {
                    doubtful.insert(node);
                }
            }
        }
        if let Some(why) = view.interrupted() {
            let what = "see all nodes".into();
            let source = why.into();
            return Err(StoreError::Stream { what, source });
        }
        for node in &doubtful {
            // In a busy fleet, documents are put all the time whose records come a moment later.
            self.sweeper.soon(*node);
        }
        Ok(doubtful.len())
    }
}

/// Whether the record may name this version, were it the only one of its kind.
fn may_name(entry: &Entry, kind: BesideKind, version: &str) -> bool {
    match kind {
        BesideKind::Inventory | BesideKind::Notes => true,
        BesideKind::InstanceData => match entry.rest {
            Some(
                Rest::Enroll
                | Rest::Manageable
                | Rest::Available
                | Rest::InspectFailed
                | Rest::CleanFailed
                | Rest::ManualCleanFailed,
            ) => false,
            Some(
                Rest::Active
                | Rest::AdoptFailed
                | Rest::DeployFailed
                | Rest::ServiceFailed
                | Rest::Rescue
                | Rest::RescueFailed
                | Rest::UnrescueFailed
                | Rest::Error,
            )
            | None => true,
        },
        BesideKind::RescueLogin => entry.rest.is_none(),
        BesideKind::BmcSecrets => {
            let named = entry.bmc_secrets.as_ref();
            named.is_some_and(|named| named.as_str() == version)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::tests::id;

    #[test]
    fn a_node_waits_once_and_for_the_earlier_time() {
        let now = Instant::now();
        let mut waiting = BTreeMap::new();
        let wait = |secs| Wait {
            due: now + Duration::from_secs(secs),
            pause: FIRST_PAUSE,
        };
        for secs in [7, 3, 9] {
            add(&mut waiting, id(1), wait(secs));
        }
        add(&mut waiting, id(2), wait(5));
        assert!(take_due(&mut waiting, now + Duration::from_secs(2)).is_empty());
        let due = take_due(&mut waiting, now + Duration::from_secs(3));
        assert_eq!(due.into_keys().collect::<Vec<_>>(), [id(1)]);
        assert_eq!(waiting.into_keys().collect::<Vec<_>>(), [id(2)]);
    }

    #[test]
    fn those_that_wait_are_bounded_and_known_ones_are_still_moved_up() {
        let now = Instant::now();
        let mut waiting = BTreeMap::new();
        let wait = |due| Wait {
            due,
            pause: FIRST_PAUSE,
        };
        for n in 0..=10_000 {
            add(&mut waiting, id(n), wait(now + FIRST_PAUSE));
        }
        assert_eq!(waiting.len(), MAX_WAITING);
        add(&mut waiting, id(7), wait(now));
        assert_eq!(take_due(&mut waiting, now).len(), 1);
    }

    #[test]
    fn a_key_beside_a_record_tells_which_and_no_other_key_does() {
        let version = "w-1-2".parse().unwrap();
        let key = beside_key(BesideKind::BmcSecrets, id(3), &version);
        assert_eq!(parts(&key), Some((id(3), "w-1-2")));
        assert_eq!(parts(&super::key::<Node>(id(3))), None);
        assert_eq!(parts("bmc_secrets.00.x.w-1-2"), None);
    }
}
