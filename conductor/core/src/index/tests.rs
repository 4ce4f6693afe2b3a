//! Compares the index with a walk over all nodes, which is slow and plainly right.
use super::{Entry, Index};
use crate::decide::tests::enrolled;
use crate::lookup::{Identity, find};
use crate::node::Node;
use crate::time::Time;
use ironbeat_common::id::{Mac, NodeId, SystemUuid};
use std::collections::BTreeMap;
use std::vec::Vec;

struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u8) -> u8 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        ((self.0 >> 33) % u64::from(bound)) as u8
    }
}

fn mac(n: u8) -> Mac {
    Mac::from_bytes([2, 0, 0, 0, 0, n])
}

/// Few values, so that nodes collide.
fn invent(rng: &mut Rng) -> Node {
    let mut node = enrolled();
    node.id = NodeId::from_bytes([rng.below(12); 16]);
    node.macs = (0..rng.below(3)).map(|_| mac(rng.below(9))).collect();
    let uuid = rng.below(9);
    node.system_uuid = (uuid > 2).then(|| SystemUuid::from_bytes([uuid; 16]));
    let serial = rng.below(9);
    node.serial = (serial > 2).then(|| format!("S{serial}"));
    node.wake_at = (rng.below(2) == 0).then(|| Time::from_unix_ms(1));
    node
}

#[test]
fn a_lookup_by_index_finds_what_a_walk_over_all_nodes_finds() {
    let mut rng = Rng(7);
    for _ in 0..40 {
        let (mut index, mut nodes) = (Index::default(), BTreeMap::new());
        for _ in 0..60 {
            let node = invent(&mut rng);
            if rng.below(4) == 0 {
                index.remove(&node.id);
                nodes.remove(&node.id);
            } else {
                index.put(Entry::of(&node));
                nodes.insert(node.id, node);
            }
            let machine = Identity::of_node(&invent(&mut rng));
            let known: Vec<(NodeId, Identity)> = nodes
                .values()
                .map(|node| (node.id, Identity::of_node(node)))
                .collect();
            let walked = find(&machine, known.iter().map(|(id, node)| (*id, node)));
            assert_eq!(index.find(&machine), walked, "{machine:?} among {known:?}");
        }
        let busy: Vec<NodeId> = index.busy().map(|entry| entry.id).collect();
        let walked: Vec<NodeId> = nodes
            .values()
            .filter(|node| node.wake_at.is_some())
            .map(|node| node.id)
            .collect();
        assert_eq!(busy, walked);
        assert_eq!(index.len(), nodes.len());
    }
}

#[test]
fn a_nic_that_moved_is_found_where_it_is_now() {
    let mut node = enrolled();
    let mut index = Index::default();
    index.put(Entry::of(&node));
    let before = node.macs[0];
    node.macs = vec![mac(77)];
    index.put(Entry::of(&node));
    assert!(index.of_mac(&before).is_none());
    assert_eq!(index.of_mac(&mac(77)).map(|entry| entry.id), Some(node.id));
    index.remove(&node.id);
    assert!(index.of_mac(&mac(77)).is_none() && index.is_empty());
}

#[test]
fn pages_follow_each_other_and_leave_nobody_out() {
    let mut index = Index::default();
    for n in 0..7 {
        let mut node = enrolled();
        node.id = NodeId::from_bytes([n; 16]);
        node.macs = vec![];
        index.put(Entry::of(&node));
    }
    let ids = |after, limit| -> Vec<u8> {
        let page = index.page(after, limit);
        page.map(|entry| entry.id.as_bytes()[0]).collect()
    };
    assert_eq!(ids(None, 3), [0, 1, 2]);
    assert_eq!(ids(Some(NodeId::from_bytes([2; 16])), 3), [3, 4, 5]);
    assert_eq!(ids(Some(NodeId::from_bytes([5; 16])), 3), [6]);
    assert!(ids(Some(NodeId::from_bytes([9; 16])), 3).is_empty());
}
