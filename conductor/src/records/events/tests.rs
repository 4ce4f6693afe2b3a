//! Events in order, once, through a server that goes away, and counted when they are dropped.
//! What is worth an event is tried where it happens.
use super::{Event, Events, QUEUE};
use crate::records::tests::{DEADLINE, id, server, store};
use serde_json::json;
use std::collections::BTreeMap;

async fn flushed(events: &Events) {
    tokio::time::timeout(DEADLINE, events.flush())
        .await
        .expect("everything is stored");
}

fn numbers(events: &[Event]) -> Vec<u64> {
    let bodies = events.iter().map(|event| event.body["n"].as_u64());
    bodies.map(|n| n.expect("a number")).collect()
}

#[tokio::test]
async fn events_are_read_in_the_order_they_happened() {
    let server = server();
    let events = Events::open(&store(&server).await).await.unwrap();
    assert_eq!(events.read(None, 10).await.unwrap(), []);
    for n in 0..100u16 {
        let body = json!({ "n": n });
        events.publish(id(n % 3), "state", &body, &format!("event-{n}"));
    }
    flushed(&events).await;
    assert_eq!(
        numbers(&events.read(None, 1000).await.unwrap()),
        Vec::from_iter(0..100)
    );
    assert_eq!(numbers(&events.read(None, 3).await.unwrap()), [97, 98, 99]);
    let of_one = events.read(Some(id(1)), 2).await.unwrap();
    assert_eq!(numbers(&of_one), [94, 97]);
    assert_eq!(of_one[0].subject, format!("ib.v1.event.{}.state", id(1)));
    assert_eq!(events.read(Some(id(7)), 5).await.unwrap(), []);
    assert_eq!(events.read(None, 0).await.unwrap(), []);
    assert_eq!(events.dropped(), 0);
}

/// Two workers may announce the same transition, and one may announce it twice.
#[tokio::test]
async fn the_same_event_counts_once() {
    let server = server();
    let store = store(&server).await;
    let (one, other) = (
        Events::open(&store).await.unwrap(),
        Events::open(&store).await.unwrap(),
    );
    for events in [&one, &other, &one] {
        events.publish(id(1), "state", &json!({ "n": 1 }), "the-same");
        flushed(events).await;
    }
    assert_eq!(numbers(&one.read(None, 10).await.unwrap()), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_wait_for_a_server_that_is_away() {
    let mut server = server();
    let events = Events::open(&store(&server).await).await.unwrap();
    server.kill();
    for n in 0..20u16 {
        events.publish(id(1), "state", &json!({ "n": n }), &format!("event-{n}"));
    }
    server.start().unwrap();
    flushed(&events).await;
    let found = events.read(Some(id(1)), 100).await.unwrap();
    assert_eq!(numbers(&found), Vec::from_iter(0..20));
    assert_eq!(events.dropped(), 0);
}

/// Nothing runs between the publishes, so that the queue is as full as it gets.
#[tokio::test]
async fn what_does_not_fit_the_queue_is_counted() {
    let server = server();
    let events = Events::open(&store(&server).await).await.unwrap();
    for n in 0..QUEUE + 5 {
        events.publish(id(1), "state", &json!({ "n": n }), &format!("event-{n}"));
    }
    assert_eq!(events.dropped(), 5);
    flushed(&events).await;
    let last = events.read(None, 1).await.unwrap();
    assert_eq!(numbers(&last), [QUEUE as u64 - 1]);
}

#[tokio::test]
async fn an_event_that_cannot_be_stored_does_not_hold_up_the_next() {
    let server = server();
    let events = Events::open(&store(&server).await).await.unwrap();
    let no_json = BTreeMap::from([((1, 2), "a key that is no text")]);
    events.publish(id(1), "state", &no_json, "no-json");
    assert_eq!(events.dropped(), 1);
    let too_large = json!({ "text": "x".repeat(2 << 20) });
    events.publish(id(1), "state", &too_large, "too-large");
    events.publish(id(1), "state", &json!({ "n": 1 }), "next");
    flushed(&events).await;
    assert_eq!(events.dropped(), 2);
    assert_eq!(numbers(&events.read(None, 10).await.unwrap()), [1]);
}
