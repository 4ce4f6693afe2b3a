//! Which workers live, who owns which node, and whether this worker may still act.
//! Renewals are judged by the reader's own monotonic clock; wall clocks are not compared.
use crate::bucket::{Bucket, Keep};
use crate::store::{Store, StoreError};
use async_nats::jetstream::kv::Operation;
use async_nats::jetstream::stream::StorageType;
use futures_util::StreamExt;
use ironbeat_common::id::{NodeId, WorkerId};
use ironbeat_common::time::Time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A worker renews its key this often,
const RENEW: Duration = Duration::from_secs(3);
/// stops acting when it has not been able to for this long,
const MAY_ACT: Duration = Duration::from_secs(7);
/// and is given up by the others after this long. The difference is what a BMC command may still take.
const LAPSE: Duration = Duration::from_secs(10);
/// Keys of dead workers vanish by themselves. In a file: what is in memory is gone when the server restarts, bucket and all.
const MAX_AGE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerInfo {
    pub id: WorkerId,
    /// Its HTTP service, as machines reach it.
    pub url: String,
    pub version: String,
    pub started: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    Live,
    Lapsed,
    /// Never seen, and this worker has not watched for long enough to tell.
    Unknown,
}

#[derive(Clone)]
pub struct Presence {
    own: WorkerInfo,
    bucket: Bucket,
    state: Arc<Mutex<State>>,
}

struct State {
    began: Instant,
    /// When this worker last renewed, counted from before the attempt.
    renewed: Option<Instant>,
    others: BTreeMap<WorkerId, (WorkerInfo, Instant)>,
    left: bool,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Presence {
    /// Announces this worker and begins to watch the others.
    pub async fn start(store: &Store, own: WorkerInfo) -> Result<Self, StoreError> {
        let keep = Keep {
            storage: StorageType::File,
            max_age: MAX_AGE,
            max_bytes: -1,
        };
        let bucket = Bucket::open(&store.js, &store.names.workers, keep).await?;
        let state = State {
            began: Instant::now(),
            renewed: None,
            others: BTreeMap::new(),
            left: false,
        };
        let presence = Self {
            own,
            bucket,
            state: Arc::new(Mutex::new(state)),
        };
        presence.renew().await;
        tokio::spawn(presence.clone().keep_renewing());
        tokio::spawn(presence.clone().keep_watching());
        Ok(presence)
    }

    async fn renew(&self) {
        let begin = Instant::now();
        let value = serde_json::to_vec(&self.own).expect("a worker's facts are JSON");
        match self.bucket.put(self.own.id.as_str(), value).await {
            Ok(_) => lock(&self.state).renewed = Some(begin),
            Err(error) => tracing::warn!("renew the presence: {error}"),
        }
    }

    async fn keep_renewing(self) {
        loop {
            tokio::time::sleep(RENEW).await;
            if lock(&self.state).left {
                return;
            }
            self.renew().await;
        }
    }

    async fn keep_watching(self) {
        loop {
            match self.bucket.watch(">").await {
                Ok(mut watch) => {
                    while let Some(Ok(entry)) = watch.next().await {
                        self.saw(entry.operation, &entry.key, &entry.value);
                    }
                    tracing::warn!("the watch of the workers is interrupted");
                }
                Err(error) => tracing::warn!("watch the workers: {error}"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    fn saw(&self, operation: Operation, key: &str, value: &[u8]) {
        let Ok(id) = key.parse::<WorkerId>() else {
            return;
        };
        let mut state = lock(&self.state);
        match (operation, serde_json::from_slice::<WorkerInfo>(value)) {
            (Operation::Put, Ok(info)) if info.id == id => {
                state.others.insert(id, (info, Instant::now()));
            }
            (Operation::Put, _) => tracing::warn!(key, "a presence that is not understood"),
            (Operation::Delete | Operation::Purge, _) => {
                state.others.remove(&id);
            }
        }
    }

    /// Live workers by id; this one is among them while it may act.
    pub fn live(&self) -> Vec<WorkerInfo> {
        let state = lock(&self.state);
        let mut live: BTreeMap<WorkerId, WorkerInfo> = state
            .others
            .iter()
            .filter(|(_, (_, seen))| seen.elapsed() < LAPSE)
            .map(|(id, (info, _))| (id.clone(), info.clone()))
            .collect();
        if state.renewed.is_some_and(|at| at.elapsed() < MAY_ACT) {
            live.insert(self.own.id.clone(), self.own.clone());
        }
        live.into_values().collect()
    }

    pub fn is_live(&self, worker: &WorkerId) -> Liveness {
        let state = lock(&self.state);
        match state.others.get(worker) {
            Some((_, seen)) if seen.elapsed() < LAPSE => Liveness::Live,
            Some(_) => Liveness::Lapsed,
            None if state.began.elapsed() < LAPSE => Liveness::Unknown,
            None => Liveness::Lapsed,
        }
    }

    /// The fence: a worker that is cut off stops acting before others take over.
    pub fn may_act(&self) -> bool {
        let state = lock(&self.state);
        !state.left && state.renewed.is_some_and(|at| at.elapsed() < MAY_ACT)
    }

    /// Whether this worker looks after a node. Two may think so for a moment, which is harmless.
    pub fn owns(&self, node: NodeId) -> bool {
        owner(node, self.live().iter().map(|info| &info.id)).is_some_and(|id| *id == self.own.id)
    }

    /// Says good-bye, so that others need not wait.
    pub async fn leave(&self) {
        lock(&self.state).left = true;
        let key = self.own.id.as_str();
        if let Ok((Some(_), revision)) = self.bucket.read(key).await
            && let Err(error) = self.bucket.delete(key, revision).await
        {
            tracing::debug!("leave: {error}");
        }
    }
}

/// Rendezvous hashing: the worker with the highest weight for this node. When one leaves, only its nodes move.
fn owner<'a>(node: NodeId, workers: impl Iterator<Item = &'a WorkerId>) -> Option<&'a WorkerId> {
    workers.max_by_key(|worker| (weight(node, worker), *worker))
}

/// FNV-1a over both ids, its bits mixed once more, as FNV's high bits alone are poor.
fn weight(node: NodeId, worker: &WorkerId) -> u64 {
    let bytes = node.as_bytes().iter().chain(worker.as_str().as_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_spread_evenly_and_only_the_lost_workers_nodes_move() {
        let workers: Vec<WorkerId> = ["w1", "w2", "w3", "w4"]
            .iter()
            .map(|id| id.parse().unwrap())
            .collect();
        let mut counts = BTreeMap::new();
        for n in 0..4000u32 {
            let mut bytes = [0; 16];
            bytes[12..].copy_from_slice(&n.to_be_bytes());
            let node = NodeId::from_bytes(bytes);
            let before = owner(node, workers.iter()).unwrap();
            *counts.entry(before).or_insert(0u32) += 1;
            let after = owner(node, workers[1..].iter()).unwrap();
            assert!(before == after || *before == workers[0]);
        }
        assert!(
            counts.values().all(|count| (800..1200).contains(count)),
            "{counts:?}"
        );
    }
}
