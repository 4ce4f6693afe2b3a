//! The stream of last heartbeats on a real nats-server: it remembers, and it never answers.
//! The core tests what a beat does to a node.
use super::Seen;
use crate::records::StoreError;
use crate::records::tests::{DEADLINE, connect, id, server, store};
use async_nats::jetstream::{self, stream};
use bytes::Bytes;
use futures_util::StreamExt;
use ironbeat_common::codec;
use ironbeat_common::heartbeat::{Heartbeat, Progress, Status};
use ironbeat_common::id::{BootId, StepId};
use ironbeat_common::subject;

fn beat(seq: u64) -> Heartbeat {
    let progress = Progress {
        phase: "download".into(),
        done: seq * 1000,
        total: None,
        trouble: None,
    };
    Heartbeat {
        version: codec::VERSION,
        boot: BootId::from_bytes([1; 16]),
        seq,
        status: Status::Running {
            step: StepId(7),
            progress,
        },
        nudge: None,
    }
}

/// The first answer to a requester, which also sends itself a message after the stream has stored the request.
async fn first_answer(
    client: &async_nats::Client,
    request: &str,
    stored: &stream::Stream,
) -> Bytes {
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.unwrap();
    let (subject, reply) = (request.to_string(), inbox.clone());
    let body = codec::encode(&beat(1)).into();
    client
        .publish_with_reply(subject, reply, body)
        .await
        .unwrap();
    client.flush().await.unwrap();
    let present = async {
        while stored
            .get_last_raw_message_by_subject(request)
            .await
            .is_err()
        {}
    };
    tokio::time::timeout(DEADLINE, present)
        .await
        .expect("the request is stored");
    client.publish(inbox, "mine".into()).await.unwrap();
    answers.next().await.unwrap().payload
}

#[tokio::test]
async fn the_stream_never_answers_a_heartbeat() {
    let server = server();
    let store = store(&server).await;
    let seen = Seen::open(&store).await.unwrap();
    let client = connect(&server.url()).await;
    let request = subject::heartbeat("ib.v1", &id(1));
    assert_eq!(first_answer(&client, &request, &seen.stream).await, "mine");

    // The same test sees the answer of a stream that acknowledges.
    let talkative = stream::Config {
        name: "TALKATIVE".into(),
        subjects: vec!["talkative".into()],
        ..stream::Config::default()
    };
    let talkative = store.js.create_stream(talkative).await.unwrap();
    let answer = first_answer(&client, "talkative", &talkative).await;
    assert!(answer.starts_with(b"{\"stream\""), "{answer:?}");
}

/// The agent hears from the worker alone.
#[tokio::test]
async fn a_heartbeat_is_answered_once_by_the_worker() {
    let server = server();
    let store = store(&server).await;
    let seen = Seen::open(&store).await.unwrap();
    let (worker, agent) = (connect(&server.url()).await, connect(&server.url()).await);
    let mut requests = worker
        .queue_subscribe("ib.v1.heartbeat.*", "conductor".into())
        .await
        .unwrap();
    // One round trip, so that the server has the subscription: it does not report that nobody listens to a heartbeat,
    // as the stream listens too.
    let round_trip = jetstream::new(worker.clone());
    round_trip.get_stream("IB_SEEN").await.unwrap();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let reply = request.reply.expect("a heartbeat is a request");
            worker.publish(reply, "the worker".into()).await.unwrap();
        }
    });
    for seq in 1..=50 {
        let request = subject::heartbeat("ib.v1", &id(1));
        let body = codec::encode(&beat(seq)).into();
        let answer = agent.request(request, body).await.unwrap();
        assert_eq!(answer.payload, "the worker");
    }
    let last = seen.last_beat(id(1)).await.unwrap().unwrap();
    assert_eq!(last.status, beat(50).status);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_beat_of_each_node_is_kept_through_a_restart() {
    let mut server = server();
    let store = store(&server).await;
    let seen = Seen::open(&store).await.unwrap();
    assert!(seen.last_beat(id(1)).await.unwrap().is_none());
    let before = crate::clock::wall();
    for (node, body) in [
        (1, codec::encode(&beat(1))),
        (1, codec::encode(&beat(2))),
        (2, codec::encode(&beat(9))),
        (3, b"no heartbeat".to_vec()),
    ] {
        let subject = subject::heartbeat("ib.v1", &id(node));
        store
            .js
            .client()
            .publish(subject, body.into())
            .await
            .unwrap();
    }
    let arrived = async {
        let third = subject::heartbeat("ib.v1", &id(3));
        while seen
            .stream
            .get_last_raw_message_by_subject(&third)
            .await
            .is_err()
        {}
    };
    tokio::time::timeout(DEADLINE, arrived)
        .await
        .expect("all are stored");
    for kill in [false, true] {
        let last = seen.last_beat(id(1)).await.unwrap().unwrap();
        assert_eq!(last.status, beat(2).status);
        assert_eq!(last.boot, beat(2).boot);
        assert!(last.at >= before && last.at <= crate::clock::wall());
        let other = seen.last_beat(id(2)).await.unwrap().unwrap();
        assert_eq!(other.status, beat(9).status);
        assert!(seen.last_beat(id(3)).await.unwrap().is_none());
        if kill {
            server.kill();
            server.start().unwrap();
            let back = async { while seen.last_beat(id(1)).await.is_err() {} };
            tokio::time::timeout(DEADLINE, back)
                .await
                .expect("the stream comes back");
            assert!(seen.last_beat(id(2)).await.unwrap().is_some());
        }
    }
}

#[tokio::test]
async fn a_stream_that_would_answer_is_refused() {
    let server = server();
    let store = store(&server).await;
    let talkative = stream::Config {
        name: "IB_SEEN".into(),
        subjects: vec!["ib.v1.heartbeat.*".into()],
        max_messages_per_subject: 1,
        ..stream::Config::default()
    };
    let js = jetstream::new(connect(&server.url()).await);
    js.create_stream(talkative).await.unwrap();
    let error = Seen::open(&store).await.err().expect("it is refused");
    assert!(
        matches!(
            &error,
            StoreError::Config {
                field: "no_ack",
                ..
            }
        ),
        "{error}"
    );
}
