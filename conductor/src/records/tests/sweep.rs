//! What lies beside records and no record names goes, whoever died in the middle of what; what is named stays.
//! `beside` tests how documents come and go when nothing goes wrong.
use super::proxy::hold_back;
use super::{
    DEADLINE, PATIENCE, connect, create, eventually, id, masters, next, node, op, server, store,
};
use crate::records::view::View;
use crate::records::{Names, Store, StoreError};
use ironbeat_core::node::{
    Beside, BesideKind, BmcSecrets, InstanceData, Node, Rest, Secret, State,
};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

fn secrets() -> Beside {
    Beside::BmcSecrets(BmcSecrets {
        password: Secret::new("hush"),
        kg: None,
        next: None,
    })
}

fn user_data() -> Beside {
    Beside::InstanceData(InstanceData::default())
}

/// `node` one write later, with a new password.
fn changed(node: &Node, op: &str) -> Node {
    let mut after = next(node, op);
    after
        .beside
        .set(BesideKind::BmcSecrets, Some(after.op.clone()));
    after
}

async fn enrolled(store: &Store, n: u16) -> Node {
    let made = node(n);
    store.write(None, Some(&made), &[secrets()]).await.unwrap();
    made
}

async fn put(store: &Store, n: u16, version: &str, document: Beside) {
    let put = store.beside.put(id(n), &op(version), &document).await;
    put.unwrap();
}

async fn save(store: &Store, before: &Node, after: &Node) -> Result<(), StoreError> {
    let at = store.nodes.load(before.id).await.unwrap().unwrap().1;
    store
        .write(Some((before, at)), Some(after), &[secrets()])
        .await
        .map(drop)
}

/// The versions that lie beside records.
async fn versions(store: &Store) -> Vec<String> {
    let mut versions: Vec<String> = Vec::new();
    for kind in BesideKind::ALL {
        let keys = store.nodes.kv.keys(&format!("{}.>", kind.name())).await;
        let keys = keys.unwrap();
        versions.extend(
            keys.iter()
                .map(|key| key.rsplit('.').next().unwrap().into()),
        );
    }
    versions.sort();
    versions
}

/// Waits until these versions are left, and no other.
async fn left(store: &Store, expected: &[&str]) {
    let swept = tokio::time::timeout(DEADLINE, async {
        while versions(store).await != expected {}
    });
    let swept = swept.await;
    assert!(swept.is_ok(), "left: {:?}", versions(store).await);
}

/// Hears its server through a proxy.
async fn through(url: &str) -> Store {
    let client = connect(url).await;
    let opened = Store::open_patiently(client, &Names::default(), masters(), PATIENCE).await;
    opened.unwrap()
}

/// Its record went, and its worker before it could drop what lay beside it.
#[tokio::test]
async fn a_delete_that_was_cut_short_is_finished_by_another_and_spares_all_other_nodes() {
    let server = server();
    let (store, other) = (store(&server).await, store(&server).await);
    let made = enrolled(&store, 2).await;
    let at = store.nodes.load(id(2)).await.unwrap().unwrap().1;
    store.nodes.remove(&made, at).await.unwrap();
    let spared = enrolled(&store, 1).await;
    assert_eq!(versions(&store).await, ["made-1", "made-2"]);
    // The sweep takes them in this order, and nothing goes of a node that there is.
    other.finish_delete(id(1));
    other.finish_delete(id(2));
    left(&store, &["made-1"]).await;
    assert!(store.beside.bmc_secrets(&spared).await.unwrap().is_some());
}

#[tokio::test]
async fn an_enrolment_that_never_landed_leaves_no_password_and_lands_no_more() {
    let server = server();
    let (dead, other) = (store(&server).await, store(&server).await);
    let vacant = dead.nodes.vacancy(id(1)).await.unwrap();
    assert_eq!(vacant, 0);
    put(&dead, 1, "made-1", secrets()).await;
    // An operator deletes it, and is told that there is no such node.
    other.finish_delete(id(1));
    left(&other, &[]).await;
    // It was not dead, but slow.
    let late = dead.nodes.create(&node(1), vacant).await;
    assert!(matches!(late, Err(StoreError::Conflict { .. })), "{late:?}");
    let again = enrolled(&other, 1).await;
    assert!(other.beside.bmc_secrets(&again).await.unwrap().is_some());
}

/// The client repeats its request at another worker, deletes the node again, and then the first worker goes on.
#[tokio::test]
async fn an_enrolment_that_was_overtaken_by_another_and_a_delete_lands_no_more() {
    let server = server();
    let other = store(&server).await;
    let hold = watch::Sender::new(false);
    let hears = |words: &str| words.contains("PUB $KV.ib.bmc_secrets.").then_some(true);
    let url = hold_back(server.address(), hold.clone(), hears).await;
    let client = connect(&url).await;
    let slow = Store::open(client, &Names::default(), masters())
        .await
        .unwrap();
    let mut first = node(1);
    first.op = op("first");
    first
        .beside
        .set(BesideKind::BmcSecrets, Some(first.op.clone()));
    let enrolment = {
        let first = first.clone();
        tokio::spawn(async move { slow.write(None, Some(&first), &[secrets()]).await })
    };
    left(&other, &["first"]).await;
    let second = enrolled(&other, 1).await;
    let at = other.nodes.load(id(1)).await.unwrap().unwrap().1;
    other.write(Some((&second, at)), None, &[]).await.unwrap();
    left(&other, &[]).await;
    hold.send_replace(false);
    let late = enrolment.await.unwrap();
    assert!(matches!(late, Err(StoreError::Conflict { .. })), "{late:?}");
    assert!(other.nodes.load(id(1)).await.unwrap().is_none());
}

#[tokio::test]
async fn an_old_password_that_outlived_its_worker_goes_with_the_next_change() {
    let server = server();
    let (dying, other) = (store(&server).await, store(&server).await);
    let first = enrolled(&dying, 1).await;
    let at = dying.nodes.load(id(1)).await.unwrap().unwrap().1;
    let second = changed(&first, "second");
    put(&dying, 1, "second", secrets()).await;
    dying.nodes.save(&first, &second, at).await.unwrap();
    // It died before it dropped the first one.
    drop(dying);
    let third = changed(&second, "third");
    save(&other, &second, &third).await.unwrap();
    left(&other, &["third"]).await;
    assert!(other.beside.bmc_secrets(&third).await.unwrap().is_some());
}

/// Neither of the two who write then knows that the first one's password is for it to drop.
#[tokio::test]
async fn a_save_that_landed_unheard_and_was_saved_on_top_of_leaves_no_old_password() {
    let server = server();
    let other = store(&server).await;
    let first = enrolled(&other, 1).await;
    let at = other.nodes.load(id(1)).await.unwrap().unwrap().1;
    let (hold, asks) = (watch::Sender::new(false), watch::Sender::new(false));
    let mut asked = asks.subscribe();
    let mut is_written = false;
    let hears = move |words: &str| {
        if is_written && words.contains("STREAM.MSG.GET") {
            asks.send_replace(true);
        }
        let first = words.contains("PUB $KV.ib.node.") && !is_written;
        is_written |= first;
        first.then_some(true)
    };
    let url = hold_back(server.address(), hold.clone(), hears).await;
    let client = connect(&url).await;
    let slow = Store::open_patiently(client, &Names::default(), masters(), PATIENCE).await;
    let slow = slow.unwrap();
    let second = changed(&first, "second");
    let saving = {
        let (slow, second) = (slow.clone(), second.clone());
        tokio::spawn(async move {
            slow.write(Some((&first, at)), Some(&second), &[secrets()])
                .await
        })
    };
    let landed = async || {
        let (present, at) = other.nodes.load(id(1)).await.unwrap().unwrap();
        (present == second).then_some(at)
    };
    let at = loop {
        if let Some(at) = landed().await {
            break at;
        }
    };
    let third = next(&second, "third");
    other.nodes.save(&second, &third, at).await.unwrap();
    let waited = tokio::time::timeout(DEADLINE, asked.wait_for(|asked| *asked)).await;
    waited.expect("it asks what became of it").unwrap();
    hold.send_replace(false);
    let saved = saving.await.unwrap();
    assert!(
        matches!(saved, Err(StoreError::Conflict { .. })),
        "{saved:?}"
    );
    left(&other, &["second"]).await;
}

/// A worker puts a document and stands still before it saves the record that names it.
#[tokio::test]
async fn a_save_whose_document_was_swept_loses_its_race() {
    let server = server();
    let (slow, other) = (store(&server).await, store(&server).await);
    let before = enrolled(&slow, 1).await;
    let (_, at) = slow.nodes.load(id(1)).await.unwrap().unwrap();
    let after = changed(&before, "slow");
    put(&slow, 1, "slow", secrets()).await;
    other.finish_delete(id(1));
    left(&other, &["made-1"]).await;
    let late = slow.nodes.save(&before, &after, at).await;
    assert!(matches!(late, Err(StoreError::Conflict { .. })), "{late:?}");
    // The record is what it was, and so is what all know of it.
    let (present, now) = other.nodes.load(id(1)).await.unwrap().unwrap();
    assert_eq!(present, before);
    assert!(now > at);
    let view = View::start(&other);
    view.ready().await;
    assert!(view.get(&id(1)).is_some());
    // Decided on again, it lands.
    save(&other, &present, &changed(&present, "again"))
        .await
        .unwrap();
    left(&other, &["again"]).await;
}

#[tokio::test]
async fn a_document_whose_put_was_not_acknowledged_goes() {
    let server = server();
    let other = store(&server).await;
    let hold = watch::Sender::new(false);
    let hears = |words: &str| words.contains("PUB $KV.ib.bmc_secrets.").then_some(true);
    let url = hold_back(server.address(), hold.clone(), hears).await;
    let deaf = through(&url).await;
    let made = node(1);
    let written = deaf.write(None, Some(&made), &[secrets()]).await;
    assert!(matches!(written, Err(StoreError::Kv(_))), "{written:?}");
    assert_eq!(versions(&other).await, ["made-1"]);
    hold.send_replace(false);
    left(&other, &[]).await;
}

/// The server is killed before it has heard that the old version shall go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_dropped_is_dropped_when_the_server_is_back() {
    let killed = Arc::new(Mutex::new(server()));
    let address = killed.lock().unwrap().address();
    let hears = {
        let mut alive = Some(Arc::clone(&killed));
        move |words: &str| {
            if words.contains("STREAM.MSG.DELETE")
                && let Some(server) = alive.take()
            {
                server.lock().unwrap().kill();
            }
            None
        }
    };
    let url = hold_back(address, watch::Sender::new(false), hears).await;
    let store = through(&url).await;
    let first = enrolled(&store, 1).await;
    // It is not the change of a password that has it swept.
    let at = store.nodes.load(id(1)).await.unwrap().unwrap().1;
    let mut without = next(&first, "without");
    without
        .beside
        .set(BesideKind::InstanceData, Some(op("with")));
    put(&store, 1, "with", user_data()).await;
    store.nodes.save(&first, &without, at).await.unwrap();
    let at = store.nodes.load(id(1)).await.unwrap().unwrap().1;
    let after = next(&without, "after");
    let after = Node {
        beside: first.beside.clone(),
        ..after
    };
    let written = store.write(Some((&without, at)), Some(&after), &[]).await;
    written.unwrap();
    killed.lock().unwrap().start().unwrap();
    let url = killed.lock().unwrap().url();
    let direct = super::store_at(&url).await;
    assert_eq!(versions(&direct).await, ["made-1", "with"]);
    left(&direct, &["made-1"]).await;
}

/// Too many for one list each.
#[tokio::test]
async fn many_nodes_are_swept_in_one_go() {
    let server = server();
    let store = store(&server).await;
    for n in 1..=20 {
        put(&store, n, "died", secrets()).await;
    }
    enrolled(&store, 21).await;
    for n in 1..=21 {
        store.finish_delete(id(n));
    }
    left(&store, &["made-21"]).await;
}

#[tokio::test]
async fn a_look_over_all_nodes_finds_what_dead_workers_left() {
    let server = server();
    let (dead, other) = (store(&server).await, store(&server).await);
    // An enrolment that never landed, an older password, a newer one, and data of an instance that is gone.
    put(&dead, 1, "never", secrets()).await;
    enrolled(&dead, 2).await;
    put(&dead, 2, "older", secrets()).await;
    enrolled(&dead, 3).await;
    put(&dead, 3, "newer", secrets()).await;
    let mut rests = node(4);
    rests.state = State::Resting(Rest::Available);
    rests.beside = Default::default();
    create(&dead, &rests).await.unwrap();
    put(&dead, 4, "user-data", user_data()).await;
    enrolled(&dead, 5).await;
    drop(dead);
    let view = View::start(&other);
    view.ready().await;
    assert_eq!(other.look_over(&view).await.unwrap(), 4);
    left(&other, &["made-2", "made-3", "made-5"]).await;
    eventually("the view sees it", || view.len() == 4).await;
    assert_eq!(other.look_over(&view).await.unwrap(), 0);
}
