//! Compare-and-swap under contention, and opening by several workers at once.
//! `claims` has the races for what a node has to itself.
use super::{create, id, masters, next, node, op, server, store};
use crate::records::document::key;
use crate::records::{Names, Store, StoreError};
use futures_util::future::join_all;
use ironbeat_core::node::Node;

#[tokio::test]
async fn a_record_is_created_loaded_saved_and_removed() {
    let server = server();
    let store = store(&server).await;
    assert!(store.nodes.load(id(1)).await.unwrap().is_none());
    let made = node(1);
    let created = create(&store, &made).await.unwrap();
    assert_eq!(
        store.nodes.load(id(1)).await.unwrap(),
        Some((made.clone(), created))
    );
    assert!(
        matches!(create(&store, &node(1)).await, Err(StoreError::Conflict { what }) if what == format!("node {}", id(1)))
    );

    let changed = next(&made, "second");
    let saved = store.nodes.save(&made, &changed, created).await.unwrap();
    assert!(saved > created);
    let late = store.nodes.save(&made, &next(&made, "late"), created).await;
    assert!(
        matches!(late, Err(StoreError::Conflict { what }) if what == format!("node {}", id(1)))
    );
    assert!(matches!(
        store.nodes.remove(&made, created).await,
        Err(StoreError::Conflict { .. })
    ));

    store.nodes.remove(&changed, saved).await.unwrap();
    assert!(store.nodes.load(id(1)).await.unwrap().is_none());
    assert!(super::contents(&store.nodes.kv, ">").await.is_empty());
    // What was removed can be enrolled again.
    create(&store, &made).await.unwrap();
}

#[tokio::test]
async fn of_twenty_racers_on_one_revision_one_wins() {
    let server = server();
    let store = store(&server).await;
    let before = node(1);
    let revision = create(&store, &before).await.unwrap();
    let racers = (0..20).map(|racer| {
        let (store, before) = (store.clone(), before.clone());
        async move {
            let after = next(&before, format!("racer-{racer}"));
            store
                .nodes
                .save(&before, &after, revision)
                .await
                .map(|_| after)
        }
    });
    let results = join_all(racers).await;
    let winners: Vec<_> = results.iter().flatten().collect();
    assert_eq!(winners.len(), 1, "{results:?}");
    let losers = results
        .iter()
        .filter(|result| matches!(result, Err(StoreError::Conflict { .. })));
    assert_eq!(losers.count(), 19, "{results:?}");
    assert_eq!(
        &store.nodes.load(id(1)).await.unwrap().unwrap().0,
        winners[0]
    );
}

#[tokio::test]
async fn a_write_that_is_sent_twice_counts_once() {
    let server = server();
    let store = store(&server).await;
    let before = node(1);
    let revision = create(&store, &before).await.unwrap();
    let after = next(&before, "once");
    let saved = store.nodes.save(&before, &after, revision).await.unwrap();
    assert_eq!(
        store.nodes.save(&before, &after, revision).await.unwrap(),
        saved
    );
    let (present, at) = store.nodes.load(id(1)).await.unwrap().unwrap();
    assert_eq!((present.counter, at), (1, saved));
    assert_eq!(present.op, op("once"));
}

#[tokio::test]
async fn workers_may_open_the_store_at_the_same_moment() {
    let server = server();
    let names = Names::default();
    let openers = (0..8).map(|_| async {
        let client = super::connect(&server.url()).await;
        Store::open(client, &names, masters()).await.map(drop)
    });
    for opened in join_all(openers).await {
        opened.unwrap();
    }
}

#[tokio::test]
async fn a_bucket_that_forgets_is_refused_by_name() {
    use async_nats::jetstream::{self, stream};
    let server = server();
    let client = super::connect(&server.url()).await;
    let forgetful = stream::Config {
        name: "KV_ib".into(),
        subjects: vec!["$KV.ib.>".into()],
        max_messages_per_subject: 1,
        discard: stream::DiscardPolicy::New,
        max_age: std::time::Duration::from_secs(3600),
        ..stream::Config::default()
    };
    let js = jetstream::new(client.clone());
    js.create_stream(forgetful).await.unwrap();
    let opened = Store::open(client, &Names::default(), masters()).await;
    let error = opened.err().expect("it is refused").to_string();
    for word in ["KV_ib", "max_age", "3600s", "unlimited"] {
        assert!(error.contains(word), "{error}");
    }
}

/// More than the server takes in one message: refused as such, and not taken for a lost race.
#[tokio::test]
async fn a_record_that_is_too_large_is_refused_at_once() {
    let server = server();
    let store = store(&server).await;
    let before = node(1);
    let revision = create(&store, &before).await.unwrap();
    let mut large = next(&before, "large");
    large.serial = Some("x".repeat(2 << 20));
    let error = store
        .nodes
        .save(&before, &large, revision)
        .await
        .unwrap_err();
    assert!(error.to_string().contains(&key::<Node>(id(1))), "{error}");
    assert!(!matches!(error, StoreError::Conflict { .. }), "{error}");
    assert_eq!(
        store.nodes.load(id(1)).await.unwrap(),
        Some((before, revision))
    );
}
