//! Questions to BMCs go to the worker that owns the node, and a BMC's restart is a job: real workers, a real NATS server,
//! simulated BMCs. `power` tests how a BMC's answers are worded.
mod support;

use futures_util::FutureExt;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use ironbeat_bmc_sim::Counters;
use ironbeat_common::codec;
use ironbeat_common::heartbeat::{Heartbeat, HeartbeatReply, Status};
use ironbeat_common::id::NodeId;
use ironbeat_common::lookup::LookupReply;
use ironbeat_common::subject;
use serde_json::{Value, json};
use std::time::Duration;
use support::bmcs::Bmcs;
use support::{JSON, SOON, Site, Worker, until};

/// No BMC is asked unless a test does it.
const QUIET: &str = "power_sync_secs = 0";
const HANDED: &str = "handed to the owner of the BMC";

fn counters(bmcs: &Bmcs) -> Counters {
    bmcs.fleet.with(0, |bmc, _| bmc.counters())
}

/// Both workers know of each other: so many answers in a row are not all from one of them.
async fn acquainted(site: &Site) {
    let mut agreed = 0;
    until("both workers know both", async || {
        let live = site.ask("worker.list", json!({})).await.good();
        agreed = match live.as_array()?.len() {
            2 => agreed + 1,
            _ => 0,
        };
        (agreed == 20).then_some(())
    })
    .await;
}

/// The worker that handed a question to the other, when one has.
async fn who_hands_over(workers: [&Worker; 2]) -> Option<(&Worker, &Worker)> {
    let [one, two] = workers;
    match (
        one.printed().contains(HANDED),
        two.printed().contains(HANDED),
    ) {
        (true, false) => Some((one, two)),
        (false, true) => Some((two, one)),
        (false, false) => None,
        (true, true) => panic!("a question was handed back"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_to_either_worker_are_answered_over_one_session() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    let (mut one, mut two) = (site.worker("w1", QUIET), site.worker("w2", QUIET));
    acquainted(&site).await;
    let node = site
        .enroll(json!({ "name": "box", "bmc": bmcs.access(0) }))
        .await;
    let ask = async |endpoint: &str| site.ask(endpoint, json!({ "node": "box" })).await.good();
    until("a question comes to the wrong worker", async || {
        assert_eq!(ask("bmc.info").await["firmware"], "9.08");
        who_hands_over([&one, &two]).await.map(|_| ())
    })
    .await;
    for _ in 0..8 {
        assert!(ask("bmc.sensors").await[0]["unit"].is_string());
        assert!(ask("bmc.fru").await["board"]["serial"].is_string());
        assert!(ask("bmc.sel").await.is_array());
        let raw = json!({ "node": "box", "raw": "06 01" });
        assert!(site.ask("bmc.raw", raw).await.good()["data"].is_string());
        assert_eq!(ask("power.sync").await["id"], json!(node));
    }
    assert_eq!(counters(&bmcs).logins, 1);

    // The owner's refusals keep their words and their code.
    let raw = json!({ "node": "box", "raw": "0c 7f" });
    for _ in 0..8 {
        let why = site.ask("bmc.raw", raw.clone()).await.refused(502);
        assert!(why.contains("invalid command"), "{why}");
    }
    // The reply has the encoding of the question.
    let message = json!({ "node": "box" });
    let body = codec::encode(&message);
    for _ in 0..8 {
        let cbor = Some(codec::CONTENT_TYPE);
        let reply = site.send("ib.v1.api.bmc.info", cbor, body.clone().into());
        let reply = reply.await;
        assert_eq!((reply.error(), reply.header("Content-Type")), (None, cbor));
        let info: Value = codec::decode(&reply.0.payload).unwrap();
        assert_eq!(info["firmware"], "9.08");
    }
    assert_eq!(counters(&bmcs).logins, 1);
    // A check logs in on its own, to see whether that works; the owner does it.
    for logins in 2..8 {
        let check = ask("bmc.check").await;
        let address = check["address"].as_str().unwrap();
        assert_eq!(address, bmcs.fleet.address(0).to_string());
        assert_eq!(counters(&bmcs).logins, logins);
    }
    one.assert_well();
    two.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_dies_over_a_question_is_named() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    let (one, two) = (site.worker("w1", QUIET), site.worker("w2", QUIET));
    acquainted(&site).await;
    let node = site
        .enroll(json!({ "name": "box", "bmc": bmcs.access(0) }))
        .await;
    bmcs.fleet.with(0, |bmc, _| bmc.faults.silent = true);
    let raw = json!({ "node": "box", "raw": "06 01" });
    let mut asked: FuturesUnordered<_> =
        (0..16).map(|_| site.ask("bmc.raw", raw.clone())).collect();
    let mut workers = [Some(one), Some(two)];
    let handed = until("a question is handed over", async || {
        // Polling it also sends it.
        let early = tokio::time::timeout(Duration::from_millis(1), asked.next()).await;
        assert!(early.is_err(), "the BMC is silent");
        let [Some(one), Some(two)] = &workers else {
            panic!("both live");
        };
        let (_, owner) = who_hands_over([one, two]).await?;
        Some(usize::from(std::ptr::eq(owner, two)))
    })
    .await;
    // A killed worker says good-bye to nobody.
    drop(workers[handed].take());
    let reply = tokio::time::timeout(SOON, asked.next()).await.unwrap();
    let why = reply.unwrap().refused(503);
    let owner = ["w1", "w2"][handed];
    let expected = format!(
        "bmc.raw was handed to worker {owner}, which owns the BMC of node {node}: \
         that worker went away before it answered; it may have been carried out"
    );
    assert_eq!(why, expected);
    // The other has it now.
    bmcs.fleet.with(0, |bmc, _| bmc.faults.silent = false);
    let raw = site.ask("bmc.raw", raw).await.good();
    assert!(raw["data"].is_string());
    workers.iter_mut().flatten().for_each(Worker::assert_well);
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_to_dead_bmcs_delay_nobody_who_asks_something_else() {
    const DEAD: usize = 10;
    let (site, bmcs) = (Site::start().await, Bmcs::start(DEAD));
    let mut worker = site.worker("w1", QUIET);
    let inbox = site.client.new_inbox();
    let mut answers = site.client.subscribe(inbox.clone()).await.unwrap();
    for n in 0..DEAD {
        bmcs.fleet.with(n, |bmc, _| bmc.faults.silent = true);
        let name = format!("box-{n}");
        site.enroll(json!({ "name": name, "bmc": bmcs.access(n) }))
            .await;
    }
    // 600 questions, as many as 10 BMCs take into their queues. The first gives up after many seconds.
    for _ in 0..60 {
        for n in 0..DEAD {
            let body = json!({ "node": format!("box-{n}") }).to_string();
            let asked =
                site.client
                    .publish_with_reply("ib.v1.api.bmc.info", inbox.clone(), body.into());
            asked.await.unwrap();
        }
    }
    until("each BMC is asked", async || {
        let asked = |n| bmcs.fleet.with(n, |bmc, _| bmc.counters().datagrams > 0);
        (0..DEAD).all(asked).then_some(())
    })
    .await;
    let stranger = NodeId::from_bytes([9; 16]);
    for seq in 1..=20 {
        let beat = Heartbeat {
            version: codec::VERSION,
            boot: support::boot(9),
            seq,
            status: Status::Idle,
            nudge: None,
        };
        let subject = subject::heartbeat("ib.v1", &stranger);
        let reply: HeartbeatReply = site.agent(&subject, &beat).await;
        assert_eq!(reply, HeartbeatReply::LookUp);
    }
    let lookup = support::lookup(support::boot(9), support::machine(9));
    let reply: LookupReply = site.agent("ib.v1.lookup", &lookup).await;
    assert!(matches!(reply, LookupReply::Wait { .. }));
    let page = site.ask("node.list", json!({})).await.good();
    assert_eq!(page["nodes"].as_array().unwrap().len(), DEAD);
    // All of that was answered while every question was still open.
    let early = answers.next().now_or_never();
    assert!(early.is_none(), "{early:?}");
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workers_own_subject_answers_questions_to_bmcs_and_nothing_else() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    let mut worker = site.worker("w1", QUIET);
    site.enroll(json!({ "name": "box", "bmc": bmcs.access(0) }))
        .await;
    let hand = async |endpoint: Option<&str>| {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Content-Type", JSON);
        if let Some(endpoint) = endpoint {
            headers.insert("Ironbeat-Endpoint", endpoint);
        }
        let body = json!({ "node": "box" }).to_string();
        let asked = site
            .client
            .request_with_headers("ib.v1.worker.w1.ask", headers, body.into());
        support::Reply(asked.await.unwrap())
    };
    assert_eq!(hand(Some("bmc.info")).await.good()["firmware"], "9.08");
    for (endpoint, code, words) in [
        (Some("node.delete"), 400, "no question for a BMC's owner"),
        (Some("bmc.reset"), 400, "no question for a BMC's owner"),
        (Some("bmc.nonsense"), 404, "no endpoint bmc.nonsense"),
        (None, 400, "no header Ironbeat-Endpoint"),
    ] {
        let why = hand(endpoint).await.refused(code);
        assert!(why.contains(words), "{why}");
    }
    site.show("box").await;
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bmc_restarts_on_record_and_nothing_else_is_done_to_it_meanwhile() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    let mut worker = site.worker("w1", QUIET);
    bmcs.managed(&site, 0, "box").await;
    bmcs.fleet
        .with(0, |bmc, _| bmc.settings.restart = Duration::from_secs(3600));
    let reset = json!({ "node": "box", "request": "r-1" });
    let shown = site.ask("bmc.reset", reset.clone()).await.good();
    assert_eq!(shown["provision_state"], "manageable");
    let job = &shown["state"]["busy"];
    assert_eq!(job["steps"], json!([{ "bmc": "reset_bmc" }]));
    // The same request once more is no second restart.
    site.ask("bmc.reset", reset).await.good();
    let again = site.ask("bmc.reset", json!({ "node": "box" })).await;
    let why = again.refused(409);
    assert!(why.contains("cannot reset the BMC of"), "{why}");
    assert!(why.contains("its BMC busy on another request"), "{why}");
    for (endpoint, body) in [
        ("bmc.raw", json!({ "node": "box", "raw": "06 02" })),
        ("bmc.sel", json!({ "node": "box", "clear": true })),
    ] {
        let why = site.ask(endpoint, body).await.refused(409);
        assert!(
            why.contains("worker w1 is busy with it (reset_bmc)"),
            "{why}"
        );
    }
    let words = site.cli(&["node", "explain", "box"]).await.good();
    assert!(words.contains("restart the BMC itself"), "{words}");
    until("it has restarted", async || {
        (counters(&bmcs).restarts == 1).then_some(())
    })
    .await;

    // It comes back after all.
    bmcs.fleet.with(0, |bmc, now| {
        bmc.settings.restart = Duration::ZERO;
        bmc.restart(now);
    });
    let rested = site.rests("box", "manageable").await;
    assert_eq!(rested.get("bmc_error"), None);
    let steps = until("its events are stored", async || {
        let events = site.ask("event.list", json!({ "node": "box" })).await;
        let events = events.good();
        let steps = events.as_array()?.iter();
        let steps = steps.filter(|event| event["body"]["step"] == "reset_bmc");
        let steps = steps.count();
        (steps > 0).then_some(steps)
    });
    assert_eq!(steps.await, 1);
    let said = site.cli(&["bmc", "reset", "box", "--wait"]).await.good();
    assert!(said.contains("manageable"), "{said}");
    worker.assert_well();
}
