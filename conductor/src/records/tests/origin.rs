//! A bucket that workers remember is not taken for another one; replicas are what the servers allow.
//! `stream` tests which streams are warned of.
use super::{DEADLINE, connect, create, eventually, id, masters, node, server};
use crate::records::{Kv, Names, Replicas, StoreError, origin, view::View};
use async_nats::jetstream;
use futures_util::StreamExt;
use ironbeat_core::time::Time;
use std::time::Duration;

const NOW: Time = Time::from_unix_ms(1_000);

async fn lose_the_bucket(client: &async_nats::Client) {
    let js = jetstream::new(client.clone());
    js.delete_stream("KV_ib").await.unwrap();
}

#[tokio::test]
async fn a_worker_does_not_start_on_an_emptied_bucket_that_another_remembers() {
    let server = server();
    let (first, second) = (connect(&server.url()).await, connect(&server.url()).await);
    let names = Names::default();
    let (_, made) = origin::open(&first, &names, masters(), NOW).await.unwrap();
    let worker = "w1".parse().unwrap();
    let answering = origin::answer(first.clone(), &names.prefix, worker, made.clone());
    let answering = answering.await.unwrap();
    first.flush().await.unwrap();
    // As long as it is there, whoever starts finds the same one.
    let (_, found) = origin::open(&second, &names, masters(), NOW).await.unwrap();
    assert_eq!(found, made);
    lose_the_bucket(&second).await;
    let refused = origin::open(&second, &names, masters(), NOW).await.err();
    let refused = refused.expect("it is refused").to_string();
    for word in ["bucket ib", "worker w1", "ironbeat restore"] {
        assert!(refused.contains(word), "{refused}");
    }
    let js = jetstream::new(second.clone());
    assert!(js.get_stream("KV_ib").await.is_err(), "nothing was made");
    // One that was made anew is another bucket.
    crate::records::Store::open(second.clone(), &names, masters())
        .await
        .unwrap();
    assert!(matches!(
        origin::open(&second, &names, masters(), NOW).await.err(),
        Some(StoreError::Emptied { .. })
    ));
    // With nobody left who remembers, a new beginning is possible.
    answering.abort();
    drop(first);
    let opened = tokio::time::timeout(DEADLINE, async {
        loop {
            if let Ok((_, origin)) = origin::open(&second, &names, masters(), NOW).await {
                return origin;
            }
        }
    });
    assert_ne!(opened.await.unwrap(), made);
}

/// Another worker's request to make the bucket is known to its servers before they store anything in it.
#[tokio::test]
async fn the_first_word_is_written_again_when_the_bucket_was_not_ready_for_it() {
    let server = server();
    let client = connect(&server.url()).await;
    let mut js = jetstream::new(client.clone());
    js.set_timeout(Duration::from_millis(500));
    let mut config = jetstream::stream::Config {
        name: "KV_ib".into(),
        subjects: vec!["$KV.ib.nothing".into()],
        max_messages_per_subject: 1,
        ..Default::default()
    };
    let stream = js.create_stream(config.clone()).await.unwrap();
    let prefix = "$KV.ib.".to_string();
    let kv = Kv {
        js: js.clone(),
        stream,
        prefix,
    };
    let mut unheard = client.subscribe("$KV.ib.origin").await.unwrap();
    client.flush().await.unwrap();
    let making = tokio::spawn(async move { origin::make(&kv, NOW).await });
    unheard.next().await.expect("it is written");
    config.subjects = vec!["$KV.ib.>".into()];
    js.update_stream(config).await.unwrap();
    let made = tokio::time::timeout(DEADLINE, making).await.unwrap();
    assert_eq!(made.unwrap().unwrap().made, NOW);
}

#[tokio::test]
async fn workers_that_start_together_agree_on_the_bucket() {
    let server = server();
    let client = connect(&server.url()).await;
    let names = Names::default();
    let openers = (0..8).map(|_| origin::open(&client, &names, masters(), NOW));
    let origins: Vec<_> = futures_util::future::join_all(openers)
        .await
        .into_iter()
        .map(|opened| opened.unwrap().1)
        .collect();
    assert!(origins.iter().all(|origin| *origin == origins[0]));
}

#[tokio::test]
async fn a_view_keeps_its_nodes_when_their_bucket_is_lost() {
    let server = server();
    let client = connect(&server.url()).await;
    let names = Names::default();
    let (store, _) = origin::open(&client, &names, masters(), NOW).await.unwrap();
    create(&store, &node(1)).await.unwrap();
    let view = View::start(&store);
    view.ready().await;
    assert_eq!(view.len(), 1);
    lose_the_bucket(&client).await;
    // Somebody makes it anew, and writes another node into it.
    let (store, _) = origin::open(&client, &names, masters(), NOW).await.unwrap();
    create(&store, &node(2)).await.unwrap();
    eventually("it has noticed", || {
        let why = view.interrupted();
        why.is_some_and(|why| why.contains("is not the one that this worker remembers"))
    })
    .await;
    assert!(view.get(&id(1)).is_some() && view.get(&id(2)).is_none());
}

/// Nobody makes it anew: the servers say 404 to all that is asked of it.
#[tokio::test]
async fn a_running_worker_says_that_the_bucket_is_lost_and_when_it_is_back() {
    let server = server();
    let client = connect(&server.url()).await;
    let names = Names::default();
    let (store, made) = origin::open(&client, &names, masters(), NOW).await.unwrap();
    create(&store, &node(1)).await.unwrap();
    let view = View::start(&store);
    view.ready().await;
    assert_eq!(view.lost(), None);
    lose_the_bucket(&client).await;
    eventually("it has noticed", || {
        let why = view.lost();
        why.is_some_and(|why| why.contains("this worker remembers") && why.contains("restore"))
    })
    .await;
    assert_eq!(view.len(), 1, "nothing is forgotten");
    let store = crate::records::Store::open(client.clone(), &names, masters()).await;
    let (kv, made) = (store.unwrap().nodes.kv, serde_json::to_vec(&made).unwrap());
    kv.write(origin::KEY, made, 0).await.unwrap();
    eventually("it is back", || view.lost().is_none() && view.is_empty()).await;
}

#[tokio::test]
async fn one_server_keeps_one_copy_unless_more_are_asked_for() {
    let server = server();
    let client = connect(&server.url()).await;
    let (store, _) = origin::open(&client, &Names::default(), masters(), NOW)
        .await
        .unwrap();
    let info = store.nodes.kv.stream.get_info().await.unwrap();
    assert_eq!(info.config.num_replicas, 1);
    let names = Names {
        nodes: "three".into(),
        replicas: Replicas::Exactly(3),
        ..Names::default()
    };
    let refused = crate::records::Store::open(client, &names, masters())
        .await
        .err();
    let refused = refused.expect("one server cannot").to_string();
    assert!(
        refused.contains("KV_three") && refused.contains("replicas"),
        "{refused}"
    );
}
