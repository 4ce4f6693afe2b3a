//! Workers as processes: they start, crash, are stopped and go on, renew their presence, follow the records, look at
//! their alarms and at the power. What they then do for a node is in `front`.
use crate::front::Job;
use crate::rng::Rng;
use crate::{Happens, World, scene};
use ironbeat::clock::{Moment, ServersTime};
use ironbeat::loops::alarm::{Looker, due};
use ironbeat::records::Revision;
use ironbeat::records::presence::roster::{Roster, Timing, owner};
use ironbeat::records::presence::wrong_clock;
use ironbeat_common::id::NodeId;
use ironbeat_core::decide::{Event, power_is_synced};
use ironbeat_core::id::{Incarnation, OpId, WorkerId};
use ironbeat_core::index::{Entry, Index};
use ironbeat_core::node::Node;
use ironbeat_core::time::Time;
use ironbeat_ops::reply::WorkerInfo;
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) struct Worker {
    pub info: WorkerInfo,
    pub clock: HostClock,
    /// What it makes of its renewals that come back.
    servers: ServersTime,
    /// Its last renewal.
    sent: (u64, Moment),
    pub up: Up,
    pub roster: Roster,
    /// The revision of the renewal of each worker that it heard last.
    heard: BTreeMap<WorkerId, u64>,
    pub index: Index,
    followed: BTreeMap<NodeId, Revision>,
    /// The records of those revisions that came one by one, of nodes in the middle of a job.
    kept: BTreeMap<NodeId, Node>,
    /// It has read all that was there at this revision.
    read_at: Revision,
    /// Changes do not reach it.
    misses: bool,
    /// Alarms that it is at.
    pub alarms: usize,
    /// Nodes whose alarm could not be kept, until when they are left alone.
    pub quiet: BTreeMap<NodeId, u64>,
    pub watches: BTreeMap<NodeId, Watch>,
}

/// The clocks of a worker's machine: one that people and NTP set, and one that only counts.
pub(crate) struct HostClock {
    /// How far the first one is ahead of the servers'.
    pub ahead_ms: i64,
    /// It stands still, at this time of the servers.
    pub stopped: Option<u64>,
    /// The other one gains so much.
    ppm: i64,
}

impl HostClock {
    pub fn draw(rng: &mut Rng) -> Self {
        Self {
            ahead_ms: signed(rng.below(500)) - 250,
            stopped: None,
            ppm: signed(rng.below(800)) - 400,
        }
    }

    fn wall(&self, now: u64) -> Time {
        let at = self.stopped.unwrap_or(now);
        Time::from_unix_ms(at.saturating_add_signed(self.ahead_ms))
    }

    fn at(&self, now: u64) -> Moment {
        let passed = now - scene::BEGIN;
        let gained = signed(passed) * self.ppm / 1_000_000;
        Moment::since_boot(Duration::from_millis(passed.saturating_add_signed(gained)))
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).expect("the simulated time is short")
}

#[derive(Default)]
pub(crate) struct Watch {
    pub troubles: u32,
    pub asked: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Up {
    Running,
    /// Its process is stopped, and its connections stay.
    Frozen(u64),
    Down,
}

const RENEW_MS: u64 = 3_000;
const SYNC_MS: u64 = 5_000;
/// Until a follower has noticed that it misses changes, and reads again: silence, and the pause after it.
const MISSED_MS: u64 = 6_000;
const MAY_ACT_MS: u64 = Timing::DEFAULT.may_act.as_millis() as u64;

impl Worker {
    pub fn new(n: usize, clock: HostClock) -> Self {
        let id = World::worker_id(n);
        let info = WorkerInfo {
            url: format!("http://{id}"),
            https: None,
            id,
            incarnation: Incarnation::default(),
            version: "simulated".into(),
            started: Time::from_unix_ms(scene::BEGIN),
            lacks: vec![],
            serves: vec![],
            loaders: vec![],
            lacks_images: None,
            refused: vec![],
            host: String::new(),
            stands_by: None,
            policy: BTreeMap::default(),
            master_keys: vec![],
            dnsmasq: None,
            records: vec![],
        };
        Self {
            clock,
            servers: ServersTime::unknown(),
            sent: (0, Moment::since_boot(Duration::ZERO)),
            up: Up::Down,
            roster: Roster::new(info.actor(), Timing::DEFAULT),
            heard: BTreeMap::new(),
            info,
            index: Index::default(),
            followed: BTreeMap::new(),
            kept: BTreeMap::new(),
            read_at: 0,
            misses: false,
            alarms: 0,
            quiet: BTreeMap::new(),
            watches: BTreeMap::new(),
        }
    }

    /// NATS hands requests to it.
    pub fn is_there(&self) -> bool {
        self.up != Up::Down
    }

    fn at(&self, now: u64) -> Moment {
        self.clock.at(now)
    }

    fn stands_by(&self, now: u64) -> Option<String> {
        let ahead = self.servers.ahead_ms(self.at(now), self.clock.wall(now));
        wrong_clock(ahead)
    }

    fn own(&self, now: u64) -> WorkerInfo {
        WorkerInfo {
            stands_by: self.stands_by(now),
            ..self.info.clone()
        }
    }

    fn live(&self, now: u64) -> Vec<WorkerId> {
        let live = self.roster.live(&self.own(now), self.at(now));
        live.into_iter().map(|info| info.id).collect()
    }
}

impl World {
    pub(crate) fn may_act(&self, worker: usize) -> bool {
        let it = &self.workers[worker];
        it.stands_by(self.now).is_none() && it.roster.may_act(it.at(self.now))
    }

    /// The revision of a node's record that has reached a worker.
    pub(crate) fn followed_at(&self, worker: usize, node: NodeId) -> Option<Revision> {
        self.workers[worker].followed.get(&node).copied()
    }

    /// That record, if it came with it.
    pub(crate) fn followed(&self, worker: usize, node: NodeId) -> Option<(Node, Revision)> {
        let record = self.workers[worker].kept.get(&node)?.clone();
        Some((record, self.followed_at(worker, node)?))
    }

    /// The fence of an act that was decided on then, as this worker's roster has it.
    pub(crate) fn may_act_since(&self, worker: usize, decided: u64) -> bool {
        let it = &self.workers[worker];
        it.stands_by(self.now).is_none() && it.roster.may_act_since(it.at(decided), it.at(self.now))
    }

    /// Whether a worker has seen that an operator stopped this act.
    pub(crate) fn is_unwanted(&self, worker: usize, node: NodeId, op: &OpId) -> bool {
        let seen = self.workers[worker].index.get(&node);
        seen.is_some_and(|seen| seen.stopped.as_ref() == Some(op))
    }

    /// What time it is to a worker.
    pub(crate) fn clock_of(&self, worker: usize) -> Time {
        let it = &self.workers[worker];
        let servers = it.servers.now(it.at(self.now));
        servers.unwrap_or(it.clock.wall(self.now))
    }

    pub(crate) fn starts(&mut self, n: usize) {
        let now = self.now;
        self.note("starts", n, String::new);
        let it = &mut self.workers[n];
        if it.up != Up::Down {
            return;
        }
        it.up = Up::Running;
        it.info.incarnation.0 += 1;
        it.info.started = Time::from_unix_ms(now);
        it.roster = Roster::new(it.info.actor(), Timing::DEFAULT);
        it.servers = ServersTime::unknown();
        let at = it.at(now);
        it.roster.watching(at);
        it.alarms = 0;
        it.quiet.clear();
        it.watches.clear();
        let of = it.info.incarnation;
        self.reads_all(n);
        self.started.push(n);
        self.after(0, Happens::Renews(n, of));
        self.after(500, Happens::Looks(n, of));
        self.after(SYNC_MS, Happens::Syncs(n, of));
    }

    pub(crate) fn crash(&mut self, n: usize) {
        if self.workers[n].up == Up::Down {
            return;
        }
        self.note("crashes", n, String::new);
        self.workers[n].up = Up::Down;
        self.killed.push(n);
        // Down, and then not let in before its former life cannot act any more.
        let down = self.rng.pick(&[500, 5_000, 15_000, 60_000, 300_000]);
        let ms = down + MAY_ACT_MS;
        self.after(ms, Happens::Starts(n));
    }

    pub(crate) fn freeze(&mut self, n: usize) {
        if self.workers[n].up != Up::Running {
            return;
        }
        let ms = self
            .rng
            .pick(&[200, 2_000, 5_000, 8_000, 12_000, 40_000, 250_000]);
        self.note("freezes", n, || format!("{ms} ms"));
        self.workers[n].up = Up::Frozen(self.now + ms);
    }

    /// Whether a worker can take what comes to it now. What comes to one that is stopped waits; to one that is gone, is lost.
    pub(crate) fn takes(&mut self, n: usize, what: Happens) -> Option<Happens> {
        match self.workers[n].up {
            Up::Running => Some(what),
            Up::Down => None,
            Up::Frozen(until) if until <= self.now => {
                self.workers[n].up = Up::Running;
                Some(what)
            }
            Up::Frozen(until) => {
                let ms = until - self.now + self.rng.below(5);
                self.after(ms, what);
                None
            }
        }
    }

    pub(crate) fn renews(&mut self, n: usize) {
        let of = self.workers[n].info.incarnation;
        self.after(RENEW_MS, Happens::Renews(n, of));
        let (lost, unheard) = self.faults.store_losses(&mut self.rng);
        if self.store.away || lost {
            return;
        }
        let stored = self.now;
        self.renewals += 1;
        let revision = self.renewals;
        let it = &mut self.workers[n];
        let (at, info) = (it.at(stored), it.own(stored));
        if !unheard {
            it.roster.renewed(at, at);
        }
        it.sent = (revision, at);
        for to in 0..self.workers.len() {
            let ms = self.rng.between(1, 20);
            let info = Box::new(info.clone());
            let hears = Happens::Hears {
                to,
                info,
                revision,
                stored,
            };
            self.after(ms, hears);
        }
    }

    pub(crate) fn hears(&mut self, n: usize, info: WorkerInfo, revision: u64, stored: u64) {
        let now = self.now;
        let it = &mut self.workers[n];
        // A stream is followed in its order, also by whoever was stopped and reads on.
        let last = it.heard.entry(info.id.clone()).or_default();
        if revision < *last {
            return;
        }
        *last = revision;
        let at = it.at(now);
        if it.sent.0 == revision {
            let stored = Time::from_unix_ms(stored);
            it.servers.measured(it.sent.1, stored, at);
        }
        it.roster.saw(info, revision, at);
    }

    /// Nobody follows while the stream has no leader: silence then proves nothing.
    pub(crate) fn watches(&mut self, complete: bool) {
        let now = self.now;
        for it in &mut self.workers {
            let at = it.at(now);
            match complete {
                true => it.roster.watching(at),
                false => it.roster.blind(),
            }
        }
    }

    pub(crate) fn follows(
        &mut self,
        n: usize,
        node: NodeId,
        record: Option<Box<Node>>,
        revision: Revision,
    ) {
        let it = &mut self.workers[n];
        let known = it.followed.get(&node).copied().unwrap_or(it.read_at);
        if it.misses || known >= revision {
            return;
        }
        it.followed.insert(node, revision);
        it.kept.remove(&node);
        match record {
            Some(record) => {
                it.index.put(Entry::of(&record));
                if record.wake_at.is_some() {
                    it.kept.insert(node, *record);
                }
            }
            None => it.index.remove(&node),
        }
    }

    fn reads_all(&mut self, n: usize) {
        let it = &mut self.workers[n];
        (it.misses, it.read_at) = (false, self.store.last);
        (it.index, it.followed) = (Index::default(), BTreeMap::new());
        it.kept.clear();
        for (node, revision) in self.store.nodes.values() {
            it.followed.insert(node.id, *revision);
            it.index.put(Entry::of(node));
        }
    }

    /// Something may be lost on the way to a follower, which learns of that from the number of what comes next, or from
    /// silence.
    pub(crate) fn may_miss(&mut self, n: usize) {
        let begins = self
            .faults
            .rare_chance(&mut self.rng, self.faults.follow_gap);
        if begins && !self.workers[n].misses {
            self.workers[n].misses = true;
            let ms = self.rng.between(200, MISSED_MS);
            let of = self.workers[n].info.incarnation;
            self.note("misses", n, || format!("changes for {ms} ms"));
            self.after(ms, Happens::Rereads(n, of));
        }
    }

    pub(crate) fn rereads(&mut self, n: usize) {
        if self.store.away {
            let of = self.workers[n].info.incarnation;
            return self.after(1_000, Happens::Rereads(n, of));
        }
        self.reads_all(n);
    }

    pub(crate) fn looks(&mut self, n: usize) {
        let of = self.workers[n].info.incarnation;
        let (now, may_act, clock) = (self.now, self.may_act(n), self.clock_of(n));
        let it = &mut self.workers[n];
        let mut next = 500;
        if it.index.busy().next().is_none() {
            next = 2_000;
        } else if may_act && it.alarms == 0 {
            it.quiet.retain(|_, until| *until > now);
            let (at, live) = (it.at(now), it.live(now));
            let looker = Looker {
                now: clock,
                owns: &|node| owner(node, live.iter()).is_some_and(|id| *id == it.info.id),
                lost: &|actor| it.roster.lost(actor, at),
            };
            let busy = it.index.busy();
            let due: Vec<Job> = busy
                .filter(|node| !it.quiet.contains_key(&node.id))
                .filter_map(|node| {
                    let event = due(node, &looker)?;
                    let node = node.id;
                    Some(Job::Alarm { node, event })
                })
                .collect();
            let turns = it.index.turns().next(&self.policy).into_iter();
            let mine = turns.filter(|(node, _)| (looker.owns)(*node));
            let turns = mine.map(|(node, place)| Job::Alarm {
                node,
                event: Event::Turn { place },
            });
            let due: Vec<Job> = due.into_iter().chain(turns).collect();
            it.alarms = due.len();
            self.jobs.extend(due.into_iter().map(|job| (n, job)));
        }
        let ms = next + self.rng.below(200);
        self.after(ms, Happens::Looks(n, of));
    }

    pub(crate) fn syncs(&mut self, n: usize) {
        let of = self.workers[n].info.incarnation;
        self.after(SYNC_MS, Happens::Syncs(n, of));
        if !self.may_act(n) {
            return;
        }
        let now = self.now;
        let period = u64::from(self.policy.power_sync_secs) * 1_000;
        let it = &mut self.workers[n];
        let live = it.live(now);
        for node in it.index.all() {
            let mine = owner(node.id, live.iter()).is_some_and(|id| *id == it.info.id);
            if !mine || !power_is_synced(node.rest, node.maintenance.as_ref()) {
                continue;
            }
            let watch = it.watches.entry(node.id).or_default();
            if now - watch.asked >= period {
                watch.asked = now;
                let node = std::sync::Arc::clone(node);
                self.jobs.push((n, Job::ReadPower { node }));
            }
        }
    }
}
