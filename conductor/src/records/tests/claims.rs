//! What belongs to one node belongs to no other: races for it, claims left behind, claims taken over.
//! `races` has the races for one record.
use super::proxy::hold_back;
use super::{DEADLINE, connect, contents, create, id, mac, masters, next, node, server, store};
use crate::records::document::{Document, key};
use crate::records::{Names, Store, StoreError};
use futures_util::future::join_all;
use ironbeat_common::id::{NodeId, SystemUuid};
use ironbeat_core::node::Node;
use ironbeat_rack::nats::NatsServer;
use tokio::sync::watch;

fn quoted(id: NodeId) -> String {
    format!("\"{id}\"")
}

/// Every claim names a node that lists it, and every node holds what it lists.
async fn judge(store: &Store, nodes: u16) {
    let mut expected = Vec::new();
    for n in 0..nodes {
        if let Some((node, _)) = store.nodes.load(id(n)).await.unwrap() {
            let keys = node.claims().into_keys();
            expected.extend(keys.map(|claim| (format!("ix.node.{claim}"), quoted(node.id))));
        }
    }
    expected.sort();
    assert_eq!(contents(&store.nodes.kv, "ix.>").await, expected);
}

#[tokio::test]
async fn claims_are_readable_and_go_with_their_node() {
    let server = server();
    let store = store(&server).await;
    let mut made = node(1);
    made.system_uuid = Some(SystemUuid::from_bytes([0x11; 16]));
    let revision = create(&store, &made).await.unwrap();
    let expected = [
        "ix.node.bmc.10-77-0-1",
        "ix.node.mac.020000000001",
        "ix.node.name.n1",
        "ix.node.uuid.11111111-1111-1111-1111-111111111111",
    ]
    .map(|key| (key.to_string(), quoted(id(1))));
    assert_eq!(contents(&store.nodes.kv, "ix.>").await, expected);

    let mut moved = next(&made, "moved");
    (moved.macs, moved.name) = (vec![mac(7), mac(8)], None);
    let revision = store.nodes.save(&made, &moved, revision).await.unwrap();
    judge(&store, 2).await;
    assert_eq!(contents(&store.nodes.kv, "ix.node.mac.*").await.len(), 2);
    store.nodes.remove(&moved, revision).await.unwrap();
    assert!(contents(&store.nodes.kv, ">").await.is_empty());
}

#[tokio::test]
async fn of_forty_nodes_that_want_one_mac_one_is_stored_and_the_others_leave_nothing() {
    let server = server();
    let store = store(&server).await;
    let racers = (0..40).map(|n| {
        let store = store.clone();
        async move {
            let mut node = node(n);
            node.macs.push(mac(999));
            create(&store, &node).await.map(|_| n)
        }
    });
    let results = join_all(racers).await;
    let winners: Vec<u16> = results.iter().flatten().copied().collect();
    assert_eq!(winners.len(), 1, "{results:?}");
    for lost in results.iter().filter_map(|result| result.as_ref().err()) {
        assert!(
            matches!(&lost, StoreError::Claimed { what, by } if what.contains("03:e7") && *by == format!("node {}", id(winners[0]))),
            "{lost}"
        );
    }
    assert_eq!(contents(&store.nodes.kv, "node.>").await.len(), 1);
    judge(&store, 40).await;
}

#[tokio::test]
async fn a_second_node_with_the_same_mac_is_refused_and_named() {
    let server = server();
    let store = store(&server).await;
    create(&store, &node(1)).await.unwrap();
    let second = node(2);
    let revision = create(&store, &second).await.unwrap();
    let mut wish = next(&second, "wish");
    wish.macs = vec![mac(2), mac(1)];
    let error = store
        .nodes
        .save(&second, &wish, revision)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("MAC address 02:00:00:00:00:01 belongs to node {}", id(1))
    );
    assert_eq!(
        store.nodes.load(id(2)).await.unwrap(),
        Some((second, revision))
    );
    judge(&store, 3).await;
}

/// A new node and one that changes want the same address at the same moment: neither sees the other's record in time.
#[tokio::test]
async fn a_new_node_and_a_changing_one_never_share_an_address() {
    let server = server();
    let store = store(&server).await;
    for round in 0..10 {
        let (old, new) = (node(2 * round), node(2 * round + 1));
        let shared = mac(5000 + round);
        let revision = create(&store, &old).await.unwrap();
        let with = |node: &Node| {
            let mut node = next(node, format!("round-{round}"));
            node.macs.push(shared);
            node
        };
        let (changing, making) = (with(&old), with(&new));
        let (saved, created) = tokio::join!(
            store.nodes.save(&old, &changing, revision),
            create(&store, &making)
        );
        let winners = usize::from(saved.is_ok()) + usize::from(created.is_ok());
        assert_eq!(winners, 1, "round {round}: {saved:?} {created:?}");
    }
    judge(&store, 20).await;
}

#[tokio::test]
async fn a_stale_claim_is_taken_over() {
    let server = server();
    let store = store(&server).await;
    create(&store, &node(1)).await.unwrap();
    for (claim, value) in [
        // Of a node that was never written, of one that does not list it, of nobody.
        ("ix.node.mac.020000000002", quoted(id(99))),
        ("ix.node.name.n2", quoted(id(1))),
        ("ix.node.bmc.10-77-0-2", "not JSON".into()),
    ] {
        store.nodes.kv.put(claim, value.into_bytes()).await.unwrap();
    }
    create(&store, &node(2)).await.unwrap();
    judge(&store, 3).await;
}

/// An owner whose record cannot be read may well list it.
#[tokio::test]
async fn a_claim_of_an_unreadable_node_stands() {
    let server = server();
    let store = store(&server).await;
    create(&store, &node(1)).await.unwrap();
    let key = key::<Node>(id(1));
    store.nodes.kv.put(&key, b"{}".to_vec()).await.unwrap();
    let mut second = node(2);
    second.macs = vec![mac(1)];
    let error = create(&store, &second).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Claimed { by, .. } if *by == format!("node {}", id(1))),
        "{error}"
    );
}

/// A store whose worker stands still right after its claim of a MAC address has reached the server, until released.
async fn slow_after_claiming(server: &NatsServer, hold: &watch::Sender<bool>) -> Store {
    let claims_mac = |words: &str| words.contains("HPUB $KV.ib.ix.node.mac.").then_some(true);
    let url = hold_back(server.address(), hold.clone(), claims_mac).await;
    let client = connect(&url).await;
    Store::open(client, &Names::default(), masters())
        .await
        .unwrap()
}

async fn until_claimed(hold: &watch::Sender<bool>) {
    let mut held = hold.subscribe();
    let claimed = tokio::time::timeout(DEADLINE, held.wait_for(|held| *held)).await;
    claimed.expect("the claim is sent").unwrap();
}

/// Its claim was taken over meanwhile, and the new owner lists it: the slow one steps back, whole.
#[tokio::test]
async fn a_new_node_whose_claim_went_stale_before_its_record_came_is_undone() {
    let server = server();
    let direct = store(&server).await;
    let hold = watch::Sender::new(false);
    let slow = slow_after_claiming(&server, &hold).await;
    let (loser, mut winner) = (node(1), node(2));
    winner.macs = vec![mac(1)];
    let slow_create = tokio::spawn(async move { create(&slow, &loser).await });
    until_claimed(&hold).await;
    create(&direct, &winner).await.unwrap();
    hold.send_replace(false);
    let lost = slow_create.await.unwrap().unwrap_err();
    assert!(
        matches!(&lost, StoreError::Claimed { by, .. } if *by == format!("node {}", id(2))),
        "{lost}"
    );
    assert!(direct.nodes.load(id(1)).await.unwrap().is_none());
    judge(&direct, 3).await;
}

#[tokio::test]
async fn a_changed_node_whose_claim_went_stale_before_its_record_came_is_as_it_was() {
    let server = server();
    let direct = store(&server).await;
    let before = node(1);
    let revision = create(&direct, &before).await.unwrap();
    let hold = watch::Sender::new(false);
    let slow = slow_after_claiming(&server, &hold).await;
    let mut wish = next(&before, "wish");
    wish.macs = vec![mac(1), mac(9)];
    let mut winner = node(2);
    winner.macs = vec![mac(9)];
    let slow_save = {
        let before = before.clone();
        tokio::spawn(async move { slow.nodes.save(&before, &wish, revision).await })
    };
    until_claimed(&hold).await;
    create(&direct, &winner).await.unwrap();
    hold.send_replace(false);
    let lost = slow_save.await.unwrap().unwrap_err();
    assert!(
        matches!(&lost, StoreError::Claimed { by, .. } if *by == format!("node {}", id(2))),
        "{lost}"
    );
    assert_eq!(direct.nodes.load(id(1)).await.unwrap().unwrap().0, before);
    judge(&direct, 3).await;
}
