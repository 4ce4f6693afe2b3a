//! Which workers live, who owns which node, and whether this worker may still act.
//! `roster` draws conclusions from renewals; here they are written and followed. A renewal that comes back says what time
//! it is at the servers, which costs no message of its own.
pub mod roster;

pub use roster::{Liveness, Lost};
use roster::{Roster, Timing, owner};

use crate::clock::{self, Moment};
use crate::records::{
    Change, Depth, Followed, Keep, Kv, KvError, Revision, SILENCE, Store, StoreError,
};
use async_nats::jetstream::stream::{DiscardPolicy, StorageType};
use ironbeat_common::id::NodeId;
use ironbeat_common::image::Digest;
use ironbeat_core::id::{Actor, WorkerId};
use ironbeat_core::time::Time;
use ironbeat_ops::policy::differences;
use ironbeat_ops::reply::{Served, WorkerInfo};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
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
/// Differences between policies that are written to the log.
const MAX_TOLD: usize = 256;
/// At the start: for the first renewal to come back, which takes milliseconds.
const FIRST_MEASURE: Duration = Duration::from_secs(5);

/// Written at every renewal, for operators to read with `nats kv get`.
#[derive(Serialize, Deserialize)]
pub(super) struct Renewal {
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
    wrong: Arc<Mutex<Wrong>>,
    /// See [`WorkerInfo`]: `serves` and `loaders`.
    boots: Arc<Mutex<(Vec<Served>, Vec<Digest<32>>)>>,
    /// The last renewal, and when it was sent.
    sent: Arc<Mutex<Sent>>,
    changes: watch::Sender<u64>,
    /// Who has the name now, if it is another one.
    replaced: watch::Sender<Option<WorkerInfo>>,
    renewing: Arc<Mutex<Option<AbortHandle>>>,
    /// Differences that are in the log.
    told: Arc<Mutex<BTreeSet<String>>>,
}

#[derive(Default)]
struct Sent {
    number: u64,
    at: Option<Moment>,
    /// Of the last renewal that is known to be stored: who writes the next one has the name.
    revision: Revision,
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
        self.owner_of(node).is_some_and(|id| *id == self.own)
    }

    pub fn owner_of(&self, node: NodeId) -> Option<&WorkerId> {
        owner(node, self.live.iter())
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

/// What is wrong with a worker, as [`WorkerInfo`] has it.
#[derive(Clone, Default)]
pub struct Wrong {
    /// Why it cannot open what the others seal.
    pub keys: Option<String>,
    pub lacks: Vec<String>,
    pub lacks_images: Option<String>,
    pub records: Vec<String>,
    pub refused: Vec<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Presence {
    /// Takes the worker's name, announces it and begins to follow the others.
    ///
    /// # Errors
    /// When the bucket cannot be opened, or another worker has the name. One that does not answer is waited for.
    pub async fn start(store: &Store, own: WorkerInfo) -> Result<Self, StoreError> {
        Self::start_timed(store, own, Timing::DEFAULT).await
    }

    pub(crate) async fn start_timed(
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
        let bucket = store.bucket(&store.names.workers, keep).await?;
        let presence = Self {
            roster: Arc::new(Mutex::new(Roster::new(own.actor(), timing))),
            wrong: Arc::new(Mutex::new(Wrong {
                lacks: own.lacks.clone(),
                ..Wrong::default()
            })),
            boots: Arc::new(Mutex::new((own.serves.clone(), own.loaders.clone()))),
            sent: Arc::default(),
            own: WorkerInfo {
                host: host_name(),
                ..own
            },
            bucket,
            timing,
            changes: watch::Sender::new(0),
            replaced: watch::Sender::new(None),
            renewing: Arc::default(),
            told: Arc::default(),
        };
        loop {
            match presence.take_name().await {
                Ok(()) => break,
                Err(StoreError::Kv(error)) => tracing::warn!("take the worker's name: {error}"),
                Err(taken) => return Err(taken),
            }
            tokio::time::sleep(PAUSE).await;
        }
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
    pub fn own(&self) -> WorkerInfo {
        let started = lock(&self.sent).started;
        let Wrong {
            keys,
            lacks,
            lacks_images,
            records,
            refused,
        } = lock(&self.wrong).clone();
        let (serves, loaders) = lock(&self.boots).clone();
        WorkerInfo {
            stands_by: wrong_clock(clock::ahead_ms()).or(keys),
            started: started.unwrap_or(self.own.started),
            lacks,
            lacks_images,
            records,
            refused,
            serves,
            loaders,
            ..self.own.clone()
        }
    }

    /// Why it does nothing for nodes, whoever is there.
    fn unfit(&self) -> Option<String> {
        wrong_clock(clock::ahead_ms()).or_else(|| lock(&self.wrong).keys.clone())
    }

    /// Changes what it says of itself; the next renewal tells the others.
    pub fn tell(&self, change: impl FnOnce(&mut Wrong)) {
        change(&mut lock(&self.wrong));
    }

    /// What machines may have booted from this worker; the next renewal tells the others.
    pub fn serves(&self, serves: Vec<Served>, loaders: Vec<Digest<32>>) {
        *lock(&self.boots) = (serves, loaders);
    }

    /// One worker has the name at a time. One that crashed leaves it behind, and nobody can tell from afar whether it died
    /// or has lost touch with NATS, and is about to switch a machine off. So the name is taken when its renewals have not
    /// come for as long as it may act without one, which is the fence that is there anyway; asking it would not tell more.
    async fn take_name(&self) -> Result<(), StoreError> {
        let key = self.own.id.as_str();
        loop {
            let (value, revision) = self.bucket.read(key).await?;
            let before = value.and_then(|value| self.other(&value));
            if let Some(before) = &before {
                tracing::info!(
                    "the last worker of this name said no good-bye: waiting {:?} for a sign of life",
                    self.timing.may_act
                );
                tokio::time::sleep(self.timing.may_act).await;
                let (value, later) = self.bucket.read(key).await?;
                if later != revision {
                    match value.and_then(|value| self.other(&value)) {
                        Some(now) => return Err(self.name_is_taken(&now)),
                        None => continue,
                    }
                }
                tracing::info!(host = before.host, incarnation = %before.incarnation, "it cannot act any more");
            }
            let begun = Moment::now();
            let (_, renewal) = self.renewal(begun);
            match self.bucket.write(key, renewal, revision).await {
                Ok(revision) => {
                    lock(&self.sent).revision = revision;
                    lock(&self.roster).renewed(begun, Moment::now());
                    return Ok(());
                }
                Err(KvError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Who has the name, if it is not this life of this worker.
    fn other(&self, value: &[u8]) -> Option<WorkerInfo> {
        let Ok(Renewal { info, .. }) = serde_json::from_slice(value) else {
            // Whatever it is, no worker of this version renews it.
            return None;
        };
        (info.incarnation != self.own.incarnation).then_some(info)
    }

    fn name_is_taken(&self, by: &WorkerInfo) -> StoreError {
        let WorkerInfo {
            host, url, started, ..
        } = by;
        StoreError::Claimed {
            what: format!("the name {}", self.own.id),
            by: format!(
                "a worker on host {host} ({url}), which runs since {started}: give one of them another `id`"
            ),
        }
    }

    fn renewal(&self, begun: Moment) -> (u64, Vec<u8>) {
        let number = self.sends(begun);
        let renewal = Renewal {
            info: self.own(),
            renewed: clock::now(),
            number,
        };
        let value = serde_json::to_vec(&renewal).expect("a worker's facts are JSON");
        (number, value)
    }

    async fn renew(&self) {
        // The others count from when they see it, which is later.
        let begun = Moment::now();
        let (number, renewal) = self.renewal(begun);
        // Before the first one came back nothing is known, and nothing is wrong.
        if number > 1 {
            self.tells(self.own().stands_by.as_deref());
        }
        // One that hangs must not hold up the next.
        let stored = tokio::time::timeout(self.timing.renew, self.store(renewal)).await;
        match stored {
            Ok(Ok(())) if !self.is_replaced() => lock(&self.roster).renewed(begun, Moment::now()),
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("renew the presence: {error}"),
            Err(_) => tracing::warn!(
                "renew the presence: no answer within {:?}",
                self.timing.renew
            ),
        }
    }

    /// Writes a renewal over the last one, or finds that another worker has the name.
    async fn store(&self, renewal: Vec<u8>) -> Result<(), KvError> {
        let key = self.own.id.as_str();
        loop {
            let last = lock(&self.sent).revision;
            match self.bucket.write(key, renewal.clone(), last).await {
                Ok(revision) => {
                    lock(&self.sent).revision = revision;
                    return Ok(());
                }
                Err(KvError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
            // A renewal whose acknowledgement was lost; or one that has expired, after a minute without NATS.
            let (value, revision) = self.bucket.read(key).await?;
            match value.and_then(|value| self.other(&value)) {
                Some(other) => {
                    self.replaced_by(other);
                    return Ok(());
                }
                None => lock(&self.sent).revision = revision,
            }
        }
    }

    fn replaced_by(&self, other: WorkerInfo) {
        lock(&self.roster).leave();
        if !self.is_replaced() {
            tracing::error!("{}", self.name_is_taken(&other));
            self.replaced.send_replace(Some(other));
        }
    }

    fn is_replaced(&self) -> bool {
        self.replaced.borrow().is_some()
    }

    /// Returns when another worker has this one's name, which this one must have left alone for a while.
    pub async fn replaced(&self) -> StoreError {
        let mut replaced = self.replaced.subscribe();
        let other = replaced.wait_for(Option::is_some).await;
        let other = other.expect("this presence holds the sender").clone();
        self.name_is_taken(&other.expect("it was waited for"))
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
            if self.is_replaced() {
                return;
            }
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
            Ok(renewal) if renewal.info.actor() == self.own.actor() => {
                self.came_back(&renewal, stored);
            }
            // A server that is behind still tells of the life before this one.
            Ok(Renewal { info, .. }) if info.id == self.own.id => {
                let own = lock(&self.sent).revision;
                if revision > own {
                    self.replaced_by(info);
                }
            }
            Ok(Renewal { info, .. }) if info.id == id => {
                self.compares(&info);
                lock(&self.roster).saw(info, revision, Moment::now());
            }
            Ok(_) | Err(_) => tracing::warn!(key, "a presence that is not understood"),
        }
    }

    /// Says in the log, once, on which options another worker differs.
    fn compares(&self, other: &WorkerInfo) {
        if self.own.policy == other.policy {
            return;
        }
        for (option, values) in differences(&[self.own.clone(), other.clone()]) {
            let [(_, own), (id, theirs)] = values.as_slice() else {
                continue;
            };
            let words = format!("policy.{option} is {own} here and {theirs} at worker {id}");
            let mut told = lock(&self.told);
            if told.len() < MAX_TOLD && told.insert(words.clone()) {
                tracing::warn!("{words}: give all workers the same");
            }
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

    /// See [`roster::Roster::lost`].
    pub fn lost(&self, actor: &Actor) -> Option<Lost> {
        lock(&self.roster).lost(actor, Moment::now())
    }

    /// When another worker was last heard; none: never in the life of this one.
    pub fn last_heard(&self, worker: &WorkerId) -> Option<Time> {
        let now = Moment::now();
        let silent = now.since(lock(&self.roster).last_heard(worker)?);
        let silent_ms = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX);
        let at_ms = clock::now().unix_ms().saturating_sub(silent_ms);
        Some(Time::from_unix_ms(at_ms))
    }

    pub fn is_live(&self, worker: &WorkerId) -> Liveness {
        lock(&self.roster).liveness(worker, Moment::now())
    }

    /// The fence: a worker that is cut off stops acting before others take over, and one that is unfit stops too.
    pub fn may_act(&self) -> bool {
        self.idle_because().is_none()
    }

    /// Why this worker may not act.
    pub fn idle_because(&self) -> Option<String> {
        let lost = || (!self.is_in_touch()).then(|| "it has lost touch with NATS".to_string());
        self.unfit().or_else(lost)
    }

    /// Its presence was renewed lately, which takes a leader with a majority of the servers.
    pub fn is_in_touch(&self) -> bool {
        lock(&self.roster).may_act(Moment::now())
    }

    /// The fence of an act that began then. See [`roster::Roster::may_act_since`].
    pub fn may_act_since(&self, begin: Moment) -> bool {
        self.unfit().is_none() && lock(&self.roster).may_act_since(begin, Moment::now())
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
                // Its successor lives on.
                Ok((Some(value), _)) if self.other(&value).is_some() => {}
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
