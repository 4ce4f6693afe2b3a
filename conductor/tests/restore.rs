//! A backup and its way back as an operator types them, on servers that ask who is there and are lost.
//! What the file holds, and which file and bucket are refused, is tested beside `records/backup.rs`.
mod support;

use ironbeat_rack::nats::{NatsBinary, NatsServer};
use serde_json::Value;
use support::bmcs::Bmcs;
use support::{Said, Site, connect_as};

const QUIET: &str = "power_sync_secs = 0";
const RULE: &str =
    r#"{"name":"row7","actions":[{"op":"add-trait","args":{"name":"CUSTOM_ROW7"}}]}"#;

async fn as_worker(site: &Site, args: &[&str]) -> Said {
    let creds = site.auth().join("worker/worker.creds");
    let creds = ["--creds", creds.to_str().unwrap()];
    site.cli(&[&creds[..], args].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_lost_its_servers_store_is_restored_with_a_workers_login() {
    for binary in NatsBinary::supported() {
        let mut site = Site::start_with_logins(binary.clone(), &["--tls"]).await;
        let bmcs = Bmcs::start(1);
        let mut worker = site.worker("w1", QUIET);
        bmcs.managed(&site, 0, "box").await;
        let keep = ["runbook", "create", "burn-in", "--step", "inspect"];
        site.cli(&keep).await.good();
        let rule = site.file("rule.json", RULE);
        site.cli(&["rule", "create", &rule]).await.good();
        let file = site.file("site", "") + ".backup";
        as_worker(&site, &["backup", &file]).await.good();
        let why = as_worker(&site, &["restore", &file]).await.bad();
        assert!(why.contains("worker w1 runs"), "{why}");
        worker.process.stop();

        site.nats.stop();
        let lines = std::fs::read_to_string(site.auth().join("server/auth.conf")).unwrap();
        site.nats = NatsServer::start_loopback_with(binary, &lines).unwrap();
        let admin = connect_as(&site.nats, site.auth(), "people/admin.creds");
        site.client = admin.await.unwrap();
        let why = site.cli(&["restore", &file]).await.bad();
        assert!(why.contains("--creds worker.creds"), "{why}");
        let restored = as_worker(&site, &["restore", &file]).await;
        assert!(
            restored.ok && restored.err.contains("Every node is in maintenance"),
            "{restored:?}"
        );
        let mut worker = site.worker("w1", QUIET);
        let maintenance = site.show("box").await["maintenance"].take();
        let reason = maintenance["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("restored from a backup"), "{maintenance}");
        let unset = ["node", "maintenance", "unset", "box"];
        site.cli(&unset).await.good();
        for kept in [["runbook", "show", "burn-in"], ["rule", "show", "row7"]] {
            site.cli(&kept).await.good();
        }
        // So has it its name.
        let why = site.cli(&keep).await.bad();
        assert!(why.contains("the name burn-in"), "{why}");
        // With the password that was in the file.
        let on = ["power", "on", "box", "--wait"];
        site.cli(&on).await.good();
        assert!(bmcs.is_on(0));
        worker.assert_well();
        worker.process.stop();

        // As after a restore that failed half-way.
        let why = as_worker(&site, &["restore", &file]).await.bad();
        assert!(why.contains("bucket ib is not empty"), "{why}");
        let login = site.dir().join("jetstream.creds");
        let login = login.to_str().unwrap();
        site.cli(&["auth", "jetstream", login]).await.good();
        let purger = connect_as(&site.nats, site.auth(), login).await.unwrap();
        let purged = purger.request("$JS.API.STREAM.PURGE.KV_ib", "".into());
        let purged: Value = serde_json::from_slice(&purged.await.unwrap().payload).unwrap();
        assert_eq!(purged["success"], true, "{purged}");
        let again = ["restore", &file, "--nothing-happened-since"];
        as_worker(&site, &again).await.good();
        let mut worker = site.worker("w1", QUIET);
        let shown = site.show("box").await;
        assert_eq!(shown["provision_state"], "manageable", "{shown}");
        assert_eq!(shown.get("maintenance"), None, "{shown}");
        worker.assert_well();
    }
}
