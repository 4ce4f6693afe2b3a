//! Whose turn it is where only so many jobs of a kind run at once: who waits, in which order, and which places are free.
//! The index counts, and may be a moment behind. A place is claimed with the record, so no two nodes have the same one.
use super::entry::Entry;
use crate::node::JobKind;
use crate::policy::Policy;
use crate::time::Time;
use crate::turn::Turn;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use ironbeat_common::id::NodeId;

/// The turns of all nodes.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    /// First come, first served.
    line: BTreeSet<(JobKind, Time, NodeId)>,
    taken: BTreeSet<(JobKind, u16, NodeId)>,
}

impl Turns {
    pub(crate) fn change(&mut self, before: Option<&Entry>, now: Option<&Entry>) {
        if let Some(before) = before {
            match before.turn {
                Some(Turn::Waits(kind)) => drop(self.line.remove(&(kind, before.since, before.id))),
                Some(Turn::Has(kind, place)) => drop(self.taken.remove(&(kind, place, before.id))),
                None => {}
            }
        }
        if let Some(now) = now {
            match now.turn {
                Some(Turn::Waits(kind)) => drop(self.line.insert((kind, now.since, now.id))),
                Some(Turn::Has(kind, place)) => drop(self.taken.insert((kind, place, now.id))),
                None => {}
            }
        }
    }

    fn waiting(&self, kind: JobKind) -> impl Iterator<Item = NodeId> {
        let of_kind = self.line.iter().filter(move |(its, _, _)| *its == kind);
        of_kind.map(|(_, _, id)| *id)
    }

    /// Whose turn it is now, and the place for each; none: places are not counted. Every worker comes to the same answer.
    pub fn next(&self, policy: &Policy) -> Vec<(NodeId, Option<u16>)> {
        let mut next = Vec::new();
        // Nearly always nobody waits.
        if self.line.is_empty() {
            return next;
        }
        for kind in JobKind::ALL {
            let waiting = self.waiting(*kind);
            let Some(max) = policy.max_concurrent(*kind) else {
                next.extend(waiting.map(|id| (id, None)));
                continue;
            };
            let of_kind = self.taken.iter().filter(|(its, _, _)| its == kind);
            let taken: BTreeSet<u16> = of_kind.map(|(_, place, _)| *place).collect();
            // Where the limit was lowered, those beyond it run on and count.
            let room = usize::from(max).saturating_sub(taken.len());
            let free = (0..max).filter(|place| !taken.contains(place)).take(room);
            next.extend(waiting.zip(free.map(Some)));
        }
        next
    }

    /// A node's place in the line, from 1; none: it is not in line.
    pub fn position(&self, node: &Entry) -> Option<usize> {
        let Some(Turn::Waits(kind)) = node.turn else {
            return None;
        };
        let before = self.waiting(kind).position(|id| id == node.id);
        before.map(|before| before + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tests::enrolled;
    use crate::index::Index;
    use std::vec;

    fn entry(n: u8, since: u64, turn: Option<Turn>) -> Entry {
        let mut node = enrolled();
        (node.id, node.since) = (NodeId::from_bytes([n; 16]), Time::from_unix_ms(since));
        node.macs = vec![];
        let mut entry = Entry::of(&node);
        entry.turn = turn;
        entry
    }

    fn next(index: &Index, deploys: u16) -> Vec<(u8, Option<u16>)> {
        let policy = Policy {
            max_concurrent_deploy: deploys,
            max_concurrent_clean: 1,
            ..Policy::default()
        };
        let next = index.turns().next(&policy);
        next.into_iter()
            .map(|(id, place)| (id.as_bytes()[0], place))
            .collect()
    }

    #[test]
    fn the_first_in_line_get_the_free_places() {
        let mut index = Index::default();
        let waits = Some(Turn::Waits(JobKind::Deploy));
        let has = |place| Some(Turn::Has(JobKind::Deploy, place));
        for (n, since, turn) in [
            (1, 30, waits),
            (2, 10, waits),
            (3, 20, waits),
            (4, 1, has(1)),
        ] {
            index.put(entry(n, since, turn));
        }
        index.put(entry(5, 5, Some(Turn::Waits(JobKind::Clean))));
        index.put(entry(6, 5, Some(Turn::Has(JobKind::Clean, 0))));
        assert_eq!(next(&index, 3), [(2, Some(0)), (3, Some(2))]);
        assert_eq!(next(&index, 1), []);
        assert_eq!(next(&index, 0), [(2, None), (3, None), (1, None)]);
        let position = |n: u8| {
            let id = NodeId::from_bytes([n; 16]);
            index.turns().position(index.get(&id).unwrap())
        };
        assert_eq!(
            [1, 2, 3, 4, 5].map(position),
            [Some(3), Some(1), Some(2), None, Some(1)]
        );
    }

    #[test]
    fn a_lowered_limit_holds_for_those_who_come_and_lets_the_others_end() {
        let mut index = Index::default();
        for place in [4, 7] {
            index.put(entry(
                place as u8,
                1,
                Some(Turn::Has(JobKind::Deploy, place)),
            ));
        }
        index.put(entry(1, 9, Some(Turn::Waits(JobKind::Deploy))));
        assert_eq!(next(&index, 2), []);
        assert_eq!(next(&index, 3), [(1, Some(0))]);
        index.put(entry(4, 2, None));
        index.remove(&NodeId::from_bytes([7; 16]));
        assert_eq!(next(&index, 2), [(1, Some(0))]);
        index.put(entry(1, 9, Some(Turn::Has(JobKind::Deploy, 0))));
        assert_eq!(next(&index, 2), []);
    }
}
