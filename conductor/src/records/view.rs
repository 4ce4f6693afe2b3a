//! All node records in memory, followed from the bucket: for lists, lookups and alarms. May be a moment behind.
//! Decisions are made on what `store` loads from the leader.
use crate::records::{Change, Followed, Kv, KvError, Store, parse};
use ironbeat_common::id::NodeId;
use ironbeat_core::node::Node;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use tokio::sync::watch;

/// Before following begins anew, doubled each time until it works.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const KEYS: &str = "node.>";

#[derive(Clone, Default)]
struct Copy {
    nodes: BTreeMap<NodeId, Arc<Node>>,
    /// Those of them that have an alarm: nearly always few.
    busy: BTreeMap<NodeId, Arc<Node>>,
    /// Why a record that is there cannot be read. The last one that could be read stays in `nodes`.
    unreadable: BTreeMap<String, String>,
}

#[derive(Clone)]
pub struct View {
    copy: Arc<RwLock<Copy>>,
    changes: watch::Receiver<u64>,
}

fn read(copy: &RwLock<Copy>) -> RwLockReadGuard<'_, Copy> {
    copy.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(copy: &RwLock<Copy>) -> RwLockWriteGuard<'_, Copy> {
    copy.write().unwrap_or_else(PoisonError::into_inner)
}

impl View {
    /// Begins to follow; goes on until the process ends.
    pub fn start(store: &Store) -> Self {
        let copy = Arc::new(RwLock::new(Copy::default()));
        let (tick, changes) = watch::channel(0);
        tokio::spawn(follow(store.nodes.clone(), Arc::clone(&copy), tick));
        Self { copy, changes }
    }

    pub fn get(&self, id: &NodeId) -> Option<Arc<Node>> {
        read(&self.copy).nodes.get(id).cloned()
    }

    /// In the order of their ids.
    pub fn all(&self) -> Vec<Arc<Node>> {
        read(&self.copy).nodes.values().cloned().collect()
    }

    /// Those that wait for something, and so have an alarm.
    pub fn busy(&self) -> Vec<Arc<Node>> {
        read(&self.copy).busy.values().cloned().collect()
    }

    /// What `look` makes of the nodes, in the order of their ids. Without a copy of the list: for those who look at all
    /// of them often and take few. The view does not move on meanwhile.
    pub fn pick<T>(&self, look: impl FnMut(&Arc<Node>) -> Option<T>) -> Vec<T> {
        read(&self.copy).nodes.values().filter_map(look).collect()
    }

    /// Keys whose records cannot be read by this worker, and why.
    pub fn unreadable(&self) -> BTreeMap<String, String> {
        read(&self.copy).unreadable.clone()
    }

    /// Ticks at every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// Resolves once everything that was there at the start has been seen.
    pub async fn ready(&self) {
        let mut changes = self.changes.clone();
        // The sender lives as long as the process.
        let _ = changes.wait_for(|ticks| *ticks > 0).await;
    }
}

async fn follow(bucket: Kv, copy: Arc<RwLock<Copy>>, tick: watch::Sender<u64>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let loaded_before = *tick.borrow();
        let error = follow_once(&bucket, &copy, &tick).await;
        tracing::warn!("the view of the nodes is interrupted: {error}");
        pause = match *tick.borrow() == loaded_before {
            true => (pause * 2).min(LONGEST_PAUSE),
            false => FIRST_PAUSE,
        };
        tokio::time::sleep(pause).await;
    }
}

/// Returns why following ended.
async fn follow_once(bucket: &Kv, copy: &RwLock<Copy>, tick: &watch::Sender<u64>) -> KvError {
    let mut follow = match bucket.follow(KEYS).await {
        Ok(follow) => follow,
        Err(error) => return error,
    };
    // Until everything has been shown it is gathered apart: nodes that vanished meanwhile must go, the others stay.
    let mut fresh = Some(Copy::default());
    loop {
        match follow.next().await {
            Err(error) => return error,
            Ok(Followed::Loaded) => {
                if let Some(fresh) = fresh.take() {
                    *write(copy) = fresh;
                }
            }
            Ok(Followed::Change(change)) => match &mut fresh {
                Some(fresh) => {
                    fresh.apply(change, |id| read(copy).nodes.get(&id).cloned());
                    continue;
                }
                None => write(copy).apply(change, |_| None),
            },
        }
        tick.send_modify(|ticks| *ticks += 1);
    }
}

impl Copy {
    /// `earlier` knows records from before this copy was begun.
    fn apply(&mut self, change: Change, earlier: impl FnOnce(NodeId) -> Option<Arc<Node>>) {
        let Change { key, value, .. } = change;
        let id = key.strip_prefix("node.").map(str::parse::<NodeId>);
        let Some(Ok(id)) = id else {
            tracing::warn!(key, "a key that is no node's");
            return;
        };
        self.unreadable.remove(&key);
        let Some(value) = value else {
            self.nodes.remove(&id);
            self.busy.remove(&id);
            return;
        };
        match parse(&key, &value) {
            Ok(node) => self.put(id, Arc::new(node)),
            Err(error) => {
                tracing::error!("{error}");
                self.unreadable.insert(key, error.to_string());
                if let Some(node) = earlier(id)
                    && !self.nodes.contains_key(&id)
                {
                    self.put(id, node);
                }
            }
        }
    }

    fn put(&mut self, id: NodeId, node: Arc<Node>) {
        match node.wake_at {
            Some(_) => self.busy.insert(id, Arc::clone(&node)),
            None => self.busy.remove(&id),
        };
        self.nodes.insert(id, node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::tests::{id, node};

    /// When everything is shown anew, a record that has become unreadable meanwhile must not look like a removed node.
    #[test]
    fn the_last_good_record_outlives_a_broken_watch() {
        let good = Arc::new(node(1));
        let key = format!("node.{}", id(1));
        let change = |value: Option<Vec<u8>>| Change {
            key: key.clone(),
            value: value.map(Into::into),
            revision: 1,
        };
        let mut fresh = Copy::default();
        fresh.apply(change(Some(b"{}".to_vec())), |_| Some(Arc::clone(&good)));
        assert_eq!(fresh.nodes.get(&id(1)), Some(&good));
        assert!(fresh.unreadable.contains_key(&key));
        fresh.apply(change(None), |_| Some(Arc::clone(&good)));
        assert!(fresh.nodes.is_empty() && fresh.unreadable.is_empty());
    }

    #[test]
    fn who_has_an_alarm_is_busy() {
        let key = format!("node.{}", id(1));
        let mut copy = Copy::default();
        let mut told = |node: Option<&Node>| {
            let value = node.map(|node| serde_json::to_vec(node).unwrap().into());
            let change = Change {
                key: key.clone(),
                value,
                revision: 1,
            };
            copy.apply(change, |_| None);
            copy.busy.contains_key(&id(1))
        };
        let resting = node(1);
        let busy = Node {
            wake_at: Some(crate::clock::now()),
            ..resting.clone()
        };
        assert!(!told(Some(&resting)));
        assert!(told(Some(&busy)));
        assert!(!told(Some(&resting)));
        assert!(told(Some(&busy)));
        assert!(!told(None));
    }
}
