//! One verb for several nodes: who is asked, what is printed as each ends, and what the exit code says.
mod support;

use serde_json::{Value, json};
use support::{Site, Worker, mac, until};

/// Nobody listens there.
fn idle_bmc(n: u8) -> Value {
    let address = format!("127.0.9.{n}");
    json!({ "protocol": "ipmi", "address": address, "username": "u", "password": support::printed::IDLE })
}

async fn site(nodes: u8) -> (Site, Worker) {
    let site = Site::start().await;
    let worker = site.worker("w1", "");
    for n in 1..=nodes {
        let wish = json!({ "name": format!("box{n}"), "bmc": idle_bmc(n), "macs": [mac(n)] });
        site.enroll(wish).await;
    }
    until("all are seen", async || {
        let page = site.ask("node.list", json!({})).await.good();
        (page["nodes"].as_array()?.len() == usize::from(nodes)).then_some(())
    })
    .await;
    (site, worker)
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verb_for_several_nodes_says_of_each_how_it_went_and_the_exit_code_sums_up() {
    let (site, mut worker) = site(3).await;
    let maintain = ["node", "maintenance", "set", "box1", "box2", "box3", "box1"];
    let said = site.cli(&maintain).await.good();
    let each = (1..=3).map(|n| format!("box{n}: is in maintenance"));
    let expected: Vec<String> = ["3 nodes, none failed".into()]
        .into_iter()
        .chain(each)
        .collect();
    assert_eq!(sorted(&said), expected);
    // Some are not there.
    let unset = [
        "node",
        "maintenance",
        "unset",
        "box1",
        "nobody",
        "--parallel",
        "1",
    ];
    let some = site.cli(&unset).await;
    assert_eq!(some.code, Some(6), "{some:?}");
    let lines: Vec<&str> = some.out.lines().collect();
    assert_eq!(lines[0], "box1: is not in maintenance");
    assert!(lines[1].starts_with("nobody: there is no node"), "{some:?}");
    assert!(some.err.contains("1 of 2 nodes not: nobody"), "{some:?}");
    // None can be deployed.
    let undeploy = site.cli(&["node", "undeploy", "box2", "box3"]).await;
    assert_eq!(undeploy.code, Some(7), "{undeploy:?}");
    assert_eq!(undeploy.out.lines().count(), 2, "{undeploy:?}");
    // One alone is as ever.
    let one = site.cli(&["node", "undeploy", "box2"]).await;
    assert_eq!((one.code, &*one.out), (Some(1), ""), "{one:?}");
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verb_for_all_that_fit_asks_first_and_prints_json_for_programs() {
    let (site, mut worker) = site(4).await;
    let set = ["node", "maintenance", "set", "--where", "name!=box4"];
    let asked = site.cli(&set).await;
    assert_eq!(asked.code, Some(1), "{asked:?}");
    let question = "node maintenance set of 3 nodes (box1, box2, box3)";
    assert!(
        asked.err.contains(question) && asked.err.contains("--yes"),
        "{asked:?}"
    );
    let said = site
        .cli(&[&set[..], &["--yes", "--json"]].concat())
        .await
        .good();
    let lines = said
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lines: Vec<Value> = lines.collect();
    assert_eq!(lines.len(), 3, "{said}");
    for line in &lines {
        assert_eq!(
            (&line["ok"], &line["code"]),
            (&json!(true), &json!(0)),
            "{line}"
        );
        assert!(line["shown"]["maintenance"].is_object(), "{line}");
        assert_eq!(line["shown"]["name"], line["node"]);
    }
    let nothing = site
        .cli(&["node", "delete", "--where", "name=nobody*", "--yes"])
        .await;
    assert!(nothing.bad().contains("no node fits name=nobody*"));
    for args in [
        &["node", "manage"][..],
        &["node", "manage", "box1", "--where", "state=enroll"],
        &["node", "manage", "box1", "--parallel", "0"],
    ] {
        let said = site.cli(args).await;
        assert_eq!(said.code, Some(2), "{args:?}: {said:?}");
    }
    let delete = ["node", "delete", "--where", "state=enroll", "--yes"];
    assert_eq!(site.cli(&delete).await.good().lines().count(), 5);
    worker.assert_well();
}

/// Nobody answers for their BMCs, so that each verification fails.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_several_nodes_hears_how_the_job_of_each_ended() {
    let (site, mut worker) = site(2).await;
    let manage = ["node", "manage", "box1", "box2", "--wait", "--timeout", "1"];
    let said = site.cli(&manage).await;
    assert_eq!(said.code, Some(7), "{said:?}");
    for n in 1..=2 {
        let still = format!("box{n} is still verifying after 1 s");
        assert!(said.out.contains(&still), "{said:?}");
    }
    assert_eq!(said.out.lines().count(), 2, "no steps among them: {said:?}");
    worker.assert_well();
}
