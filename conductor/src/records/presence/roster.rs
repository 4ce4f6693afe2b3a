//! Conclusions from renewals seen and not seen: who is live, who has lapsed, who owns a node, may this worker act.
//! Callers hand in the time, from a clock of their own that never stands still: wall clocks are not compared.
use super::WorkerInfo;
use crate::clock::Moment;
use crate::fnv::fnv1a;
use ironbeat_common::id::NodeId;
use ironbeat_core::id::{Actor, Incarnation, WorkerId};
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A worker renews its key this often,
    pub renew: Duration,
    /// stops acting when it has not been able to for this long,
    pub may_act: Duration,
    /// and is given up by the others after this long. The difference is what a BMC command may still take.
    pub lapse: Duration,
}

impl Timing {
    pub const DEFAULT: Timing = Timing {
        renew: Duration::from_secs(3),
        may_act: Duration::from_secs(7),
        lapse: Duration::from_secs(10),
    };
}

/// Former lives of one worker that are remembered. Their acts have been given to others long before it has had so many.
const MAX_FORMER: usize = 16;

/// A worker unheard of for so many lapses is forgotten; asking for it by name still says that it lapsed.
const FORGET: u32 = 360;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    Live,
    Lapsed,
    /// Not heard of, but this worker has not listened for long enough to tell.
    Unknown,
}

/// Why an act is over that its record has still going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Its worker has not been heard of for long.
    Lapsed,
    /// Another life of its worker has the name, which is given away only when the former one cannot act any more.
    Replaced,
}

#[derive(Debug)]
struct Other {
    info: WorkerInfo,
    /// Incarnations that had the name before this one, as far as they were heard of.
    former: Vec<Incarnation>,
    revision: u64,
    seen: Moment,
    left: bool,
}

#[derive(Debug)]
pub struct Roster {
    own: Actor,
    timing: Timing,
    /// Begin of this worker's last renewal that was acknowledged.
    renewed: Option<Moment>,
    /// Since when it could act without a gap: others may have taken over in a gap.
    entitled: Option<Moment>,
    has_left: bool,
    /// Since when this worker has seen every renewal. None: it may have missed some.
    watching: Option<Moment>,
    others: BTreeMap<WorkerId, Other>,
}

impl Roster {
    pub fn new(own: Actor, timing: Timing) -> Self {
        Self {
            own,
            timing,
            renewed: None,
            entitled: None,
            has_left: false,
            watching: None,
            others: BTreeMap::new(),
        }
    }

    /// `begun`: from before the attempt, since nobody can have seen it earlier. `now`: it is acknowledged.
    pub fn renewed(&mut self, begun: Moment, now: Moment) {
        if !self.may_act(now) {
            self.entitled = Some(now);
        }
        self.renewed = Some(begun);
    }

    pub fn leave(&mut self) {
        self.has_left = true;
    }

    /// The watch of the others is complete from now on.
    pub fn watching(&mut self, now: Moment) {
        self.watching = Some(now);
    }

    /// Renewals may be missed from now on: silence proves nothing.
    pub fn blind(&mut self) {
        self.watching = None;
    }

    pub fn saw(&mut self, info: WorkerInfo, revision: u64, now: Moment) {
        if info.id == self.own.worker {
            return;
        }
        let forgotten = self.timing.lapse * FORGET;
        self.others
            .retain(|_, other| now.since(other.seen) < forgotten);
        match self.others.get_mut(&info.id) {
            // The same renewal once more, after the watch was made anew.
            Some(other) if other.revision == revision && other.info == info => {}
            known => {
                let mut former = known.map_or_else(Vec::new, |known| {
                    let mut former = std::mem::take(&mut known.former);
                    former.push(known.info.incarnation);
                    former
                });
                former.retain(|incarnation| *incarnation != info.incarnation);
                former.dedup();
                let surplus = former.len().saturating_sub(MAX_FORMER);
                former.drain(..surplus);
                let other = Other {
                    info: info.clone(),
                    former,
                    revision,
                    seen: now,
                    left: false,
                };
                self.others.insert(info.id, other);
            }
        }
    }

    /// The worker said good-bye.
    pub fn left(&mut self, id: WorkerId) {
        if let Some(other) = self.others.get_mut(&id) {
            other.left = true;
        }
    }

    pub fn may_act(&self, now: Moment) -> bool {
        let fresh = |at: Moment| now.since(at) < self.timing.may_act;
        !self.has_left && self.renewed.is_some_and(fresh)
    }

    /// Whether it may go on with what it began then. A worker that was stopped for a while, and is quick to renew when it
    /// goes on, may begin something new; what it was at may have been given to others.
    pub fn may_act_since(&self, begin: Moment, now: Moment) -> bool {
        self.may_act(now) && self.entitled.is_some_and(|since| since <= begin)
    }

    fn is_fresh(&self, other: &Other, now: Moment) -> bool {
        !other.left && now.since(other.seen) < self.timing.lapse
    }

    /// All that have a presence, this one first; among them those that do nothing for nodes.
    pub fn heard(&self, own: &WorkerInfo, now: Moment) -> Vec<WorkerInfo> {
        let fresh = self.others.values().filter(|o| self.is_fresh(o, now));
        let fresh = fresh.map(|other| other.info.clone());
        std::iter::once(own.clone()).chain(fresh).collect()
    }

    /// Those that may act, by id.
    pub fn live(&self, own: &WorkerInfo, now: Moment) -> Vec<WorkerInfo> {
        let mut live = self.heard(own, now);
        let may_act = self.may_act(now);
        live.retain(|info| info.stands_by.is_none() && (info.id != self.own.worker || may_act));
        live.sort_by(|a, b| a.id.cmp(&b.id));
        live
    }

    pub fn liveness(&self, id: &WorkerId, now: Moment) -> Liveness {
        if *id == self.own.worker {
            return match self.may_act(now) {
                true => Liveness::Live,
                false => Liveness::Unknown,
            };
        }
        let other = self.others.get(id);
        if other.is_some_and(|other| self.is_fresh(other, now)) {
            return Liveness::Live;
        }
        match self.listened(now) || other.is_some_and(|other| other.left) {
            true => Liveness::Lapsed,
            false => Liveness::Unknown,
        }
    }

    /// A worker that was stopped or cut off has not listened either, whatever it thinks that it watched.
    fn listened(&self, now: Moment) -> bool {
        let for_long = |since: Moment| now.since(since) >= self.timing.lapse;
        let awake = self.may_act(now) && self.entitled.is_some_and(for_long);
        awake && self.watching.is_some_and(for_long)
    }

    /// Why this actor cannot act any more, if that is known.
    pub fn lost(&self, actor: &Actor, now: Moment) -> Option<Lost> {
        if actor.worker == self.own.worker {
            let former = actor.incarnation != self.own.incarnation;
            return (former && self.may_act(now)).then_some(Lost::Replaced);
        }
        match self.others.get(&actor.worker) {
            Some(other) if other.info.incarnation == actor.incarnation => {
                (self.liveness(&actor.worker, now) == Liveness::Lapsed).then_some(Lost::Lapsed)
            }
            Some(other) if other.former.contains(&actor.incarnation) => Some(Lost::Replaced),
            // From before this worker listened; or it has just begun, and its presence comes after its first act.
            Some(_) | None => self.listened(now).then_some(Lost::Lapsed),
        }
    }

    pub fn lapsed(&self, now: Moment) -> Vec<WorkerId> {
        self.others
            .keys()
            .filter(|id| self.liveness(id, now) == Liveness::Lapsed)
            .cloned()
            .collect()
    }
}

/// Rendezvous hashing: the worker with the highest weight for this node. When one leaves, only its nodes move.
pub fn owner<'a>(
    node: NodeId,
    workers: impl Iterator<Item = &'a WorkerId>,
) -> Option<&'a WorkerId> {
    workers.max_by_key(|worker| (weight(node, worker), *worker))
}

/// FNV-1a over both ids, its bits mixed once more, as FNV's high bits alone are poor.
fn weight(node: NodeId, worker: &WorkerId) -> u64 {
    let bytes = node.as_bytes().iter().chain(worker.as_str().as_bytes());
    let hash = fnv1a(bytes);
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_core::time::Time;

    fn id(name: &str) -> WorkerId {
        name.parse().unwrap()
    }

    fn info(name: &str) -> WorkerInfo {
        WorkerInfo {
            id: id(name),
            incarnation: Incarnation(1),
            url: format!("http://{name}"),
            https: None,
            version: "1".into(),
            started: Time::from_unix_ms(1),
            lacks: vec![],
            serves: vec![],
            loaders: vec![],
            host: "h".into(),
            stands_by: None,
            lacks_images: None,
            refused: vec![],
            records: vec![],
            policy: BTreeMap::default(),
            master_keys: vec![],
            dnsmasq: None,
        }
    }

    fn actor(name: &str, incarnation: u32) -> Actor {
        Actor {
            worker: id(name),
            incarnation: Incarnation(incarnation),
        }
    }

    fn names(live: &[WorkerInfo]) -> Vec<&str> {
        live.iter().map(|info| info.id.as_str()).collect()
    }

    /// A roster of `me` that has watched since `start`.
    fn roster(start: Moment) -> Roster {
        let mut roster = Roster::new(actor("me", 1), Timing::DEFAULT);
        roster.watching(start);
        roster
    }

    /// One that also renews its own presence, from `start` to far beyond.
    fn renewing(start: Moment) -> Roster {
        let mut roster = roster(start);
        for at in 0..5_000 {
            roster.renewed(start + secs(at), start + secs(at));
        }
        roster
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_worker_lapses_ten_seconds_after_its_last_renewal() {
        let start = Moment::now();
        let mut roster = renewing(start);
        roster.saw(info("other"), 1, start);
        roster.saw(info("other"), 2, start + secs(3));
        for (at, liveness) in [
            (3, Liveness::Live),
            (12, Liveness::Live),
            (13, Liveness::Lapsed),
        ] {
            let now = start + secs(at);
            assert_eq!(roster.liveness(&id("other"), now), liveness, "{at} s");
            let lapsed = roster.lapsed(now);
            assert_eq!(
                lapsed.contains(&id("other")),
                liveness == Liveness::Lapsed,
                "{at} s"
            );
        }
        roster.saw(info("other"), 3, start + secs(14));
        assert_eq!(
            roster.liveness(&id("other"), start + secs(14)),
            Liveness::Live
        );
    }

    /// What the others said meanwhile is still in its socket.
    #[test]
    fn a_worker_that_was_stopped_takes_nobody_for_dead() {
        let start = Moment::now();
        let mut roster = roster(start);
        roster.renewed(start, start);
        roster.saw(info("other"), 1, start);
        let goes_on = start + secs(60);
        assert_eq!(roster.liveness(&id("other"), goes_on), Liveness::Unknown);
        roster.renewed(goes_on, goes_on);
        assert_eq!(roster.liveness(&id("other"), goes_on), Liveness::Unknown);
        for at in 1..=10 {
            let now = goes_on + secs(at);
            roster.renewed(now, now);
        }
        let later = goes_on + secs(10);
        assert_eq!(roster.liveness(&id("other"), later), Liveness::Lapsed);
    }

    #[test]
    fn a_worker_that_goes_on_after_a_stop_leaves_its_old_acts_alone() {
        let start = Moment::now();
        let mut mine = roster(start);
        mine.renewed(start, start);
        let begin = start + secs(1);
        mine.renewed(start + secs(3), start + secs(4));
        assert!(mine.may_act_since(begin, start + secs(9)), "no gap so far");
        // Stopped from here on; at 15 s its renewal is quicker than its acts.
        mine.renewed(start + secs(15), start + secs(15));
        let now = start + secs(15);
        assert!(mine.may_act(now));
        assert!(
            !mine.may_act_since(begin, now),
            "others had it from 13 s on"
        );
        assert!(mine.may_act_since(now, now), "what begins now is its own");
    }

    /// A wrong "lapsed" takes work from a worker that is doing it.
    #[test]
    fn silence_proves_nothing_to_those_who_did_not_listen() {
        let start = Moment::now();
        let mut roster = renewing(start);
        let never = id("never-seen");
        assert_eq!(roster.liveness(&never, start + secs(9)), Liveness::Unknown);
        assert_eq!(roster.liveness(&never, start + secs(10)), Liveness::Lapsed);
        roster.saw(info("other"), 1, start + secs(10));
        roster.blind();
        let later = start + secs(100);
        assert_eq!(roster.liveness(&id("other"), later), Liveness::Unknown);
        assert!(roster.lapsed(later).is_empty());
        roster.watching(later);
        // The watch shows the old renewal again: that is no sign of life.
        roster.saw(info("other"), 1, later);
        assert_eq!(
            roster.liveness(&id("other"), later + secs(9)),
            Liveness::Unknown
        );
        assert_eq!(
            roster.liveness(&id("other"), later + secs(10)),
            Liveness::Lapsed
        );
    }

    #[test]
    fn a_good_bye_counts_at_once_and_so_does_a_return() {
        let start = Moment::now();
        let mut roster = roster(start);
        roster.saw(info("other"), 1, start);
        roster.left(id("other"));
        assert_eq!(roster.liveness(&id("other"), start), Liveness::Lapsed);
        assert!(roster.live(&info("me"), start).is_empty());
        roster.saw(info("other"), 3, start + secs(1));
        assert_eq!(
            roster.liveness(&id("other"), start + secs(1)),
            Liveness::Live
        );
    }

    #[test]
    fn a_worker_that_stands_by_is_heard_of_and_owns_nothing() {
        let start = Moment::now();
        let mut roster = renewing(start);
        let idle = |name| WorkerInfo {
            stands_by: Some("its clock is wrong".into()),
            ..info(name)
        };
        roster.saw(idle("other"), 1, start);
        assert_eq!(names(&roster.live(&info("me"), start)), ["me"]);
        assert_eq!(names(&roster.heard(&info("me"), start)), ["me", "other"]);
        assert_eq!(roster.liveness(&id("other"), start), Liveness::Live);
        roster.saw(info("other"), 2, start);
        assert_eq!(names(&roster.live(&idle("me"), start)), ["other"]);
    }

    #[test]
    fn a_worker_stops_before_the_others_take_over() {
        let start = Moment::now();
        let (mut mine, mut theirs) = (roster(start), renewing(start));
        assert!(!mine.may_act(start), "not before the first renewal");
        mine.renewed(start, start);
        // The others see it no earlier than it was begun.
        theirs.own = actor("they", 1);
        theirs.saw(info("me"), 1, start);
        for at in 0..30 {
            let now = start + secs(at);
            let acting = mine.may_act(now);
            assert_eq!(acting, at < 7, "{at} s");
            let lapsed = theirs.liveness(&id("me"), now) == Liveness::Lapsed;
            assert!(!(acting && lapsed), "{at} s");
            assert_eq!(
                names(&mine.live(&info("me"), now)).contains(&"me"),
                acting,
                "{at} s"
            );
        }
        mine.renewed(start + secs(30), start + secs(30));
        assert!(mine.may_act(start + secs(30)));
        mine.leave();
        assert!(!mine.may_act(start + secs(30)));
    }

    #[test]
    fn a_worker_that_is_started_again_has_lost_its_former_acts_at_once() {
        let start = Moment::now();
        let mut roster = renewing(start);
        let again = |incarnation| WorkerInfo {
            incarnation: Incarnation(incarnation),
            ..info("other")
        };
        roster.saw(again(5), 1, start);
        let lost = |roster: &Roster, who, incarnation, at| {
            roster.lost(&actor(who, incarnation), start + secs(at))
        };
        assert_eq!(lost(&roster, "other", 5, 1), None);
        // It has begun to act, and its presence is still under way.
        assert_eq!(lost(&roster, "other", 3, 1), None);
        roster.saw(again(3), 2, start + secs(1));
        assert_eq!(lost(&roster, "other", 3, 1), None);
        assert_eq!(lost(&roster, "other", 5, 1), Some(Lost::Replaced));
        roster.saw(again(3), 3, start + secs(4));
        assert_eq!(lost(&roster, "other", 5, 4), Some(Lost::Replaced));
        // It was there before this worker listened; an older act than that is lost as well.
        assert_eq!(lost(&roster, "other", 9, 9), None);
        assert_eq!(lost(&roster, "other", 9, 10), Some(Lost::Lapsed));
        assert_eq!(lost(&roster, "other", 3, 14), Some(Lost::Lapsed));
        // Of its own former lives it is certain while it has the name.
        assert_eq!(lost(&roster, "me", 1, 1), None);
        assert_eq!(lost(&roster, "me", 2, 1), Some(Lost::Replaced));
        roster.leave();
        assert_eq!(lost(&roster, "me", 2, 1), None);
    }

    #[test]
    fn workers_of_long_ago_are_forgotten() {
        let start = Moment::now();
        let mut roster = renewing(start);
        roster.saw(info("old"), 1, start);
        roster.saw(info("new"), 2, start + secs(3599));
        assert_eq!(
            roster.lapsed(start + secs(3605)),
            [id("old")],
            "still known"
        );
        roster.saw(info("new"), 3, start + secs(3606));
        assert!(roster.lapsed(start + secs(3606)).is_empty());
        assert_eq!(
            roster.liveness(&id("old"), start + secs(3606)),
            Liveness::Lapsed
        );
    }

    #[test]
    fn nodes_spread_evenly_and_only_the_lost_workers_nodes_move() {
        let workers = ["w1", "w2", "w3", "w4"].map(id);
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

    /// Workers of two versions must agree on who owns what.
    #[test]
    fn the_hash_has_not_changed() {
        let node = NodeId::from_bytes([7; 16]);
        assert_eq!(weight(node, &id("w1")), 14_167_825_106_665_431_370);
    }
}
