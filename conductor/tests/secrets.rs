//! Secrets of real workers and the command line: what lies in the store, which worker starts, rotations from outside.
//! `records/tests/keys.rs` tests the store alone, and what survives a rotation that is cut off.
mod support;

use data_encoding::BASE64;
use futures_util::StreamExt;
use ironbeat_ops::sealed::{Bound, Letter, SealedText};
use ironbeat_rack::leaks::find;
use ironbeat_rack::nats::NatsBinary;
use ironbeat_rack::ports::PortLease;
use nkeys::XKey;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use support::bmcs::{Bmcs, PASSWORD as OF_SIMULATOR};
use support::{SOON, Site, connect, connect_as, idle_bmc, until};

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
    // Each can open all that there is. But an operator who has put a new key first would drop the old one after a rotation, and
    // the other worker would have wrapped with that.
    let mut both = start("w2", &format!("{line}{ours}"), 0o600);
    both.process.wait_for_log(" ready ", SOON).unwrap();
    until("both are heard", async || {
        let workers = site.ask("worker.list", json!({})).await.good();
        (workers.as_array()?.len() == 2).then_some(())
    })
    .await;
    // Whichever is asked.
    for _ in 0..8 {
        let why = site.cli(&["auth", "rotate-key"]).await.bad();
        assert!(why.contains("the first master key of worker w"), "{why}");
    }
    drop(first);
}

/// Whoever may subscribe to everything.
struct Eavesdropper(Arc<Mutex<Vec<u8>>>);

impl Eavesdropper {
    async fn start(site: &Site) -> Self {
        let client = connect(&site.nats).await;
        let mut all = client.subscribe(">").await.unwrap();
        client.flush().await.unwrap();
        let heard: Arc<Mutex<Vec<u8>>> = Arc::default();
        let hears = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Some(message) = all.next().await {
                let mut heard = hears.lock().unwrap();
                heard.extend(format!("{} {:?} ", message.subject, message.headers).bytes());
                heard.extend(&message.payload);
                heard.push(b'\n');
            }
            drop(client);
        });
        Self(heard)
    }
}

#[track_caller]
fn assert_unknown(what: &str, text: &str, secrets: &[(String, String)]) {
    let found = find(text, secrets);
    assert_eq!(found, None, "{what} has it: {text}");
}

/// As systemd does it for `LoadCredential=`.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_has_its_master_key_from_a_credential() {
    let mut site = Site::start().await;
    let mut first = site.worker("w1", QUIET);
    enrolled(&site, 1).await;
    let more = format!("[secrets]\nkey_credential = \"master.key\"\n[policy]\n{QUIET}");
    let start = |site: &Site| site.spawn_with("w2", "w2", &more, PortLease::take().unwrap());
    let mut without = start(&site);
    assert!(!without.process.wait_exit(SOON).unwrap().success());
    let why = without.printed();
    assert!(why.contains("LoadCredential=master.key:"), "{why}");
    site.env = vec![("CREDENTIALS_DIRECTORY", site.dir().into())];
    // It starts with no other key than that of the secret that is there.
    let mut second = start(&site);
    second.process.wait_for_log(" ready ", SOON).unwrap();
    second.assert_well();
    first.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_hears_and_reads_everything_learns_no_secret_of_the_command_line() {
    let (site, bmcs) = (Site::start().await, Bmcs::start(1));
    let mut worker = site.worker("w1", &format!("{QUIET}\nautomated_clean = false"));
    let ear = Eavesdropper::start(&site).await;
    const KG: &str = "73657361-6d652d6b67";
    let kg = KG.replace('-', "");
    let (kg_file, changed) = (site.file("kg", &kg), site.file("pw", "sesame-changed-4712"));
    let data = site.file("user-data", "#cloud-config sesame-user-4713");
    let network = site.file("network-data", r#"{"key":"sesame-net-4714"}"#);
    let given = site.file("pw-given", "sesame-set-4717");
    let again = site.file("user-data-2", "#cloud-config sesame-again-4715");
    let secrets = site.secrets();
    // Of an image server that nobody asks, since there is none.
    const SIGNED: &str = "http://127.0.9.9:9/os.raw?sig=sesame-sig-4716";
    let (address, sum) = (
        bmcs.fleet.address(0).to_string(),
        format!("sha256:{}", "07".repeat(32)),
    );
    site.file("os.raw", "an operating system");
    let enroll = ["node", "enroll", "--name", "box", "--bmc", &address];
    site.cli_as(OF_SIMULATOR, &enroll).await.good();
    let idle = [
        "node",
        "enroll",
        "--name",
        "idle",
        "--bmc",
        "127.0.9.1",
        "--bmc-kg-file",
        &kg_file,
    ];
    site.cli_as(PASSWORD, &idle).await.good();
    let set = [
        "node",
        "set",
        "idle",
        "--bmc-password-file",
        &changed,
        "--bmc-kg-file",
        &kg_file,
    ];
    site.cli(&set).await.good();
    site.cli_as(OF_SIMULATOR, &["bmc", "check", "--bmc", &address])
        .await
        .good();
    for verb in ["manage", "provide"] {
        site.cli(&["node", verb, "box", "--wait"]).await.good();
    }
    let give = ["bmc", "set-password", "box", "--wait"];
    let give = [&give[..], &["--password-file", &given]].concat();
    site.cli(&give).await.good();
    let image = ["box", "--image", "os.raw", "--checksum", &sum];
    let deploy = ["--user-data", &data, "--network-data", &network];
    site.cli(&[&["node", "deploy"], &image[..], &deploy].concat())
        .await
        .good();
    site.cli(&["node", "abort", "box", "--wait"]).await.good();
    let rebuild = ["--user-data", &again];
    site.cli(&[&["node", "rebuild"], &image[..], &rebuild].concat())
        .await
        .good();
    site.cli(&["node", "abort", "box", "--wait"]).await.good();
    let signed = [
        "node",
        "rebuild",
        "box",
        "--image",
        SIGNED,
        "--checksum",
        &sum,
    ];
    let said = site.cli(&signed).await;
    let printed = format!("{said:?}");
    assert_unknown("the command line", &printed, &secrets);
    said.good();
    let shown = site.show("box").await.to_string();
    assert!(shown.contains("os.raw?******"), "{shown}");
    // A record that is written anew while all are read is read by neither of its numbers.
    until("its URL is in a record", async || {
        let all = stored(&site).await;
        let found = all.iter().find(|(_, body)| body.contains("os.raw?******"));
        found.map(|_| ())
    })
    .await;
    site.cli(&["node", "abort", "box", "--wait"]).await.good();
    site.cli(&["auth", "rotate-key"]).await.good();

    let last = format!("{} ", "ib.v1.api.secrets.rotate");
    let heard = until("it has heard the last request", async || {
        let heard = ear.0.lock().unwrap();
        let heard = String::from_utf8_lossy(&heard).into_owned();
        heard.contains(&last).then_some(heard)
    });
    let heard = heard.await;
    assert!(heard.contains("\"sealed\":\"X"), "{heard}");
    assert_unknown("what is heard", &heard, &secrets);
    for (head, body) in stored(&site).await {
        assert_unknown("a stream", &format!("{head} {body}"), &secrets);
    }
    for node in ["box", "idle"] {
        assert_unknown("node show", &site.show(node).await.to_string(), &secrets);
    }
    let events = site.ask("event.list", json!({ "last": 1000 })).await.good();
    assert_unknown("events", &events.to_string(), &secrets);
    let printed = worker.printed();
    assert!(printed.contains("DEBUG"));
    assert!(!printed.contains("came in the clear"), "{printed}");
    worker.assert_well();
}

/// What a client of ours sends for a secret, as docs/api.md says.
fn sealed(key: &str, endpoint: &str, field: &str, body: &Value, secret: &str) -> Value {
    let (own, to) = (XKey::new(), XKey::from_public_key(key).unwrap());
    let text = |at: &str| Some(body.pointer(at)?.as_str()?.to_string());
    let letter = Letter {
        bound: Bound::to(endpoint, field, text),
        secret: secret.into(),
    };
    let bytes = own
        .seal(&serde_json::to_vec(&letter).unwrap(), &to)
        .unwrap();
    let sealed = SealedText {
        to: key.into(),
        from: own.public_key(),
        base64: BASE64.encode(&bytes),
    };
    json!({ "sealed": sealed.to_string() })
}

async fn seal_key(site: &Site) -> String {
    let key = site.ask("secrets.key", json!({})).await.good();
    key["key"].as_str().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_secret_is_good_for_its_own_request_alone() {
    let site = Site::start().await;
    let worker = site.worker("w1", QUIET);
    let key = seal_key(&site).await;
    let body = |name: &str, address: &str| {
        let mut bmc = idle_bmc(1);
        bmc["address"] = address.into();
        json!({ "id": "00000000-0000-4000-8000-000000000001", "name": name, "bmc": bmc })
    };
    let good = body("box", "127.0.9.1");
    let with = |mut body: Value, secret: &Value| {
        body["bmc"]["password"] = secret.clone();
        body
    };
    let of = |key: &str, endpoint, field| sealed(key, endpoint, field, &good, PASSWORD);
    let password = of(&key, "node.enroll", "/bmc/password");
    let mut other_node = good.clone();
    other_node["id"] = "00000000-0000-4000-8000-000000000002".into();
    let mut flipped = password["sealed"]
        .as_str()
        .unwrap()
        .to_string()
        .into_bytes();
    let at = flipped.len() - 12;
    flipped[at] = if flipped[at] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).unwrap();
    for (what, body, secret, code, expected) in [
        (
            "another BMC",
            body("box", "127.0.9.2"),
            password.clone(),
            400,
            "another request",
        ),
        (
            "another node",
            other_node,
            password.clone(),
            400,
            "another request",
        ),
        (
            "another field",
            good.clone(),
            of(&key, "node.enroll", "/bmc/kg"),
            400,
            "another request",
        ),
        (
            "another endpoint",
            good.clone(),
            of(&key, "bmc.check", "/bmc/password"),
            400,
            "another request",
        ),
        (
            "another key",
            good.clone(),
            of(&XKey::new().public_key(), "node.enroll", "/bmc/password"),
            409,
            "ask secrets.key again",
        ),
        (
            "changed",
            good.clone(),
            json!({ "sealed": flipped }),
            400,
            "does not open",
        ),
        (
            "no parts",
            good.clone(),
            json!({ "sealed": "hush" }),
            400,
            "<to>:<from>:<base64>",
        ),
        (
            "a number",
            good.clone(),
            json!({ "sealed": 4711 }),
            400,
            "expected a secret",
        ),
    ] {
        let why = site
            .ask("node.enroll", with(body, &secret))
            .await
            .refused(code);
        assert!(why.contains(expected), "{what}: {why}");
        assert!(
            !why.contains("31337") && !why.contains("4711"),
            "{what}: {why}"
        );
    }
    // It cannot be read by having it put where it is shown.
    let mut shown = with(good.clone(), &password);
    shown["serial"] = password.clone();
    site.ask("node.enroll", shown).await.refused(400);

    let enrolled = site
        .ask("node.enroll", with(good.clone(), &password))
        .await
        .good();
    assert_eq!(enrolled.get("warnings"), None, "{enrolled}");
    // In CBOR as well, and once more is the same.
    let body = ironbeat_common::codec::encode(&with(good.clone(), &password));
    let cbor = Some(ironbeat_common::codec::CONTENT_TYPE);
    let again = site.send("ib.v1.api.node.enroll", cbor, body.into()).await;
    assert_eq!(again.error(), None);
    // What was sealed before a rotation is still on its way; before two, it is not.
    site.ask("secrets.rotate", json!({})).await.good();
    assert_ne!(seal_key(&site).await, key);
    site.ask("node.enroll", with(good.clone(), &password))
        .await
        .good();
    site.ask("secrets.rotate", json!({})).await.good();
    let fresh = site.worker("w2", QUIET);
    drop(worker);
    let why = site
        .ask("node.enroll", with(good, &password))
        .await
        .refused(409);
    assert!(why.contains("ask secrets.key again"), "{why}");
    assert!(!fresh.printed().contains("31337"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_secret_is_warned_of_or_refused_as_the_policy_has_it() {
    let site = Site::start().await;
    let worker = site.worker("w1", QUIET);
    let wish = |n: u8| {
        let mut bmc = idle_bmc(n);
        bmc["password"] = PASSWORD.into();
        json!({ "name": format!("n{n}"), "bmc": bmc })
    };
    let shown = site.ask("node.enroll", wish(1)).await.good();
    let warning = shown["warnings"][0].as_str().unwrap();
    assert!(
        warning.starts_with("/bmc/password came in the clear"),
        "{warning}"
    );
    let printed = worker.printed();
    assert!(printed.contains("secrets came in the clear") && !printed.contains("31337"));
    drop(worker);
    let worker = site.worker("w2", &format!("{QUIET}\naccept_plain_secrets = false"));
    let why = site.ask("node.enroll", wish(2)).await.refused(400);
    assert!(why.contains("policy.accept_plain_secrets forbids"), "{why}");
    let enroll = ["node", "enroll", "--name", "n2", "--bmc", "127.0.9.2"];
    site.cli_as(PASSWORD, &enroll).await.good();
    assert!(!worker.printed().contains("31337"));
}

/// Whoever has stolen the login that answers, and says this to all that is asked.
struct Thief {
    answer: Mutex<Value>,
    asked: Mutex<Vec<String>>,
}

impl Thief {
    async fn start(site: &Site) -> Arc<Self> {
        let front = connect_as(&site.nats, site.auth(), "worker/front.creds");
        let front = front.await.unwrap();
        let mut asked = front.subscribe("ib.v1.api.>").await.unwrap();
        front.flush().await.unwrap();
        let thief = Arc::new(Self {
            answer: Mutex::default(),
            asked: Mutex::default(),
        });
        let answering = Arc::clone(&thief);
        tokio::spawn(async move {
            while let Some(message) = asked.next().await {
                let subject = message.subject.to_string();
                answering.asked.lock().unwrap().push(subject);
                let body = answering.answer.lock().unwrap().to_string().into();
                front.publish(message.reply.unwrap(), body).await.unwrap();
            }
        });
        thief
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_answers_in_a_workers_place_is_sent_no_secret() {
    let site = Site::start_with_logins(NatsBinary::Floor, &[]).await;
    let worker = site.worker("w1", QUIET);
    let enroll = |n: u8| {
        let (name, bmc) = (format!("n{n}"), format!("127.0.9.{n}"));
        ["node", "enroll", "--name", &name, "--bmc", &bmc].map(str::to_string)
    };
    let cli = async |n: u8| {
        let args = enroll(n);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        site.cli_as(PASSWORD, &args).await
    };
    cli(1).await.good();
    site.cli(&["auth", "rotate-key"]).await.good();
    cli(2).await.good();
    let overheard = site.ask("secrets.key", json!({ "nonce": "n1" })).await;
    let overheard = overheard.good();
    assert!(overheard["proof"].is_object(), "{overheard}");
    let too_long = json!({ "nonce": "n".repeat(65) });
    site.ask("secrets.key", too_long).await.refused(400);
    drop(worker);
    let thief = Thief::start(&site).await;
    let own = XKey::new().public_key();
    let mut borrowed = overheard.clone();
    borrowed["key"] = own.clone().into();
    for (what, answer, expected) in [
        ("a key of its own", json!({ "key": own }), "has no proof"),
        ("no key", json!({}), "has no proof"),
        ("a proof of another key", borrowed, "signature is wrong"),
        ("an old proof", overheard, "signature is wrong"),
    ] {
        *thief.answer.lock().unwrap() = answer;
        let why = cli(3).await.bad();
        assert!(why.contains("the secrets were not sent"), "{what}: {why}");
        assert!(why.contains(expected), "{what}: {why}");
        let asked = std::mem::take(&mut *thief.asked.lock().unwrap());
        assert_eq!(asked, ["ib.v1.api.secrets.key"], "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_of_a_site_from_before_are_signed_by_a_command() {
    let site = Site::start_with_logins(NatsBinary::Floor, &[]).await;
    let file = site.auth().join("worker/sealing.json");
    std::fs::remove_file(&file).unwrap();
    let worker = site.worker("w1", QUIET);
    assert!(worker.printed().contains("sealing.json is not there"));
    let enroll = ["node", "enroll", "--name", "n1", "--bmc", "127.0.9.1"];
    let why = site.cli_as(PASSWORD, &enroll).await.bad();
    assert!(why.contains("ironbeat auth worker sign"), "{why}");
    drop(worker);
    let said = site.cli(&["auth", "worker", "sign"]).await.good();
    assert!(said.contains("sealing.json: copy it"), "{said}");
    let _worker = site.worker("w2", QUIET);
    site.cli_as(PASSWORD, &enroll).await.good();
    let why = site.cli(&["auth", "worker", "sign"]).await.bad();
    assert!(why.contains("sealing.json"), "it is not overwritten: {why}");
}
