//! Which workers live, who owns which node, and whether this worker may still act.
//! `roster` draws conclusions from renewals; here they are written and followed.
pub mod roster;

pub use roster::Liveness;
use roster::{Roster, Timing, owner};

use crate::clock::{self, Moment};
use crate::records::{Change, Depth, Followed, Keep, Kv, KvError, SILENCE, Store, StoreError};
use async_nats::jetstream::stream::{DiscardPolicy, StorageType};
use ironbeat_common::id::NodeId;
use ironbeat_core::id::WorkerId;
use ironbeat_core::time::Time;
use ironbeat_ops::reply::WorkerInfo;
use serde::Serialize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Keys of dead workers vanish by themselves. In a file: what is in memory is gone when the server restarts, bucket and all.
const MAX_AGE: Duration = Duration::from_secs(60);
/// Before a broken watch of the workers is made anew: their renewals must not be missed for long.
const PAUSE: Duration = Duration::from_millis(500);
/// A broken watch is known to be broken before a renewal that it missed is held against anybody.
const _: () = assert!(
    SILENCE.as_millis() < Timing::DEFAULT.lapse.as_millis() - Timing::DEFAULT.renew.as_millis()
);
/// Workers known at once. A hundred serve any data centre; the rest is somebody's mistake.
const MAX_WORKERS: i64 = 1024;

/// Written at every renewal, for operators to read with `nats kv get`.
#[derive(Serialize)]
struct Renewal<'a> {
    #[serde(flatten)]
    info: &'a WorkerInfo,
    host: &'a str,
    renewed: Time,
}

#[derive(Clone)]
pub struct Presence {
    own: WorkerInfo,
    bucket: Kv,
    timing: Timing,
    roster: Arc<Mutex<Roster>>,
    /// See [`WorkerInfo::lacks`].
    lacks: Arc<Mutex<Vec<String>>>,
    changes: watch::Sender<u64>,
    renewing: Arc<Mutex<Option<AbortHandle>>>,
}

/// See [`Presence::owners`].
pub struct Owners {
    own: WorkerId,
    live: Vec<WorkerId>,
}

impl Owners {
    pub fn is_mine(&self, node: NodeId) -> bool {
        owner(node, self.live.iter()).is_some_and(|id| *id == self.own)
    }
}

fn own_first(own: &WorkerInfo, live: Vec<WorkerInfo>) -> Vec<WorkerInfo> {
    let others = live.into_iter().filter(|info| info.id != own.id);
    std::iter::once(own.clone()).chain(others).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Presence {
    /// Announces this worker and begins to follow the others.
    ///
    /// # Errors
    /// When the bucket cannot be opened. A first renewal that fails is repeated like any other.
    pub async fn start(store: &Store, own: WorkerInfo) -> Result<Self, StoreError> {
        Self::start_timed(store, own, Timing::DEFAULT).await
    }

    async fn start_timed(
        store: &Store,
        own: WorkerInfo,
        timing: Timing,
    ) -> Result<Self, StoreError> {
        let keep = Keep {
            about: "Ironbeat: live workers; each renews its key every few seconds",
            storage: StorageType::File,
            max_age: MAX_AGE,
            max_keys: MAX_WORKERS,
            max_bytes: -1,
            full: DiscardPolicy::Old,
        };
        let bucket = Kv::open(&store.js, &store.names.workers, keep).await?;
        let presence = Self {
            roster: Arc::new(Mutex::new(Roster::new(own.id.clone(), timing))),
            lacks: Arc::new(Mutex::new(own.lacks.clone())),
            own,
            bucket,
            timing,
            changes: watch::Sender::new(0),
            renewing: Arc::default(),
        };
        presence.renew().await;
        let renewing = tokio::spawn(presence.clone().keep_renewing());
        *lock(&presence.renewing) = Some(renewing.abort_handle());
        tokio::spawn(presence.clone().keep_following());
        Ok(presence)
    }

    /// What this worker says of itself now.
    fn own(&self) -> WorkerInfo {
        WorkerInfo {
            lacks: lock(&self.lacks).clone(),
            ..self.own.clone()
        }
    }

    /// What it lacks from now on; the next renewal tells the others.
    pub fn lacks(&self, lacks: Vec<String>) {
        *lock(&self.lacks) = lacks;
    }

    async fn renew(&self) {
        // The others count from when they see it, which is later.
        let begun = Moment::now();
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let renewal = Renewal {
            info: &self.own(),
            host: host.trim(),
            renewed: clock::now(),
        };
        let value = serde_json::to_vec(&renewal).expect("a worker's facts are JSON");
        let put = self.bucket.put(self.own.id.as_str(), value);
        // One that hangs must not hold up the next.
        match tokio::time::timeout(self.timing.renew, put).await {
            Ok(Ok(_)) => lock(&self.roster).renewed(begun, Moment::now()),
            Ok(Err(error)) => tracing::warn!("renew the presence: {error}"),
            Err(_) => tracing::warn!(
                "renew the presence: no answer within {:?}",
                self.timing.renew
            ),
        }
    }

    async fn keep_renewing(self) {
        let mut ticks =
            tokio::time::interval_at(tokio::time::Instant::now() + self.timing.renew, self.timing.renew);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.renew().await;
        }
    }

    async fn keep_following(self) {
        loop {
            let error = self.follow().await;
            lock(&self.roster).blind();
            tracing::warn!("the watch of the workers is interrupted: {error}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Returns why following ended.
    async fn follow(&self) -> KvError {
        let mut follow = match self.bucket.follow(">", Depth::Whole).await {
            Ok(follow) => follow,
            Err(error) => return error,
        };
        loop {
            match follow.next().await {
                Ok(Followed::Loaded) => lock(&self.roster).watching(Moment::now()),
                Ok(Followed::Change(change)) => self.saw(change),
                Err(error) => return error,
            }
            self.changes.send_modify(|ticks| *ticks += 1);
        }
    }

    fn saw(&self, change: Change) {
        let Change {
            key,
            value,
            revision,
            ..
        } = change;
        let Ok(id) = key.parse::<WorkerId>() else {
            tracing::warn!(key, "a key that is no worker's");
            return;
        };
        let Some(value) = value else {
            lock(&self.roster).left(id);
            return;
        };
        match serde_json::from_slice::<WorkerInfo>(&value) {
            Ok(info) if info.id == self.own.id && info.started > self.own.started => {
                tracing::error!(worker = %id, "another worker runs under this name since {}", info.started);
            }
            Ok(info) if info.id == id => lock(&self.roster).saw(info, revision, Moment::now()),
            Ok(_) | Err(_) => tracing::warn!(key, "a presence that is not understood"),
        }
    }

    /// Live workers by id; this one is among them while it may act.
    pub fn live(&self) -> Vec<WorkerInfo> {
        lock(&self.roster).live(&self.own(), Moment::now())
    }

    /// Those that a machine can fetch from, this one first: it has just been reached, whatever it knows of its presence.
    pub fn mirrors(&self) -> Vec<WorkerInfo> {
        own_first(&self.own(), self.live())
    }

    /// Workers that were here and are not any more.
    pub fn lapsed(&self) -> Vec<WorkerId> {
        lock(&self.roster).lapsed(Moment::now())
    }

    pub fn is_live(&self, worker: &WorkerId) -> Liveness {
        lock(&self.roster).liveness(worker, Moment::now())
    }

    /// The fence: a worker that is cut off stops acting before others take over.
    pub fn may_act(&self) -> bool {
        lock(&self.roster).may_act(Moment::now())
    }

    /// The fence of an act that began then. See [`roster::Roster::may_act_since`].
    pub fn may_act_since(&self, begin: Moment) -> bool {
        lock(&self.roster).may_act_since(begin, Moment::now())
    }

    /// Who owns which node as of now, for those who ask about many.
    pub fn owners(&self) -> Owners {
        Owners {
            own: self.own.id.clone(),
            live: self.live().into_iter().map(|info| info.id).collect(),
        }
    }

    /// Who owns a node, as far as this worker can see.
    pub fn owner_of(&self, node: NodeId) -> Option<WorkerId> {
        owner(node, self.live().iter().map(|info| &info.id)).cloned()
    }

    /// Whether this worker owns a node. Two may think so for a moment, which is harmless.
    pub fn owns(&self, node: NodeId) -> bool {
        self.owner_of(node).is_some_and(|id| id == self.own.id)
    }

    /// Ticks whenever a worker was heard of, renewals included. Nothing ticks when one falls silent.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Says good-bye, so that others need not wait. From here on this worker may not act.
    pub async fn leave(&self) {
        lock(&self.roster).leave();
        if let Some(renewing) = lock(&self.renewing).take() {
            renewing.abort();
        }
        let key = self.own.id.as_str();
        // A renewal may still be under way: the good-bye must come after it.
        for _ in 0..3 {
            match self.bucket.read(key).await {
                Ok((Some(_), revision)) => match self.bucket.delete(key, revision).await {
                    Err(KvError::Conflict { .. }) => continue,
                    Err(error) => tracing::debug!("leave: {error}"),
                    Ok(_) => {}
                },
                Ok((None, _)) => {}
                Err(error) => tracing::debug!("leave: {error}"),
            }
            return;
        }
    }
}

#[cfg(test)]
mod tests;
