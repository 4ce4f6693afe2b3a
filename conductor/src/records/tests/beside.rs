//! What lies beside a record comes and goes with it: one version of each document, and none that nobody names.
//! `races` tests how records themselves are written.
use super::{DEADLINE, contents, id, next, node, op, server, store};
use crate::records::document::key;
use crate::records::{Revision, Store, StoreError};
use ironbeat_common::inventory::Inventory;
use ironbeat_core::node::{Beside, BesideKind, BmcSecrets, InstanceData, Node, Secret};

fn inventory(serial: &str) -> Inventory {
    let mut inventory = Inventory::default();
    inventory.system.serial = Some(serial.into());
    inventory
}

fn secrets() -> Beside {
    Beside::BmcSecrets(BmcSecrets {
        password: Secret::new("hush"),
        kg: None,
        next: None,
    })
}

/// `node` one write later, with a new inventory.
fn inspected(node: &Node, op: &str) -> Node {
    let mut after = next(node, op);
    after
        .beside
        .set(BesideKind::Inventory, Some(after.op.clone()));
    after
}

/// The record is saved with a new inventory, over what is there or over `before` at an older revision.
async fn inspect(
    store: &Store,
    (before, at): (&Node, Revision),
    op: &str,
) -> Result<Node, StoreError> {
    let after = inspected(before, op);
    let put = [Beside::Inventory(Box::new(inventory(op)))];
    let written = store.write(Some((before, at)), Some(&after), &put).await;
    written.map(|_| after)
}

/// Node 1 is enrolled.
async fn made(store: &Store) -> Node {
    let made = node(1);
    store.write(None, Some(&made), &[secrets()]).await.unwrap();
    made
}

async fn revision(store: &Store) -> Revision {
    store.nodes.load(id(1)).await.unwrap().unwrap().1
}

async fn keys(store: &Store) -> Vec<String> {
    let kv = &store.nodes.kv;
    let mut keys = Vec::new();
    for kind in BesideKind::ALL {
        let found = contents(kv, &format!("{}.>", kind.name())).await;
        keys.extend(found.into_iter().map(|(key, _)| key));
    }
    keys
}

#[tokio::test]
async fn a_new_version_replaces_the_old_one_and_a_forgotten_node_leaves_none() {
    let server = server();
    let store = store(&server).await;
    let mut node = made(&store).await;
    let shown = store.beside.bmc_secrets(&node).await.unwrap().unwrap();
    assert_eq!(shown.password.reveal(), "hush");
    for op in ["first", "second"] {
        let at = revision(&store).await;
        node = inspect(&store, (&node, at), op).await.unwrap();
    }
    let kept = store.beside.inventory(&node).await.unwrap();
    assert_eq!(kept, Some(inventory("second")));
    assert_eq!(keys(&store).await.len(), 2, "{:?}", keys(&store).await);

    // A worker died between putting a document and saving its record.
    let orphan = Beside::InstanceData(InstanceData::default());
    let put = store.beside.put(id(1), &op("died"), &orphan).await;
    put.unwrap();
    let at = revision(&store).await;
    store.write(Some((&node, at)), None, &[]).await.unwrap();
    all_gone(&store).await;
}

async fn all_gone(store: &Store) {
    let gone = tokio::time::timeout(DEADLINE, async {
        // But for the data key.
        while contents(&store.nodes.kv, ">").await.len() > 1 {}
    });
    assert!(gone.await.is_ok(), "left: {:?}", keys(store).await);
}

#[tokio::test]
async fn the_loser_of_a_race_leaves_nothing_beside_the_record() {
    let server = server();
    let store = store(&server).await;
    let before = made(&store).await;
    let at = revision(&store).await;
    let first = inspect(&store, (&before, at), "winner").await.unwrap();
    let lost = inspect(&store, (&before, at), "loser").await;
    assert!(matches!(lost, Err(StoreError::Conflict { .. })), "{lost:?}");
    assert_eq!(keys(&store).await.len(), 2, "{:?}", keys(&store).await);
    let kept = store.beside.inventory(&first).await.unwrap();
    assert_eq!(kept, Some(inventory("winner")));
}

/// A worker that stood still between its save and its sweep.
#[tokio::test]
async fn a_late_sweep_leaves_what_came_after_its_save() {
    let server = server();
    let store = store(&server).await;
    let made = made(&store).await;
    let at = revision(&store).await;
    let first = inspect(&store, (&made, at), "first").await.unwrap();
    let at = revision(&store).await;
    let mut without = next(&first, "without");
    without.beside.set(BesideKind::Inventory, None);
    let saved = store.nodes.save(&first, &without, at).await.unwrap();
    // Its sweep is still to come, and another worker goes on.
    let second = inspect(&store, (&without, saved), "second").await.unwrap();
    store.drop_old(&first, &without.beside).await;
    let kept = store.beside.inventory(&second).await.unwrap();
    assert_eq!(kept, Some(inventory("second")));
    assert_eq!(keys(&store).await.len(), 2, "{:?}", keys(&store).await);
}

/// Its acknowledgement was lost, another worker saved on top of it, and the first one tries again.
#[tokio::test]
async fn a_save_that_landed_unseen_keeps_what_the_record_names() {
    let server = server();
    let store = store(&server).await;
    let before = made(&store).await;
    let at = revision(&store).await;
    let landed = inspect(&store, (&before, at), "landed").await.unwrap();
    let on_top = next(&landed, "on-top");
    let then = revision(&store).await;
    let saved = store.write(Some((&landed, then)), Some(&on_top), &[]).await;
    saved.unwrap();

    let again = inspect(&store, (&before, at), "landed").await;
    assert!(
        matches!(again, Err(StoreError::Conflict { .. })),
        "{again:?}"
    );
    let kept = store.beside.inventory(&on_top).await.unwrap();
    assert_eq!(kept, Some(inventory("landed")));
}

#[tokio::test]
async fn an_inventory_that_cannot_be_read_shuts_no_machine_out() {
    let server = server();
    let store = store(&server).await;
    let made = inspected(&node(1), "lost");
    assert_eq!(store.beside.inventory(&made).await.unwrap(), None);
    let key = format!("inventory.{}.lost", &key::<Node>(id(1))["node.".len()..]);
    store.nodes.kv.put(&key, b"{}".to_vec()).await.unwrap();
    assert_eq!(store.beside.inventory(&made).await.unwrap(), None);
}
