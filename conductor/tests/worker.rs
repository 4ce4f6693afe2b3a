//! A worker as its neighbours see it: machines that lookup, operators that ask, BMCs that refuse.
//! `hostile` sends bytes that nobody should send; `deploy` has a whole deploy; `lifecycle` has starts and stops.
mod support;

use ironbeat_common::codec;
use ironbeat_common::heartbeat::{Heartbeat, HeartbeatReply, Outcome, Retry, Status, StepError};
use ironbeat_common::id::{NodeId, StepId};
use ironbeat_common::lookup::LookupReply;
use ironbeat_rack::lone_bmc::{PASSWORD, Sim};
use ironbeat_rack::ports::PortLease;
use serde_json::{Value, json};
use support::{Site, boot, idle_bmc, lookup, mac, machine, until};

const LOOKUP: &str = "ib.v1.lookup";

fn beat(n: u8, seq: u64, status: Status) -> Heartbeat {
    Heartbeat {
        version: codec::VERSION,
        boot: boot(n),
        seq,
        status,
        nudge: None,
    }
}

fn ipmi(address: &str, password: &str) -> Value {
    json!({ "protocol": "ipmi", "address": address, "username": "admin", "password": password })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_machine_waits_and_is_enrolled_from_its_lookup() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "");
    let unknown: LookupReply = site.agent(LOOKUP, &lookup(boot(7), machine(7))).await;
    let LookupReply::Wait { retry_secs } = unknown else {
        panic!("{unknown:?}");
    };
    assert!(retry_secs > 0);

    let table = until("the lookup is listed", async || {
        let table = site.cli(&["lookups"]).await.good();
        table.contains("SN-7").then_some(table)
    })
    .await;
    let line = table.lines().find(|line| line.contains("SN-7")).unwrap();
    assert!(line.contains("unknown machine: discovered"), "{table}");
    assert!(line.contains(&mac(7).to_string()), "{table}");
    let key = line.split_whitespace().next().unwrap();
    let shown = site.cli(&["lookups", key]).await.good();
    assert!(shown.contains("DISK-7"), "{shown}");

    let bmc = ["--bmc", "127.0.9.7", "--name", "seven"];
    let enroll = [&["node", "enroll", "--from", key][..], &bmc].concat();
    let said = site.cli(&enroll).await.good();
    let id: NodeId = said.split_whitespace().next().unwrap().parse().unwrap();
    let node = site.show("seven").await;
    assert_eq!(node["id"], json!(id));
    assert_eq!(node["macs"], json!([mac(7), mac(107)]));
    assert_eq!(node["serial"], "SN-7");
    assert_eq!(node["system_uuid"], json!(machine(7).system.uuid));
    assert_eq!(node["inventory"]["disks"][0]["serial"], "DISK-7");

    // Now it is known, but nobody has work for it: the machine cannot tell the difference, the operator can.
    let known: LookupReply = site.agent(LOOKUP, &lookup(boot(7), machine(7))).await;
    assert_eq!(known, unknown);
    until("the refusal is listed", async || {
        let table = site.cli(&["lookups"]).await.good();
        table
            .contains("no work for a ramdisk: the node is enroll")
            .then_some(())
    })
    .await;
    let nobody = site.cli(&["node", "enroll", "--from", "SN-9", "--bmc", "127.0.9.9"]);
    let why = nobody.await.bad();
    assert!(why.contains("no machine \"SN-9\" has looked up"), "{why}");
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_fits_several_machines_names_them() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "");
    for n in [0x71, 0x72] {
        let _: LookupReply = site.agent(LOOKUP, &lookup(boot(n), machine(n))).await;
    }
    until("both are remembered", async || {
        let table = site.cli(&["lookups"]).await.good();
        (table.contains("SN-113") && table.contains("SN-114")).then_some(())
    })
    .await;
    let enroll = ["node", "enroll", "--from", "7", "--bmc", "127.0.9.7"];
    for args in [&enroll[..], &["lookups", "7"]] {
        let why = site.cli(args).await.bad();
        assert!(why.contains("\"7\" fits 2 machines: 7171"), "{why}");
        for serial in ["(serial SN-113, MAC ", "(serial SN-114, MAC "] {
            assert!(why.contains(serial), "{why}");
        }
    }
    let shown = site.cli(&["lookups", "71"]).await.good();
    assert!(shown.contains("DISK-113"), "{shown}");
    worker.assert_well();
}

/// Somebody sends what he has heard of a machine that waits to be enrolled, and his own MAC address.
#[tokio::test(flavor = "multi_thread")]
async fn of_machines_that_claim_one_uuid_none_is_enrolled_unless_it_is_named() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "");
    let mut theirs = machine(7);
    theirs.nics[0].mac = mac(99);
    for (n, inventory) in [(7, machine(7)), (8, theirs)] {
        let _: LookupReply = site.agent(LOOKUP, &lookup(boot(n), inventory)).await;
    }
    let list = until("both are listed", async || {
        let list = site.ask("lookup.list", json!({})).await.good();
        let list = list.as_array()?.clone();
        (list.len() == 2).then_some(list)
    })
    .await;
    let table = site.cli(&["lookups"]).await.good();
    assert_eq!(table.matches("conflict: also claimed by").count(), 2);
    let uuid = machine(7).system.uuid.unwrap().to_string();
    for start in ["07", uuid.as_str()] {
        let args = ["node", "enroll", "--from", start, "--bmc", "127.0.9.7"];
        let why = site.cli(&args).await.bad();
        assert!(why.contains("claim to be the same one"), "{why}");
        assert!(why.contains(&mac(7).to_string()), "{why}");
        assert!(why.contains(&mac(99).to_string()), "{why}");
    }
    let ours = list
        .iter()
        .find(|it| it["inventory"]["nics"][0]["mac"] == json!(mac(7)))
        .unwrap();
    let ask = json!({ "name": "seven", "bmc": ipmi("127.0.9.7", "x"), "from": ours["key"] });
    let shown = site.ask("node.enroll", ask).await.good();
    assert_eq!(shown["macs"], json!([mac(7), mac(107)]));
    let warning = shown["warnings"][0].as_str().unwrap();
    assert!(warning.contains("others claim to be"), "{warning}");
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_deleted_node_are_found_by_its_name() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "");
    let wish = |n| json!({ "name": "box", "bmc": idle_bmc(n) });
    let first = site.enroll(wish(1)).await;
    site.cli(&["node", "delete", "box"]).await.good();
    let kinds = async || {
        let events = site
            .ask("event.list", json!({ "node": "box" }))
            .await
            .good();
        let events = events.as_array().unwrap().iter();
        let of = |event: &Value| (event["body"]["node"].clone(), event["body"]["kind"].clone());
        events.map(of).collect::<Vec<_>>()
    };
    let gone = vec![
        (json!(first), json!("enrolled")),
        (json!(first), json!("deleted")),
    ];
    until("its events are stored", async || {
        let events = site.cli(&["events", "box"]).await;
        (events.ok && events.out.contains("deleted")).then_some(())
    })
    .await;
    assert_eq!(kinds().await, gone);
    // Whoever has the name now is meant.
    let second = site.enroll(wish(1)).await;
    until("its event is stored", async || {
        (kinds().await == [(json!(second), json!("enrolled"))]).then_some(())
    })
    .await;
    let why = site.cli(&["events", "nobody"]).await.bad();
    assert!(why.contains("there is no node nobody"), "{why}");
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_listed_in_pages_each_of_them_once() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "");
    let mut enrolled = Vec::new();
    for n in 0..7 {
        let wish = json!({ "bmc": idle_bmc(n), "macs": [mac(n)] });
        enrolled.push(site.enroll(wish).await);
    }
    enrolled.sort();
    until("all are seen", async || {
        let page = site.ask("node.list", json!({})).await.good();
        (page["nodes"].as_array()?.len() == 7).then_some(())
    })
    .await;
    let (mut listed, mut sizes, mut after) = (Vec::new(), Vec::new(), Value::Null);
    loop {
        let ask = json!({ "limit": 3, "after": after });
        let page = site.ask("node.list", ask).await.good();
        let nodes = page["nodes"].as_array().unwrap();
        sizes.push(nodes.len());
        let ids = nodes
            .iter()
            .map(|node| node["id"].as_str().unwrap().to_string());
        listed.extend(ids);
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert_eq!(sizes, [3, 3, 1]);
    assert_eq!(listed, enrolled);
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_has_the_nodes_columns_and_order_that_were_asked_for() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "");
    for n in 0..5 {
        let wish =
            json!({ "name": format!("rack{}-{n}", n % 2), "bmc": idle_bmc(n), "macs": [mac(n)] });
        site.enroll(wish).await;
    }
    site.cli(&["node", "maintenance", "set", "rack1-1"])
        .await
        .good();
    let list = async |more: &[&str]| site.cli(&[&["node", "list"], more].concat()).await;
    until("all are seen as they are", async || {
        let rows = list(&[]).await.good();
        (rows.lines().count() == 6 && rows.contains(" yes ")).then_some(())
    })
    .await;
    let conditions = "name=rack1-*,state=enroll,worker=w1,job=none";
    let args = [
        "--where",
        conditions,
        "--columns",
        "name,worker,maintenance",
    ];
    let args = [&args[..], &["--sort", "-name"]].concat();
    let rows = list(&args).await.good();
    let expected = "NAME     WORKER  MAINT\nrack1-3  w1      -\nrack1-1  w1      yes\n";
    assert_eq!(rows, expected);
    // Pages have what fits, and go on behind the last that did.
    let page = |after: Value| {
        let ask = json!({ "limit": 2, "after": after, "where": ["name=rack0-*"] });
        site.ask("node.list", ask)
    };
    let first = page(Value::Null).await.good();
    assert_eq!(first["nodes"].as_array().unwrap().len(), 2, "{first}");
    let last = page(first["next"].clone()).await.good();
    assert_eq!(last["nodes"].as_array().unwrap().len(), 1, "{last}");
    assert_eq!(last.get("next"), None);
    for (key, told) in [
        ("colour=red", "name, state"),
        ("state=actve", "deploy failed"),
    ] {
        let why = list(&["--where", key]).await.bad();
        assert!(why.contains(told), "{why}");
        let ask = json!({ "where": [key] });
        site.ask("node.list", ask).await.refused(400);
    }
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_claims_no_other_gets() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "");
    let uuid = "00010203-0405-0607-0809-0a0b0c0d0e0f";
    let owner = site
        .enroll(json!({ "name": "owner", "bmc": idle_bmc(1), "macs": [mac(1), mac(2)], "system_uuid": uuid }))
        .await;
    for (wish, what) in [
        (
            json!({ "bmc": idle_bmc(2), "macs": [mac(3), mac(2)] }),
            format!("MAC address {}", mac(2)),
        ),
        (json!({ "bmc": idle_bmc(1) }), "BMC 127.0.9.1".into()),
        (
            json!({ "bmc": idle_bmc(2), "name": "owner" }),
            "the name owner".into(),
        ),
        (
            json!({ "bmc": idle_bmc(2), "system_uuid": uuid }),
            format!("system UUID {uuid}"),
        ),
    ] {
        let why = site.ask("node.enroll", wish).await.refused(409);
        assert_eq!(why, format!("{what} belongs to node {owner}"));
    }
    let two = mac(2).to_string();
    let said = site
        .cli(&["node", "enroll", "--bmc", "127.0.9.2", "--mac", &two])
        .await;
    let why = said.bad();
    assert!(why.contains(&two) && why.contains(&owner), "{why}");

    // The losers' claims are free again, and so is everything of a forgotten node.
    let other = site
        .enroll(json!({ "name": "other", "bmc": idle_bmc(2), "macs": [mac(3)] }))
        .await;
    let patch = json!({ "node": other, "patch": { "macs": [mac(1)] } });
    let why = site.ask("node.set", patch.clone()).await.refused(409);
    assert_eq!(
        why,
        format!("MAC address {} belongs to node {owner}", mac(1))
    );
    assert_eq!(site.show(&other).await["macs"], json!([mac(3)]));
    site.cli(&["node", "delete", &owner]).await.good();
    let moved = site.ask("node.set", patch).await.good();
    assert_eq!(moved["macs"], json!([mac(1)]));
    site.enroll(
        json!({ "name": "owner", "bmc": idle_bmc(1), "macs": [mac(2)], "system_uuid": uuid }),
    )
    .await;
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bmc_that_refuses_or_is_dead_is_named_in_the_record() {
    let site = Site::start().await;
    let policy = "bmc_backoff_secs = 0\nmax_tries = 1";
    let mut worker = site.worker("w1", policy);
    let (sim, nobody) = (Sim::start(false), PortLease::take().unwrap());
    let dead = format!("127.0.0.1:{}", nobody.port());
    for (name, address, wrong) in [
        (
            "refused",
            sim.address(),
            "wrong password for user \"admin\"",
        ),
        ("dead", dead, "no answer"),
    ] {
        let enroll = ["node", "enroll", "--name", name, "--bmc", &address];
        site.cli_as("not-the-password", &enroll).await.good();
        let said = site.cli(&["node", "manage", name, "--wait"]).await;
        let why = said.bad();
        assert!(why.contains(wrong) && why.contains(&address), "{why}");
        let node = site.rests(name, "enroll").await;
        let error = &node["last_error"];
        let what = error["what"].as_str().unwrap();
        assert!(what.contains(wrong) && what.contains(&address), "{what}");
        assert_eq!(node["wake_at"], Value::Null);
        let explained = site.cli(&["node", "explain", name]).await.good();
        assert!(
            explained.contains(wrong) && explained.contains("the operator: node manage"),
            "{explained}"
        );
        let list = site.cli(&["node", "list"]).await.good();
        assert!(list.contains(wrong), "{list}");
    }
    let dead = site.show("dead").await;
    let what = dead["last_error"]["what"].as_str().unwrap();
    assert!(what.ends_with("(1 tries)"), "{what}");
    // With the right password it works at once.
    let patch = json!({ "node": "refused", "patch": { "bmc": ipmi(&sim.address(), PASSWORD) } });
    site.ask("node.set", patch).await.good();
    site.cli(&["node", "manage", "refused", "--wait"])
        .await
        .good();
    let node = site.rests("refused", "manageable").await;
    assert_eq!(node["last_error"], Value::Null);
    assert_eq!(node["power"]["on"], false);
    worker.assert_well();
    assert_eq!(worker.printed().matches("not-the-password").count(), 0);
}

/// Operators' clients repeat themselves when an answer is late.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_counts_once() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "");
    let id = "00000000-0000-4000-8000-000000000005";
    let wish = json!({ "id": id, "name": "five", "bmc": idle_bmc(5), "macs": [mac(5)] });
    for _ in 0..3 {
        assert_eq!(site.enroll(wish.clone()).await, id);
    }
    let page = site.ask("node.list", json!({})).await.good();
    let nodes = &page["nodes"];
    assert_eq!(nodes.as_array().unwrap().len(), 1);

    let begin = json!({ "node": "five", "request": "r-1", "reason": "new fan" });
    let end = json!({ "node": "five", "request": "r-2" });
    let (set, unset) = ("node.maintenance_set", "node.maintenance_unset");
    for (endpoint, request) in [
        (set, &begin),
        (set, &begin),
        (unset, &end),
        (set, &begin),
        (unset, &end),
        (set, &begin),
    ] {
        site.ask(endpoint, request.clone()).await.good();
    }
    let node = site.show("five").await;
    assert_eq!(node["maintenance"], Value::Null);
    assert_eq!(node["requests"], json!(["r-1", "r-2"]));
    let changes = until("both events are stored", async || {
        let events = site
            .ask("event.list", json!({ "node": "five" }))
            .await
            .good();
        let why = |event: &Value| event["body"]["because"].as_str().map(str::to_owned);
        let why: Vec<_> = events.as_array().unwrap().iter().filter_map(why).collect();
        why.contains(&"maintenance ends".to_owned()).then_some(why)
    })
    .await;
    assert_eq!(changes, ["maintenance begins: new fan", "maintenance ends"]);
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_node_or_lookup_is_not_found() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "");
    let id = "00000000-0000-4000-8000-00000000000f";
    for node in [id, "nobody"] {
        for verb in [
            "show",
            "explain",
            "manage",
            "inspect",
            "provide",
            "undeploy",
            "abort",
            "maintenance_set",
            "maintenance_unset",
            "rebuild",
            "delete",
        ] {
            let reply = site
                .ask(&format!("node.{verb}"), json!({ "node": node }))
                .await;
            assert_eq!(
                reply.refused(404),
                format!("there is no node {node}"),
                "{verb}"
            );
        }
    }
    let reply = site.ask("event.list", json!({ "node": "nobody" })).await;
    reply.refused(404);
    site.ask("lookup.show", json!({ "key": "nobody" }))
        .await
        .refused(404);
    let said = site.cli(&["node", "show", "nobody"]).await;
    let no_auth = ironbeat_cli::connect::NO_AUTH;
    let expected = format!("{no_auth}\nironbeat: there is no node nobody\n");
    assert_eq!(said.bad(), expected);
    worker.assert_well();
}

/// Only the current boot of an existing node may speak.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_boot_is_sent_to_look_up() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "");
    let id = site
        .enroll(json!({ "name": "six", "bmc": idle_bmc(6), "macs": [mac(6)] }))
        .await;
    let before = site.show(&id).await;
    for node in [id.as_str(), "00000000-0000-4000-8000-00000000000f"] {
        for status in [
            Status::Idle,
            Status::Done {
                step: StepId(1),
                outcome: Outcome::Nothing,
            },
            Status::Failed {
                step: StepId(1),
                error: StepError {
                    what: "made up".into(),
                    retry: Retry::Useless,
                },
            },
        ] {
            let subject = format!("ib.v1.heartbeat.{node}");
            let reply: HeartbeatReply = site.agent(&subject, &beat(9, 1, status)).await;
            assert_eq!(reply, HeartbeatReply::LookUp);
        }
    }
    assert_eq!(site.show(&id).await, before);
    worker.assert_well();
}
