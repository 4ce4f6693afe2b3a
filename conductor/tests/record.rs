//! What is left of a deploy: a history for people, a flight record that decides alike, and what both cost.
//! `ironbeat_core::flight` compares decisions; the test is the agent, and `ipmi_sim` the BMC.
mod support;

use futures_util::StreamExt;
use ironbeat_common::codec;
use ironbeat_common::heartbeat::{Heartbeat, HeartbeatReply, Outcome, Progress, Status};
use ironbeat_common::lookup::LookupReply;
use ironbeat_common::subject;
use ironbeat_rack::lone_bmc::{PASSWORD, Sim};
use serde_json::{Value, json};
use support::{SOON, Site, boot, lookup, mac, machine, until};

/// Every secret of the story.
const SECRETS: [&str; 4] = [
    PASSWORD,
    "hush-user-data",
    "hush-network-data",
    "sesame-sig-4716",
];

fn assert_hushed(what: &str, text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{what} tells {secret}: {text}");
    }
}

/// From nothing to active, on a machine that the test is.
async fn deployed(site: &Site, sim: &Sim) -> String {
    let bmc = json!({ "protocol": "ipmi", "address": sim.address(), "username": "admin", "password": PASSWORD });
    let id = site
        .enroll(json!({ "name": "box", "bmc": bmc, "macs": [mac(1)] }))
        .await;
    site.cli(&["node", "manage", "box", "--wait"]).await.good();
    site.cli(&["node", "provide", "box", "--wait"]).await.good();
    let image = json!({
        "source": "http://127.0.0.1:9/os.img.gz?sig=sesame-sig-4716",
        "checksum": serde_json::to_value("0".repeat(64).parse::<ironbeat_common::image::Checksum>().unwrap()).unwrap(),
    });
    let instance = json!({
        "image": image,
        "user_data": "#cloud-config\npassword: hush-user-data\n",
        "network_data": "{\"links\":[],\"x\":\"hush-network-data\"}",
    });
    let body = json!({ "node": "box", "instance": instance, "request": "the-deploy" });
    site.ask("node.deploy", body).await.good();
    let node = until("the ramdisk is welcome", async || {
        match site
            .agent("ib.v1.lookup", &lookup(boot(1), machine(1)))
            .await
        {
            LookupReply::Welcome { node, .. } => Some(node),
            LookupReply::Wait { .. } => None,
        }
    });
    let node = node.await;
    let subject = subject::heartbeat("ib.v1", &node);
    let mut status = Status::Idle;
    for seq in 1.. {
        let beat = Heartbeat {
            version: codec::VERSION,
            boot: boot(1),
            seq,
            status,
            nudge: None,
        };
        let step = match site.agent(&subject, &beat).await {
            HeartbeatReply::Step { id, .. } => id,
            HeartbeatReply::Idle | HeartbeatReply::LookUp => break,
        };
        // A beat that changes nothing is not kept.
        let progress = Progress {
            phase: "download".into(),
            done: 1,
            total: Some(2),
            trouble: None,
        };
        for _ in 0..3 {
            let beat = Heartbeat {
                version: codec::VERSION,
                boot: boot(1),
                seq,
                status: Status::Running {
                    step,
                    progress: progress.clone(),
                },
                nudge: None,
            };
            let _: HeartbeatReply = site.agent(&subject, &beat).await;
        }
        status = Status::Done {
            step,
            outcome: Outcome::Nothing,
        };
    }
    site.rests("box", "active").await;
    id
}

/// The agent's lookup and its beats are one boot here; the simulated BMC says that the machine has left the ramdisk.
#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_can_be_asked_for_afterwards_and_decided_again() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "automated_clean = false\n[events]\nironic = true");
    let mut ironic = site.client.subscribe("ib.v1.ironic.>").await.unwrap();
    site.client.flush().await.unwrap();
    let sim = Sim::start(false);
    let id = deployed(&site, &sim).await;
    let refused = json!({ "node": "box", "request": "too-late" });
    site.ask("node.provide", refused).await.refused(409);

    let ask = json!({ "node": "box", "limit": 1000 });
    let history = until("its history has the refusal", async || {
        let history = site.ask("node.history", ask.clone()).await.good();
        let history = history.as_array().unwrap().clone();
        (history.last()?["event_type"] == "refused").then_some(history)
    });
    let history = history.await;
    assert_hushed("the history", &json!(history).to_string());
    assert_eq!(history[0]["event_type"], "enrolled");
    let of = |state: &str| {
        history
            .iter()
            .find(|it| it["to"] == state && it["from"] != state)
    };
    let began = of("deploying").expect("it began");
    assert_eq!(
        (
            &began["severity"],
            &began["asked"]["verb"],
            &began["asked"]["request"]
        ),
        (&json!("INFO"), &json!("deploy"), &json!("the-deploy"))
    );
    assert!(of("active").is_some());
    let last = history.last().unwrap();
    assert_eq!(last["severity"], "ERROR");
    assert_eq!(last["asked"]["request"], "too-late");
    let few = site.cli(&["node", "history", "box", "--limit", "2"]).await;
    let few = few.good();
    assert_eq!(few.lines().count(), 2, "{few}");
    assert!(
        few.contains("ERROR refused active: cannot provide a node that is active"),
        "{few}"
    );
    let since = ["node", "history", "box", "--since", "2099-01-01"];
    assert_eq!(site.cli(&since).await.good(), "");

    let file = site.cli(&["node", "record", "box"]).await.good();
    assert_hushed("the flight record", &file);
    let head: Value = serde_json::from_str(file.lines().next().unwrap()).unwrap();
    assert_eq!((&head["node"], &head["flight"]), (&json!(id), &json!(1)));
    let outcome = ironbeat_replay::replay(file.as_bytes()).unwrap();
    assert!(outcome.is_same(), "{outcome}");
    // The lookup of a machine that nobody had inspected, and every change is among them: nothing is left out.
    assert!(outcome.skipped.is_empty(), "{outcome}");
    let changes = |it: &&Value| {
        matches!(
            it["event_type"].as_str(),
            Some("state" | "step" | "enrolled" | "refused")
        )
    };
    assert_eq!(
        outcome.same,
        history.iter().filter(changes).count(),
        "{outcome}"
    );

    // What it costs: no message more, and so many bytes beside those of the events.
    let entries: Vec<&str> = file.lines().skip(1).collect();
    let deploy = entries
        .iter()
        .position(|it| it.contains("\"the-deploy\""))
        .unwrap();
    let deploy = &entries[deploy..entries.len() - 1];
    let bytes: usize = deploy.iter().map(|it| it.len()).sum();
    println!(
        "a deploy's flight record: {} entries, {bytes} bytes",
        deploy.len()
    );
    for entry in deploy {
        println!("{} {entry:.160}", entry.len());
    }
    assert!(
        deploy.len() <= 14 && bytes < 24_000,
        "{} {bytes}",
        deploy.len()
    );

    let mut names = vec![];
    while names
        .last()
        .is_none_or(|last| last != "provision_set.end active")
    {
        let told = tokio::time::timeout(SOON, ironic.next()).await;
        let told = told.expect("a deploy ends").unwrap();
        let text = String::from_utf8_lossy(&told.payload).into_owned();
        assert_hushed(&told.subject, &text);
        let body: Value = serde_json::from_str(&text).unwrap();
        let name = body["event_type"].as_str().unwrap();
        assert_eq!(told.subject.as_str(), format!("ib.v1.ironic.{id}.{name}"));
        let state = &body["payload"]["ironic_object.data"]["provision_state"];
        let name = name.strip_prefix("baremetal.node.").unwrap();
        names.push(format!("{name} {}", state.as_str().unwrap()));
    }
    assert_eq!(
        names,
        [
            "create.start enroll",
            "create.end enroll",
            "provision_set.start verifying",
            "provision_set.end manageable",
            "provision_set.success available",
            "provision_set.start deploying",
            "provision_set.success wait call-back",
            "provision_set.success deploying",
            "provision_set.end active",
        ]
    );
    worker.assert_well();
}
