//! Steps that are kept under a name, in runbooks and deploy templates: by commands and by JSON, on real workers and a real NATS
//! server. The core tests what steps do.
mod support;

use serde_json::{Value, json};
use support::Site;
use support::bmcs::Bmcs;

const STILL: &str = "power_sync_secs = 0";

#[tokio::test(flavor = "multi_thread")]
async fn a_runbook_is_kept_changed_and_forgotten() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", STILL);
    let create = ["runbook", "create", "burn-in", "--step"];
    let step = "inspect,timeout=60,tries=2,continue";
    let about = ["--trait", "CUSTOM_GPU", "--description", "a night of load"];
    let create = [&create[..], &[step, "--step", "wait=5"], &about].concat();
    let said = site.cli(&create).await.good();
    assert!(said.contains("burn-in is kept: inspect, wait"), "{said}");
    let taken = site.cli(&create).await.bad();
    assert!(taken.contains("the name burn-in"), "{taken}");
    let shown = async || -> Value {
        let shown = site.cli(&["runbook", "show", "burn-in"]).await.good();
        serde_json::from_str(&shown).unwrap()
    };
    let before = shown().await;
    let first = json!({
        "step": "inspect", "timeout_secs": 60, "tries": 2, "on_failure": "continue",
    });
    assert_eq!(before["steps"][0], first);
    // What is not given stays.
    let set = ["runbook", "set", "burn-in", "--public", "--step", "hold"];
    site.cli(&set).await.good();
    let after = shown().await;
    assert_eq!(after["steps"], json!([{ "step": "hold" }]));
    assert_eq!(
        (&after["public"], &after["traits"]),
        (&json!(true), &json!(["CUSTOM_GPU"]))
    );
    // Whoever read it before that is not heard.
    let mut text = json!({ "name": "burn-in", "steps": [{ "step": "power_off" }] });
    let stale = json!({ "runbook": "burn-in", "updated": before["updated"], "text": text });
    let why = site.ask("runbook.set", stale).await.refused(409);
    assert!(why.contains("changed meanwhile"), "{why}");
    text["steps"] = json!([{ "step": "format" }]);
    let unknown = json!({ "runbook": "burn-in", "text": text });
    let why = site.ask("runbook.set", unknown).await.refused(400);
    assert!(why.contains("expected one of `hold`"), "{why}");
    let none = site.cli(&["runbook", "create", "empty"]).await.bad();
    assert!(none.contains("there are hold, wait, power_on"), "{none}");
    let list = site.cli(&["runbook", "list"]).await.good();
    assert!(list.contains("burn-in") && list.contains("hold"), "{list}");
    // Of what it does without the ramdisk, too.
    let without = ["runbook", "set", "burn-in", "--disable-ramdisk"];
    site.cli(&[&without[..], &["--step", "power_off"]].concat())
        .await
        .good();
    site.cli(&["runbook", "set", "burn-in", "--step", "reset_bmc"])
        .await
        .good();
    assert_eq!(shown().await["disable_ramdisk"], true);
    site.cli(&["runbook", "set", "burn-in", "--clear", "disable-ramdisk"])
        .await
        .good();
    assert_eq!(shown().await.get("disable_ramdisk"), None);
    site.cli(&["runbook", "set", "burn-in", "--name", "quiet"])
        .await
        .good();
    site.cli(&["runbook", "show", "burn-in"]).await.bad();
    site.cli(&["runbook", "delete", "quiet"]).await.good();
    let list = site.ask("runbook.list", json!({})).await.good();
    assert_eq!(list, json!([]));
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cleaning_and_a_service_take_their_steps_from_a_runbook_that_is_for_the_node() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    let mut worker = site.worker("w1", STILL);
    bmcs.managed(&site, 0, "box").await;
    for (name, about) in [
        ("gpu", ["--trait", "CUSTOM_GPU"]),
        ("theirs", ["--owner", "them"]),
    ] {
        let create = [
            "runbook",
            "create",
            name,
            "--disable-ramdisk",
            "--step",
            "power_on",
        ];
        site.cli(&[&create[..], &about].concat()).await.good();
    }
    let clean = async |runbook: &str| {
        let clean = ["node", "clean", "box", "--wait", "--runbook", runbook];
        site.cli(&clean).await
    };
    let why = clean("gpu").await.bad();
    assert!(why.contains("one of the traits CUSTOM_GPU"), "{why}");
    let why = clean("theirs").await.bad();
    assert!(why.contains("nodes of the owner them"), "{why}");
    let why = clean("none").await.bad();
    assert!(why.contains("there is no runbook none"), "{why}");
    assert!(!bmcs.is_on(0));
    site.cli(&["node", "trait", "add", "box", "CUSTOM_GPU"])
        .await
        .good();
    clean("gpu").await.good();
    assert!(bmcs.is_on(0));
    let events = site.cli(&["events", "box"]).await.good();
    assert!(events.contains("cleaning begins, runbook gpu"), "{events}");
    let both =
        json!({ "node": "box", "wish": { "runbook": "gpu", "steps": [{ "step": "hold" }] } });
    let why = site.ask("node.clean", both).await.refused(400);
    assert!(why.contains("either"), "{why}");
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_takes_the_steps_of_templates_with_the_names_of_its_traits() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    let mut worker = site.worker("w1", &format!("{STILL}\nautomated_clean = false"));
    bmcs.managed(&site, 0, "box").await;
    site.cli(&["node", "provide", "box", "--wait"]).await.good();
    site.file("os.raw", "an operating system");
    let create = ["template", "create", "CUSTOM_CAREFUL", "--step"];
    let late = [&create[..], &["70:erase_devices_metadata"]].concat();
    let why = site.cli(&late).await.bad();
    assert!(why.contains("it would erase the image"), "{why}");
    let steps = ["90:erase_devices_metadata,tries=1", "--step", "50:wait=5"];
    let said = site.cli(&[&create[..], &steps].concat()).await.good();
    assert!(
        said.contains("90:erase_devices_metadata, 50:wait"),
        "{said}"
    );
    let ready = site.cli(&["node", "validate", "box"]).await.good();
    let row = |interface: &str| ready.lines().find(|line| line.starts_with(interface));
    assert!(row("power").unwrap().contains("yes"), "{ready}");
    assert!(
        row("rescue").unwrap().contains("policy.rescue_image"),
        "{ready}"
    );
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
    let more = ["--trait", "CUSTOM_CAREFUL", "--deploy-step", "30:reset_bmc"];
    let deploy = [&deploy[..], &more].concat();
    let why = site.cli(&deploy).await.bad();
    assert!(why.contains("asks for: CUSTOM_CAREFUL"), "{why}");
    site.cli(&["node", "trait", "add", "box", "CUSTOM_CAREFUL"])
        .await
        .good();
    site.cli(&deploy).await.good();
    let asked = site.show("box").await["instance"]["deploy_steps"].clone();
    let expected = json!([
        { "priority": 90, "step": "erase_devices_metadata", "tries": 1 },
        { "priority": 50, "step": "wait", "args": { "seconds": 5 } },
        { "priority": 30, "step": "reset_bmc" },
    ]);
    assert_eq!(asked, expected);
    // A template of now is none of what was asked for before.
    site.cli(&["template", "delete", "CUSTOM_CAREFUL"])
        .await
        .good();
    site.cli(&["node", "abort", "box", "--wait"]).await.good();
    site.cli(&["node", "rebuild", "box"]).await.good();
    assert_eq!(site.show("box").await["instance"]["deploy_steps"], expected);
    let list = site.cli(&["template", "list"]).await.good();
    assert!(!list.contains("CUSTOM_CAREFUL"), "{list}");
    worker.assert_well();
}
