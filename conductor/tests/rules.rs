//! Inspection rules: made and tried by command, applied to unknown machines and at the end of an inspection. Real workers, a real NATS
//! server. The core tests each operator and action.
mod support;

use ironbeat_common::codec;
use ironbeat_common::heartbeat::{Heartbeat, HeartbeatReply, Outcome, Status};
use ironbeat_common::inventory::{BmcAddress, Inventory};
use ironbeat_common::lookup::LookupReply;
use ironbeat_rack::lone_bmc::{PASSWORD, Sim};
use ironbeat_rack::ports::PortLease;
use ironbeat_rack::secrets;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use support::printed::IDLE;
use support::{SOON, Site, Worker, boot, idle_bmc, lookup, mac, machine, until};

const LOOKUP: &str = "ib.v1.lookup";

/// A worker that enrolls unknown machines with BMCs on 127.0.9.0/24.
fn enrolling(site: &Site, more: &str) -> Worker {
    let file = site.file("bmc-password", IDLE);
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&file, private).unwrap();
    let secrets = secrets::section(site.dir()).unwrap();
    let config = format!(
        "{secrets}[auto_discovery]\nenabled = true\nbmc_networks = [\"127.0.9.0/24\"]\nbmc_username = \"admin\"\n\
         bmc_password_file = \"{file}\"\n{more}\n"
    );
    let mut worker = site.spawn_with("w1", "w1", &config, PortLease::take().unwrap());
    worker.process.wait_for_log(" ready ", SOON).unwrap();
    worker
}

fn with_bmc(n: u8, address: &str) -> Inventory {
    let mut machine = machine(n);
    machine.bmc = Some(BmcAddress {
        ipv4: Some(address.into()),
        ..BmcAddress::default()
    });
    machine
}

async fn looks_up(site: &Site, n: u8, address: &str) {
    let told: LookupReply = site
        .agent(LOOKUP, &lookup(boot(n), with_bmc(n, address)))
        .await;
    // A machine learns nothing by asking, whatever becomes of it.
    assert!(matches!(told, LookupReply::Wait { .. }), "{told:?}");
}

/// What is shown of a machine that looked up.
async fn outcome(site: &Site, n: u8, expected: &str) {
    let serial = format!("SN-{n}");
    until(expected, async || {
        let table = site.cli(&["lookups"]).await.good();
        let line = table.lines().find(|line| line.contains(&serial))?;
        line.contains(expected).then_some(())
    })
    .await;
}

async fn nodes(site: &Site) -> usize {
    let page = site.ask("node.list", json!({})).await.good();
    page["nodes"].as_array().unwrap().len()
}

const RULES: &str = r#"[
  { "name": "no-spares", "priority": 90, "scope": "discovery",
    "conditions": [{ "op": "eq", "args": { "values": ["{inventory[system][serial]}", "SN-66"] } }],
    "actions": [{ "op": "fail", "args": { "msg": "{inventory[system][serial]} is a spare" } }] },
  { "name": "named", "description": "what every machine gets", "scope": "discovery",
    "conditions": [{ "op": "gt", "args": { "values": ["{item[size_bytes]}", 1000] }, "loop": "{inventory[disks]}" }],
    "actions": [
      { "op": "set-attribute", "args": { "path": "name", "value": "box-{inventory[system][serial]}" } },
      { "op": "set-attribute", "args": { "path": "resource_class", "value": "large" } },
      { "op": "set-attribute", "args": { "path": "extra/disk", "value": "{inventory[disks][0][serial]}" } },
      { "op": "set-capability", "args": { "name": "boot_mode", "value": "{inventory[boot][mode]}" } },
      { "op": "add-trait", "args": { "name": "CUSTOM_BOX" } }
    ] }
]"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_machine_becomes_a_node_that_is_named_and_traited() {
    let site = Site::start().await;
    let mut worker = enrolling(&site, "max_waiting = 3");
    let file = site.file("rules.json", RULES);
    site.cli(&["rule", "create", &file]).await.good();
    looks_up(&site, 7, "127.0.9.7").await;
    let node = until("it is enrolled", async || {
        let found = site.ask("node.show", json!({ "node": "box-SN-7" })).await;
        found.error().is_none().then(|| found.good())
    })
    .await;
    assert_eq!(node["provision_state"], "enroll");
    assert_eq!(node["macs"], json!([mac(7), mac(107)]));
    assert_eq!(node["serial"], "SN-7");
    assert_eq!(node["traits"], json!(["CUSTOM_BOX"]));
    assert_eq!(node["resource_class"], "large");
    assert_eq!(node["extra"], json!({ "disk": "DISK-7" }));
    assert_eq!(
        node["properties"],
        json!({ "capabilities": "boot_mode:bios" })
    );
    assert_eq!(node["bmc"]["address"], "127.0.9.7");
    assert_eq!(node["bmc"]["username"], "admin");
    assert_eq!(node["inventory"]["disks"][0]["serial"], "DISK-7");
    outcome(
        &site,
        7,
        "unknown machine: enrolled as box-SN-7; inspection rule named applied",
    )
    .await;
    // It is one node, however often it comes.
    looks_up(&site, 7, "127.0.9.7").await;
    outcome(&site, 7, "no work for a ramdisk: the node is enroll").await;
    assert_eq!(nodes(&site).await, 1);

    // Who is not to be enrolled is told apart, and leaves no node.
    looks_up(&site, 66, "127.0.9.66").await;
    outcome(
        &site,
        66,
        "not enrolled: inspection rule no-spares: SN-66 is a spare",
    )
    .await;
    looks_up(&site, 8, "10.9.9.9").await;
    let why = "not enrolled: its BMC at 10.9.9.9 is on no network of auto_discovery.bmc_networks";
    outcome(&site, 8, why).await;
    let _: LookupReply = site.agent(LOOKUP, &lookup(boot(9), machine(9))).await;
    outcome(&site, 9, "not enrolled: it does not know the address").await;
    // By its BMC it is a machine that is known.
    looks_up(&site, 10, "127.0.9.7").await;
    outcome(&site, 10, "refused, by BMC address: ").await;
    assert_eq!(nodes(&site).await, 1);
    site.enroll(json!({ "name": "box-SN-13", "bmc": idle_bmc(99) }))
        .await;
    looks_up(&site, 13, "127.0.9.13").await;
    let why = "not enrolled: inspection rule named: the name box-SN-13 belongs to node ";
    outcome(&site, 13, why).await;
    looks_up(&site, 11, "127.0.9.11").await;
    outcome(&site, 11, "enrolled as box-SN-11").await;
    until("the worker knows all of them", async || {
        (nodes(&site).await == 3).then_some(())
    })
    .await;
    looks_up(&site, 12, "127.0.9.12").await;
    let why = "not enrolled: 3 nodes are in enroll already";
    outcome(&site, 12, why).await;
    assert_eq!(nodes(&site).await, 3);
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_machine_is_only_remembered_unless_the_operator_says_otherwise() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "");
    let file = site.file("rules.json", RULES);
    site.cli(&["rule", "create", &file]).await.good();
    looks_up(&site, 7, "127.0.9.7").await;
    outcome(&site, 7, "unknown machine: discovered").await;
    assert_eq!(nodes(&site).await, 0);
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_made_shown_tried_replaced_and_forgotten() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "");
    let file = site.file("rules.json", RULES);
    for _ in 0..2 {
        let said = site.cli(&["rule", "create", &file]).await.good();
        assert_eq!(said, "rule no-spares is there\nrule named is there\n");
    }
    let secret = site.file(
        "sensitive.json",
        r#"{ "name": "quiet", "priority": 95, "sensitive": true, "actions": [{ "op": "log", "args": ["psst"] }] }"#,
    );
    site.cli(&["rule", "create", &secret]).await.good();
    let table = site.cli(&["rule", "list"]).await.good();
    let first: Vec<&str> = table
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(first, ["quiet", "no-spares", "named"], "{table}");
    let shown = site.cli(&["rule", "show", "quiet"]).await.good();
    assert!(!shown.contains("psst"), "{shown}");
    let shown = site.cli(&["rule", "show", "named"]).await.good();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["rule"]["actions"][4]["op"], "add-trait");

    // Against a machine that looked up, and against a node.
    looks_up(&site, 7, "127.0.9.7").await;
    outcome(&site, 7, "discovered").await;
    let table = site.cli(&["lookups"]).await.good();
    let line = table.lines().find(|line| line.contains("SN-7")).unwrap();
    let key = line.split_whitespace().next().unwrap();
    let tried = site
        .cli(&["rule", "test", "named", "--lookup", key])
        .await
        .good();
    assert!(tried.starts_with("condition 1, gt: holds\n"), "{tried}");
    assert!(tried.contains("named applies: it sets {"), "{tried}");
    assert!(tried.contains("\"name\":\"box-SN-7\""), "{tried}");
    let spare = ["rule", "test", "no-spares", "--lookup", key];
    let tried = site.cli(&spare).await.good();
    assert_eq!(
        tried,
        "condition 1, eq: does not hold\nno-spares does not apply\n"
    );
    let wish = json!({ "name": "seven", "bmc": idle_bmc(7), "from": key });
    site.enroll(wish).await;
    let one = site.file(
        "one.json",
        r#"{ "name": "one", "actions": [{ "op": "fail", "args": ["no {node.name}"] }] }"#,
    );
    let tried = site.cli(&["rule", "test", &one, "--node", "seven"]).await;
    assert_eq!(
        tried.good(),
        "one applies: the inspection fails: no seven\n"
    );

    let changed = site.file(
        "changed.json",
        r#"{ "name": "named", "actions": [{ "op": "log", "args": ["x"] }] }"#,
    );
    let why = site.cli(&["rule", "create", &changed]).await.bad();
    assert!(why.contains("a rule named exists"), "{why}");
    site.cli(&["rule", "set", &changed]).await.good();
    let shown = site
        .ask("rule.show", json!({ "rule": "named" }))
        .await
        .good();
    assert_eq!(shown["rule"]["actions"][0]["op"], "log");
    let wrong = site.file(
        "wrong.json",
        r#"{ "name": "wrong", "actions": [{ "op": "api-call", "args": ["http://x"] }] }"#,
    );
    let why = site.cli(&["rule", "create", &wrong]).await.bad();
    assert!(
        why.contains("action 1: there is no api-call") && why.contains("there are fail, log"),
        "{why}"
    );
    let gone = site.cli(&["rule", "delete", "named"]).await.good();
    assert_eq!(gone, "rule named is forgotten\n");
    let why = site.cli(&["rule", "show", "named"]).await.bad();
    assert!(why.contains("there is no rule named"), "{why}");
    worker.assert_well();
}

fn beat(n: u8, seq: u64, status: Status) -> Heartbeat {
    Heartbeat {
        version: codec::VERSION,
        boot: boot(n),
        seq,
        status,
        nudge: None,
    }
}

/// The machine of node `box` boots, and says what it has.
async fn inspected(site: &Site, n: u8) -> Value {
    site.cli(&["node", "inspect", "box"]).await.good();
    until("the ramdisk is waited for", async || {
        let shown = site.show("box").await;
        (shown["provision_state"] == "inspect wait").then_some(())
    })
    .await;
    let told: LookupReply = site.agent(LOOKUP, &lookup(boot(n), machine(1))).await;
    let LookupReply::Welcome { node, .. } = told else {
        panic!("{told:?}");
    };
    let subject = format!("ib.v1.heartbeat.{node}");
    let told: HeartbeatReply = site.agent(&subject, &beat(n, 1, Status::Idle)).await;
    let HeartbeatReply::Step { id, .. } = told else {
        panic!("{told:?}");
    };
    let status = Status::Done {
        step: id,
        outcome: Outcome::Inventory(Box::new(machine(1))),
    };
    let _: HeartbeatReply = site.agent(&subject, &beat(n, 2, status)).await;
    until("the inspection is over", async || {
        let shown = site.show(&node.to_string()).await;
        shown["state"].get("busy").is_none().then_some(shown)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inspection_ends_with_what_rules_say_or_with_why_not() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "automated_clean = false\npower_sync_secs = 0");
    let sim = Sim::start(false);
    let bmc = json!({ "protocol": "ipmi", "address": sim.address(), "username": "admin", "password": PASSWORD });
    let wish = json!({ "name": "box", "bmc": bmc, "macs": [mac(1)] });
    site.enroll(wish).await;
    let other = site
        .enroll(json!({ "name": "taken", "bmc": idle_bmc(9) }))
        .await;
    site.cli(&["node", "manage", "box", "--wait"]).await.good();
    let rule = |name: &str| {
        let set = json!({ "op": "set-attribute", "args": ["name", name] });
        let add = json!({ "op": "add-trait", "args": ["CUSTOM_SEEN"] });
        json!({ "rule": { "name": "naming", "actions": [set, add] } })
    };
    site.ask("rule.create", rule("taken")).await.good();
    let shown = inspected(&site, 1).await;
    assert_eq!(shown["provision_state"], "inspect failed");
    let why = shown["last_error"]["what"].as_str().unwrap();
    let expected = format!("inspection rule naming: the name taken belongs to node {other}");
    assert!(why.contains(&expected), "{why}");
    assert_eq!(shown["name"], "box");
    assert_eq!(shown["traits"], Value::Null);
    site.ask("rule.set", rule("box-{inventory[system][serial]}"))
        .await
        .good();
    let shown = inspected(&site, 2).await;
    assert_eq!(shown["provision_state"], "manageable");
    assert_eq!(shown["name"], "box-SN-1");
    assert_eq!(shown["traits"], json!(["CUSTOM_SEEN"]));
    let events = site
        .ask("event.list", json!({ "node": "box-SN-1" }))
        .await
        .good();
    let said = events.to_string();
    assert!(
        said.contains("inspection rule naming applied and changed name (box → box-SN-1), traits"),
        "{said}"
    );
    worker.assert_well();
}
