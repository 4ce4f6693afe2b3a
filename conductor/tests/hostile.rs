//! Every endpoint of a living worker gets bytes that nobody should send. The worker refuses, and goes on.
//! Decoders have tests of their own for such bytes; here they go the whole way through NATS.
mod support;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use ironbeat_common::codec;
use ironbeat_common::codec::MAX_MESSAGE_BYTES;
use ironbeat_common::heartbeat::{Heartbeat, Status};
use ironbeat_mutate::Mutator;
use serde_json::json;
use support::{JSON, Reply, Site, boot, lookup, machine};

/// Requests under way at once, well below what a worker takes.
const PARALLEL: usize = 64;
const NODE: &str = "00000000-0000-4000-8000-000000000001";

/// All that a worker says it listens on, with the heartbeat's token filled in.
async fn subjects(site: &Site) -> Vec<String> {
    let info = site.send("$SRV.INFO.ironbeat", None, Bytes::new()).await;
    let info: serde_json::Value = serde_json::from_slice(&info.0.payload).unwrap();
    let endpoints = info["endpoints"].as_array().unwrap();
    let subject = |endpoint: &serde_json::Value| endpoint["subject"].as_str().unwrap().to_owned();
    endpoints
        .iter()
        .map(|endpoint| subject(endpoint).replace('*', NODE))
        .collect()
}

/// Endpoints that are content with `{}`.
fn takes_nothing(subject: &str) -> bool {
    [".list", "policy.show", "secrets.key", "secrets.rotate"]
        .iter()
        .any(|end| subject.ends_with(end))
}

fn bad_bodies() -> Vec<(&'static str, Bytes)> {
    let nested = |open: u8| Bytes::from(vec![open; MAX_MESSAGE_BYTES]);
    let text = |text: &str| Bytes::from(text.to_owned());
    vec![
        ("noise", Bytes::from_static(b"\xff\xfe\x00\x01")),
        ("a cut CBOR map", Bytes::from_static(b"\xa3\x64node\x61x")),
        (
            "CBOR that wants 2^63 bytes",
            Bytes::from_static(b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff"),
        ),
        (
            "CBOR that wants 2^63 items",
            Bytes::from_static(b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff"),
        ),
        ("CBOR null", Bytes::from_static(b"\xf6")),
        (
            "CBOR text that is no UTF-8",
            Bytes::from_static(b"\x62\xc3\x28"),
        ),
        ("deep CBOR arrays", nested(0x81)),
        ("deep CBOR tags", nested(0xc1)),
        ("endless CBOR arrays", nested(0x9f)),
        ("deep JSON arrays", nested(b'[')),
        (
            "deep JSON objects",
            Bytes::from("{\"node\":".repeat(MAX_MESSAGE_BYTES / 8)),
        ),
        (
            "too many bytes",
            Bytes::from(vec![b' '; MAX_MESSAGE_BYTES + 1]),
        ),
        (
            "a JSON number for a name",
            text("{\"node\": 5, \"key\": 5, \"bmc\": 5}"),
        ),
        ("JSON of another shape", text("[1, 2, 3]")),
        ("a JSON string", text("\"node\"")),
        ("an unknown field", text("{\"nod\": \"x\"}")),
        ("half a JSON document", text("{\"node\": \"x\"")),
        ("two JSON documents", text("{} {}")),
        (
            "a name that is none",
            text("{\"node\": \"../..\\u0000\\r\\nNats-Service-Error: x\", \"request\": \"*\"}"),
        ),
    ]
}

/// An answer that is no error can be read in the encoding it claims.
fn is_readable(reply: &Reply) -> bool {
    match reply.header("Content-Type") {
        Some(JSON) => serde_json::from_slice::<serde_json::Value>(&reply.0.payload).is_ok(),
        Some(codec::CONTENT_TYPE) => codec::decode::<ciborium::Value>(&reply.0.payload).is_ok(),
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_refuses_what_it_cannot_read() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "");
    let subjects = subjects(&site).await;
    assert!(subjects.len() > 20, "{subjects:?}");
    let empty = ("nothing", Bytes::new());
    let bodies: Vec<_> = bad_bodies().into_iter().chain([empty]).collect();
    let types = [
        None,
        Some(JSON),
        Some(codec::CONTENT_TYPE),
        Some("text/plain"),
    ];
    let mut cases = Vec::new();
    for subject in &subjects {
        for (what, body) in &bodies {
            for kind in types {
                cases.push((subject, *what, body.clone(), kind));
            }
        }
    }
    let site = &site;
    stream::iter(cases)
        .for_each_concurrent(PARALLEL, |(subject, what, body, kind)| async move {
            let no_body = body.is_empty() && kind != Some(codec::CONTENT_TYPE);
            // So many large requests at once do not all find room.
            let reply = loop {
                let reply = site.send(subject, kind, body.clone()).await;
                if reply.error().is_none_or(|(code, _)| code != 503) {
                    break reply;
                }
            };
            let case = format!("{subject}: {what} as {kind:?}");
            if takes_nothing(subject) && no_body {
                assert_eq!(reply.error(), None, "{case}");
                assert!(is_readable(&reply), "{case}");
                return;
            }
            let (code, why) = reply.error().unwrap_or_else(|| panic!("{case}: accepted"));
            assert_eq!(code, 400, "{case}: {why}");
            assert!(!why.is_empty() && why.len() < 4100, "{case}: {why}");
            assert!(reply.0.payload.is_empty(), "{case}");
        })
        .await;
    let page = site.ask("node.list", json!({})).await.good();
    let nodes = &page["nodes"];
    assert_eq!(*nodes, json!([]));
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_names_its_node() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "");
    let beat = codec::encode(&beat());
    let (long, bare) = ("y".repeat(3000), NODE.replace('-', ""));
    for token in ["x", "0", &NODE[1..], &bare, &long] {
        let subject = format!("ib.v1.heartbeat.{token}");
        let reply = site.send(&subject, None, beat.clone().into()).await;
        let why = reply.refused(400);
        assert!(why.contains("is not a node id") && why.len() < 200, "{why}");
    }
    worker.assert_well();
}

fn beat() -> Heartbeat {
    Heartbeat {
        version: codec::VERSION,
        boot: boot(1),
        seq: 1,
        status: Status::Idle,
        nudge: None,
    }
}

/// Every request gets one answer, whatever happened to it on the way.
#[tokio::test(flavor = "multi_thread")]
async fn bent_messages_are_answered_too() {
    let mut mutator = Mutator::seeded("hostile");
    let site = Site::start().await;
    let mut worker = site.worker("w1", "");
    let bmc = support::idle_bmc(1);
    let ask = json!({
        "node": NODE, "request": "r1", "reason": "why", "patch": { "name": "n", "macs": ["02:00:00:00:00:01"] },
        "instance": { "image": { "source": "http://h/i", "checksum": "0".repeat(64) } },
    });
    let enroll = json!({ "id": NODE, "name": "n1", "bmc": bmc, "macs": ["02:00:00:00:00:01"] });
    let mut cases = Vec::new();
    for subject in subjects(&site).await {
        let good = match subject.rsplit("ib.v1.").next().unwrap() {
            "lookup" => codec::encode(&lookup(boot(1), machine(1))),
            "api.node.enroll" => enroll.to_string().into_bytes(),
            beat if beat.starts_with("heartbeat") => codec::encode(&self::beat()),
            _ => ask.to_string().into_bytes(),
        };
        for _ in 0..60 {
            cases.push((subject.clone(), mutator.mutate(&good).into()));
        }
    }
    let site = &site;
    stream::iter(cases)
        .for_each_concurrent(PARALLEL, |(subject, body)| async move {
            let reply = site.send(&subject, None, body).await;
            match reply.error() {
                None => assert!(is_readable(&reply), "{subject}"),
                Some((code, why)) => {
                    assert!((400..500).contains(&code), "{subject}: {code} {why}");
                }
            }
        })
        .await;
    worker.assert_well();
    site.ask("lookup.list", json!({})).await.good();
}
