//! Workers on hosts whose clocks are wrong, or are set while they run. Their own view of the clock is shifted, and nothing
//! else is. `ironbeat::clock` reckons the servers' time; the simulation has fleets of such workers.
mod support;

use ironbeat::clock;
use ironbeat_core::time::Time;
use serde_json::{Value, json};
use support::bmcs::Bmcs;
use support::{SOON, Site, until};

/// What `worker.list` says of it.
async fn stands_by(site: &Site, id: &str) -> Option<String> {
    let workers = site.ask("worker.list", json!({})).await.good();
    let mut workers = workers.as_array().unwrap().iter();
    let worker = workers.find(|worker| worker["id"] == id)?;
    let why = worker["stands_by"].as_str();
    Some(why.unwrap_or_default().to_owned())
}

async fn says(site: &Site, id: &str, what: &str) {
    let told = format!("{id} says {what:?}");
    until(&told, async || {
        let why = stands_by(site, id).await?;
        (why == what || (!what.is_empty() && why.contains(what))).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_clock_is_wrong_leaves_the_nodes_to_others_and_records_in_the_servers_time()
{
    let (site, bmcs) = (Site::start().await, Bmcs::start(8));
    site.set_clock("w2", 120_000);
    let mut workers = [site.worker("w1", ""), site.worker("w2", "")];
    says(&site, "w2", " s ahead of that of the NATS servers").await;
    says(&site, "w1", "").await;
    let begin = clock::wall();
    let mut explained = String::new();
    for n in 0..8 {
        let name = format!("n{n}");
        bmcs.managed(&site, n, &name).await;
        let explain = site.cli(&["node", "explain", &name]).await.good();
        explained.push_str(&explain);
        let node = site.show(&name).await;
        let times = [&node["since"], &node["power"]["at"]];
        let times = times.map(|at| at.as_str().unwrap().parse::<Time>().unwrap());
        let end = clock::wall();
        assert!(times.iter().all(|at| begin <= *at && *at <= end), "{node}");
    }
    // One node in 256 such racks has no owner among two workers but the first.
    assert!(
        explained.contains("worker w2 does nothing for it: its clock is 1"),
        "{explained}"
    );
    let table = site.cli(&["workers"]).await.good();
    assert!(
        table.contains("w2 does nothing for nodes: its clock is 1"),
        "{table}"
    );
    let listed = site.ask("worker.list", json!({})).await.good();
    for worker in listed.as_array().unwrap() {
        let started: Time = worker["started"].as_str().unwrap().parse().unwrap();
        assert!(started <= clock::wall(), "{worker}");
    }
    let by = |event: &Value| event["body"]["worker"].as_str().map(str::to_owned);
    let events = site.ask("event.list", json!({ "last": 1000 })).await.good();
    let acted = |event: &&Value| event["body"]["to"] == "verifying";
    for event in events.as_array().unwrap().iter().filter(acted) {
        assert_eq!(by(event).as_deref(), Some("w1"), "{event}");
    }

    site.set_clock("w2", 0);
    says(&site, "w2", "").await;
    let log = &mut workers[1].process;
    log.wait_for_log("looks after nodes again", SOON).unwrap();
    assert!(
        workers[1]
            .printed()
            .contains("this worker does nothing for nodes")
    );
    workers.iter_mut().for_each(support::Worker::assert_well);
}

/// It cannot be told from one whose server is wrong, and it has nobody to leave the nodes to: it says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_lone_worker_whose_clock_is_set_says_so_and_goes_on_when_it_is_right() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    site.set_clock("w1", 0);
    let mut worker = site.worker("w1", "");
    bmcs.managed(&site, 0, "box").await;
    site.set_clock("w1", -120_000);
    let why = until("it refuses", async || {
        let said = site.cli(&["power", "on", "box", "--wait"]).await;
        (!said.ok).then_some(said.err)
    })
    .await;
    assert!(
        why.contains("worker w1 does nothing for nodes at present: its clock is 1")
            && why.contains(" s behind that of the NATS servers"),
        "{why}"
    );
    let explained = site.cli(&["node", "explain", "box"]).await.good();
    assert!(explained.contains("w1 does nothing for it"), "{explained}");
    // Asked once, and not in vain: the trouble ends while the command asks again.
    let mut asks = site.start_cli(&["power", "on", "box", "--wait"]);
    asks.wait_for_log("asking again for 10 s", SOON).unwrap();
    site.set_clock("w1", 1_000);
    let ended = asks.wait_exit(SOON).unwrap();
    assert!(ended.success(), "it asks until the clock is right: {ended}");
    assert!(bmcs.is_on(0));
    worker.assert_well();
}
