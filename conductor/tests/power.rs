//! Power that operators change and power that changes by itself: real workers, a real NATS server, simulated BMCs that
//! speak real RMCP+. The core tests the decisions.
mod support;

use futures_util::StreamExt;
use ironbeat_bmc_sim::PowerFault;
use serde_json::{Value, json};
use support::bmcs::{Bmcs, PASSWORD};
use support::{SOON, Said, Site, until};

/// Sync every second; the second trouble is a fault.
const QUICK: &str = "power_sync_secs = 1\npower_recovery_secs = 1\npower_sync_max_retries = 1\nbmc_backoff_secs = 1";

async fn power(site: &Site, args: &[&str]) -> Said {
    let mut all = vec!["power"];
    all.extend(args);
    all.push("--wait");
    site.cli(&all).await
}

async fn events(site: &Site, node: &str) -> Vec<String> {
    let all = site
        .ask("event.list", json!({ "node": node, "last": 1000 }))
        .await
        .good();
    let id = site.show(node).await["id"].as_str().unwrap().to_owned();
    let kinds = all.as_array().unwrap().iter().map(|event| {
        let subject = event["subject"].as_str().unwrap();
        subject.split_once(&format!(".{id}.")).unwrap().1.to_owned()
    });
    kinds.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_power_verb_does_what_it_says_and_leaves_the_node_where_it_was() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    let mut worker = site.worker("w1", "power_sync_secs = 0");
    bmcs.managed(&site, 0, "box").await;
    let told = || bmcs.fleet.with(0, |bmc, _| bmc.counters().control);
    // Down, up, cycle, reset, diag, soft.
    for (args, on, expected) in [
        (&["on", "box"][..], true, [0, 1, 0, 0, 0, 0]),
        (&["reset", "box"], true, [0, 1, 0, 1, 0, 0]),
        (&["diag", "box"], true, [0, 1, 0, 1, 1, 0]),
        (&["reboot", "box"], true, [1, 2, 0, 1, 1, 0]),
        (&["soft-reboot", "box"], true, [1, 3, 0, 1, 1, 1]),
        (&["cycle", "box"], true, [1, 3, 1, 1, 1, 1]),
        (
            &["soft-off", "box", "--soft-timeout", "30"],
            false,
            [1, 3, 1, 1, 1, 2],
        ),
        (&["off", "box"], false, [1, 3, 1, 1, 1, 2]),
    ] {
        power(&site, args).await.good();
        assert_eq!((bmcs.is_on(0), told()), (on, expected), "{args:?}");
        let shown = site.show("box").await;
        assert_eq!(shown["provision_state"], "manageable");
        assert_eq!(shown["power"]["on"], on);
        assert_eq!(shown["power"]["source"], "bmc");
    }
    let kinds = events(&site, "box").await;
    for kind in ["power_set.start", "power_set.end"] {
        assert!(kinds.iter().any(|found| found == kind), "{kind}: {kinds:?}");
    }
    let said = power(&site, &["cycle", "box"]).await.bad();
    assert!(said.contains("the machine is off"), "{said}");
    let kinds = events(&site, "box").await;
    assert!(kinds.iter().any(|kind| kind == "power_set.error"));

    let args = [
        "node",
        "boot-device",
        "box",
        "bios",
        "--persistent",
        "--wait",
    ];
    site.cli(&args).await.good();
    let said = site.cli(&["node", "boot-device", "box"]).await.good();
    let boot: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&boot["device"], &boot["persistent"]),
        (&json!("bios"), &json!(true))
    );
    bmcs.fleet
        .with(0, |bmc, _| bmc.faults.drops_persistent = true);
    for (persistent, good) in [(false, true), (true, false)] {
        let mut args = vec!["node", "boot-device", "box", "cdrom", "--wait"];
        args.extend(persistent.then_some("--persistent"));
        let said = site.cli(&args).await;
        assert_eq!(said.ok, good, "{said:?}");
        let dropped = said.err.contains("dropped \"persistent\"");
        assert_eq!(dropped, persistent, "{said:?}");
    }
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn power_that_nobody_ordered_is_put_right() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    let mut worker = site.worker("w1", QUICK);
    bmcs.managed(&site, 0, "box").await;
    bmcs.fleet.with(0, |bmc, _| bmc.force_power(true));
    until("the machine is off again", async || {
        (!bmcs.is_on(0)).then_some(())
    })
    .await;
    site.rests("box", "manageable").await;
    let kinds = events(&site, "box").await;
    assert!(
        kinds.iter().any(|kind| kind == "power_set.end"),
        "{kinds:?}"
    );
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn power_that_nobody_ordered_is_recorded_where_that_is_configured() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    let policy = format!("{QUICK}\nforce_power_state_during_sync = false");
    let mut worker = site.worker("w1", &policy);
    bmcs.managed(&site, 0, "box").await;
    bmcs.fleet.with(0, |bmc, _| bmc.force_power(true));
    until("it is recorded", async || {
        (site.show("box").await["power"]["on"] == true).then_some(())
    })
    .await;
    assert!(bmcs.is_on(0));
    until("it is told", async || {
        let kinds = events(&site, "box").await;
        kinds
            .iter()
            .any(|kind| kind == "power_state_corrected.success")
            .then_some(())
    })
    .await;
    worker.assert_well();
}

/// It waits for a ramdisk that will not come any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_switched_off_in_a_job_is_said_to_be_off_by_whoever_asks_its_bmc() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    let mut worker = site.worker("w1", "power_sync_secs = 0");
    bmcs.managed(&site, 0, "box").await;
    site.cli(&["node", "inspect", "box"]).await.good();
    until("it waits for the ramdisk", async || {
        (site.show("box").await["provision_state"] == "inspect wait").then_some(())
    })
    .await;
    bmcs.fleet.with(0, |bmc, _| bmc.force_power(false));
    let said = site
        .ask("power.sync", json!({ "node": "box" }))
        .await
        .good();
    assert_eq!(said["bmc_power_on"], false, "{said}");
    assert_eq!(said["power_on"], false, "{said}");
    let said = site.cli(&["power", "sync-now", "box"]).await.good();
    assert!(said.trim_end().ends_with(" off"), "{said}");
    let explained = site.cli(&["node", "explain", "box"]).await.good();
    assert!(
        explained.contains("power     off, as the BMC said"),
        "{explained}"
    );
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bmc_that_falls_silent_puts_its_own_node_into_maintenance_until_it_speaks() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(2));
    let mut worker = site.worker("w1", QUICK);
    bmcs.managed(&site, 0, "dead").await;
    bmcs.managed(&site, 1, "live").await;
    bmcs.fleet.with(0, |bmc, _| bmc.faults.silent = true);
    let shown = until("it is in maintenance", async || {
        let shown = site.show("dead").await;
        shown.get("maintenance").is_some().then_some(shown)
    })
    .await;
    assert_eq!(shown["maintenance"]["fault"], "power failure");
    let words = site.cli(&["node", "explain", "dead"]).await.good();
    assert!(
        words.contains("power sync failed") && words.contains("no answer"),
        "{words}"
    );
    assert!(
        words.contains("ends when the BMC answers") && words.contains("waits for the BMC"),
        "{words}"
    );
    let list = site.cli(&["node", "list"]).await.good();
    assert!(list.contains("power failure"), "{list}");
    // Meanwhile the other one is asked as before.
    let before = bmcs.commands(1);
    until("the live one is asked", async || {
        (bmcs.commands(1) > before + 2).then_some(())
    })
    .await;
    assert_eq!(site.show("live").await.get("maintenance"), None);

    bmcs.fleet.with(0, |bmc, _| bmc.faults.silent = false);
    until("maintenance is over", async || {
        let shown = site.show("dead").await;
        let over = shown.get("maintenance").is_none() && shown.get("bmc_error").is_none();
        over.then_some(())
    })
    .await;
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_answered_at_once_by_sync_now() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    let policy = "power_sync_secs = 3600\nforce_power_state_during_sync = false";
    let mut worker = site.worker("w1", policy);
    bmcs.managed(&site, 0, "box").await;
    bmcs.fleet.with(0, |bmc, _| bmc.force_power(true));
    let table = site.cli(&["power", "sync-now"]).await.good();
    let row = table.lines().find(|line| line.contains("box")).unwrap();
    assert!(row.contains(" on"), "{table}");

    // What is known of a BMC that does not answer is no answer.
    bmcs.fleet.with(0, |bmc, _| bmc.faults.silent = true);
    let address = bmcs.fleet.address(0).to_string();
    let silent = site.ask("power.sync", json!({ "node": "box" })).await;
    let why = silent.refused(502);
    assert!(why.contains(&address) && why.contains("no answer"), "{why}");
    // Whoever asks all nodes is told its name as well.
    let said = site.cli(&["power", "sync-now"]).await;
    let row = said.out.lines().find(|line| line.starts_with("box "));
    assert!(row.unwrap().contains("no answer"), "{said:?}");
    assert!(
        said.err.contains("1 of 1 nodes could not be asked"),
        "{said:?}"
    );
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_share_the_bmcs_and_take_over_from_the_dead() {
    const COUNT: usize = 24;
    let (site, bmcs) = (Site::start().await, Bmcs::start(COUNT));
    let mut one = site.worker("w1", QUICK);
    let two = site.worker("w2", QUICK);
    for n in 0..COUNT {
        let wish = json!({ "name": format!("n{n}"), "bmc": bmcs.access(n) });
        let id = site.enroll(wish).await;
        site.ask("node.manage", json!({ "node": id })).await.good();
    }
    let all_asked = async || {
        let before: Vec<u64> = (0..COUNT).map(|n| bmcs.commands(n)).collect();
        until("every BMC is asked again", async || {
            (0..COUNT)
                .all(|n| bmcs.commands(n) > before[n] + 1)
                .then_some(())
        })
        .await;
    };
    all_asked().await;
    let traced = |worker: &support::Worker| worker.printed().contains("ready");
    assert!(traced(&one) && traced(&two));
    drop(two);
    all_asked().await;
    one.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reboot_outlives_the_worker_that_began_it() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    let first = site.worker("w1", "power_sync_secs = 0");
    bmcs.managed(&site, 0, "box").await;
    power(&site, &["on", "box"]).await.good();
    // It accepts the command and does nothing, so the worker is caught in the middle.
    bmcs.fleet
        .with(0, |bmc, _| bmc.faults.power = PowerFault::Ignores);
    site.cli(&["power", "reboot", "box"]).await.good();
    let shown = site.show("box").await;
    assert_eq!(shown["state"]["busy"]["kind"], "bmc", "{shown}");
    until("it has told the BMC", async || {
        let down = bmcs.fleet.with(0, |bmc, _| bmc.counters().control[0]);
        (down > 0).then_some(())
    })
    .await;
    drop(first);
    bmcs.fleet
        .with(0, |bmc, _| bmc.faults.power = PowerFault::None);
    let mut second = site.worker("w2", "power_sync_secs = 0");
    let shown = site.rests("box", "manageable").await;
    assert_eq!(shown["power"]["on"], true);
    assert!(bmcs.is_on(0));
    let down = bmcs.fleet.with(0, |bmc, _| bmc.counters().control);
    assert!(down[0] >= 2 && down[1] >= 2, "{down:?}");
    second.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_in_words_what_is_wrong() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(4));
    let mut worker = site.worker("w1", "power_sync_secs = 0");
    let address = |n: usize| bmcs.fleet.address(n).to_string();
    bmcs.fleet.with(1, |bmc, _| bmc.faults.silent = true);
    bmcs.fleet.with(2, |bmc, _| bmc.faults.table_full = true);
    bmcs.fleet.with(3, |bmc, _| bmc.faults.garbage = true);
    let args = ["bmc", "check", "--bmc", &address(0)];
    let good = site.cli_as(PASSWORD, &args).await.good();
    for part in [
        "can one log in?",
        "firmware 9.08",
        "how is the machine?",
        "17",
    ] {
        assert!(good.contains(part), "{part}: {good}");
    }
    for (n, user, password, words) in [
        (
            0,
            "admin",
            "hush-wrong-password",
            "wrong password for user \"admin\"",
        ),
        (0, "nobody", PASSWORD, "knows no user \"nobody\""),
        (0, "reader", "Rack-pw-2", "may not have the privilege"),
        (1, "admin", PASSWORD, "Nothing speaks IPMI at this address"),
        (2, "admin", PASSWORD, "no room for another session"),
        (
            3,
            "admin",
            PASSWORD,
            "Something answers that does not speak IPMI",
        ),
    ] {
        let args = ["bmc", "check", "--bmc", &address(n), "--bmc-user", user];
        let said = site.cli_as(password, &args).await.bad();
        assert!(said.contains(words), "{said}");
        assert!(!said.contains(password), "{said}");
    }
    let printed = worker.printed();
    for secret in [PASSWORD, "Rack-pw-2", "hush-wrong-password"] {
        assert!(!printed.contains(secret));
    }
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bmcs_description_of_itself_is_shown() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    let mut worker = site.worker("w1", "power_sync_secs = 0");
    bmcs.managed(&site, 0, "box").await;
    let sensors = site.cli(&["bmc", "sensors", "box"]).await.good();
    assert!(sensors.contains("°C"), "{sensors}");
    let info = site.ask("bmc.info", json!({ "node": "box" })).await.good();
    assert_eq!(info["firmware"], "9.08");
    assert!(info["users"].to_string().contains("reader"), "{info}");
    let fru = site.cli(&["bmc", "fru", "box"]).await.good();
    assert!(fru.contains("serial"), "{fru}");
    site.cli(&["bmc", "sel", "box", "--clear"]).await.good();
    // Get Device ID: its first byte is the device.
    let raw = site.cli(&["bmc", "raw", "box", "06", "01"]).await.good();
    assert!(raw.contains("\"data\""), "{raw}");
    let said = site.cli(&["bmc", "raw", "box", "06", "zz"]).await.bad();
    assert!(said.contains("hex bytes"), "{said}");
    let said = site.cli(&["bmc", "raw", "box", "0c", "7f"]).await.bad();
    assert!(said.contains("invalid command"), "{said}");
    worker.assert_well();
}

/// Anybody can follow all events of power on the wire.
#[tokio::test(flavor = "multi_thread")]
async fn events_of_power_can_be_followed() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    let mut worker = site.worker("w1", "power_sync_secs = 0");
    bmcs.managed(&site, 0, "box").await;
    let mut events = site
        .client
        .subscribe("ib.v1.event.*.power_set.>")
        .await
        .unwrap();
    site.client.flush().await.unwrap();
    power(&site, &["on", "box"]).await.good();
    let mut bodies = Vec::new();
    while bodies.len() < 2 {
        let event = tokio::time::timeout(SOON, events.next())
            .await
            .unwrap()
            .unwrap();
        bodies.push(serde_json::from_slice::<Value>(&event.payload).unwrap());
    }
    assert_eq!(bodies[0]["target"], "power on");
    assert_eq!(
        (&bodies[1]["from"], &bodies[1]["to"]),
        (&json!(false), &json!(true))
    );
    worker.assert_well();
}
