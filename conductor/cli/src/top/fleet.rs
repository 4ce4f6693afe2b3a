//! What `ironbeat top` knows: every node's state and since when, how long nodes usually stay in one, and how much happens.
//! It is handed pages, events and the time; `draw` shows it.
use ironbeat_common::id::NodeId;
use ironbeat_core::node::{JobKind, Rest};
use ironbeat_core::time::Time;
use ironbeat_ops::happening::{Event, Happening, What};
use ironbeat_ops::reply::{Summary, WorkerInfo};
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Stays in one state that are remembered.
const MAX_STAYS: usize = 64;
/// With fewer stays than this nobody knows what is usual.
const MIN_STAYS: usize = 5;
/// Until then: a boot takes up to 15 min (`boot_timeout_secs`), and an image its time.
const USUAL: Duration = Duration::from_secs(1800);
/// Of nine stays in ten, and a half more: what is longer is not usual.
const TENTHS: usize = 9;
/// Rates are counted over this.
const MINUTE: Duration = Duration::from_secs(60);
/// Events of a minute that are remembered: a rate beyond this is a flood, whatever its number.
const MAX_EVENTS: usize = 100_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub name: String,
    pub state: String,
    pub since: Time,
    pub worker: String,
    pub maintenance: bool,
    pub error: String,
    /// When it was last heard of, by the clock of this host.
    heard: Time,
}

/// How a node is compared with others like it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum How {
    /// It failed, or is past its usual time by this.
    Stuck(Reverse<Duration>),
    /// Busy for this long.
    Busy(Reverse<Duration>),
    Rests,
}

#[derive(Default)]
pub(super) struct Fleet {
    nodes: BTreeMap<NodeId, Line>,
    stays: BTreeMap<String, VecDeque<Duration>>,
    /// When they came, and whether the state changed.
    events: VecDeque<(Time, bool)>,
    pub workers: Vec<WorkerInfo>,
}

pub(super) fn is_failed(state: &str) -> bool {
    let mut failed = Rest::ALL.iter().filter(|rest| rest.is_failure());
    failed.any(|rest| rest.name() == state)
}

/// Nothing goes on by itself there: a node rests, or an operator holds it.
fn is_still(state: &str) -> bool {
    let rests = Rest::ALL.iter().any(|rest| rest.name() == state);
    let holds = |kind: &JobKind| {
        let names = kind.spec().names;
        names.is_some_and(|names| names.holding == Some(state))
    };
    rests || JobKind::ALL.iter().any(holds)
}

fn how(line: &Line, usual: &BTreeMap<&str, Duration>, now: Time) -> How {
    let age = now.since(line.since);
    if is_failed(&line.state) {
        return How::Stuck(Reverse(age));
    }
    if is_still(&line.state) {
        return How::Rests;
    }
    let usual = usual.get(&*line.state).copied().unwrap_or(USUAL);
    match age.checked_sub(usual) {
        Some(past) if !past.is_zero() => How::Stuck(Reverse(past)),
        Some(_) | None => How::Busy(Reverse(age)),
    }
}

impl Fleet {
    /// All nodes, as they were asked for at `began`. What an event has said since then is newer.
    pub fn read(&mut self, nodes: Vec<Summary>, began: Time) {
        let mut known = std::mem::take(&mut self.nodes);
        for node in nodes {
            let line = Line::of(&node, began);
            let newer = known
                .remove(&node.id)
                .filter(|known| known.since > node.since);
            let line = match newer {
                Some(newer) => Line {
                    worker: line.worker,
                    maintenance: line.maintenance,
                    ..newer
                },
                None => line,
            };
            self.nodes.insert(node.id, line);
        }
        known.retain(|_, line| line.heard >= began);
        self.nodes.extend(known);
    }

    /// What happened before: how long nodes stayed where they were.
    pub fn past(&mut self, events: &[Event]) {
        let mut since: BTreeMap<NodeId, Time> = BTreeMap::new();
        for happening in events.iter().filter_map(Event::known) {
            let What::State(change) = &happening.what else {
                continue;
            };
            if let Some(since) = since.insert(happening.node, happening.at) {
                self.stayed(&change.from, happening.at.since(since));
            }
        }
    }

    fn stayed(&mut self, state: &str, stay: Duration) {
        if is_still(state) {
            return;
        }
        let stays = self.stays.entry(state.into()).or_default();
        stays.push_back(stay);
        if stays.len() > MAX_STAYS {
            stays.pop_front();
        }
    }

    /// `now`: by the clock of this host, for the rate.
    pub fn happened(&mut self, event: &Event, now: Time) {
        let known = event.known();
        let is_change = known.is_some_and(|it| matches!(it.what, What::State(_)));
        self.events.push_back((now, is_change));
        self.forget_events(now);
        if let Some(happening) = known {
            self.apply(happening, now);
        }
    }

    fn forget_events(&mut self, now: Time) {
        let is_old = |(at, _): &(Time, bool)| now.since(*at) > MINUTE;
        while self.events.front().is_some_and(is_old) || self.events.len() > MAX_EVENTS {
            self.events.pop_front();
        }
    }

    fn apply(&mut self, happening: &Happening, now: Time) {
        let Happening { node, at, what, .. } = happening;
        match what {
            What::Deleted => drop(self.nodes.remove(node)),
            What::Enrolled => {
                let line = Line::new(happening, Rest::Enroll.name(), now);
                self.nodes.entry(*node).or_insert(line);
            }
            What::State(change) => {
                let line = self.nodes.entry(*node);
                let line = line.or_insert_with(|| Line::new(happening, &change.from, now));
                // An event that comes late says nothing new.
                if *at < line.since {
                    return;
                }
                let stay = at.since(line.since);
                let is_known = line.state == change.from;
                (line.since, line.heard) = (*at, now);
                line.state.clone_from(&change.to);
                line.error = change
                    .error
                    .as_ref()
                    .map_or(String::new(), |it| it.what.clone());
                if is_known {
                    self.stayed(&change.from, stay);
                }
            }
            What::Step(_)
            | What::Refused { .. }
            | What::PowerSetStart(_)
            | What::PowerSetEnd(_)
            | What::PowerSetError(_)
            | What::PowerStateCorrected(_)
            | What::Lookup { .. }
            | What::Nudge(_)
            | What::Netboot { .. }
            | What::Lease { .. } => {}
        }
    }

    /// How long a node stays in this state, unless something is wrong.
    fn usual(&self, state: &str) -> Duration {
        let Some(stays) = self.stays.get(state).filter(|it| it.len() >= MIN_STAYS) else {
            return USUAL;
        };
        let mut stays: Vec<Duration> = stays.iter().copied().collect();
        stays.sort_unstable();
        let long = stays[(stays.len() * TENTHS / 10).min(stays.len() - 1)];
        long + long / 2
    }

    /// Of every state that is known of; of others it is [`USUAL`].
    fn usuals(&self) -> BTreeMap<&str, Duration> {
        let states = self.stays.keys();
        states.map(|state| (&**state, self.usual(state))).collect()
    }

    /// Stuck nodes first, then busy ones, the longest first; then by name. Of those in whose line `filter` is.
    pub fn ordered(&self, filter: &str, now: Time) -> Vec<(How, NodeId)> {
        let usual = self.usuals();
        let filter = filter.to_lowercase();
        let has = |line: &Line| {
            let words = [&line.name, &line.state, &line.worker, &line.error];
            words
                .iter()
                .any(|word| word.to_lowercase().contains(&filter))
        };
        let fitting = self
            .nodes
            .iter()
            .filter(|(_, line)| filter.is_empty() || has(line));
        let mut all: Vec<_> = fitting
            .map(|(id, line)| (how(line, &usual, now), &line.name, *id))
            .collect();
        all.sort_unstable();
        all.into_iter().map(|(how, _, id)| (how, id)).collect()
    }

    pub fn get(&self, id: &NodeId) -> Option<&Line> {
        self.nodes.get(id)
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// States with their counts, the most frequent first.
    pub fn states(&self) -> Vec<(&str, usize)> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for line in self.nodes.values() {
            *counts.entry(&line.state).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(state, count)| (Reverse(*count), *state));
        counts
    }

    pub fn stuck(&self, now: Time) -> usize {
        let usual = self.usuals();
        let is_stuck = |line: &&Line| matches!(how(line, &usual, now), How::Stuck(_));
        self.nodes.values().filter(is_stuck).count()
    }

    /// Events in the last minute, and changes of state among them.
    pub fn rates(&mut self, now: Time) -> (usize, usize) {
        self.forget_events(now);
        let changes = self.events.iter().filter(|(_, is_change)| *is_change);
        (self.events.len(), changes.count())
    }
}

impl Line {
    fn of(node: &Summary, heard: Time) -> Self {
        let name = node.name.as_ref();
        Self {
            name: name.map_or_else(|| node.id.to_string(), ToString::to_string),
            state: node.provision_state.clone(),
            since: node.since,
            worker: node.worker.as_ref().map_or("-".into(), ToString::to_string),
            maintenance: node.maintenance,
            error: node.errors(),
            heard,
        }
    }

    /// Of a node that no page had yet.
    fn new(happening: &Happening, state: &str, heard: Time) -> Self {
        let Happening { node, name, at, .. } = happening;
        Self {
            name: name.as_ref().map_or(node.to_string(), ToString::to_string),
            state: state.into(),
            since: *at,
            worker: "-".into(),
            maintenance: false,
            error: String::new(),
            heard,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    pub fn at(secs: u64) -> Time {
        Time::from_unix_ms(1_800_000_000_000 + secs * 1000)
    }

    pub fn id(n: u8) -> NodeId {
        NodeId::from_bytes([n; 16])
    }

    pub fn node(n: u8, state: &str, since: Time) -> Summary {
        let error = is_failed(state).then_some("write the image: no space");
        serde_json::from_value(json!({
            "id": id(n), "name": format!("box{n}"), "provision_state": state, "since": since,
            "maintenance": false, "bmc": "10.0.0.1", "last_error": error, "worker": "w1",
        }))
        .unwrap()
    }

    pub fn change(n: u8, from: &str, to: &str, at: Time) -> Event {
        let body = json!({
            "kind": "state", "node": id(n), "name": format!("box{n}"), "at": at, "worker": "w1",
            "from": from, "to": to, "step": null, "because": "asked", "error": null,
        });
        serde_json::from_value(json!({ "subject": "s", "body": body })).unwrap()
    }

    fn order(fleet: &Fleet, filter: &str, now: Time) -> Vec<NodeId> {
        let ordered = fleet.ordered(filter, now);
        ordered.into_iter().map(|(_, id)| id).collect()
    }

    #[test]
    fn stuck_nodes_come_first_and_those_at_rest_last() {
        let mut fleet = Fleet::default();
        let nodes = vec![
            node(1, "active", at(0)),
            node(2, "deploying", at(4000)),
            node(3, "clean wait", at(0)),
            node(4, "deploy failed", at(4900)),
            node(5, "deploy hold", at(0)),
        ];
        fleet.read(nodes, at(5000));
        let now = at(5000);
        assert_eq!(order(&fleet, "", now), [3, 4, 2, 1, 5].map(id));
        assert_eq!(fleet.stuck(now), 2);
        assert_eq!(order(&fleet, "BOX2", now), [id(2)]);
        assert_eq!(order(&fleet, "no space", now), [id(4)]);
    }

    #[test]
    fn what_is_usual_is_learnt_from_what_happened() {
        let mut fleet = Fleet::default();
        fleet.read(vec![node(1, "deploying", at(1000))], at(1000));
        let line = fleet.get(&id(1)).unwrap().clone();
        assert!(matches!(
            how(&line, &fleet.usuals(), at(1200)),
            How::Busy(_)
        ));
        let mut past = Vec::new();
        for n in 2..12 {
            past.push(change(n, "available", "deploying", at(0)));
            past.push(change(n, "deploying", "active", at(100)));
        }
        fleet.past(&past);
        assert_eq!(fleet.usual("deploying"), Duration::from_secs(150));
        assert_eq!(
            how(&line, &fleet.usuals(), at(1200)),
            How::Stuck(Reverse(Duration::from_secs(50)))
        );
        assert_eq!(fleet.usual("clean wait"), USUAL);
    }

    #[test]
    fn events_are_followed_and_a_page_that_is_older_changes_nothing() {
        let mut fleet = Fleet::default();
        fleet.read(vec![node(1, "available", at(0))], at(10));
        fleet.happened(&change(1, "available", "deploying", at(20)), at(20));
        fleet.happened(&change(1, "enroll", "verifying", at(5)), at(21));
        // A node that no page had.
        fleet.happened(&change(2, "enroll", "verifying", at(30)), at(30));
        fleet.read(vec![node(1, "available", at(0))], at(15));
        assert_eq!(fleet.states(), [("deploying", 1), ("verifying", 1)]);
        assert_eq!(fleet.rates(at(31)), (3, 3));
        assert_eq!(fleet.rates(at(85)), (1, 1));
        // It was deleted, and nobody heard of it.
        fleet.read(vec![node(1, "deploying", at(20))], at(90));
        assert_eq!(fleet.states(), [("deploying", 1)]);
        let gone =
            json!({ "kind": "deleted", "node": id(1), "name": null, "at": at(91), "worker": "w1" });
        let gone = serde_json::from_value(json!({ "subject": "s", "body": gone })).unwrap();
        fleet.happened(&gone, at(91));
        assert_eq!(fleet.len(), 0);
    }
}
