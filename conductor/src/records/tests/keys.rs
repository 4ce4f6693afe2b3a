//! Secrets at rest: sealed, bound to their place, readable with the master key alone, and sealed anew while all runs.
//! `secrets` tests the ciphers without a store.
use super::{connect, contents, id, masters, next, node, op, server, store, store_at};
use crate::drive::Records as _;
use crate::records::keys::{KEY, Keys};
use crate::records::logins::Logins;
use crate::records::rotate::Rotated;
use crate::records::{Names, Store, StoreError};
use crate::secrets::{Broken, MasterKey, MasterKeys};
use ironbeat_core::node::{Beside, BesideKind, BmcSecrets, InstanceData, Node, Secret};
use std::collections::BTreeSet;
use std::time::Duration;

fn password(text: &str) -> Beside {
    Beside::BmcSecrets(BmcSecrets {
        password: Secret::new(text),
        kg: Some("6b6579".parse().unwrap()),
        next: None,
    })
}

/// Node `n` with a password and user data.
async fn enrolled(store: &Store, n: u16) -> Node {
    let mut made = node(n);
    made.beside.bmc_secrets = Some(made.op.clone());
    made.beside.instance_data = Some(made.op.clone());
    let data = InstanceData {
        user_data: Some(format!("hush-data-{n}")),
        ..InstanceData::default()
    };
    let put = [password(&format!("hush-{n}")), Beside::InstanceData(data)];
    store.write(None, Some(&made), &put).await.unwrap();
    made
}

/// It can be read, as it was written.
async fn assert_opens(store: &Store, node: &Node, n: u16) {
    let secrets = store.beside.bmc_secrets(node).await.unwrap().unwrap();
    assert_eq!(secrets.password, Secret::new(format!("hush-{n}")));
    let data = store.beside.instance_data(node).await.unwrap().unwrap();
    assert_eq!(data.user_data, Some(format!("hush-data-{n}")));
}

async fn secrets_of(store: &Store) -> Vec<(String, String)> {
    let kv = &store.nodes.kv;
    let mut all = contents(kv, "bmc_secrets.>").await;
    all.extend(contents(kv, "instance_data.>").await);
    all
}

/// The data keys that seal something, and those that there are.
async fn used_and_there(store: &Store) -> (BTreeSet<String>, BTreeSet<String>) {
    let used = secrets_of(store).await.into_iter().map(|(_, value)| {
        let envelope: serde_json::Value = serde_json::from_str(&value).unwrap();
        envelope["key"].as_str().expect(&value).to_string()
    });
    let keys = store.nodes.kv.read(KEY).await.unwrap().0.unwrap();
    let keys: Keys = serde_json::from_slice(&keys).unwrap();
    assert!(keys.data.contains_key(&keys.current));
    (used.collect(), keys.data.into_keys().collect())
}

/// A worker that has only just started: it remembers nothing.
async fn fresh(url: &str, masters: &MasterKeys) -> Store {
    let store = Store::open(connect(url).await, &Names::default(), masters).await;
    store.unwrap()
}

fn why<T>(result: Result<T, StoreError>) -> Broken {
    match result.err().expect("it does not open") {
        StoreError::Sealed { why, .. } => why,
        error => panic!("{error}"),
    }
}

#[tokio::test]
async fn secrets_lie_sealed_and_every_worker_with_the_master_key_opens_them() {
    let server = server();
    let store = store(&server).await;
    let made = enrolled(&store, 1).await;
    for (key, value) in contents(&store.nodes.kv, ">").await {
        for secret in ["hush", "6b6579", "aHVzaC"] {
            assert!(!value.contains(secret), "{key}: {value}");
        }
    }
    let of_length = async |text: &str| {
        let (version, document) = (op(text), password(text));
        store.beside.put(id(9), &version, &document).await.unwrap();
        let key = format!("bmc_secrets.*.*.{text}");
        contents(&store.nodes.kv, &key).await[0].1.len()
    };
    assert_eq!(of_length("a").await, of_length("a-longer-password").await);
    assert_opens(&fresh(&server.url(), masters()).await, &made, 1).await;
}

#[tokio::test]
async fn a_sealed_document_opens_at_no_other_node_and_no_other_version() {
    let server = server();
    let store = store(&server).await;
    let (first, second) = (enrolled(&store, 1).await, enrolled(&store, 2).await);
    let kv = &store.nodes.kv;
    let all = secrets_of(&store).await;
    let place = |kind: &str, node: &Node| {
        let of = node.id.to_string();
        let found = all
            .iter()
            .find(|(key, _)| key.starts_with(kind) && key.contains(&of));
        found.unwrap().clone()
    };
    let (_, of_first) = place("bmc_secrets", &first);
    let (at_second, _) = place("bmc_secrets", &second);
    kv.put(&at_second, of_first.clone().into()).await.unwrap();
    assert_eq!(
        why(store.beside.bmc_secrets(&second).await),
        Broken::Document
    );
    // As an operator sees it, the secret is lost and can be given anew.
    assert_eq!(store.secrets(&second).await.unwrap(), None);
    let later = op("later");
    let (at_first, _) = place("bmc_secrets", &first);
    let (stem, _) = at_first.rsplit_once('.').unwrap();
    kv.put(&format!("{stem}.{later}"), of_first.into())
        .await
        .unwrap();
    let mut renamed = next(&first, "x");
    renamed.beside.bmc_secrets = Some(later);
    assert_eq!(
        why(store.beside.bmc_secrets(&renamed).await),
        Broken::Document
    );
    assert_opens(&store, &first, 1).await;
}

#[tokio::test]
async fn a_damaged_document_is_an_error_and_says_nothing_of_what_it_was() {
    let server = server();
    let store = store(&server).await;
    let made = enrolled(&store, 1).await;
    let (key, good) = contents(&store.nodes.kv, "bmc_secrets.>").await.remove(0);
    type Damage = fn(&str) -> String;
    let damage: [(&str, Damage); 4] = [
        ("cut", |good| good[..good.len() - 30].into()),
        ("without a nonce", |good| good.replace("nonce", "nance")),
        ("another byte", |good| {
            good.replace("\"sealed\":\"", "\"sealed\":\"AAAA")
        }),
        ("empty", |_| String::new()),
    ];
    for (what, damage) in damage {
        let bad = damage(&good);
        assert_ne!(bad, good, "{what}");
        store.nodes.kv.put(&key, bad.into()).await.unwrap();
        let read = store.beside.bmc_secrets(&made).await;
        let error = read.expect_err(what).to_string();
        assert!(error.contains(&key) && !error.contains("hush"), "{error}");
        assert_eq!(store.secrets(&made).await.unwrap(), None, "{what}");
    }
    let unknown = good.replace("\"key\":\"", "\"key\":\"00");
    store.nodes.kv.put(&key, unknown.into()).await.unwrap();
    assert!(matches!(
        why(store.beside.bmc_secrets(&made).await),
        Broken::NoKey(_)
    ));
}

#[tokio::test]
async fn a_worker_with_another_master_key_does_not_start_and_leaves_nothing_behind() {
    let server = server();
    let store = store(&server).await;
    let made = enrolled(&store, 1).await;
    let before = contents(&store.nodes.kv, ">").await;
    let other = MasterKey::generate();
    for masters in [other.clone().into(), MasterKeys::none()] {
        let stranger = fresh(&server.url(), &masters).await;
        let refused = stranger.keys.ready().await.unwrap_err().to_string();
        let needed = &super::masters().ids()[0];
        assert!(refused.contains(needed), "{refused}");
        // Nothing counts as lost that another worker can read.
        assert!(stranger.secrets(&made).await.is_err());
        let mut changed = next(&made, "changed");
        changed.beside.bmc_secrets = Some(changed.op.clone());
        let (_, at) = stranger.nodes.load(made.id).await.unwrap().unwrap();
        let put = [password("hush-other")];
        let written = stranger.write(Some((&made, at)), Some(&changed), &put);
        why(written.await);
        assert!(matches!(
            stranger.rotate().await,
            Err(StoreError::NoMasterKey | StoreError::Sealed { .. })
        ));
    }
    assert_eq!(contents(&store.nodes.kv, ">").await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_start_at_once_make_one_data_key() {
    let server = server();
    let mut stores = Vec::new();
    for _ in 0..8 {
        stores.push(store_at(&server.url()).await);
    }
    let ready = stores.iter().map(|store| store.keys.ready());
    for ready in futures_util::future::join_all(ready).await {
        ready.unwrap();
    }
    for (n, store) in (1..).zip(&stores) {
        enrolled(store, n).await;
    }
    let (used, there) = used_and_there(&stores[0]).await;
    assert_eq!((used.len(), &used), (1, &there));
}

#[tokio::test]
async fn a_rotation_seals_all_anew_and_drops_the_old_key() {
    let server = server();
    let store = store(&server).await;
    let logins = Logins::new(&store);
    let nodes = [enrolled(&store, 1).await, enrolled(&store, 2).await];
    let login = logins.of(&nodes[0]).await.unwrap();
    let (before, _) = used_and_there(&store).await;
    let rotated = store.rotate().await.unwrap();
    let (used, there) = used_and_there(&store).await;
    assert_eq!((used.len(), &used), (1, &there));
    assert!(used.is_disjoint(&before));
    let expected = Rotated {
        key: used.iter().next().unwrap().clone(),
        master: masters().ids().remove(0),
        sealed: 4,
        dropped: before.into_iter().collect(),
        unreadable: vec![],
    };
    assert_eq!(rotated, expected);
    for (n, node) in (1..).zip(&nodes) {
        assert_opens(&fresh(&server.url(), masters()).await, node, n).await;
    }
    // What was remembered is sealed with a key that is no more.
    assert_eq!(logins.of(&nodes[0]).await.unwrap(), login);
}

/// By an operator who takes a worker with the wrong master key for a lost one, say.
#[tokio::test]
async fn keys_that_are_taken_away_while_workers_run_are_not_replaced() {
    let server = server();
    let store = store(&server).await;
    let node = enrolled(&store, 1).await;
    let keys = store.nodes.kv.read(KEY).await.unwrap().0.unwrap();
    store.nodes.kv.erase(KEY).await.unwrap();
    let put = store
        .beside
        .put(id(2), &op("late"), &password("hush"))
        .await;
    assert!(matches!(why(put), Broken::NoKey(_)));
    assert_eq!(store.nodes.kv.read(KEY).await.unwrap().0, None);
    // They come back, as the operator's manual has them kept.
    store.nodes.kv.put(KEY, keys.to_vec()).await.unwrap();
    enrolled(&store, 2).await;
    assert_opens(&fresh(&server.url(), masters()).await, &node, 1).await;
}

/// A worker that has met no key yet reads a document, and a whole rotation passes before it reads the keys. That is no lost secret:
/// one that was taken for lost would be overwritten.
#[tokio::test]
async fn what_was_read_before_a_rotation_opens_after_it() {
    let server = server();
    let rotating = store(&server).await;
    let node = enrolled(&rotating, 1).await;
    let version = node.beside.bmc_secrets.clone().unwrap();
    let (sealed, _) = rotating
        .beside
        .bmc_secrets_sealed(node.id, &version)
        .await
        .unwrap();
    rotating.rotate().await.unwrap();
    let reader = fresh(&server.url(), masters()).await;
    let kind = BesideKind::BmcSecrets;
    let read = reader
        .beside
        .open_read(kind, node.id, &version, sealed.clone());
    let (now, secrets): (_, BmcSecrets) = read.await.unwrap();
    assert_eq!(secrets.password, Secret::new("hush-1"));
    assert_ne!(now, sealed);
}

/// A worker that has not heard of a rotation, which is over before it puts its document.
#[tokio::test]
async fn a_worker_that_missed_a_rotation_seals_with_the_new_key_all_the_same() {
    let server = server();
    let (late, rotating) = (store(&server).await, store(&server).await);
    enrolled(&late, 1).await;
    rotating.rotate().await.unwrap();
    let made = enrolled(&late, 2).await;
    let (used, there) = used_and_there(&late).await;
    assert_eq!((used.len(), &used), (1, &there));
    assert_opens(&fresh(&server.url(), masters()).await, &made, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotations_that_are_cut_off_anywhere_lose_nothing_while_passwords_change() {
    let server = server();
    let store = store(&server).await;
    let mut nodes = Vec::new();
    for n in 1..=6 {
        nodes.push(enrolled(&store, n).await);
    }
    let writing = {
        let (writer, mut node) = (store_at(&server.url()).await, nodes.pop().unwrap());
        tokio::spawn(async move {
            for n in 0..40 {
                let (_, at) = writer.nodes.load(node.id).await.unwrap().unwrap();
                let mut changed = next(&node, format!("changed-{n}"));
                changed.beside.bmc_secrets = Some(changed.op.clone());
                let put = [password("hush-6")];
                let written = writer.write(Some((&node, at)), Some(&changed), &put);
                match written.await {
                    Ok(_) => node = changed,
                    // The sweeper wrote the record once more.
                    Err(StoreError::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            node
        })
    };
    for cut_ms in 0..25 {
        let rotating = store_at(&server.url()).await;
        // Wherever it is by then.
        let _ = tokio::time::timeout(Duration::from_millis(cut_ms), rotating.rotate()).await;
        let reader = fresh(&server.url(), masters()).await;
        for (n, node) in (1..).zip(&nodes) {
            assert_opens(&reader, node, n).await;
        }
    }
    nodes.push(writing.await.unwrap());
    let (one, other) = tokio::join!(store.rotate(), store.rotate());
    one.unwrap();
    other.unwrap();
    let last = store.rotate().await.unwrap();
    assert_eq!(last.unreadable, [""; 0]);
    let (used, there) = used_and_there(&store).await;
    let all = (secrets_of(&store).await, &nodes, &last);
    assert_eq!((used.len(), &used), (1, &there), "{all:?}");
    let reader = fresh(&server.url(), masters()).await;
    for (n, node) in (1..).zip(&nodes) {
        assert_opens(&reader, node, n).await;
    }
}

#[tokio::test]
async fn secrets_of_before_are_read_and_the_first_rotation_seals_them() {
    let server = server();
    let plain = fresh(&server.url(), &MasterKeys::none()).await;
    plain.keys.ready().await.unwrap();
    let made = enrolled(&plain, 1).await;
    let in_clear = contents(&plain.nodes.kv, "bmc_secrets.>").await;
    assert!(in_clear[0].1.contains("hush-1"), "{in_clear:?}");
    assert!(matches!(plain.rotate().await, Err(StoreError::NoMasterKey)));
    let store = store(&server).await;
    assert_opens(&store, &made, 1).await;
    assert_eq!(store.rotate().await.unwrap().sealed, 2);
    for (key, value) in contents(&store.nodes.kv, ">").await {
        assert!(!value.contains("hush"), "{key}: {value}");
    }
    assert_opens(&store, &made, 1).await;
    // The worker without a master key runs on, and puts nothing in the clear any more.
    let (version, more) = (op("more"), password("hush-more"));
    let put = plain.beside.put(id(1), &version, &more).await;
    assert!(matches!(why(put), Broken::OtherMaster { .. }));
}

#[tokio::test]
async fn a_master_key_is_changed_by_a_second_line_and_a_rotation() {
    let server = server();
    let (old, new) = (MasterKey::generate(), MasterKey::generate());
    let before = fresh(&server.url(), &old.clone().into()).await;
    let made = enrolled(&before, 1).await;
    let lines = format!("{}{}", *new.line(), *old.line());
    let both = MasterKeys::parse(&lines).unwrap();
    let rotated = fresh(&server.url(), &both).await.rotate().await.unwrap();
    assert_eq!((rotated.master.as_str(), rotated.sealed), (new.id(), 2));
    let after = fresh(&server.url(), &new.into()).await;
    after.keys.ready().await.unwrap();
    assert_opens(&after, &made, 1).await;
    let late = fresh(&server.url(), &old.into()).await;
    assert!(matches!(
        why(late.keys.ready().await),
        Broken::OtherMaster { .. }
    ));
}

#[tokio::test]
async fn what_no_key_opens_stays_as_it_is_and_keeps_its_data_key() {
    let server = server();
    let store = store(&server).await;
    let (lost, kept) = (enrolled(&store, 1).await, enrolled(&store, 2).await);
    let (key, good) = contents(&store.nodes.kv, "bmc_secrets.>")
        .await
        .into_iter()
        .find(|(key, _)| key.contains(&lost.id.to_string()))
        .unwrap();
    let bad = good.replace("\"sealed\":\"", "\"sealed\":\"AAAA");
    store.nodes.kv.put(&key, bad.into()).await.unwrap();
    let (old, _) = used_and_there(&store).await;
    let rotated = store.rotate().await.unwrap();
    assert_eq!(
        (&rotated.unreadable[..], rotated.sealed),
        (&[key.clone()][..], 3)
    );
    assert_eq!(rotated.dropped, [""; 0]);
    // It was damaged by hand, and is mended by hand.
    store.nodes.kv.put(&key, good.into()).await.unwrap();
    assert_opens(&store, &lost, 1).await;
    assert_opens(&store, &kept, 2).await;
    let dropped: BTreeSet<String> = store.rotate().await.unwrap().dropped.into_iter().collect();
    assert!(
        dropped.is_superset(&old) && dropped.len() == 2,
        "{dropped:?}"
    );
}
