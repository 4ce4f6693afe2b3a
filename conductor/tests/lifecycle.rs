//! A worker's beginning, its index, its end, and a NATS server that goes away under it.
//! `worker` tests its answers; the rack tests workers that die in the middle of a deploy.
mod support;

use async_nats::jetstream;
use bytes::Bytes;
use futures_util::StreamExt;
use ironbeat_common::codec;
use ironbeat_core::decide::Policy;
use ironbeat_ops::ENDPOINTS;
use ironbeat_rack::lone_bmc::{PASSWORD, Sim};
use ironbeat_rack::ports::PortLease;
use ironbeat_rack::process::Process;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use support::bmcs::Bmcs;
use support::{JSON, Reply, SOON, Site, Worker, idle_bmc, mac, until};

#[tokio::test(flavor = "multi_thread")]
async fn the_service_is_its_own_index() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "");
    let ask = async |verb: &str| -> Value {
        let subject = format!("$SRV.{verb}.ironbeat");
        let reply = site.send(&subject, None, Bytes::new()).await;
        serde_json::from_slice(&reply.0.payload).unwrap()
    };
    assert_eq!(ask("PING").await["name"], "ironbeat");
    let info = ask("INFO").await;
    assert!(!info["description"].as_str().unwrap().is_empty());
    let found: BTreeSet<String> = info["endpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|endpoint| {
            assert_eq!(endpoint["queue_group"], "conductor");
            endpoint["subject"].as_str().unwrap().to_owned()
        })
        .collect();
    let agents = ["lookup", "heartbeat.*", "agent.*.login"];
    let agents = agents.map(|subject| format!("ib.v1.{subject}"));
    let expected = ENDPOINTS
        .iter()
        .map(|endpoint| format!("ib.v1.api.{}", endpoint.name));
    assert_eq!(found, expected.chain(agents).collect());

    for n in 0..3 {
        let nobody = json!({ "node": format!("n{n}") });
        site.ask("node.show", nobody).await.refused(404);
    }
    let stats = ask("STATS").await;
    let mut endpoints = stats["endpoints"].as_array().unwrap().iter();
    let shown = endpoints.find(|endpoint| endpoint["name"] == "node-show");
    let shown = shown.unwrap();
    assert_eq!(
        (&shown["num_requests"], &shown["num_errors"]),
        (&json!(3), &json!(3))
    );
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_come_in_the_encoding_of_the_question() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "max_tries = 3");
    let policy = Policy {
        max_tries: 3,
        ..Policy::default()
    };
    let cbor = || Bytes::from(codec::encode(&json!({})));
    let text = || Bytes::from("{}");
    for (kind, body, expected) in [
        (Some(JSON), text(), JSON),
        (Some(codec::CONTENT_TYPE), cbor(), codec::CONTENT_TYPE),
        (None, text(), JSON),
        (None, Bytes::new(), JSON),
        (None, cbor(), codec::CONTENT_TYPE),
        (Some("text/html"), cbor(), codec::CONTENT_TYPE),
    ] {
        let reply = site.send("ib.v1.api.policy.show", kind, body).await;
        assert_eq!(reply.error(), None);
        assert_eq!(reply.header("Content-Type"), Some(expected), "{kind:?}");
        let found: Policy = match expected {
            JSON => serde_json::from_slice(&reply.0.payload).unwrap(),
            _ => codec::decode(&reply.0.payload).unwrap(),
        };
        assert_eq!(found, policy);
    }
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_outlives_its_server() {
    let mut site = Site::start().await;
    let mut worker = site.worker("w1", "");
    let id = site
        .enroll(json!({ "name": "one", "bmc": idle_bmc(1), "macs": [mac(1)] }))
        .await;
    for (n, kill) in [(2, false), (3, true)] {
        if kill {
            site.nats.kill();
            site.nats.start().unwrap();
        } else {
            site.nats.restart().unwrap();
        }
        site.client = support::connect(&site.nats).await;
        until("it answers again", async || {
            let ask = json!({ "node": id }).to_string();
            let reply = site.client.request("ib.v1.api.node.show", ask.into()).await;
            serde_json::from_slice::<Value>(&reply.ok()?.payload).ok()
        })
        .await;
        let name = format!("n{n}");
        let wish = json!({ "name": name, "bmc": idle_bmc(n), "macs": [mac(n)] });
        let next = site.enroll(wish).await;
        let reason = json!({ "node": name, "reason": "tried" });
        site.ask("node.maintenance_set", reason).await.good();
        until("events are stored again", async || {
            let events = site.ask("event.list", json!({ "node": next })).await;
            let events = events.error().is_none().then(|| events.good())?;
            // Enrolled, and in maintenance.
            (events.as_array()?.len() == 2).then_some(())
        })
        .await;
        let workers = site.cli(&["workers"]).await.good();
        assert_eq!(workers.matches("w1 ").count(), 1, "{workers}");
    }
    until("all are listed", async || {
        let page = site.ask("node.list", json!({})).await.good();
        let nodes = &page["nodes"];
        (nodes.as_array()?.len() == 3).then_some(())
    })
    .await;
    worker.assert_well();
}

/// Hosts come up in any order.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_waits_for_its_server() {
    let mut site = Site::start().await;
    site.nats.kill();
    let mut worker = site.spawn("w1", "", PortLease::take().unwrap());
    worker.process.wait_for_log("no NATS server", SOON).unwrap();
    site.nats.start().unwrap();
    worker.process.wait_for_log(" ready ", SOON).unwrap();
    site.client = support::connect(&site.nats).await;
    site.ask("node.list", json!({})).await.good();
    worker.assert_well();
}

/// The last renewal of a worker's presence, unless it said good-bye.
async fn presence(site: &Site, id: &str) -> Option<String> {
    let js = jetstream::new(site.client.clone());
    let stream = js.get_stream("KV_ib_workers").await.unwrap();
    let subject = format!("$KV.ib_workers.{id}");
    let last = stream
        .get_last_raw_message_by_subject(&subject)
        .await
        .ok()?;
    let gone = last.headers.get("KV-Operation").is_some();
    (!gone).then(|| String::from_utf8(last.payload.to_vec()).unwrap())
}

fn ends_well(worker: &mut Worker) {
    let process: &mut Process = &mut worker.process;
    process.signal(Signal::TERM).unwrap();
    let status = process.wait_exit(SOON).unwrap();
    assert!(status.success(), "{status}: {}", process.log().tail());
    let printed = worker.printed();
    assert!(!printed.contains("panicked"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_ordered_to_end_says_good_bye() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "");
    assert!(presence(&site, "w1").await.unwrap().contains("127.0.0.1"));
    ends_well(&mut worker);
    assert_eq!(presence(&site, "w1").await, None);
    let nobody = site
        .client
        .request("ib.v1.api.node.list", Bytes::new())
        .await;
    let error = nobody.unwrap_err();
    assert_eq!(error.kind(), async_nats::RequestErrorKind::NoResponders);
    let why = site.cli(&["node", "list"]).await.bad();
    assert!(
        why.contains("no conductor worker listens on ib.v1.api.node.list"),
        "{why}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_takes_its_servers_from_its_file_alone() {
    let site = Site::start().await;
    let config = site.file("none.toml", "");
    let args = ["conductor", "--config", &config, "--nats", "nats://h"];
    let why = site.cli(&args).await.bad();
    assert!(why.contains("nats.servers from its file"), "{why}");
}

/// The only one there is. Whoever waits for a job is no part of it.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_a_job_outlives_a_worker_that_restarts() {
    let site = Site::start().await;
    let worker = site.worker("w1", "automated_clean = false");
    let sim = Sim::start(false);
    let bmc = json!({ "protocol": "ipmi", "address": sim.address(), "username": "admin", "password": PASSWORD });
    let box_ = json!({ "name": "box", "bmc": bmc, "macs": [mac(1)] });
    site.enroll(box_).await;
    site.cli(&["node", "manage", "box", "--wait"]).await.good();
    let mut waiting = site.start_cli(&["node", "inspect", "box", "--wait"]);
    waiting.wait_for_log("box: inspect wait", SOON).unwrap();
    drop(worker);
    let words = "still waiting, the job goes on by itself";
    waiting.wait_for_log(words, SOON).unwrap();
    let mut again = site.worker("w2", "automated_clean = false");
    site.ask("node.abort", json!({ "node": "box" }))
        .await
        .good();
    let over = waiting.wait_for_log("aborted by the operator", SOON);
    over.unwrap();
    assert!(!waiting.wait_exit(SOON).unwrap().success());
    again.assert_well();
}

/// More requests than a worker takes up at once.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_arrived_are_answered_and_announced_before_the_end() {
    let (site, nodes, rounds) = (Site::start().await, 50, 10);
    let mut worker = site.worker("w1", "");
    let mut ids = Vec::new();
    for n in 0..nodes {
        ids.push(
            site.enroll(json!({ "bmc": idle_bmc(n), "macs": [mac(n)] }))
                .await,
        );
    }
    let inbox = site.client.new_inbox();
    let mut answers = site.client.subscribe(inbox.clone()).await.unwrap();
    let subject = "ib.v1.api.node.maintenance_set";
    for n in 0..rounds {
        for id in &ids {
            let ask = json!({ "node": id, "reason": format!("r{n}") }).to_string();
            let sent = site
                .client
                .publish_with_reply(subject, inbox.clone(), ask.into());
            sent.await.unwrap();
        }
    }
    // Same connections, same order: when the worker answers this, it has the others.
    site.ask("policy.show", json!({})).await.good();
    ends_well(&mut worker);
    let asked = rounds * usize::from(nodes);
    for n in 0..asked {
        let answer = tokio::time::timeout(SOON, answers.next()).await;
        let answer = answer.unwrap_or_else(|_| panic!("{n} of {asked} are answered"));
        assert_eq!(Reply(answer.unwrap()).error(), None);
    }
    let mut other = site.worker("w2", "");
    let events = site.ask("event.list", json!({ "last": 1000 })).await.good();
    let enrolled = usize::from(nodes);
    assert_eq!(events.as_array().unwrap().len(), enrolled + asked);
    other.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_work_says_why_and_is_not_counted() {
    let site = Site::start().await;
    let Worker {
        process: _first,
        http,
        ..
    } = site.worker("w1", "");
    let mut taken = site.spawn("w2", "", http);
    let status = taken.process.wait_exit(SOON).unwrap();
    assert!(!status.success());
    let printed = taken.printed();
    let why = format!("127.0.0.1:{}", taken.http.port());
    assert!(
        printed.contains("serve HTTP") && printed.contains(&why),
        "{printed}"
    );
    assert_eq!(presence(&site, "w2").await, None);
}

/// Nobody is left to say good-bye to.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_ends_without_its_server_too() {
    let mut site = Site::start().await;
    let mut worker = site.worker("w1", "");
    site.nats.kill();
    ends_well(&mut worker);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_worker_under_one_name_says_who_has_it_and_ends() {
    let site = Site::start().await;
    let mut first = site.worker("w1", "");
    let mut second = site.spawn_as("other", "w1", "", PortLease::take().unwrap());
    let status = second.process.wait_exit(SOON).unwrap();
    assert!(!status.success());
    let printed = second.printed();
    let url = format!("http://127.0.0.1:{}", first.http.port());
    for part in [
        "the name w1 belongs to a worker on host ",
        &url,
        "give one of them another `id`",
    ] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    assert!(presence(&site, "w1").await.unwrap().contains(&url));
    site.ask("node.list", json!({})).await.good();
    first.assert_well();
}

/// Its former life was at an act whose budget is three minutes; nobody saw it lapse.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_and_started_again_goes_on_with_what_it_was_at() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    let quiet = "power_sync_secs = 0";
    let mut worker = site.worker("w1", quiet);
    let wish = json!({ "name": "box", "bmc": bmcs.access(0) });
    let id = site.enroll(wish).await;
    bmcs.fleet.with(0, |bmc, _| bmc.faults.silent = true);
    site.ask("node.manage", json!({ "node": id })).await.good();
    let phase = &site.show("box").await["state"]["busy"]["phase"];
    assert_eq!(phase["acting"]["worker"], "w1", "{phase}");
    worker.process.kill();
    bmcs.fleet.with(0, |bmc, _| bmc.faults.silent = false);
    let mut again = site.worker("w1", quiet);
    let node = site.rests("box", "manageable").await;
    assert_eq!(node["last_error"], Value::Null);
    let why = until("the event is stored", async || {
        let events = site.ask("event.list", json!({ "node": id })).await.good();
        let why = |event: &Value| event["body"]["because"].as_str().map(str::to_owned);
        let mut why = events.as_array()?.iter().filter_map(why);
        why.find(|why| why.contains("was started again"))
    })
    .await;
    assert_eq!(
        why,
        "worker w1 was started again while it acted: begun again"
    );
    again.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_refused_and_workers_that_differ_are_named() {
    let site = Site::start().await;
    let mut odd = site.spawn("w0", "max_tries = 0", PortLease::take().unwrap());
    assert!(!odd.process.wait_exit(SOON).unwrap().success());
    let printed = odd.printed();
    assert!(
        printed.contains("policy.max_tries = 0: it must be between 1 and 100"),
        "{printed}"
    );

    let mut first = site.worker("w1", "max_boots = 7");
    let second = site.worker("w2", "max_boots = 7\nmax_tries = 3");
    let words = "policy.max_tries is 5 here and 3 at worker w2: give all workers the same";
    first.process.wait_for_log(words, SOON).unwrap();
    until("it is listed", async || {
        let table = site.cli(&["workers"]).await.good();
        table
            .contains("policy.max_tries differs: w1 has 5, w2 has 3")
            .then_some(())
    })
    .await;
    // Renewals say it again every three seconds, and the log does not.
    let mut third = site.worker("w3", "max_boots = 7");
    third.process.wait_for_log("at worker w2", SOON).unwrap();
    assert_eq!(first.printed().matches(words).count(), 1);
    [first, second, third]
        .iter_mut()
        .for_each(Worker::assert_well);
}
