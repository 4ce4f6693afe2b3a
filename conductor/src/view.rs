//! All node records in memory, from one watch: for lists, lookups and alarms. May be a moment behind.
//! Decisions are made on what `store` loads from the leader.
use crate::bucket::{Bucket, BucketError};
use crate::store::{Store, parse};
use async_nats::jetstream::kv::Operation;
use futures_util::StreamExt;
use ironbeat_common::id::NodeId;
use ironbeat_common::node::Node;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::watch;

/// Before a broken watch is made anew.
const PAUSE: Duration = Duration::from_secs(1);
/// The watch heartbeats every 5 s; without one for longer the client reports an error, which starts it anew.
const KEYS: &str = "node.>";

type Nodes = BTreeMap<NodeId, Arc<Node>>;

#[derive(Clone)]
pub struct View {
    nodes: Arc<RwLock<Nodes>>,
    changes: watch::Receiver<u64>,
}

impl View {
    /// Begins to follow; goes on until the process ends.
    pub fn start(store: &Store) -> Self {
        let nodes = Arc::new(RwLock::new(Nodes::new()));
        let (tick, changes) = watch::channel(0);
        tokio::spawn(follow(store.nodes.clone(), Arc::clone(&nodes), tick));
        Self { nodes, changes }
    }

    pub fn all(&self) -> Vec<Arc<Node>> {
        self.nodes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
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

async fn follow(bucket: Bucket, nodes: Arc<RwLock<Nodes>>, tick: watch::Sender<u64>) {
    loop {
        if let Err(error) = follow_once(&bucket, &nodes, &tick).await {
            tracing::warn!("the view of the nodes is interrupted: {error}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn follow_once(
    bucket: &Bucket,
    nodes: &RwLock<Nodes>,
    tick: &watch::Sender<u64>,
) -> Result<(), BucketError> {
    let all_until = bucket.last_revision().await?;
    let mut watch = bucket.watch(KEYS).await?;
    // Until everything present has been shown, what is new is gathered apart: nodes that vanished unseen must go.
    let mut fresh = Nodes::new();
    let mut complete = all_until == 0;
    let publish = |nodes: &RwLock<Nodes>, change: &dyn Fn(&mut Nodes)| {
        change(&mut nodes.write().unwrap_or_else(PoisonError::into_inner));
        tick.send_modify(|ticks| *ticks += 1);
    };
    if complete {
        publish(nodes, &|nodes| nodes.clear());
    }
    loop {
        let next = if complete {
            watch.next().await
        } else {
            match tokio::time::timeout(Duration::from_millis(500), watch.next()).await {
                Ok(next) => next,
                // No node is there: a watch of no keys shows nothing and says nothing.
                Err(_) => {
                    complete = true;
                    publish(nodes, &|nodes| *nodes = fresh.clone());
                    continue;
                }
            }
        };
        let Some(entry) = next else { return Ok(()) };
        let entry = entry.map_err(|error| BucketError::Read {
            key: KEYS.into(),
            why: error.to_string(),
        })?;
        let Some(id) = entry
            .key
            .strip_prefix("node.")
            .and_then(|id| id.parse::<NodeId>().ok())
        else {
            tracing::warn!(key = entry.key, "a key that is no node's");
            continue;
        };
        let node = match entry.operation {
            Operation::Delete | Operation::Purge => None,
            Operation::Put => match parse(&entry.key, &entry.value) {
                Ok(node) => Some(Arc::new(node)),
                Err(error) => {
                    tracing::error!("{error}");
                    None
                }
            },
        };
        let apply = |nodes: &mut Nodes| match &node {
            Some(node) => drop(nodes.insert(id, Arc::clone(node))),
            None => drop(nodes.remove(&id)),
        };
        if complete {
            publish(nodes, &apply);
        } else {
            apply(&mut fresh);
            if entry.delta == 0 {
                complete = true;
                publish(nodes, &|nodes| *nodes = fresh.clone());
            }
        }
    }
}
