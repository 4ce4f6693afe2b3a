//! A node's description is changed: by the command line and by JSON, with its claims and its secrets. Real workers, a real
//! NATS server, simulated BMCs. The core tests what may change when.
mod support;

use ironbeat::records::{Names, Store};
use ironbeat::secrets::MasterKeys;
use ironbeat_core::node::InstanceData;
use ironbeat_rack::secrets::MASTER_KEY;
use serde_json::{Value, json};
use support::bmcs::{Bmcs, PASSWORD};
use support::{Site, idle_bmc, mac, until};

const STILL: &str = "power_sync_secs = 0";
const WRONG: &str = "hush-wrong-password";

async fn reasons(site: &Site, node: &str) -> String {
    let events = site.ask("event.list", json!({ "node": node })).await;
    events.good().to_string()
}

/// `explain` names the way out, and it is one.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_put_right() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    let (mut one, mut two) = (site.worker("w1", STILL), site.worker("w2", STILL));
    let address = bmcs.fleet.address(0).to_string();
    let args = ["node", "enroll", "--name", "box", "--bmc", &address];
    site.cli_as(WRONG, &args).await.good();
    site.cli(&["node", "manage", "box", "--wait"]).await.bad();
    let words = site.cli(&["node", "explain", "box"]).await.good();
    assert!(words.contains("node manage or node set"), "{words}");

    let file = site.file("password", &format!("{PASSWORD}\n"));
    let set = ["node", "set", "box", "--bmc-password-file", &file];
    let said = site.cli(&set).await.good();
    assert_eq!(
        said,
        "box is changed; manage checks the access to the BMC\n"
    );
    site.cli(&["node", "manage", "box", "--wait"]).await.good();
    until("it is told", async || {
        let told = reasons(&site, "box").await;
        assert!(!told.contains(PASSWORD) && !told.contains(WRONG), "{told}");
        told.contains("the operator changed BMC password; manage")
            .then_some(())
    })
    .await;
    for worker in [&mut one, &mut two] {
        let printed = worker.printed();
        assert!(!printed.contains(PASSWORD) && !printed.contains(WRONG));
        worker.assert_well();
    }
}

/// Only the address changes, and with it the BMC that every worker speaks to.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_moves_to_another_bmc_and_the_next_power_sync_checks_it() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(2));
    let quick = "power_sync_secs = 1\nforce_power_state_during_sync = false";
    let (mut one, mut two) = (site.worker("w1", quick), site.worker("w2", quick));
    bmcs.managed(&site, 0, "box").await;
    bmcs.fleet.with(1, |bmc, _| bmc.force_power(true));
    let address = bmcs.fleet.address(1).to_string();
    let said = site.cli(&["node", "set", "box", "--bmc", &address]).await;
    assert_eq!(
        said.good(),
        "box is changed; the next power sync checks the access to the BMC\n"
    );
    until("the other BMC was asked", async || {
        let power = site.show("box").await["power"].clone();
        (power["on"] == true && power["source"] == "bmc").then_some(())
    })
    .await;
    site.cli(&["power", "off", "box", "--wait"]).await.good();
    assert!(!bmcs.is_on(1));
    // The first one is free for another node.
    let wish = json!({ "name": "next", "bmc": bmcs.access(0) });
    site.enroll(wish).await;
    one.assert_well();
    two.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_another_node_is_refused_until_that_one_gives_it_up() {
    let site = Site::start().await;
    let (mut one, mut two) = (site.worker("w1", STILL), site.worker("w2", STILL));
    for n in [1, 2] {
        let wish = json!({ "name": format!("n{n}"), "bmc": idle_bmc(n), "macs": [mac(n)] });
        site.enroll(wish).await;
    }
    let before = site.show("n2").await;
    let address = idle_bmc(1)["address"].clone();
    let bmc = json!({ "protocol": "ipmi", "address": address });
    for (patch, what) in [
        (json!({ "add_macs": [mac(1)] }), "MAC address"),
        (json!({ "name": "n1", "serial": "S" }), "the name n1"),
        (json!({ "bmc": bmc }), "BMC 127.0.9.1"),
    ] {
        let ask = json!({ "node": "n2", "patch": patch });
        let why = site.ask("node.set", ask).await.refused(409);
        assert!(why.contains(what), "{why}");
        let mut after = site.show("n2").await;
        // The write that was taken back has a name of its own.
        after["op"] = before["op"].clone();
        assert_eq!(after, before, "{what}");
    }
    let first = mac(1).to_string();
    site.cli(&["node", "set", "n1", "--remove-mac", &first])
        .await
        .good();
    site.cli(&["node", "set", "n2", "--add-mac", &first])
        .await
        .good();
    assert_eq!(site.show("n1").await["macs"], json!([]));
    assert_eq!(site.show("n2").await["macs"], json!([mac(1), mac(2)]));

    site.cli(&["node", "set", "n1", "--name", "old"])
        .await
        .good();
    site.cli(&["node", "set", "n2", "--name", "n1"])
        .await
        .good();
    assert_eq!(site.show("n1").await["macs"], json!([mac(1), mac(2)]));
    let cleared = ["node", "set", "old", "--clear", "name", "--serial", "SN-1"];
    let id = site.show("old").await["id"].as_str().unwrap().to_owned();
    site.cli(&cleared).await.good();
    let node = site.show(&id).await;
    assert_eq!(
        (&node["name"], &node["serial"]),
        (&Value::Null, &json!("SN-1"))
    );
    let said = site.cli(&["node", "set", "n1"]).await.bad();
    assert!(said.contains("nothing is given"), "{said}");
    let ask = json!({ "node": "n1", "patch": { "sirial": "S" } });
    assert!(
        site.ask("node.set", ask)
            .await
            .refused(400)
            .contains("sirial")
    );
    one.assert_well();
    two.assert_well();
}

/// A repeated request is not another node; another description is, and a password belongs to it.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_taken_is_enrolled_again_only_with_the_same_contents() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", STILL);
    let id = "00000000-0000-4000-8000-00000000000a";
    let args = ["node", "enroll", "--id", id, "--bmc", "127.0.9.1"];
    for _ in 0..2 {
        let said = site.cli_as("first-password", &args).await.good();
        assert_eq!(said, format!("{id} is enrolled\n"));
    }
    let said = site.cli_as(WRONG, &args).await.bad();
    assert!(said.contains("differs in: BMC password"), "{said}");
    assert!(!said.contains(WRONG) && !said.contains("first-password"));
    let more = [&args[..], &["--serial", "S", "--bmc-user", "root"]].concat();
    let said = site.cli_as("first-password", &more).await.bad();
    assert!(said.contains("differs in: BMC, serial"), "{said}");
    let mut wish = json!({ "id": id, "bmc": idle_bmc(1) });
    wish["bmc"]["password"] = json!("first-password");
    site.ask("node.enroll", wish.clone()).await.good();
    wish["name"] = json!("box");
    let why = site.ask("node.enroll", wish).await.refused(409);
    assert!(why.contains("differs in: name"), "{why}");

    for wrong in ["notanip", "10.0.0.256", "10.0.0.1:0"] {
        let args = ["node", "enroll", "--bmc", wrong];
        let said = site.cli_as(WRONG, &args).await.bad();
        assert!(said.contains("is not the address of a BMC"), "{said}");
    }
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_begins_and_ends_by_name() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", STILL);
    site.enroll(json!({ "name": "box", "bmc": idle_bmc(1) }))
        .await;
    let maintenance = async |args: &[&str]| {
        let args = [&["node", "maintenance"], args].concat();
        site.cli(&args).await.good();
        site.show("box").await["maintenance"]["reason"].clone()
    };
    let begun = maintenance(&["set", "box", "--reason", "new fan"]).await;
    assert_eq!(begun, "new fan");
    // Without a reason it begins as well: nothing ends by leaving something out.
    assert_eq!(maintenance(&["set", "box"]).await, "no reason given");
    let said = site.cli(&["node", "manage", "box"]).await.bad();
    assert!(said.contains("in maintenance"), "{said}");
    let words = site.cli(&["node", "explain", "box"]).await.good();
    assert!(
        words.contains("the operator: node maintenance unset\n"),
        "{words}"
    );
    assert_eq!(maintenance(&["unset", "box"]).await, Value::Null);
    assert_eq!(maintenance(&["unset", "box"]).await, Value::Null);
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_takes_another_image() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    let mut worker = site.worker("w1", &format!("{STILL}\nautomated_clean = false"));
    bmcs.managed(&site, 0, "box").await;
    site.cli(&["node", "provide", "box", "--wait"]).await.good();
    for name in ["os.raw", "next.raw"] {
        site.file(name, "an operating system");
    }
    let data = site.file("user-data", "#cloud-config");
    let sum = format!("sha256:{}", "07".repeat(32));
    let deploy = [
        "node",
        "deploy",
        "box",
        "--image",
        "os.raw",
        "--checksum",
        &sum,
    ];
    let told = ["--hostname", "web1", "--user-data", &data];
    site.cli(&[&deploy[..], &told].concat()).await.good();
    site.cli(&["node", "abort", "box", "--wait"]).await.good();
    let before = site.rests("box", "deploy failed").await;

    let said = site
        .cli(&["node", "rebuild", "box", "--image", "next.raw"])
        .await;
    assert!(said.bad().contains("--checksum"));
    let said = site
        .cli(&["node", "rebuild", "box", "--hostname", "web2"])
        .await;
    assert!(said.bad().contains("--image"));
    let rebuild = [
        "node",
        "rebuild",
        "box",
        "--image",
        "next.raw",
        "--checksum",
        &sum,
    ];
    site.cli(&rebuild).await.good();
    let after = site.show("box").await;
    assert_eq!(after["instance"]["image"]["source"], "next.raw");
    assert_eq!(after["instance"]["hostname"], "web1");
    let version = |node: &Value| node["beside"]["instance_data"].clone();
    assert_eq!(version(&after), version(&before));
    site.cli(&["node", "abort", "box", "--wait"]).await.good();

    // The user data beside the record is kept when the network data changes.
    let network = site.file("network-data", "{}");
    let network = ["--network-data", &network];
    site.cli(&[&rebuild[..], &network].concat()).await.good();
    let after = site.show("box").await;
    assert_ne!(version(&after), version(&before));
    let id = after["id"].as_str().unwrap();
    let stored = stored(&site, id).await;
    assert_eq!(stored.user_data.unwrap(), "#cloud-config");
    assert_eq!(stored.network_data.unwrap(), "{}");
    site.cli(&["node", "abort", "box", "--wait"]).await.good();
    worker.assert_well();
}

/// What lies beside a node's record, as a worker reads it.
async fn stored(site: &Site, id: &str) -> InstanceData {
    let masters = MasterKeys::parse(MASTER_KEY).unwrap();
    let (client, names) = (site.client.clone(), Names::default());
    let store = Store::open(client, &names, &masters).await.unwrap();
    let (node, _) = store
        .nodes
        .load(id.parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    store.beside.instance_data(&node).await.unwrap().unwrap()
}

/// What is said of a node travels in JSON and CBOR, lies in two documents, and is shown as one.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_described_and_shown_with_all_of_it() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", STILL);
    let bmc =
        json!({ "protocol": "ipmi", "address": "10.77.0.1", "username": "u", "password": "hush" });
    let wish = json!({
        "name": "box", "bmc": bmc, "owner": "team a", "traits": ["CUSTOM_GPU"], "extra": { "rack": "R7", "n": 1.5 },
    });
    site.ask("node.enroll", wish).await.good();
    let set = ["node", "set", "box", "--resource-class", "large"];
    let said = [
        "--description",
        "by the door",
        "--property",
        "memory_mb=4096",
    ];
    let more = ["--property", "cpu_arch=x86_64", "--extra", "n=null"];
    site.cli(&[&set[..], &said, &more].concat()).await.good();
    let said = site.cli(&["node", "trait", "add", "box", "A"]).await.good();
    assert_eq!(said, "box has A CUSTOM_GPU\n");
    let node = site.show("box").await;
    for (field, value) in [
        ("owner", json!("team a")),
        ("resource_class", json!("large")),
        ("traits", json!(["A", "CUSTOM_GPU"])),
        ("description", json!("by the door")),
        (
            "properties",
            json!({ "memory_mb": 4096, "cpu_arch": "x86_64" }),
        ),
        ("extra", json!({ "rack": "R7" })),
    ] {
        assert_eq!(node[field], value, "{field}");
    }
    until("lists have it", async || {
        let page = site.ask("node.list", json!({})).await.good().clone();
        (page["nodes"][0]["traits"] == json!(["A", "CUSTOM_GPU"])).then_some(())
    })
    .await;
    let bad = site.cli(&["node", "trait", "add", "box", "gpu"]).await;
    assert!(bad.bad().contains("capital letters"));
    let clear = ["node", "set", "box", "--clear", "extra", "--clear", "owner"];
    site.cli(&clear).await.good();
    let node = site.show("box").await;
    assert_eq!(
        (&node["extra"], &node["owner"]),
        (&Value::Null, &Value::Null)
    );
    worker.assert_well();
}
