//! Secrets of real workers and the command line: what lies in the store, which worker starts, rotations from outside.
//! `records/tests/keys.rs` tests the store alone, and what survives a rotation that is cut off.
mod support;

use futures_util::StreamExt;
use ironbeat_rack::ports::PortLease;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use support::{SOON, Site, idle_bmc};

const QUIET: &str = "power_sync_secs = 0";
const PASSWORD: &str = "sesame-31337";

/// Everything that lies in any stream of the server.
async fn stored(site: &Site) -> Vec<(String, String)> {
    let js = async_nats::jetstream::new(site.client.clone());
    let mut all = Vec::new();
    let mut streams = js.streams();
    while let Some(stream) = streams.next().await {
        let info = stream.unwrap();
        let stream = js.get_stream(&info.config.name).await.unwrap();
        for sequence in info.state.first_sequence..=info.state.last_sequence {
            if let Ok(message) = stream.get_raw_message(sequence).await {
                let head = format!("{} {:?}", message.subject, message.headers);
                let body = String::from_utf8_lossy(&message.payload).into_owned();
                all.push((head, body));
            }
        }
    }
    assert!(!all.is_empty());
    all
}

async fn enrolled(site: &Site, n: u8) -> String {
    let mut bmc = idle_bmc(n);
    bmc["password"] = PASSWORD.into();
    site.enroll(json!({ "name": format!("n{n}"), "bmc": bmc }))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_stream_holds_a_password_and_a_rotation_changes_every_sealed_byte() {
    let site = Site::start().await;
    let worker = site.worker("w1", QUIET);
    let node = enrolled(&site, 1).await;
    let sealed = async || {
        let all = stored(&site).await;
        for (head, body) in &all {
            assert!(
                !head.contains("31337") && !body.contains("31337"),
                "{head}: {body}"
            );
        }
        let found = all
            .into_iter()
            .find(|(head, _)| head.contains(".bmc_secrets."));
        found.expect("it lies there").1
    };
    let before = sealed().await;
    let said = site.cli(&["auth", "rotate-key"]).await.good();
    assert!(said.starts_with("1 secrets are encrypted anew"), "{said}");
    let after = sealed().await;
    assert!(before.contains("sealed") && before != after, "{after}");
    let shown = site.show(&node).await.to_string();
    assert!(!worker.printed().contains("31337") && !shown.contains("31337"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_the_master_key_of_the_others_does_not_start_and_keeps_them_from_rotating()
{
    let site = Site::start().await;
    let first = site.worker("w1", QUIET);
    enrolled(&site, 1).await;
    let other = site.file("other.key", "");
    std::fs::remove_file(&other).unwrap();
    let said = site.cli(&["auth", "new-key", &other]).await;
    assert!(said.ok && said.err.contains("is in"), "{said:?}");
    let line = std::fs::read_to_string(&other).unwrap();
    let shared = Path::new(&other).with_file_name("master.key");
    let ours = std::fs::read_to_string(&shared).unwrap();
    // Where the other worker has the file, which is the only difference.
    let start = |name: &str, keys: &str, mode| {
        let own = site.file(&format!("{name}.key"), keys);
        std::fs::set_permissions(&own, PermissionsExt::from_mode(mode)).unwrap();
        let more = format!("[secrets]\nkey_file = \"{own}\"\n[policy]\n{QUIET}");
        site.spawn_with(name, name, &more, PortLease::take().unwrap())
    };
    for (name, keys, mode, expected) in [
        ("stranger", line.as_str(), 0o600, "this worker has"),
        ("careless", &ours, 0o644, "chmod 0600"),
        (
            "torn",
            &ours[..ours.len() - 9],
            0o600,
            "line 1 is no master key",
        ),
    ] {
        let mut worker = start(name, keys, mode);
        assert!(!worker.process.wait_exit(SOON).unwrap().success(), "{name}");
        let printed = worker.printed();
        assert!(printed.contains(expected), "{name}: {printed}");
        assert!(!printed.contains(&ours[25..40]), "{name}: {printed}");
    }
    // It can open all that there is, but it would wrap with a key that the first one has not.
    let mut both = start("w2", &format!("{line}{ours}"), 0o600);
    both.process.wait_for_log(" ready ", SOON).unwrap();
    let rotated = support::until("the new worker is asked", async || {
        let why = site.cli(&["auth", "rotate-key"]).await;
        (!why.ok).then_some(why.err)
    });
    let why = rotated.await;
    assert!(why.contains("worker w1 does not have master key"), "{why}");
    drop(first);
}
