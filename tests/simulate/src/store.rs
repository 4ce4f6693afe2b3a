//! The record store as JetStream would be: revisions, compare-and-swap, claims, the last beats; away during elections.
//! How a worker makes sense of lost acknowledgements is in `ground`, as it is in the conductor's `records/`.
use crate::asks::{Answer, Ask};
use crate::scene::password_number;
use crate::{Happens, TaskId, World};
use ironbeat::records::{Claims, Document, Revision};
use ironbeat_common::id::NodeId;
use ironbeat_core::decide::LastBeat;
use ironbeat_core::id::OpId;
use ironbeat_core::node::{Beside, BesideKind, Candidate, Node};
use std::collections::BTreeMap;

/// A leader that is cut off from the others notices within an election's time.
const DEPOSED_MS: u64 = 9_000;

#[derive(Default)]
pub(crate) struct Store {
    pub nodes: BTreeMap<NodeId, (Node, Revision)>,
    /// Of the markers that deleted records leave.
    ended: BTreeMap<NodeId, Revision>,
    claims: BTreeMap<String, NodeId>,
    beside: BTreeMap<(NodeId, BesideKind, OpId), Beside>,
    /// What each record was before its last change, and until when.
    earlier: BTreeMap<NodeId, (Option<Node>, Revision, u64)>,
    pub beats: BTreeMap<NodeId, LastBeat>,
    pub away: bool,
    pub last: Revision,
}

impl Store {
    fn at(&self, id: NodeId) -> Revision {
        let present = self.nodes.get(&id).map(|(_, at)| *at);
        present.or(self.ended.get(&id).copied()).unwrap_or(0)
    }

    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id).map(|(node, _)| node)
    }

    /// The passwords of this version, as numbers, in the order in which they are tried. None are left of one that is gone.
    pub fn passwords(&self, id: NodeId, version: &OpId) -> Vec<(Candidate, u64)> {
        let key = (id, BesideKind::BmcSecrets, version.clone());
        let Some(Beside::BmcSecrets(secrets)) = self.beside.get(&key) else {
            return Vec::new();
        };
        let all = secrets.candidates().into_iter();
        all.map(|(candidate, password)| (candidate, password_number(&password)))
            .collect()
    }

    /// Every name, MAC address, UUID and BMC has one owner, and it lists them.
    pub fn shared_claim(&self) -> Option<String> {
        let mut seen = BTreeMap::new();
        for (node, _) in self.nodes.values() {
            for claim in node.claims().into_keys() {
                if let Some(other) = seen.insert(claim.clone(), node.id) {
                    return Some(format!("{claim} belongs to {other} and {}", node.id));
                }
            }
        }
        None
    }

    fn taken(&self, id: NodeId, wanted: &Claims) -> Option<(String, NodeId)> {
        wanted.iter().find_map(|(claim, what)| {
            let owner = *self.claims.get(claim)?;
            let lists = |node: &Node| node.claims().contains_key(claim);
            let counts = owner != id && self.node(owner).is_some_and(lists);
            counts.then(|| (what.clone(), owner))
        })
    }
}

impl World {
    /// None: it does not answer.
    pub(crate) fn stored(&mut self, ask: Ask, task: TaskId) -> Option<Answer> {
        if self.store.away {
            return None;
        }
        Some(match ask {
            Ask::Load(id) => {
                let found = match self.earlier(id) {
                    Some(earlier) => earlier,
                    None => self.store.nodes.get(&id).cloned(),
                };
                if let Some(event) = self.in_hand.get(&task) {
                    self.tally.met(found.as_ref().map(|(node, _)| node), event);
                }
                Answer::Loaded(found.map(Box::new))
            }
            Ask::Vacancy(id) => match self.store.nodes.contains_key(&id) {
                true => Answer::Conflict,
                false => Answer::Vacant(self.store.at(id)),
            },
            Ask::Beside(id, kind, version) => {
                let found = self.store.beside.get(&(id, kind, version)).cloned();
                Answer::Beside(found.map(Box::new))
            }
            Ask::Put(id, version, document) => {
                let key = (id, document.kind(), version);
                self.store.beside.insert(key, *document);
                Answer::Put
            }
            Ask::Save {
                node,
                expected,
                before,
                after,
            } => self.save(task, node, expected, before.as_deref(), after),
            Ask::LastBeat(id) => Answer::LastBeat(self.store.beats.get(&id).cloned()),
            Ask::Bmc { .. } => return None,
        })
    }

    /// What a deposed leader has of a record, should it be the one that is asked.
    fn earlier(&mut self, id: NodeId) -> Option<Option<(Node, Revision)>> {
        let (node, at, until) = self.store.earlier.get(&id)?;
        let recent = self.now - until <= DEPOSED_MS;
        let answers = recent
            && self
                .faults
                .rare_chance(&mut self.rng, self.faults.store_stale);
        answers.then(|| node.clone().map(|node| (node, *at)))
    }

    fn save(
        &mut self,
        task: TaskId,
        id: NodeId,
        expected: Revision,
        before: Option<&Node>,
        after: Option<Box<Node>>,
    ) -> Answer {
        let present = self.store.nodes.get(&id);
        if self.store.at(id) != expected {
            return Answer::Conflict;
        }
        let had = present.map(|(node, _)| node.clone());
        if had.as_ref() != before {
            self.judge
                .violation("a record changed without a new revision".into());
        }
        if let Some(after) = &after {
            let wanted = after.claims();
            if let Some((what, owner)) = self.store.taken(id, &wanted) {
                return Answer::Claimed {
                    what,
                    by: format!("node {owner}"),
                };
            }
            self.store
                .claims
                .extend(wanted.into_keys().map(|claim| (claim, id)));
        }
        self.store.last += 1;
        let revision = self.store.last;
        let now = after.map(|after| *after);
        match &now {
            Some(after) => drop(self.store.nodes.insert(id, (after.clone(), revision))),
            None => {
                self.store.nodes.remove(&id);
                self.store.ended.insert(id, revision);
            }
        }
        let earlier = (had.clone(), expected, self.now);
        self.store.earlier.insert(id, earlier);
        let named = now.as_ref().map(|node| node.beside.clone());
        self.store.beside.retain(|(node, kind, version), _| {
            let old = had.as_ref().and_then(|had| had.beside.of(*kind));
            let new = named.as_ref().and_then(|named| named.of(*kind));
            *node != id || old == new || old != Some(version)
        });
        self.saved(task.0, had.as_ref(), now.as_ref());
        for to in 0..self.workers.len() {
            self.may_miss(to);
            let record = now.clone().map(Box::new);
            let lag = self.rng.between(1, 20) + u64::from(self.rng.below(50) == 0) * 2_000;
            self.after(
                lag,
                Happens::Follows {
                    to,
                    node: id,
                    record,
                    revision,
                },
            );
        }
        Answer::Saved(revision)
    }
}
