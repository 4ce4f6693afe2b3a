//! Events in order, once, through a server that goes away, and counted when they are dropped.
//! The source of an event tests what is worth one.
use super::{Event, Events, QUEUE, other_bounds};
use crate::config::RecordOptions;
use crate::records::tests::{DEADLINE, id, server, store};
use async_nats::jetstream::stream;
use ironbeat_common::heartbeat::NudgeLatency;
use ironbeat_common::id::StepId;
use ironbeat_core::flight::Entry;
use ironbeat_core::time::Time;
use ironbeat_ops::happening::{Happening, What};
use std::sync::atomic::Ordering;

async fn flushed(events: &Events) {
    tokio::time::timeout(DEADLINE, events.flush())
        .await
        .expect("everything is stored");
}

fn of(node: u16, what: What) -> Happening {
    Happening {
        node: id(node),
        name: None,
        at: Time::from_unix_ms(0),
        worker: "w1".parse().unwrap(),
        asked: None,
        what,
    }
}

/// The shortest kind with a number in it.
fn numbered(node: u16, n: u64) -> Happening {
    let step = StepId(1);
    of(node, What::Nudge(NudgeLatency { step, micros: n }))
}

fn numbers(events: &[Event]) -> Vec<u64> {
    let number = |event: &Event| match event.known().map(|happening| &happening.what) {
        Some(What::Nudge(latency)) => latency.micros,
        other => panic!("{other:?}"),
    };
    events.iter().map(number).collect()
}

#[tokio::test]
async fn events_are_read_in_the_order_they_happened() {
    let server = server();
    let events = Events::open(&store(&server).await).await.unwrap();
    assert_eq!(events.read(None, 10).await.unwrap(), []);
    for n in 0..100u16 {
        events.publish(&numbered(n % 3, n.into()), &format!("event-{n}"));
    }
    flushed(&events).await;
    assert_eq!(
        numbers(&events.read(None, 1000).await.unwrap()),
        Vec::from_iter(0..100)
    );
    assert_eq!(numbers(&events.read(None, 3).await.unwrap()), [97, 98, 99]);
    let of_one = events.read(Some(id(1)), 2).await.unwrap();
    assert_eq!(numbers(&of_one), [94, 97]);
    assert_eq!(of_one[0].subject, format!("ib.v1.event.{}.nudge", id(1)));
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
        events.publish(&numbered(1, 1), "the-same");
        flushed(events).await;
    }
    assert_eq!(numbers(&one.read(None, 10).await.unwrap()), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_wait_for_a_server_that_is_away() {
    let mut server = server();
    let events = Events::open(&store(&server).await).await.unwrap();
    server.kill();
    for n in 0..20 {
        events.publish(&numbered(1, n), &format!("event-{n}"));
    }
    server.start().unwrap();
    flushed(&events).await;
    let found = events.read(Some(id(1)), 100).await.unwrap();
    assert_eq!(numbers(&found), Vec::from_iter(0..20));
    assert_eq!(events.dropped(), 0);
}

/// Each of them alone would wait for its acknowledgement until the patience is over.
#[tokio::test]
async fn events_that_a_dying_server_swallowed_wait_for_their_time_out_together() {
    let mut server = server();
    let store = store(&server).await;
    let events = Events::open(&store).await.unwrap();
    server.freeze().unwrap();
    let client = store.js.client();
    let sent = || client.statistics().out_messages.load(Ordering::Relaxed);
    let before = sent();
    for n in 0..20 {
        events.publish(&numbered(1, n), &format!("event-{n}"));
    }
    while sent() < before + 20 {
        tokio::task::yield_now().await;
    }
    server.kill();
    server.start().unwrap();
    flushed(&events).await;
    let found = events.read(Some(id(1)), 100).await.unwrap();
    assert_eq!(numbers(&found), Vec::from_iter(0..20));
}

/// Nothing runs between the publishes, so that the queue is as full as it gets.
#[tokio::test]
async fn events_that_do_not_fit_the_queue_are_counted() {
    let server = server();
    let events = Events::open(&store(&server).await).await.unwrap();
    for n in 0..QUEUE as u64 + 5 {
        events.publish(&numbered(1, n), &format!("event-{n}"));
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
    let what = "x".repeat(2 << 20);
    let mac = crate::records::tests::mac(1);
    events.publish(&of(1, What::Netboot { mac, what }), "too-large");
    events.publish(&numbered(1, 1), "next");
    flushed(&events).await;
    assert_eq!(events.dropped(), 1);
    assert_eq!(numbers(&events.read(None, 10).await.unwrap()), [1]);
}

/// Somebody else, or a worker of a later version, may have written it.
#[tokio::test]
async fn an_unknown_event_is_read_unchanged() {
    let server = server();
    let store = store(&server).await;
    let events = Events::open(&store).await.unwrap();
    for (body, expected) in [
        ("{\"kind\":\"moved\"}", "{\"kind\":\"moved\"}"),
        ("words", "null"),
    ] {
        let subject = format!("ib.v1.event.{}.moved", id(1));
        let stored = store.js.publish(subject, body.into()).await.unwrap();
        stored.await.unwrap();
        let last = events.read(None, 1).await.unwrap().remove(0);
        assert_eq!(last.known(), None);
        assert_eq!(serde_json::to_string(&last.body).unwrap(), expected);
    }
}

/// An entry that is told from others by its number, and has so many bytes more.
fn entry(n: u64, bytes: usize) -> Entry {
    let json = serde_json::json!({
        "at": "2026-11-21T04:51:16.123Z", "op": format!("op{n}"), "worker": "w1", "version": "0.1.0",
        "event": { "alarm": { "last_beat": null } }, "because": "x".repeat(bytes),
    });
    serde_json::from_value(json).unwrap()
}

#[tokio::test]
async fn entries_of_a_flight_record_are_read_in_pages_and_only_of_their_node() {
    let server = server();
    let events = Events::open(&store(&server).await).await.unwrap();
    for n in 0..10 {
        events.publish_with(&numbered(1, n), &format!("{n}"), Some(&entry(n, 1000)));
        events.publish(&numbered(1, n), &format!("{n}-without"));
        events.publish_with(&numbered(2, n), &format!("{n}"), Some(&entry(77, 1)));
    }
    // One that no message could hold goes without, and its event is stored.
    events.publish_with(&numbered(1, 10), "10", Some(&entry(10, 2 << 20)));
    flushed(&events).await;
    let (mut after, mut pages, mut ops) = (0, 0, vec![]);
    loop {
        let (entries, next) = events.entries(id(1), after, 3500).await.unwrap();
        pages += 1;
        ops.extend(
            entries
                .iter()
                .map(|it| it["op"].as_str().unwrap().to_owned()),
        );
        match next {
            Some(next) => after = next,
            None => break,
        }
    }
    let expected: Vec<String> = (0..10).map(|n| format!("op{n}")).collect();
    assert_eq!((pages, ops), (4, expected));
    assert_eq!(events.happened(id(1), None).await.unwrap().len(), 21);
    assert_eq!(events.dropped(), 0);
    assert_eq!(events.entries(id(7), 0, 100).await.unwrap(), (vec![], None));
}

#[tokio::test]
async fn a_node_has_so_many_events_of_a_kind_and_another_node_its_own() {
    let server = server();
    let bounds = RecordOptions {
        per_node: 3,
        ..RecordOptions::default()
    };
    let store = store(&server).await;
    let events = Events::open_with(&store, &bounds).await.unwrap();
    for n in 0..50 {
        events.publish(&numbered(1, n), &format!("event-{n}"));
    }
    events.publish(&of(1, What::Enrolled), "enrolled");
    events.publish(&numbered(2, 7), "event");
    flushed(&events).await;
    let all = events.read(None, 100).await.unwrap();
    assert_eq!(all.len(), 5);
    let kept = events.happened(id(1), None).await.unwrap();
    assert_eq!(kept.len(), 4);
    let since = Some(Time::from_unix_ms(1));
    assert_eq!(events.happened(id(1), since).await.unwrap(), []);
    // What is there stays as it is, and how to change it is said.
    let other = Events::open(&store).await.unwrap();
    drop(other);
    let stream = store.js.get_stream("IB_EVENTS").await.unwrap();
    let found = &stream.cached_info().config;
    assert_eq!(found.max_messages_per_subject, 3);
    let wanted = stream::Config {
        max_messages_per_subject: 300,
        ..found.clone()
    };
    let change = other_bounds(found, &wanted);
    assert_eq!(change.as_deref(), Some("--max-msgs-per-subject 300"));
    assert_eq!(other_bounds(found, found), None);
}
