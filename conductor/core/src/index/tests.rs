//! Compares the index with a walk over all nodes, which is slow and plainly right.
use super::{Entry, Index};
use crate::decide::tests::enrolled;
use crate::lookup::{Identity, MAX_NAMED, Match, walk};
use crate::node::Node;
use crate::time::Time;
use ironbeat_common::heartbeat::{Outcome, Progress, Status};
use ironbeat_common::id::{BootId, Mac, NodeId, StepId, SystemUuid};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::vec;
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
            let walked = walk(&machine, known.iter().map(|(id, node)| (*id, node)));
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

/// The BMCs of a whole site behind one gateway, each at a port of its own.
#[test]
fn a_lookup_looks_at_a_few_nodes_however_many_share_a_bmc_address() {
    let mut index = Index::default();
    let mut node = enrolled();
    node.macs.clear();
    for n in 0..1000u32 {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        node.id = NodeId::from_bytes(id);
        index.put(Entry::of(&node));
    }
    let machine = Identity {
        uuid: None,
        macs: vec![mac(200)],
        serial: None,
        bmc: Identity::of_node(&node).bmc,
    };
    match index.find(&machine) {
        Match::Ambiguous { nodes } => assert_eq!(nodes.len(), MAX_NAMED),
        other @ (Match::One { .. } | Match::None) => panic!("{other:?}"),
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
        let page = index.after(after).take(limit);
        page.map(|entry| entry.id.as_bytes()[0]).collect()
    };
    assert_eq!(ids(None, 3), [0, 1, 2]);
    assert_eq!(ids(Some(NodeId::from_bytes([2; 16])), 3), [3, 4, 5]);
    assert_eq!(ids(Some(NodeId::from_bytes([5; 16])), 3), [6]);
    assert!(ids(Some(NodeId::from_bytes([9; 16])), 3).is_empty());
}

/// A server with four NICs, as a long-lived site has it: all requests and boots that a record remembers are there.
fn record(state: Value) -> Value {
    let op = |n: u32| format!("conductor-03-7f3a9c21-{n}");
    let mut record = json!({
        "schema": 1,
        "id": "5e3b0c1a-77d2-4d3e-9a5f-0f6b8f1c2d3e",
        "name": "rack017-server23",
        "bmc": { "protocol": "ipmi", "address": "10.120.117.23", "username": "administrator" },
        "macs": ["52:54:00:12:34:01", "52:54:00:12:34:02", "52:54:00:12:34:03", "52:54:00:12:34:04"],
        "system_uuid": "38363538-3438-5a43-4a37-313530324e38",
        "serial": "CZJ71502N8",
        "instance": {
            "image": { "source": "debian-13-generic-amd64.raw.zst", "checksum": { "Sha256": "ab".repeat(32) } },
            "hostname": "web23.example.org",
            "ssh_keys": [format!("ssh-ed25519 {} operator@example.org", "A".repeat(68))],
        },
        "state": state,
        "since": "2026-11-29T09:53:23.948Z",
        "power": { "on": true, "at": "2026-11-29T09:53:23.948Z", "source": "bmc" },
        "past_boots": vec!["5e3b0c1a-77d2-4d3e-9a5f-0f6b8f1c2d3e"; 4],
        "found_boot_mode": "uefi",
        "beside": { "inventory": op(4711), "instance_data": op(4710), "bmc_secrets": op(12) },
        "counter": 48,
        "requests": vec!["1a935ec2-030c-4f23-8a7d-1b28e113169f"; 16],
        "op": op(4719),
    });
    if record["state"].get("busy").is_some() {
        record["wake_at"] = json!("2026-11-29T10:53:23.948Z");
        record["boot"] = json!("6e3b0c1a-77d2-4d3e-9a5f-0f6b8f1c2d3e");
    }
    record
}

/// In the middle of writing an image.
fn deploy() -> Value {
    let disk = json!({
        "name": "/dev/nvme0n1", "size_bytes": 960_197_124_096_u64, "serial": "S439NA0M512345", "wwn": "eui.0025385b11b2c3d4",
    });
    let write = json!({
        "disk": disk, "source": "debian-13-generic-amd64.raw.zst", "format": "zstd",
        "checksum": { "Sha256": "ab".repeat(32) },
    });
    json!({ "busy": {
        "kind": "deploy",
        "goal": { "rest": "active" },
        "began": "2026-11-29T09:53:23.948Z",
        "steps": [
            { "bmc": "netboot" },
            "await_agent",
            { "agent": { "write_image": write } },
            { "agent": { "set_boot_entry": { "disk": disk, "label": "ironbeat" } } },
            { "agent": "power_off" },
            { "bmc": { "leave_ramdisk": { "patience_secs": 30 } } },
            { "bmc": "boot_disk" },
        ],
        "at": 2,
        "tries": 1,
        "boots": 1,
        "phase": { "agent_step": {
            "id": 48,
            "since": "2026-11-29T09:53:23.948Z",
            "until": "2026-11-29T11:53:23.948Z",
            "seen": "2026-11-29T09:58:23.948Z",
            "mark": { "phase": "write", "done": 512_345_678, "total": 2_512_345_678_u64 },
            "marked": "2026-11-29T09:58:23.948Z",
        } },
    } })
}

/// ARCHITECTURE.md, "Keys", reckons with these sizes.
#[test]
fn entries_and_records_are_small() {
    for (state, entry_bytes, record_bytes) in [
        (json!({ "resting": "active" }), 480, 1900),
        (deploy(), 620, 2900),
    ] {
        let stored = record(state);
        let node: Node = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(serde_json::to_value(&node).unwrap(), stored);
        let entry = serde_json::to_string(&Entry::of(&node)).unwrap();
        assert!(entry.len() <= entry_bytes, "{} bytes: {entry}", entry.len());
        let record = serde_json::to_string(&node).unwrap().len();
        assert!(record <= record_bytes, "{record} bytes");
    }
}

#[test]
fn a_beat_goes_on_when_its_agent_is_at_the_step_that_it_was_given() {
    let node: Node = serde_json::from_value(record(deploy())).unwrap();
    let entry = Entry::of(&node);
    let boot = node.boot.unwrap();
    let at = |step| Status::Running {
        step: StepId(step),
        progress: Progress::default(),
    };
    assert!(entry.goes_on(boot, &at(48)));
    assert!(!entry.goes_on(boot, &at(47)), "a step of before");
    assert!(!entry.goes_on(BootId::from_bytes([1; 16]), &at(48)));
    assert!(!entry.goes_on(boot, &Status::Idle), "it has to begin");
    let outcome = Outcome::Nothing;
    let done = Status::Done {
        step: StepId(48),
        outcome,
    };
    assert!(!entry.goes_on(boot, &done));
    let rests: Node = serde_json::from_value(record(json!({ "resting": "active" }))).unwrap();
    assert!(!Entry::of(&rests).goes_on(boot, &at(48)));
}
