//! Streams and buckets say what they hold, even those that were made before they did.
//! `stream` tests which settings must agree.
use super::{connect, server, store};
use crate::records::Store;
use crate::records::events::Events;
use crate::records::lookups::Lookups;
use crate::records::seen::Seen;
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

/// An operator's sizes and descriptions stay.
#[tokio::test]
async fn a_stream_without_a_description_gets_one_and_no_other_change() {
    let server = server();
    let js = jetstream::new(connect(&server.url()).await);
    let old = |description: Option<&str>| stream::Config {
        name: "IB_EVENTS".into(),
        subjects: vec!["ib.v1.event.>".into()],
        max_age: Duration::from_secs(77),
        max_bytes: 1 << 20,
        description: description.map(Into::into),
        ..stream::Config::default()
    };
    js.create_stream(old(None)).await.unwrap();
    let store = store(&server).await;
    Events::open(&store).await.unwrap();
    let config = js.get_stream("IB_EVENTS").await.unwrap();
    let config = config.cached_info().config.clone();
    assert!(config.description.unwrap().contains("what happened"));
    assert_eq!(
        (config.max_age, config.max_bytes),
        (Duration::from_secs(77), 1 << 20)
    );

    js.update_stream(old(Some("mine"))).await.unwrap();
    Events::open(&store).await.unwrap();
    assert_eq!(description(&js, "IB_EVENTS").await.unwrap(), "mine");
}
