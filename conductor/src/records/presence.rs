//! Which workers live, who owns which node, and whether this worker may still act.
//! `roster` draws conclusions from renewals; here they are written and followed. A renewal that comes back says what time
//! it is at the servers, which costs no message of its own.
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
use serde::{Deserialize, Serialize};
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

/// A worker whose clock is wrong by more than this does nothing for nodes. Nothing is decided by its clock, but a host
/// whose clock is that wrong is not looked after: its log, its certificates and its NTP are somebody's business.
const MAX_WRONG_MS: u64 = 5_000;
/// At the start: for the first renewal to come back, which takes milliseconds.
const FIRST_MEASURE: Duration = Duration::from_secs(5);

/// Written at every renewal, for operators to read with `nats kv get`.
#[derive(Serialize, Deserialize)]
struct Renewal {
    #[serde(flatten)]
    info: WorkerInfo,
    renewed: Time,
    /// Tells the renewals of one worker apart.
    number: u64,
}

#[derive(Clone)]
pub struct Presence {
    own: WorkerInfo,
    bucket: Kv,
    timing: Timing,
    roster: Arc<Mutex<Roster>>,
    /// See [`WorkerInfo::lacks`].
    lacks: Arc<Mutex<Vec<String>>>,
    /// The last renewal, and when it was sent.
    sent: Arc<Mutex<Sent>>,
    changes: watch::Sender<u64>,
    renewing: Arc<Mutex<Option<AbortHandle>>>,
}

#[derive(Default)]
struct Sent {
    number: u64,
    at: Option<Moment>,
    /// By the servers' time.
    started: Option<Time>,
    /// What was last said in the log.
    stood_by: bool,
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

/// What a worker says of its clock, which is ahead of the servers' or behind it (below zero). None: it is right.
pub fn wrong_clock(ahead_ms: Option<i64>) -> Option<String> {
    let Some(ms) = ahead_ms else {
        return Some("its clock has not been compared with the NATS servers' yet".into());
    };
    let wrong = ms.unsigned_abs();
    (wrong > MAX_WRONG_MS).then(|| {
        let side = if ms > 0 { "ahead of" } else { "behind" };
        let tenths = (wrong + 50) / 100;
        let (secs, tenths) = (tenths / 10, tenths % 10);
        format!("its clock is {secs}.{tenths} s {side} that of the NATS servers")
    })
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().into()
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
            sent: Arc::default(),
            own: WorkerInfo {
                host: host_name(),
                ..own
            },
            bucket,
            timing,
            changes: watch::Sender::new(0),
            renewing: Arc::default(),
        };
        presence.renew().await;
        let renewing = tokio::spawn(presence.clone().keep_renewing());
        *lock(&presence.renewing) = Some(renewing.abort_handle());
        tokio::spawn(presence.clone().keep_following());
        presence.first_measure().await;
        // What others see of it is true before it is ready.
        presence.renew().await;
        Ok(presence)
    }

    /// Without one a worker stands by, and measures at its next renewals.
    async fn first_measure(&self) {
        let mut changes = self.changes();
        let heard =
            async { while clock::ahead_ms().is_none() && changes.changed().await.is_ok() {} };
        let _ = tokio::time::timeout(FIRST_MEASURE, heard).await;
        lock(&self.sent).started = Some(clock::now());
        self.tells(self.own().stands_by.as_deref());
    }

    /// What this worker says of itself now.
    fn own(&self) -> WorkerInfo {
        let started = lock(&self.sent).started;
        WorkerInfo {
            stands_by: wrong_clock(clock::ahead_ms()),
            started: started.unwrap_or(self.own.started),
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
        let info = self.own();
        let number = self.sends(begun);
        // Before the first one came back nothing is known, and nothing is wrong.
        if number > 1 {
            self.tells(info.stands_by.as_deref());
        }
        let renewal = Renewal {
            info,
            renewed: clock::now(),
            number,
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

    /// Numbers a renewal.
    fn sends(&self, at: Moment) -> u64 {
        let mut sent = lock(&self.sent);
        sent.number += 1;
        sent.at = Some(at);
        sent.number
    }

    /// Says in the log when this worker stops to act and when it begins again.
    fn tells(&self, stands_by: Option<&str>) {
        let stood_by = std::mem::replace(&mut lock(&self.sent).stood_by, stands_by.is_some());
        let worker = &self.own.id;
        match (stood_by, stands_by) {
            (false, Some(why)) => {
                tracing::error!(%worker, "this worker does nothing for nodes: {why}");
            }
            (true, None) => tracing::info!(%worker, "this worker looks after nodes again"),
            (false, None) | (true, Some(_)) => {}
        }
    }

    async fn keep_renewing(self) {
        let mut ticks = tokio::time::interval_at(
            tokio::time::Instant::now() + self.timing.renew,
            self.timing.renew,
        );
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
            stored,
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
        match serde_json::from_slice::<Renewal>(&value) {
            Ok(Renewal { info, .. })
                if info.id == self.own.id && info.started > self.own.started =>
            {
                tracing::error!(worker = %id, "another worker runs under this name since {}", info.started);
            }
            Ok(renewal) if renewal.info.id == self.own.id => self.came_back(&renewal, stored),
            Ok(Renewal { info, .. }) if info.id == id => {
                lock(&self.roster).saw(info, revision, Moment::now());
            }
            Ok(_) | Err(_) => tracing::warn!(key, "a presence that is not understood"),
        }
    }

    /// Of this worker's renewals the last one alone measures: when the others left is forgotten.
    fn came_back(&self, renewal: &Renewal, stored: Time) {
        let sent = lock(&self.sent);
        if let Some(at) = sent.at.filter(|_| sent.number == renewal.number) {
            clock::measured(at, stored);
        }
    }

    /// Live workers by id; this one is among them while it may act.
    pub fn live(&self) -> Vec<WorkerInfo> {
        lock(&self.roster).live(&self.own(), Moment::now())
    }

    /// All that have a presence, this one first: it has just been reached, whatever it knows of its presence. A machine can
    /// fetch from each of them.
    pub fn heard(&self) -> Vec<WorkerInfo> {
        lock(&self.roster).heard(&self.own(), Moment::now())
    }

    /// Why a worker does nothing for a node that it would own.
    pub fn idle_owner(&self, node: NodeId) -> Option<String> {
        let heard = self.heard();
        let owner = owner(node, heard.iter().map(|info| &info.id))?;
        let owner = heard.iter().find(|info| info.id == *owner)?;
        let why = owner.stands_by.as_ref()?;
        Some(format!("worker {} does nothing for it: {why}", owner.id))
    }

    /// Workers that were here and are not any more.
    pub fn lapsed(&self) -> Vec<WorkerId> {
        lock(&self.roster).lapsed(Moment::now())
    }

    pub fn is_live(&self, worker: &WorkerId) -> Liveness {
        lock(&self.roster).liveness(worker, Moment::now())
    }

    /// The fence: a worker that is cut off stops acting before others take over, and one whose clock is wrong stops too.
    pub fn may_act(&self) -> bool {
        self.idle_because().is_none()
    }

    /// Why this worker may not act.
    pub fn idle_because(&self) -> Option<String> {
        let cut_off = || !lock(&self.roster).may_act(Moment::now());
        let lost = || cut_off().then(|| "it has lost touch with NATS".to_string());
        wrong_clock(clock::ahead_ms()).or_else(lost)
    }

    /// The fence of an act that began then. See [`roster::Roster::may_act_since`].
    pub fn may_act_since(&self, begin: Moment) -> bool {
        wrong_clock(clock::ahead_ms()).is_none()
            && lock(&self.roster).may_act_since(begin, Moment::now())
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
