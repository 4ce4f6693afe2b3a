//! Operators are never locked out: verbs that stop what is under way, and commands whose exit status is their own.
//! Real workers, a real NATS server, simulated BMCs. The core tests every state.
mod support;

use ironbeat_bmc_sim::PowerFault;
use serde_json::{Value, json};
use support::bmcs::Bmcs;
use support::{Site, until};

/// Nothing but what is asked for.
const STILL: &str = "power_sync_secs = 0\nsoft_power_off_secs = 600";

/// Of a file that the workers have; nobody gets as far as writing it.
async fn deploy(site: &Site, name: &str) {
    site.file("os.raw", "an operating system");
    let checksum = format!("sha256:{}", "07".repeat(32));
    let args = ["node", "deploy", name, "--image", "os.raw"];
    site.cli(&[&args[..], &["--checksum", &checksum]].concat())
        .await
        .good();
}

/// Its machine is on, and does not do what its BMC tells it.
async fn deaf(site: &Site, bmcs: &Bmcs, name: &str, fault: PowerFault) {
    bmcs.managed(site, 0, name).await;
    site.cli(&["power", "on", name, "--wait"]).await.good();
    bmcs.fleet.with(0, |bmc, _| bmc.faults.power = fault);
}

fn control(bmcs: &Bmcs) -> [u64; 6] {
    bmcs.fleet.with(0, |bmc, _| bmc.counters().control)
}

/// Whichever worker is asked, the one that acts lets go.
#[tokio::test(flavor = "multi_thread")]
async fn a_hard_power_verb_does_not_wait_for_a_soft_one() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    let (mut one, mut two) = (site.worker("w1", STILL), site.worker("w2", STILL));
    deaf(&site, &bmcs, "box", PowerFault::Ignores).await;

    let soft = site.cli(&["power", "soft-off", "box", "--wait"]);
    let hard = async {
        until("the operating system was asked", async || {
            (control(&bmcs)[5] == 1).then_some(())
        })
        .await;
        site.cli(&["power", "off", "box"]).await.good();
    };
    let (soft, ()) = tokio::join!(soft, hard);
    assert_eq!(soft.code, Some(5), "{soft:?}");
    let said = soft.bad();
    assert!(said.contains("another request took the place"), "{said}");
    bmcs.fleet
        .with(0, |bmc, _| bmc.faults.power = PowerFault::IgnoresSoft);
    let shown = site.rests("box", "manageable").await;
    assert!(shown.get("bmc_error").is_none(), "{shown}");
    assert!(!bmcs.is_on(0));

    site.cli(&["power", "on", "box", "--wait"]).await.good();
    site.cli(&["power", "soft-reboot", "box"]).await.good();
    site.cli(&["power", "reboot", "box", "--wait"]).await.good();
    assert!(bmcs.is_on(0));
    one.assert_well();
    two.assert_well();
}

/// Scripts go by the exit code; the name may be another node's meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_follows_the_node_by_its_id_and_has_an_exit_code_for_each_end() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    let mut worker = site.worker("w1", STILL);
    deaf(&site, &bmcs, "box", PowerFault::Ignores).await;

    let soft = site.cli(&["power", "soft-off", "box", "--wait", "--json"]);
    let meanwhile = async {
        until("the operating system was asked", async || {
            (control(&bmcs)[5] == 1).then_some(())
        })
        .await;
        site.cli(&["node", "set", "box", "--name", "crate"])
            .await
            .good();
        let late = site.cli(&["node", "wait", "crate", "--timeout", "1"]).await;
        assert_eq!(late.code, Some(4), "{late:?}");
        site.cli(&["node", "abort", "crate"]).await.good();
    };
    let (soft, ()) = tokio::join!(soft, meanwhile);
    assert_eq!(soft.code, Some(3), "{soft:?}");
    assert!(soft.err.contains("aborted by the operator"), "{soft:?}");
    let shown: Value = serde_json::from_str(&soft.out).unwrap();
    assert_eq!(shown["name"], "crate");
    let rests = site.cli(&["node", "wait", "crate"]).await.good();
    assert_eq!(rests, "crate: manageable\n");
    worker.assert_well();
}

/// Without this it tells the machine to switch off five times, a minute each.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_on_a_lying_bmc_is_aborted_in_mid_act() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    let (mut one, mut two) = (site.worker("w1", STILL), site.worker("w2", STILL));
    deaf(&site, &bmcs, "box", PowerFault::SaysOn).await;
    for _ in 0..4 {
        let before = control(&bmcs)[0];
        site.cli(&["power", "off", "box"]).await.good();
        until("the BMC was told", async || {
            (control(&bmcs)[0] > before).then_some(())
        })
        .await;
        site.cli(&["node", "abort", "box", "--wait"]).await.good();
        let shown = site.rests("box", "manageable").await;
        let what = shown["bmc_error"]["what"].as_str().unwrap();
        assert_eq!(what, "aborted by the operator");
    }
    bmcs.fleet
        .with(0, |bmc, _| bmc.faults.power = PowerFault::None);
    one.assert_well();
    two.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_that_is_given_up_in_mid_act_switches_the_machine_off_or_leaves_it() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    let mut worker = site.worker("w1", &format!("{STILL}\nautomated_clean = false"));
    deaf(&site, &bmcs, "box", PowerFault::None).await;
    site.cli(&["node", "provide", "box", "--wait"]).await.good();
    bmcs.fleet
        .with(0, |bmc, _| bmc.faults.power = PowerFault::SaysOn);
    deploy(&site, "box").await;
    let asked = site.ask("node.abort", json!({ "node": "box" })).await;
    assert_eq!(asked.good()["provision_state"], "deploying");
    let tidying = until("the machine is being switched off", async || {
        let shown = site.show("box").await;
        (shown["state"]["busy"]["goal"] == json!({ "rest": "deploy_failed" })).then_some(shown)
    });
    assert_eq!(
        tidying.await["last_error"]["what"],
        "aborted by the operator"
    );
    // Its BMC will never say that it is off.
    site.cli(&["node", "abort", "box", "--wait"]).await.good();
    site.rests("box", "deploy failed").await;
    worker.assert_well();
}

/// The node stays where its deploy left it; the verb did what it should.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_node_can_be_switched_on_and_the_command_says_that_it_was() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    let mut worker = site.worker("w1", &format!("{STILL}\nautomated_clean = false"));
    bmcs.managed(&site, 0, "box").await;
    site.cli(&["node", "provide", "box", "--wait"]).await.good();
    deploy(&site, "box").await;
    site.cli(&["node", "abort", "box", "--wait"]).await.good();
    let failed = site.rests("box", "deploy failed").await;

    let said = site.cli(&["power", "on", "box", "--wait"]).await.good();
    assert!(said.ends_with("box: deploy failed\n"), "{said}");
    assert!(bmcs.is_on(0));
    let args = ["node", "boot-device", "box", "disk", "--wait"];
    site.cli(&args).await.good();
    // Its own failure is a failure all the same.
    site.cli(&["power", "off", "box", "--wait"]).await.good();
    let said = site.cli(&["power", "cycle", "box", "--wait"]).await.bad();
    assert!(said.contains("the machine is off"), "{said}");
    let shown = site.show("box").await;
    assert_eq!(shown["last_error"], failed["last_error"]);
    let what = shown["bmc_error"]["what"].as_str().unwrap();
    assert!(what.contains("the machine is off"), "{shown}");
    let words = site.cli(&["node", "explain", "box"]).await.good();
    for line in ["error     ", "bmc error "] {
        assert!(words.contains(line), "{words}");
    }
    site.cli(&["power", "on", "box", "--wait"]).await.good();
    let shown = site.show("box").await;
    assert_eq!(shown["last_error"], failed["last_error"]);
    assert!(shown.get("bmc_error").is_none(), "{shown}");
    worker.assert_well();
}
