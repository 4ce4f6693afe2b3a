//! Nodes are asked for by kind: by commands, by JSON, and by a thousand at once. Real workers, a real NATS server. The core tests
//! which node fits, and what frees it.
mod support;

use futures_util::{StreamExt, stream};
use ironbeat::records::{Names, Store};
use ironbeat::secrets::MasterKeys;
use ironbeat_core::id::OpId;
use ironbeat_core::node::{Node, Power, PowerSource, Rest, State};
use ironbeat_rack::secrets::MASTER_KEY;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use support::bmcs::Bmcs;
use support::{Site, until};

const STILL: &str = "power_sync_secs = 0\nautomated_clean = false";
const NODES: usize = 500;
const ASKERS: usize = 1000;
/// Requests under way at once: more than a worker answers at the same time.
const AT_ONCE: usize = 250;

async fn store(site: &Site) -> Store {
    let masters = MasterKeys::parse(MASTER_KEY).unwrap();
    let (client, names) = (site.client.clone(), Names::default());
    Store::open(client, &names, &masters).await.unwrap()
}

/// Free nodes, as a long life has left them: made from one that a worker has enrolled, which is then deleted.
async fn free_nodes(site: &Site, count: usize) {
    let bmc =
        json!({ "protocol": "ipmi", "address": "10.78.0.1", "username": "u", "password": "hush" });
    let wish = json!({ "bmc": bmc, "resource_class": "large" });
    let id = site.enroll(wish).await;
    let store = store(site).await;
    let (model, _) = store
        .nodes
        .load(id.parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    let made = (0..count).map(|n| {
        let mut node: Node = model.clone();
        let mut bytes = [0x5a; 16];
        bytes[14..].copy_from_slice(&u16::try_from(n).unwrap().to_be_bytes());
        node.id = ironbeat_common::id::NodeId::from_bytes(bytes);
        let bmc = format!("10.77.{}.{}", n / 250, n % 250 + 1);
        let mut json = serde_json::to_value(&node).unwrap();
        json["bmc"]["address"] = bmc.into();
        json["name"] = format!("n{n}").into();
        let mut node: Node = serde_json::from_value(json).unwrap();
        node.state = State::Resting(Rest::Available);
        node.power = Some(Power {
            on: false,
            at: node.since,
            source: PowerSource::Bmc,
        });
        node.beside.bmc_secrets = None;
        node.op = format!("made-{n}").parse::<OpId>().unwrap();
        node
    });
    let made: Vec<Node> = made.collect();
    let store = &store;
    let written = stream::iter(&made).map(|node| async move {
        store.write(None, Some(node), &[]).await.unwrap();
    });
    written.buffer_unordered(50).collect::<Vec<()>>().await;
    let gone = site.ask("node.delete", json!({ "node": id })).await;
    gone.good();
    until("the workers know all of them", async || {
        // Whichever answers; that one of two says nothing so often in a row happens once in a million times.
        for _ in 0..20 {
            let page = site.ask("node.list", json!({})).await.good();
            if page["nodes"].as_array().unwrap().len() != count {
                return None;
            }
        }
        Some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_who_ask_for_five_hundred_nodes_each_has_one_or_is_told_why_not() {
    let site = Site::start().await;
    let (mut one, mut two) = (site.worker("w1", STILL), site.worker("w2", STILL));
    free_nodes(&site, NODES).await;
    let asked = stream::iter(0..ASKERS).map(|_| {
        let ask = json!({ "resource_class": "large" });
        site.ask("allocation.create", ask)
    });
    let replies: Vec<_> = asked.buffer_unordered(AT_ONCE).collect().await;
    let (mut had, mut refused) = (BTreeSet::new(), 0);
    for reply in &replies {
        match reply.error() {
            None => {
                let made = reply.good();
                assert_eq!(made["state"], "active");
                let node = made["node"].as_str().unwrap().to_owned();
                assert!(had.insert(node), "two have one node: {made}");
            }
            Some((code, why)) => {
                assert_eq!(code, 409, "{why}");
                assert!(
                    why.starts_with("no node can be had: of resource class large, of ")
                        && why.contains(" allocated"),
                    "{why}"
                );
                refused += 1;
            }
        }
    }
    assert_eq!((had.len(), refused), (NODES, ASKERS - NODES));
    // By the records, which are all that counts.
    let store = store(&site).await;
    let mut owners = BTreeSet::new();
    for node in &had {
        let (node, _) = store
            .nodes
            .load(node.parse().unwrap())
            .await
            .unwrap()
            .unwrap();
        assert!(owners.insert(node.allocation.expect("it is allocated")));
    }
    let all = site.ask("allocation.list", json!({})).await.good();
    let all = all.as_array().unwrap();
    let listed = all.iter().filter(|made| made["state"] == "active");
    let listed: BTreeSet<String> = listed
        .map(|made| made["id"].as_str().unwrap().to_owned())
        .collect();
    let owners: BTreeSet<String> = owners.iter().map(ToString::to_string).collect();
    assert_eq!(listed, owners);
    assert_eq!(all.len(), NODES, "those who were refused leave nothing");
    one.assert_well();
    two.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_asked_for_and_given_back() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    let mut worker = site.worker("w1", STILL);
    bmcs.managed(&site, 0, "box").await;
    let create = ["allocation", "create", "--resource-class", "large"];
    let why = site.cli(&create).await.bad();
    assert!(why.contains("none has the resource class large"), "{why}");
    let set = ["node", "set", "box", "--resource-class", "large"];
    site.cli(&set).await.good();
    site.cli(&["node", "provide", "box"]).await.good();
    let named = [&create[..], &["--name", "job7"]].concat();
    until("the worker knows that it is free", async || {
        let said = site.cli(&named).await;
        said.ok.then_some(())
    })
    .await;
    let show = async |expected: &str| {
        let said = site.cli(&["allocation", "show", "job7"]).await.good();
        let made: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(
            (&made["state"], &made["node_name"]),
            (&json!(expected), &json!("box"))
        );
        made["id"].as_str().unwrap().to_owned()
    };
    let id = show("active").await;
    assert_eq!(site.show("box").await["allocation"], json!(id));
    let why = site.cli(&named).await.bad();
    assert!(why.contains("job7 belongs to allocation"), "{why}");
    let traits = [&create[..], &["--trait", "CUSTOM_GPU"]].concat();
    let why = site.cli(&traits).await.bad();
    assert!(
        why.contains("of 1 nodes 1 without all of the traits"),
        "{why}"
    );
    let why = site.cli(&["node", "manage", "box"]).await.bad();
    assert!(why.contains("ironbeat allocation delete"), "{why}");
    // The same id once more is the same node.
    let ask = json!({ "id": id, "name": "job7", "resource_class": "large" });
    let again = site.ask("allocation.create", ask).await.good();
    assert_eq!(again["node_name"], "box");
    let other = json!({ "id": id, "name": "job7", "resource_class": "small" });
    let other = site.ask("allocation.create", other).await;
    assert!(other.refused(409).contains("asks for something else"));
    let gone = site.cli(&["allocation", "delete", "job7"]).await.good();
    assert_eq!(gone, "job7 has ended\n");
    assert_eq!(site.show("box").await["allocation"], Value::Null);
    site.cli(&["allocation", "show", "job7"]).await.bad();
    site.cli(&["node", "manage", "box"]).await.good();
    // What serves somebody already gets one, and its undeploy ends it.
    site.file("os.raw", "an operating system");
    let sum = format!("sha256:{}", "07".repeat(32));
    let image = ["--image", "os.raw", "--checksum", &sum, "--wait"];
    let adopt = [&["node", "adopt", "box"], &image[..]].concat();
    site.cli(&adopt).await.good();
    let backfill = [
        "allocation",
        "create",
        "--name",
        "job7",
        "--backfill",
        "box",
    ];
    site.cli(&backfill).await.good();
    let why = site.cli(&["allocation", "delete", "job7"]).await.bad();
    assert!(why.contains("undeploy it"), "{why}");
    show("active").await;
    site.cli(&["node", "undeploy", "box", "--wait"])
        .await
        .good();
    assert_eq!(site.show("box").await["allocation"], Value::Null);
    let all = site.ask("allocation.list", json!({})).await.good();
    assert_eq!(all, json!([]));
    // A document that is lost leaves no node behind for ever.
    let id = until("it is given", async || {
        let ask = json!({ "resource_class": "large" });
        let made = site.ask("allocation.create", ask).await;
        made.error().is_none().then(|| made.good()["id"].clone())
    })
    .await;
    let store = store(&site).await;
    let key = id.as_str().unwrap().parse().unwrap();
    let (lost, at) = store.allocations.load(key).await.unwrap().unwrap();
    store.allocations.remove(&lost, at).await.unwrap();
    until("the node is freed by the id", async || {
        let gone = json!({ "allocation": id });
        site.ask("allocation.delete", gone).await.refused(404);
        site.show("box").await["allocation"].is_null().then_some(())
    })
    .await;
    worker.assert_well();
}
