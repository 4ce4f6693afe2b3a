//! The index of all nodes, followed from the bucket: for lists, lookups, boot scripts and alarms. May be a moment behind.
//! Entries travel in the records' headers. Decisions are made on what `documents` loads, or on the records of nodes in the
//! middle of a job, which are kept as they come: only a save tells whether one is still the record.
use super::document::{id_of, key, parse, without_values};
use super::origin::{self, Origin};
use super::{Change, Depth, Followed, Records, Revision, Store, StoreError};
use ironbeat_common::id::{Mac, NodeId};
use ironbeat_core::decide::Policy;
use ironbeat_core::index::{Entry, Index};
use ironbeat_core::lookup::{Identity, Match};
use ironbeat_core::node::{Node, SCHEMA};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use tokio::sync::{broadcast, watch};

/// Before following begins anew, doubled each time until it works.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const KEYS: &str = "node.>";
/// So often in a row the servers say that there is no bucket until they are believed: one of a cluster that has only just
/// started may not know it yet.
const SURE: u32 = 3;

/// So many bytes of records are kept: of some 3,000 nodes. The others are read when they are needed.
const KEPT: usize = 8 * 1024 * 1024;

/// News that wait for one who follows them; whoever falls further behind looks at all nodes.
const NEWS: usize = 1024;

/// What moved in the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    Node(NodeId),
    /// Everything was read anew.
    All,
}

#[derive(Clone, Default)]
struct Seen {
    index: Index,
    /// Of each node's record.
    revisions: HashMap<NodeId, Revision>,
    kept: Kept,
    /// Why a record that is there cannot be read, by key. What was known of it before stays in the index.
    unreadable: BTreeMap<String, String>,
    /// Why changes are not seen at the moment.
    interrupted: Option<String>,
    /// The bucket is gone, or is another one.
    lost: Option<String>,
}

/// Records of busy nodes that came as they were written, of the revisions in `revisions`.
#[derive(Clone, Default)]
struct Kept {
    records: HashMap<NodeId, Box<[u8]>>,
    bytes: usize,
}

impl Kept {
    fn remove(&mut self, id: NodeId) {
        if let Some(record) = self.records.remove(&id) {
            self.bytes -= record.len();
        }
    }

    fn put(&mut self, id: NodeId, record: &[u8]) {
        if record.is_empty() || self.bytes + record.len() > KEPT {
            return;
        }
        self.bytes += record.len();
        // Of its own, or all that came with it would stay too.
        self.records.insert(id, record.into());
    }
}

#[derive(Clone)]
pub struct View {
    seen: Arc<RwLock<Seen>>,
    changes: watch::Receiver<u64>,
    news: broadcast::Sender<Moved>,
}

fn read(seen: &RwLock<Seen>) -> RwLockReadGuard<'_, Seen> {
    seen.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(seen: &RwLock<Seen>) -> RwLockWriteGuard<'_, Seen> {
    seen.write().unwrap_or_else(PoisonError::into_inner)
}

impl View {
    /// Begins to follow; goes on until the process ends.
    pub fn start(store: &Store) -> Self {
        let seen = Arc::new(RwLock::new(Seen::default()));
        let (tick, changes) = watch::channel(0);
        let (news, _) = broadcast::channel(NEWS);
        let tell = Tell {
            tick,
            news: news.clone(),
        };
        tokio::spawn(follow(store.nodes.clone(), Arc::clone(&seen), tell));
        Self {
            seen,
            changes,
            news,
        }
    }

    pub fn get(&self, id: &NodeId) -> Option<Arc<Entry>> {
        read(&self.seen).index.get(id).cloned()
    }

    /// As [`View::get`]; none as well while changes may be missing.
    pub fn get_current(&self, id: &NodeId) -> Option<Arc<Entry>> {
        let seen = read(&self.seen);
        let entry = seen.index.get(id).filter(|_| seen.interrupted.is_none());
        entry.cloned()
    }

    /// The revision of the node's record, as far as this worker has heard.
    pub fn revision(&self, id: &NodeId) -> Option<Revision> {
        read(&self.seen).revisions.get(id).copied()
    }

    /// The record of that revision, of a node in the middle of a job, if it has come.
    pub fn record(&self, id: &NodeId) -> Option<(Node, Revision)> {
        let (record, revision) = {
            let seen = read(&self.seen);
            (seen.kept.records.get(id)?.clone(), *seen.revisions.get(id)?)
        };
        Some((parse(&key::<Node>(*id), &record).ok()?, revision))
    }

    /// The node that this NIC belongs to.
    pub fn of_mac(&self, mac: &Mac) -> Option<Arc<Entry>> {
        read(&self.seen).index.of_mac(mac).cloned()
    }

    /// Finds the node that a machine is.
    pub fn find(&self, machine: &Identity) -> Match {
        read(&self.seen).index.find(machine)
    }

    /// Those that wait for something, and so have an alarm.
    pub fn busy(&self) -> Vec<Arc<Entry>> {
        read(&self.seen).index.busy().cloned().collect()
    }

    /// Whose turn it is, and in which place.
    pub fn next_in_line(&self, policy: &Policy) -> Vec<(NodeId, Option<u16>)> {
        read(&self.seen).index.turns().next(policy)
    }

    /// A node's place in the line, from 1.
    pub fn position_in_line(&self, id: &NodeId) -> Option<usize> {
        let seen = read(&self.seen);
        seen.index.turns().position(seen.index.get(id)?)
    }

    /// What `look` makes of each node, in the order of their ids, for those who look at all of them. The view does not
    /// move on meanwhile.
    pub fn pick<T>(&self, look: impl FnMut(&Arc<Entry>) -> Option<T>) -> Vec<T> {
        read(&self.seen).index.all().filter_map(look).collect()
    }

    /// At most `limit` of those that fit after that node, in the order of their ids. The view does not move on meanwhile.
    pub fn page(
        &self,
        after: Option<NodeId>,
        limit: usize,
        fits: impl Fn(&Entry) -> bool,
    ) -> Vec<Arc<Entry>> {
        let seen = read(&self.seen);
        let fitting = seen.index.after(after).filter(|entry| fits(entry));
        fitting.take(limit).cloned().collect()
    }

    pub fn len(&self) -> usize {
        read(&self.seen).index.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keys whose records cannot be read by this worker, and why.
    pub fn unreadable(&self) -> BTreeMap<String, String> {
        read(&self.seen).unreadable.clone()
    }

    /// Why this worker does not see changes at the moment, if so.
    pub fn interrupted(&self) -> Option<String> {
        read(&self.seen).interrupted.clone()
    }

    /// Why what this worker remembers is not what the servers have: they have lost the bucket, or it is another one.
    pub fn lost(&self) -> Option<String> {
        read(&self.seen).lost.clone()
    }

    /// Ticks at every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// What moves from now on, node by node.
    pub fn news(&self) -> broadcast::Receiver<Moved> {
        self.news.subscribe()
    }

    /// Resolves once everything that was there at the start has been seen.
    pub async fn ready(&self) {
        let mut changes = self.changes.clone();
        // The sender lives as long as the process.
        let _ = changes.wait_for(|ticks| *ticks > 0).await;
    }
}

/// Tells those who watch that the view has moved.
struct Tell {
    tick: watch::Sender<u64>,
    news: broadcast::Sender<Moved>,
}

impl Tell {
    fn moved(&self, what: Moved) {
        self.tick.send_modify(|ticks| *ticks += 1);
        // Nobody follows the news where no dnsmasq runs.
        let _ = self.news.send(what);
    }
}

async fn follow(nodes: Records<Node>, seen: Arc<RwLock<Seen>>, tell: Tell) {
    let (mut pause, mut known, mut missed) = (FIRST_PAUSE, None, 0);
    loop {
        let loaded_before = *tell.tick.borrow();
        let error = follow_once(&nodes, &seen, &tell, &mut known).await;
        let error = origin::missing(error, &nodes.kv, known.as_ref());
        let is_gone = matches!(error, StoreError::Emptied { .. });
        missed = if is_gone { missed + 1 } else { 0 };
        write(&seen).interrupted = Some(error.to_string());
        if missed == SURE {
            tracing::error!("{error}");
            write(&seen).lost = Some(error.to_string());
        } else if missed < SURE {
            tracing::warn!("the view of the nodes is interrupted: {error}");
        }
        pause = match *tell.tick.borrow() == loaded_before {
            true => (pause * 2).min(LONGEST_PAUSE),
            false => FIRST_PAUSE,
        };
        tokio::time::sleep(pause).await;
    }
}

/// Returns why following ended.
async fn follow_once(
    nodes: &Records<Node>,
    seen: &RwLock<Seen>,
    tell: &Tell,
    known: &mut Option<Origin>,
) -> StoreError {
    let mut follow = match nodes.kv.follow(KEYS, Depth::Entries).await {
        Ok(follow) => follow,
        Err(error) => return error.into(),
    };
    // Until everything has been shown, gather it apart: nodes that vanished meanwhile must go, the others stay.
    let mut fresh = Some(Seen::default());
    loop {
        let moved = match follow.next().await {
            Err(error) => return error.into(),
            Ok(Followed::Loaded) => {
                if let Some(mut fresh) = fresh.take() {
                    follow = match follow.whole().await {
                        Ok(follow) => follow,
                        Err(error) => return error.into(),
                    };
                    // An emptied bucket is no reason to forget every machine.
                    if let Err(error) = origin::same(&nodes.kv, known).await {
                        return error;
                    }
                    let before: Vec<Arc<Entry>> = read(seen).index.all().cloned().collect();
                    if let Err(error) = keep_passed_over(nodes, &before, &mut fresh).await {
                        return error;
                    }
                    if std::mem::replace(&mut *write(seen), fresh).lost.is_some() {
                        tracing::info!("the bucket of the records is there again");
                    }
                }
                Moved::All
            }
            Ok(Followed::Change(change)) => {
                let Some(id) = id_of::<Node>(&change.key) else {
                    tracing::warn!(change.key, "a key that is no node's");
                    continue;
                };
                let news = match look(nodes, id, &change).await {
                    Ok(news) => news,
                    Err(error) => return error,
                };
                if let News::Unreadable(why) = &news
                    && read(seen).unreadable.get(&change.key) != Some(why)
                {
                    tracing::warn!(change.key, "a record cannot be read: {why}");
                }
                match &mut fresh {
                    Some(fresh) => {
                        fresh.apply(id, &change, news, || read(seen).index.get(&id).cloned());
                        continue;
                    }
                    None => write(seen).apply(id, &change, news, || None),
                }
                Moved::Node(id)
            }
        };
        tell.moved(moved);
    }
}

/// A record that is written while all is shown anew may be passed over: its former revision is gone already, and the new one comes
/// after the end of what was there. So a node that was known is asked for before it is taken for deleted.
async fn keep_passed_over(
    nodes: &Records<Node>,
    before: &[Arc<Entry>],
    fresh: &mut Seen,
) -> Result<(), StoreError> {
    for earlier in before {
        if fresh.index.get(&earlier.id).is_some() {
            continue;
        }
        match nodes.load(earlier.id).await {
            Ok(Some((node, revision))) => {
                fresh.revisions.insert(node.id, revision);
                fresh.index.put(Entry::of(&node));
            }
            Ok(None) => {}
            Err(error @ StoreError::Corrupt { .. }) => {
                let key = key::<Node>(earlier.id);
                fresh.unreadable.insert(key, error.to_string());
                fresh.index.put((**earlier).clone());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The news of a node in a change.
enum News {
    Gone,
    Known(Box<Entry>),
    /// There is a record, and why it cannot be read.
    Unreadable(String),
}

/// Reads the entry in the header; a record that was written by hand, without one, is read whole.
async fn look(nodes: &Records<Node>, id: NodeId, change: &Change) -> Result<News, StoreError> {
    if change.value.is_none() {
        return Ok(News::Gone);
    }
    if let Some(entry) = &change.entry {
        return Ok(match serde_json::from_str::<Entry>(entry) {
            Ok(entry) if entry.schema > SCHEMA => News::Unreadable(format!(
                "its entry has schema {}, this worker knows {SCHEMA}",
                entry.schema
            )),
            Ok(entry) if entry.id == id => News::Known(Box::new(entry)),
            Ok(entry) => News::Unreadable(format!("its entry is about node {}", entry.id)),
            Err(error) => News::Unreadable(format!("its entry: {}", without_values(&error))),
        });
    }
    match nodes.load(id).await {
        Ok(Some((node, _))) => Ok(News::Known(Box::new(Entry::of(&node)))),
        Ok(None) => Ok(News::Gone),
        Err(error @ StoreError::Corrupt { .. }) => Ok(News::Unreadable(error.to_string())),
        Err(error) => Err(error),
    }
}

impl Seen {
    /// `earlier` knows the node from before all was shown anew.
    fn apply(
        &mut self,
        id: NodeId,
        change: &Change,
        news: News,
        earlier: impl FnOnce() -> Option<Arc<Entry>>,
    ) {
        self.unreadable.remove(&change.key);
        self.kept.remove(id);
        if let (News::Known(entry), Some(record)) = (&news, &change.value)
            && entry.wake_at.is_some()
        {
            self.kept.put(id, record);
        }
        match news {
            News::Gone => self.revisions.remove(&id),
            News::Known(_) | News::Unreadable(_) => self.revisions.insert(id, change.revision),
        };
        match news {
            News::Gone => self.index.remove(&id),
            News::Known(entry) => self.index.put(*entry),
            News::Unreadable(why) => {
                self.unreadable.insert(change.key.clone(), why);
                if self.index.get(&id).is_none()
                    && let Some(entry) = earlier()
                {
                    self.index.put((*entry).clone());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::tests::{create, id, node, server, store};
    use ironbeat_core::time::Time;

    #[tokio::test]
    async fn a_node_that_was_passed_over_is_not_taken_for_deleted() {
        let server = server();
        let store = store(&server).await;
        let (kept, shown, deleted) = (node(1), node(2), node(3));
        let revision = create(&store, &kept).await.unwrap();
        create(&store, &shown).await.unwrap();
        let mut fresh = Seen::default();
        fresh.index.put(Entry::of(&shown));
        let before = [&kept, &shown, &deleted].map(|node| Arc::new(Entry::of(node)));
        let looked = keep_passed_over(&store.nodes, &before, &mut fresh);
        looked.await.unwrap();
        assert!(fresh.index.get(&kept.id).is_some() && fresh.index.get(&deleted.id).is_none());
        assert_eq!(fresh.revisions.get(&kept.id), Some(&revision));
    }

    /// When everything is shown anew, a record that has become unreadable meanwhile must not look like a removed node.
    #[test]
    fn a_nodes_last_entry_outlives_a_broken_follow() {
        let good = Arc::new(Entry::of(&node(1)));
        let mut fresh = Seen::default();
        let change = Change {
            key: "key".into(),
            value: None,
            entry: None,
            revision: 1,
            stored: Time::from_unix_ms(0),
        };
        let broken = || News::Unreadable("EOF".into());
        fresh.apply(id(1), &change, broken(), || Some(Arc::clone(&good)));
        assert_eq!(fresh.index.get(&id(1)), Some(&good));
        assert!(fresh.unreadable.contains_key("key"));
        fresh.apply(id(1), &change, News::Gone, || Some(Arc::clone(&good)));
        assert!(fresh.index.is_empty() && fresh.unreadable.is_empty());
    }
}
