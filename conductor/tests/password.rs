//! A BMC's password is changed: real workers, a real NATS server, simulated BMCs, and the command line.
//! What a BMC can make of it is tried beside `bmc/password.rs`, and that no order of events loses a password in the core.
mod support;

use ironbeat_bmc_sim::User;
use serde_json::json;
use support::bmcs::{Bmcs, PASSWORD};
use support::{Site, until};

/// No BMC is asked unless a test does it.
const QUIET: &str = "power_sync_secs = 0";
const GIVEN: &str = "sesame-4711";

/// The password that BMC 0 has.
fn has(bmcs: &Bmcs) -> String {
    let password = bmcs
        .fleet
        .with(0, |bmc, _| bmc.settings.users[0].password.clone());
    String::from_utf8(password).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_everybody_knows_is_named_and_another_one_is_set() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    let mut worker = site.worker("w1", QUIET);
    bmcs.fleet.with(0, |bmc, _| {
        bmc.settings.users[0] = User {
            name: "ADMIN".into(),
            password: b"ADMIN".to_vec(),
            ..bmc.settings.users[0].clone()
        };
    });
    let mut access = bmcs.access(0);
    (access["username"], access["password"]) = (json!("ADMIN"), json!("ADMIN"));
    site.enroll(json!({ "name": "box", "bmc": access })).await;
    site.cli(&["node", "manage", "box", "--wait"]).await.good();
    let known = "is its password a known one?";
    let said = site.cli(&["bmc", "check", "box"]).await.good();
    assert!(said.contains(known), "{said}");
    assert!(said.contains("ironbeat bmc set-password box"), "{said}");

    let kept = site.file("kept", "");
    std::fs::remove_file(&kept).unwrap();
    let set = ["bmc", "set-password", "box", "--wait", "--keep", &kept];
    let said = site.cli(&set).await.good();
    let new = std::fs::read_to_string(&kept).unwrap();
    let new = new.trim_end();
    assert_eq!((has(&bmcs).as_str(), new.len()), (new, 16));
    assert!(said.contains("manageable") && !said.contains(new), "{said}");
    // A file that is there is nobody's to lose.
    let why = site.cli(&set).await.bad();
    assert!(
        why.contains("is there already") && has(&bmcs) == new,
        "{why}"
    );

    let said = site.cli(&["bmc", "check", "box"]).await.good();
    assert!(
        said.contains("can one log in?") && !said.contains(known),
        "{said}"
    );
    let shown = site.show("box").await;
    assert_eq!(shown.get("bmc_error"), None);
    assert!(!shown.to_string().contains(new) && !worker.printed().contains(new));
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_share_a_password_are_named_without_it_until_each_has_its_own() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(3));
    let mut worker = site.worker("w1", QUIET);
    for (n, name) in ["one", "two", "three"].into_iter().enumerate() {
        bmcs.managed(&site, n, name).await;
    }
    let question = "do other nodes have the same password?";
    // What is followed may be a moment behind.
    let check = async |expected: Option<&str>| {
        let what = format!("bmc check says {expected:?}");
        let said = until(&what, async || {
            let said = site.cli(&["bmc", "check", "one"]).await.good();
            assert!(!said.contains(PASSWORD), "{said}");
            let line = said.lines().find(|line| line.contains(question));
            let is_it = match expected {
                Some(words) => line.is_some_and(|line| line.contains(words)),
                None => line.is_none(),
            };
            is_it.then_some(said)
        });
        said.await
    };
    check(Some("two")).await;
    let said = check(Some("three")).await;
    assert!(said.contains("give each its own"), "{said}");
    // A rotation gives all of them other marks, and a worker that starts finds them.
    site.cli(&["auth", "rotate-key"]).await.good();
    check(Some("two")).await;
    let give = |name| ["bmc", "set-password", name, "--wait"];
    site.cli(&give("two")).await.good();
    let second = site.worker("w2", QUIET);
    worker.process.stop();
    let said = check(Some("three")).await;
    assert!(!said.contains("two"), "{said}");
    site.cli(&["node", "delete", "three"]).await.good();
    check(None).await;
    assert!(!second.printed().contains(PASSWORD) && !worker.printed().contains("panicked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_the_bmc_refuses_is_said_and_another_one_can_be_tried_at_once() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    let mut worker = site.worker("w1", QUIET);
    bmcs.managed(&site, 0, "box").await;
    let file = site.file("given", GIVEN);
    let set = [
        "bmc",
        "set-password",
        "box",
        "--wait",
        "--password-file",
        &file,
    ];
    bmcs.fleet
        .with(0, |bmc, _| bmc.faults.refuses_password = true);
    let why = site.cli(&set).await.bad();
    assert!(why.contains("it refuses the password"), "{why}");
    let explained = site.cli(&["node", "explain", "box"]).await.good();
    assert!(
        explained.contains("whoever logs in tries both"),
        "{explained}"
    );
    bmcs.fleet
        .with(0, |bmc, _| bmc.faults.refuses_password = false);
    site.cli(&set).await.good();
    assert_eq!(has(&bmcs), GIVEN);
    site.ask("bmc.info", json!({ "node": "box" })).await.good();
    let body = json!({ "node": "box", "password": "with space" });
    let why = site.ask("bmc.set_password", body).await.refused(400);
    assert!(why.contains("without spaces"), "{why}");
    assert!(!worker.printed().contains(GIVEN));
    worker.assert_well();
}

/// The BMC has the new password, and nobody was told: the worker that set it is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_between_the_bmc_and_the_record_leaves_a_bmc_that_others_can_use() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    let first = site.worker("w1", QUIET);
    bmcs.managed(&site, 0, "box").await;
    let file = site.file("given", GIVEN);
    let set = ["bmc", "set-password", "box", "--password-file", &file];
    site.cli(&set).await.good();
    until("the BMC has it", async || {
        let count = bmcs.fleet.with(0, |bmc, _| {
            let set = bmc.counters().passwords == 1;
            bmc.faults.silent |= set;
            set
        });
        count.then_some(())
    })
    .await;
    drop(first);
    assert_eq!(has(&bmcs), GIVEN);
    bmcs.fleet.with(0, |bmc, _| bmc.faults.silent = false);

    let mut second = site.worker("w2", QUIET);
    site.rests("box", "manageable").await;
    let reply = site.ask("bmc.info", json!({ "node": "box" })).await.good();
    assert_eq!(reply["firmware"], "9.08");
    assert_eq!(bmcs.fleet.with(0, |bmc, _| bmc.counters().passwords), 1);
    assert_ne!(PASSWORD, GIVEN);
    second.assert_well();
}
