//! A whole worker on a real nats-server, and bytes that no friend would send: every endpoint answers with a reason, no
//! worker dies, and what is asked properly afterwards is answered.
use async_nats::{Client, HeaderMap, Message};
use ironbeat_common::id::BootId;
use ironbeat_common::inventory::{Inventory, System};
use ironbeat_common::wire::{self, Heartbeat, HeartbeatReply, Lookup, LookupReply, Status};
use ironbeat_tests::nats::{NatsBinary, NatsServer};
use ironbeat_tests::process::Process;
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const NODE: &str = "01010101-0101-0101-0101-010101010101";

struct Site {
    nats: Client,
    worker: Process,
    _server: NatsServer,
    _dir: tempfile::TempDir,
}

/// Below the range of outgoing connections, and free a moment ago.
fn free_port() -> u16 {
    let first = 21_000 + (std::process::id() % 5000) as u16;
    (first..32_000)
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}

async fn site() -> Site {
    let server = NatsServer::start_loopback(NatsBinary::Floor).expect("nats-server starts");
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("worker.toml");
    let text = format!(
        "id = 'w1'\n[nats]\nservers = ['{}']\n[http]\nlisten = '127.0.0.1:{}'\nboot_dir = '/tmp'\nimage_dir = '/tmp'\n",
        server.url(),
        free_port()
    );
    std::fs::write(&config, text).expect("the configuration is written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ironbeat"));
    command.arg("conductor").arg("--config").arg(&config);
    let mut worker =
        Process::start("w1", command, &dir.path().join("w1.log")).expect("the worker starts");
    worker
        .wait_for_log("ready", PATIENCE)
        .expect("the worker gets ready");
    let nats = async_nats::connect(server.url()).await.expect("connect");
    Site {
        nats,
        worker,
        _server: server,
        _dir: dir,
    }
}

impl Site {
    async fn ask(&self, subject: &str, body: Vec<u8>, content_type: Option<&str>) -> Message {
        let mut headers = HeaderMap::new();
        if let Some(content_type) = content_type {
            headers.insert("Content-Type", content_type);
        }
        self.nats
            .request_with_headers(subject.to_owned(), headers, body.into())
            .await
            .unwrap_or_else(|error| panic!("{subject}: {error}"))
    }

    async fn ask_json(&self, endpoint: &str, body: Value) -> Result<Value, String> {
        let subject = format!("ib.v1.api.{endpoint}");
        let reply = self.ask(&subject, body.to_string().into(), None).await;
        match refusal(&reply) {
            Some(why) => Err(why),
            None => Ok(serde_json::from_slice(&reply.payload).expect("JSON in, JSON out")),
        }
    }
}

fn refusal(reply: &Message) -> Option<String> {
    let headers = reply.headers.as_ref()?;
    headers
        .get("Nats-Service-Error")
        .map(|why| why.as_str().to_owned())
}

/// What the service says it listens on.
async fn endpoints(site: &Site) -> Vec<String> {
    let info = site.ask("$SRV.INFO.ironbeat", vec![], None).await;
    let info: Value = serde_json::from_slice(&info.payload).expect("service info is JSON");
    let list = info["endpoints"].as_array().expect("it has endpoints");
    list.iter()
        .map(|e| e["subject"].as_str().expect("a subject").to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_survives_every_kind_of_nonsense() {
    let mut site = site().await;
    let endpoints = endpoints(&site).await;
    assert!(endpoints.len() > 20, "{endpoints:?}");
    let nonsense: [&[u8]; 9] = [
        b"",
        b"{",
        b"{\"node\": 7}",
        b"[[[[",
        &[0xff; 64],
        &[0x9b, 0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x81; 100_000],
        &[0xa1, 0x64, b'n', b'o', b'd', b'e', 0xf6],
        &[0; 800_000],
    ];
    for subject in &endpoints {
        let subject = subject.replace('*', NODE);
        for body in nonsense {
            for content_type in [
                None,
                Some("application/cbor"),
                Some("application/json"),
                Some("text/odd"),
            ] {
                let reply = site.ask(&subject, body.to_vec(), content_type).await;
                // Lists ask for nothing, so that some nonsense is a proper request to them; nothing else is.
                let needs_nothing = [
                    "node.list",
                    "worker.list",
                    "knock.list",
                    "event.list",
                    "policy.show",
                ]
                .iter()
                .any(|list| subject.ends_with(list));
                let why = refusal(&reply);
                assert!(
                    why.is_some() || needs_nothing,
                    "{subject} took {:?}",
                    &body[..body.len().min(40)]
                );
                assert!(
                    why.is_none_or(|why| why.len() > 5),
                    "{subject} says nothing"
                );
            }
        }
    }
    for token in ["not-an-id", "0", "01010101010101010101010101010101"] {
        let reply = site
            .ask(&format!("ib.v1.heartbeat.{token}"), vec![0xa0], None)
            .await;
        assert!(
            refusal(&reply).is_some_and(|why| why.contains("is not a node id")),
            "{token}"
        );
    }
    assert!(site.worker.is_running(), "the worker died");

    // A machine that nobody knows is told to wait, and remembered.
    let boot = BootId::from_bytes([7; 16]);
    let system = System {
        serial: Some("X-1".into()),
        ..System::default()
    };
    let lookup = Lookup {
        version: wire::VERSION,
        boot,
        agent: "test".into(),
        inventory: Inventory {
            system,
            ..Inventory::default()
        },
        timings: Default::default(),
    };
    let reply = site
        .ask(
            "ib.v1.lookup",
            wire::encode(&lookup),
            Some(wire::CONTENT_TYPE),
        )
        .await;
    assert!(matches!(
        wire::decode(&reply.payload),
        Ok(LookupReply::Wait { .. })
    ));
    let beat = Heartbeat {
        version: wire::VERSION,
        boot,
        seq: 1,
        status: Status::Idle,
        nudge: None,
    };
    let reply = site
        .ask(
            &format!("ib.v1.heartbeat.{NODE}"),
            wire::encode(&beat),
            Some(wire::CONTENT_TYPE),
        )
        .await;
    assert_eq!(wire::decode(&reply.payload), Ok(HeartbeatReply::LookUp));
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let knocks = loop {
        let knocks = site
            .ask_json("knock.list", json!({}))
            .await
            .expect("a list");
        if knocks.as_array().is_some_and(|list| !list.is_empty())
            || tokio::time::Instant::now() > deadline
        {
            break knocks;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(
        knocks[0]["outcome"], "unknown machine: discovered",
        "{knocks:#}"
    );

    // What is asked properly is answered, in the encoding it was asked in, and shows no password.
    let wish = json!({
        "id": NODE, "name": "n1", "macs": ["02:00:00:00:00:01"],
        "bmc": { "protocol": "ipmi", "address": "127.0.0.1:9", "username": "admin", "password": "hush-hush" },
    });
    let shown = site
        .ask_json("node.enroll", wish.clone())
        .await
        .expect("enrolled");
    assert!(
        shown["id"] == NODE && !shown.to_string().contains("hush-hush"),
        "{shown}"
    );
    let again = site
        .ask_json("node.enroll", wish.clone())
        .await
        .expect("a repeated request is the same node");
    assert_eq!(again["id"], NODE);
    let mut thief = wish;
    thief["id"] = json!("02020202-0202-0202-0202-020202020202");
    thief["name"] = json!("n2");
    thief["bmc"]["address"] = json!("127.0.0.1:10");
    let why = site
        .ask_json("node.enroll", thief)
        .await
        .expect_err("two nodes got one MAC");
    assert!(
        why.contains("MAC address 02:00:00:00:00:01 belongs to node") && why.contains(NODE),
        "{why}"
    );
    let why = site
        .ask_json("node.provide", json!({ "node": "n1" }))
        .await
        .expect_err("not manageable yet");
    assert_eq!(why, "cannot provide a node that is enroll");
    let why = site
        .ask_json("node.show", json!({ "node": "nobody" }))
        .await
        .expect_err("no such node");
    assert_eq!(why, "there is no node nobody");
    #[derive(serde::Serialize)]
    struct Ask {
        node: &'static str,
    }
    let reply = site
        .ask(
            "ib.v1.api.node.show",
            wire::encode(&Ask { node: "n1" }),
            None,
        )
        .await;
    let headers = reply.headers.expect("a content type");
    assert_eq!(
        headers.get("Content-Type").map(|v| v.as_str()),
        Some(wire::CONTENT_TYPE)
    );
    assert!(site.worker.is_running());
    let log = site.worker.log().text();
    assert!(
        log.contains("enrolled") && !log.contains("hush-hush"),
        "{log}"
    );
}
