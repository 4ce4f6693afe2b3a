//! Streams and buckets say what they hold, what an operator has set stays, and what a thief has set is refused.
//! `stream` tests which settings must agree.
use super::{connect, masters, server, store};
use crate::records::events::Events;
use crate::records::lookups::Lookups;
use crate::records::seen::Seen;
use crate::records::{Names, Store, StoreError};
use async_nats::jetstream::{self, stream};
use std::time::Duration;

async fn open_all(store: &Store) {
    Events::open(store).await.unwrap();
    Seen::open(store).await.unwrap();
    Lookups::open(store).await.unwrap();
}

async fn description(js: &jetstream::Context, stream: &str) -> Option<String> {
    let stream = js.get_stream(stream).await.unwrap();
    stream.cached_info().config.description.clone()
}

#[tokio::test]
async fn new_streams_say_what_they_hold() {
    let server = server();
    let store = store(&server).await;
    open_all(&store).await;
    for (stream, holds) in [
        ("KV_ib", "node's record"),
        ("KV_ib_lookups", "last lookup"),
        ("IB_SEEN", "last heartbeat"),
        ("IB_EVENTS", "what happened"),
    ] {
        let said = description(&store.js, stream).await.unwrap();
        assert!(said.contains(holds), "{stream}: {said}");
    }
}

/// The right to change a stream is no worker's.
#[tokio::test]
async fn a_stream_keeps_what_an_operator_has_set() {
    let server = server();
    let js = jetstream::new(connect(&server.url()).await);
    for said in [None, Some("mine".to_string())] {
        let theirs = stream::Config {
            name: "IB_EVENTS".into(),
            subjects: vec!["ib.v1.event.>".into()],
            max_age: Duration::from_secs(77),
            max_bytes: 1 << 20,
            description: said.clone(),
            ..stream::Config::default()
        };
        js.create_or_update_stream(theirs).await.unwrap();
        let store = store(&server).await;
        Events::open(&store).await.unwrap();
        let config = js.get_stream("IB_EVENTS").await.unwrap();
        let config = config.cached_info().config.clone();
        assert_eq!(
            (config.max_age, config.max_bytes, config.description),
            (Duration::from_secs(77), 1 << 20, said)
        );
    }
}

/// Servers go on republishing when the login that has set it up has ended.
#[tokio::test]
async fn a_bucket_that_republishes_is_refused() {
    let server = server();
    let js = jetstream::new(connect(&server.url()).await);
    let ear = stream::Republish {
        source: "$KV.ib.>".into(),
        destination: "_INBOX.boot.>".into(),
        headers_only: false,
    };
    js.create_stream(stream::Config {
        name: "KV_ib".into(),
        subjects: vec!["$KV.ib.>".into()],
        max_messages_per_subject: 1,
        discard: stream::DiscardPolicy::New,
        allow_rollup: true,
        republish: Some(ear),
        ..stream::Config::default()
    })
    .await
    .unwrap();
    let client = connect(&server.url()).await;
    let opened = Store::open(client, &Names::default(), masters()).await;
    let error = opened.err().expect("it is refused");
    let refused = matches!(&error, StoreError::Carries { stream, field: "republish", .. } if stream == "KV_ib");
    assert!(refused, "{error}");
}

/// The role of workers in `ironbeat-auth` lets them make these streams and no others.
#[test]
fn the_streams_of_workers_are_those_that_their_role_allows() {
    let Names {
        prefix,
        nodes,
        workers,
        lookups,
        events,
        seen,
        consoles,
        replicas: _,
    } = Names::default();
    let buckets = [nodes, workers, lookups].map(|bucket| format!("KV_{bucket}"));
    let made: Vec<String> = buckets
        .into_iter()
        .chain([events, seen, consoles])
        .collect();
    let allowed = ironbeat_auth::streams::all(&prefix).into_iter();
    assert_eq!(made, allowed.map(|it| it.0).collect::<Vec<_>>());
}
