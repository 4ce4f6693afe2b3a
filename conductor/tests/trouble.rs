//! What a worker says of trouble around it: records that are lost or cannot be read, folders and servers that are not there.
//! `worker` has what it does when all is well.
mod support;

use async_nats::jetstream;
use ironbeat_rack::ports::PortLease;
use ironbeat_rack::process::Process;
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;
use support::bmcs::Bmcs;
use support::{SOON, Site, idle_bmc, mac, until};

async fn records_of_w1(site: &Site) -> String {
    let workers = site.ask("worker.list", json!({})).await.good();
    let none = Value::Array(vec![]);
    let said = workers[0].get("records").unwrap_or(&none);
    said.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_lost_or_cannot_be_read_are_said_to_whoever_asks() {
    let site = Site::start().await;
    let mut worker = site.worker("w1", "");
    site.enroll(json!({ "name": "box", "bmc": idle_bmc(1) }))
        .await;
    let js = jetstream::new(site.client.clone());
    let stream = js.get_stream("KV_ib").await.unwrap();
    let record = stream.get_last_raw_message_by_subject("$KV.ib.node.>");
    let subject = record.await.unwrap().subject.to_string();
    for _ in 0..2 {
        let put = js.publish(subject.clone(), "no record".into()).await;
        put.unwrap().await.unwrap();
    }
    until("the record is named", async || {
        let said = records_of_w1(&site).await;
        said.contains("cannot read node.").then_some(())
    })
    .await;
    let said = site.cli(&["workers"]).await.good();
    assert!(said.contains("w1: cannot read node."), "{said}");
    let warned = worker.printed().matches("a record cannot be read").count();
    assert_eq!(warned, 1, "{}", worker.printed());

    js.delete_stream("KV_ib").await.unwrap();
    until("the lists are refused", async || {
        let (code, why) = site.ask("node.list", json!({})).await.error()?;
        let is_said = why.contains("ironbeat restore");
        (code == 503 && is_said).then_some(())
    })
    .await;
    let explain = site.ask("node.explain", json!({ "node": "box" })).await;
    assert!(explain.refused(503).contains("this worker remembers"));
    let wish = json!({ "name": "other", "bmc": idle_bmc(2) });
    site.ask("node.enroll", wish).await.refused(503);
    until("the worker says it of itself", async || {
        let said = records_of_w1(&site).await;
        said.contains("have lost it").then_some(())
    })
    .await;
    // The view looks again more than once meanwhile.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let printed = worker.printed();
    let told = printed.lines().filter(|line| {
        line.contains("ERROR") && line.contains("is not the one that this worker remembers")
    });
    assert_eq!(told.count(), 1, "{printed}");
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_only_its_bmc_tells_from_others_is_deployed_with_a_warning() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    let mut worker = site.worker("w1", "power_sync_secs = 0\nautomated_clean = false");
    bmcs.managed(&site, 0, "box").await;
    site.cli(&["node", "provide", "box", "--wait"]).await.good();
    let weak = "only its BMC's address";
    let words = site.cli(&["node", "explain", "box"]).await.good();
    assert!(words.contains(weak), "{words}");
    let deploy = json!({ "node": "box", "instance": {
        "image": { "source": "disk.img.gz", "checksum": { "Sha256": "07".repeat(32) } },
    } });
    let shown = site.ask("node.deploy", deploy.clone()).await.good();
    let warnings = shown["warnings"].to_string();
    assert!(warnings.contains(weak) && warnings.contains("node inspect"));
    site.cli(&["node", "abort", "box", "--wait"]).await.good();
    let mac = mac(1).to_string();
    site.cli(&["node", "set", "box", "--add-mac", &mac])
        .await
        .good();
    let words = site.cli(&["node", "explain", "box"]).await.good();
    assert!(!words.contains(weak), "{words}");
    let shown = site.ask("node.deploy", deploy).await.good();
    assert!(shown.get("warnings").is_none(), "{shown}");
    worker.assert_well();
}

/// A worker with a configuration of the test's own.
fn conductor(site: &Site, config: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ironbeat"));
    let path = site.file("own.toml", config);
    let dir = std::path::Path::new(&path).parent().unwrap();
    let secrets = ironbeat_rack::secrets::section(dir).unwrap();
    let path = site.file("own.toml", &format!("{config}{secrets}"));
    command.args(["conductor", "--config", &path]);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_that_are_not_there_are_noticed_at_the_start_and_later() {
    let site = Site::start().await;
    let (dir, http) = (tempfile::tempdir().unwrap(), PortLease::take().unwrap());
    let images = dir.path().join("images");
    let config = |boot: &str| {
        let (images, nats, port) = (images.display(), site.nats.url(), http.port());
        format!(
            "id = \"w1\"\n[nats]\nservers = [\"{nats}\"]\nauth = \"none\"\n[http]\nlisten = \"127.0.0.1:{port}\"\n\
             boot_dir = \"{boot}\"\nimage_dir = \"{images}\"\n"
        )
    };
    let boot = dir.path().display().to_string();
    for (boot, option) in [(&*boot, "http.image_dir"), ("/nowhere", "http.boot_dir")] {
        let refused = conductor(&site, &config(boot)).output().unwrap();
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && why.contains(option), "{why}");
        assert!(why.contains("No such file"), "{why}");
    }
    std::fs::create_dir(&images).unwrap();
    let log = dir.path().join("log");
    let mut process = Process::start("w1", conductor(&site, &config(&boot)), &log).unwrap();
    process.wait_for_log(" ready ", SOON).unwrap();
    std::fs::remove_dir(&images).unwrap();
    let lacks = async || {
        let workers = site.ask("worker.list", json!({})).await.good();
        workers[0]["lacks_images"].as_str().map(str::to_owned)
    };
    let why = until("it is noticed", lacks).await;
    assert!(why.contains("images: No such file"), "{why}");
    let said = site.cli(&["workers"]).await.good();
    assert!(said.contains("images: No such file"), "{said}");
    std::fs::create_dir(&images).unwrap();
    until("it is there again", async || {
        lacks().await.is_none().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_reach_nats_is_told_which_servers_were_tried_and_why_they_failed() {
    let site = Site::start().await;
    let (dir, nobody) = (tempfile::tempdir().unwrap(), PortLease::take().unwrap());
    let server = format!("nats://user:hush@127.0.0.1:{}", nobody.port());
    let config = format!(
        "id = \"w1\"\n[nats]\nservers = [\"{server}\"]\nauth = \"none\"\n[http]\nlisten = \"127.0.0.1:1\"\n\
         boot_dir = \"{0}\"\nimage_dir = \"{0}\"\n",
        dir.path().display()
    );
    let words = format!("127.0.0.1:{}: Connection refused", nobody.port());
    let log = dir.path().join("log");
    let mut process = Process::start("w1", conductor(&site, &config), &log).unwrap();
    process.wait_for_log(&words, SOON).unwrap();
    let printed = process.log().text();
    assert!(!printed.contains("hush"), "{printed}");
    for command in ["workers", "backup"] {
        let mut args = vec!["--nats", &server, command];
        args.extend((command == "backup").then_some("/nowhere/file"));
        let why = site.cli(&args).await.bad();
        assert!(why.contains(&words) && !why.contains("hush"), "{why}");
    }
}

/// The worker that owns the node knows; any worker may be asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_power_sync_that_fails_is_explained_with_its_last_words() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    let policy = "power_sync_secs = 1\npower_sync_max_retries = 1000";
    let (mut one, mut two) = (site.worker("w1", policy), site.worker("w2", policy));
    bmcs.managed(&site, 0, "box").await;
    let explain = async || {
        let words = site.ask("node.explain", json!({ "node": "box" })).await;
        words.good()["power_sync"].as_str().map(str::to_owned)
    };
    assert_eq!(explain().await, None);
    bmcs.fleet.with(0, |bmc, _| bmc.faults.silent = true);
    for _ in 0..8 {
        let words = until("it is explained", explain).await;
        assert!(words.contains("no good reading since"), "{words}");
        assert!(words.contains("no answer"), "{words}");
    }
    until("it is counted", async || {
        explain().await?.contains("2 times in a row").then_some(())
    })
    .await;
    bmcs.fleet.with(0, |bmc, _| bmc.faults.silent = false);
    until("it is well", async || {
        explain().await.is_none().then_some(())
    })
    .await;
    one.assert_well();
    two.assert_well();
}
