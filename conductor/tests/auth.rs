//! Workers, people and machines with logins of `ironbeat auth init`, on real servers that ask who is there.
//! Which role may what is tried subject by subject in `ironbeat-auth`.
mod support;

use futures_util::StreamExt;
use ironbeat_auth::creds::Creds;
use ironbeat_auth::jwt::{self, Claims};
use ironbeat_auth::revoke::{
    FOR_GOOD, List, Order, Revoked, lookup_subject, revise, update_subject,
};
use ironbeat_auth::roles::BOOT_INBOX;
use ironbeat_auth::site::Account;
use ironbeat_common::codec;
use ironbeat_common::lookup::LookupReply;
use ironbeat_rack::logins::now;
use ironbeat_rack::nats::{NatsBinary, NatsServer};
use ironbeat_rack::ports::PortLease;
use nkeys::KeyPair;
use serde_json::{Value, json};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use support::bmcs::Bmcs;
use support::printed::IDLE;
use support::{SOON, Site, boot, connect_as, idle_bmc, lookup, machine, until};

#[tokio::test(flavor = "multi_thread")]
async fn workers_and_people_do_what_their_logins_allow() {
    for (binary, init) in NatsBinary::supported()
        .into_iter()
        .zip([&["--tls"][..], &[]].into_iter().cycle())
    {
        let site = Site::start_with_logins(binary, init).await;
        let mut worker = site.worker("w1", "power_sync_secs = 0");
        site.cli(&["auth", "user", "add", "olga", "--role", "operator"])
            .await
            .good();
        site.cli(&["auth", "user", "add", "otto", "--role", "observer"])
            .await
            .good();
        let node = site
            .enroll(json!({ "name": "box", "bmc": idle_bmc(1) }))
            .await;

        let listed = site.cli_by("otto", &["node", "list"]).await.good();
        assert!(listed.contains("box"), "{listed}");
        site.cli_by("otto", &["node", "explain", "box"])
            .await
            .good();
        site.cli_by("otto", &["events", "box"]).await.good();
        let said = site.cli_by("otto", &["node", "delete", "box"]).await.bad();
        assert!(
            said.contains("your login (otto, observer) may not call node.delete"),
            "{said}"
        );
        let said = site
            .cli_by("olga", &["bmc", "raw", "box", "06 01"])
            .await
            .bad();
        assert!(
            said.contains("your login (olga, operator) may not call bmc.raw"),
            "{said}"
        );
        site.cli_by("olga", &["node", "maintenance", "set", "box"])
            .await
            .good();

        // A console without a BMC is refused by the worker, not by the server.
        let said = site
            .cli_by("otto", &["node", "console", "box", "--watch"])
            .await
            .bad();
        assert!(!said.contains("may not"), "{said}");

        let workers: Value =
            serde_json::from_str(&site.cli(&["workers", "--json"]).await.good()).unwrap();
        assert_eq!(workers[0].get("refused"), None, "{workers}");
        let backup = site.file("unused", "") + ".backup";
        let creds = site.auth().join("worker/worker.creds");
        let with = ["--creds", creds.to_str().unwrap(), "backup", &backup];
        site.cli(&with).await.good();
        let said = site.cli_by("otto", &["backup", &backup]).await.bad();
        assert!(
            said.contains("your login (otto, observer) may not do this"),
            "{said}"
        );

        worker.assert_well();
        let printed = worker.printed();
        assert!(!printed.to_lowercase().contains("permission"), "{printed}");
        assert!(!site.show(&node).await.to_string().contains("creds"));
    }
}

/// Servers go on doing what a login has asked of JetStream when that login has ended.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_stolen_login_leaves_in_jetstream_is_seen_and_deleted() {
    for binary in NatsBinary::supported() {
        // nats-server 2.9 gives a stream that is there no `republish`.
        let republishes = !matches!(binary, NatsBinary::Floor);
        let site = Site::start_with_logins(binary, &[]).await;
        let mut worker = site.worker("w1", "power_sync_secs = 0");
        let clean = site.cli(&["auth", "strangers"]).await.good();
        assert!(clean.contains("Ironbeat's own"), "{clean}");
        let ask = async |who: &async_nats::Client, verb: &str, body: Value| -> Value {
            let subject = format!("$JS.API.{verb}");
            let answer = who.request(subject, body.to_string().into()).await.unwrap();
            let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
            assert_eq!(answer.get("error"), None, "{verb}");
            answer
        };
        // What a worker's login can do.
        let thief = connect_as(&site.nats, site.auth(), "worker/worker.creds").await;
        let ear = json!({ "stream_name": "KV_ib", "config": {
            "durable_name": "ear", "deliver_subject": "_INBOX.boot.ear", "ack_policy": "none", "filter_subject": "$KV.ib.node.>",
        } });
        ask(
            &thief.unwrap(),
            "CONSUMER.CREATE.KV_ib.ear.$KV.ib.node.>",
            ear,
        )
        .await;
        // What one of an earlier version could do.
        let file = site.dir().join("jetstream.creds");
        let made = ["auth", "jetstream", file.to_str().unwrap()];
        site.cli(&made).await.good();
        let old = connect_as(&site.nats, site.auth(), file.to_str().unwrap()).await;
        let old = old.unwrap();
        let mouth = json!({
            "name": "MOUTH", "subjects": ["thief.>"], "storage": "memory", "num_replicas": 1,
            "republish": { "src": "thief.>", "dest": "$KV.ib.>" },
        });
        ask(&old, "STREAM.CREATE.MOUTH", mouth).await;
        let mut own = ask(&old, "STREAM.INFO.KV_ib", json!({})).await["config"].take();
        own["subjects"] = json!(["$KV.ib.>", "ib.v1.api.>"]);
        if republishes {
            own["republish"] = json!({ "src": "$KV.ib.>", "dest": "_INBOX.boot.kv.>" });
        }
        ask(&old, "STREAM.UPDATE.KV_ib", own).await;

        let seen = site.cli(&["auth", "strangers"]).await;
        assert_eq!(seen.code, Some(1), "{seen:?}");
        for words in [
            "ear",
            "durable, sends to _INBOX.boot.ear, where nobody listens",
            "MOUTH",
            "foreign stream: subjects [\"thief.>\"]",
            "has subjects [\"$KV.ib.>\",\"ib.v1.api.>\"]",
        ] {
            assert!(seen.out.contains(words), "{words}: {seen:?}");
        }
        let seen = seen.out.contains("_INBOX.boot.kv.>");
        assert_eq!(seen, republishes);
        let said = site.cli(&["auth", "strangers", "--delete"]).await.good();
        assert!(said.contains("They are gone."), "{said}");
        let clean = site.cli(&["auth", "strangers"]).await.good();
        assert!(clean.contains("Ironbeat's own"), "{clean}");
        worker.assert_well();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_a_login_of_its_own_may_look_up() {
    let site = Site::start_with_logins(NatsBinary::Floor, &[]).await;
    let _worker = site.worker("w1", "");
    let token = std::fs::read_to_string(site.auth().join("worker/bootstrap.jwt")).unwrap();
    let machine_login = async_nats::ConnectOptions::new()
        .jwt(token.trim().into(), |_| async { Ok(vec![]) })
        .custom_inbox_prefix(format!("{BOOT_INBOX}.0001"))
        .request_timeout(Some(SOON));
    let client = machine_login.connect(site.nats.url()).await.unwrap();
    let body = codec::encode(&lookup(boot(1), machine(1)));
    let reply = client.request("ib.v1.lookup", body.into()).await.unwrap();
    let reply: LookupReply = codec::decode(&reply.payload).unwrap();
    assert!(matches!(reply, LookupReply::Wait { .. }), "{reply:?}");
}

/// Whoever asks chooses where the answer goes. On a login that writes records, an answer would become one.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_written_to_no_record() {
    for binary in NatsBinary::supported() {
        let site = Site::start_with_logins(binary, &[]).await;
        let worker = site.worker("w1", "");
        site.cli(&["auth", "user", "add", "otto", "--role", "observer"])
            .await
            .good();
        let node = site
            .enroll(json!({ "name": "box", "bmc": idle_bmc(1) }))
            .await;
        let before = site.show(&node).await;
        let records = connect_as(&site.nats, site.auth(), "worker/worker.creds")
            .await
            .unwrap();
        let js = async_nats::jetstream::new(records);
        let stream = js.get_stream("KV_ib").await.unwrap();
        let keys = stream
            .get_last_raw_message_by_subject("$KV.ib.node.>")
            .await
            .unwrap();
        let record = keys.subject.to_string();
        let otto = connect_as(&site.nats, site.auth(), "people/otto.creds")
            .await
            .unwrap();
        for subject in [
            "$SRV.PING",
            "$SRV.INFO.ironbeat",
            "$SRV.STATS",
            "ib.v1.api.node.list",
            "ib.v1.api.worker.list",
        ] {
            for reply in [
                record.as_str(),
                "$KV.ib.new",
                "$JS.API.STREAM.DELETE.KV_ib",
                "ib.v1.api.node.delete",
                "ib.v1.event.x.y",
            ] {
                otto.publish_with_reply(subject, reply.to_owned(), "{}".into())
                    .await
                    .unwrap();
            }
        }
        until("the worker has refused", async || {
            worker
                .printed()
                .contains("asked for an answer to ib.v1.event.x.y")
                .then_some(())
        })
        .await;
        otto.request("ib.v1.api.node.list", "{}".into())
            .await
            .unwrap();
        let last = stream
            .get_last_raw_message_by_subject("$KV.ib.node.>")
            .await
            .unwrap();
        assert_eq!(last.sequence, keys.sequence);
        assert!(
            stream
                .get_last_raw_message_by_subject("$KV.ib.new")
                .await
                .is_err()
        );
        assert_eq!(site.show(&node).await, before);
        let workers = site.ask("worker.list", json!({})).await.good();
        assert_eq!(
            workers[0].get("refused"),
            None,
            "the worker's login is not at fault"
        );
    }
}

/// The lines that a worker prints at its usual level.
fn usual(printed: &str) -> Vec<&str> {
    let lines = printed.lines();
    lines
        .filter(|line| {
            [" ERROR ", " WARN ", " INFO "]
                .iter()
                .any(|it| line.contains(it))
        })
        .collect()
}

/// Everybody has the bootstrap login, and whoever asks makes up where the answer goes.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_cannot_be_answered_do_not_fill_the_log() {
    const EACH: usize = 1000;
    let site = Site::start_with_logins(NatsBinary::Floor, &[]).await;
    let mut worker = site.worker("w1", "power_sync_secs = 0");
    site.cli(&["auth", "user", "add", "otto", "--role", "observer"])
        .await
        .good();
    let otto = connect_as(&site.nats, site.auth(), "people/otto.creds")
        .await
        .unwrap();
    let jwt = std::fs::read_to_string(site.auth().join("worker/bootstrap.jwt")).unwrap();
    let stranger = async_nats::ConnectOptions::new()
        .jwt(jwt.trim().into(), |_| async { Ok(vec![]) })
        .connect(site.nats.url())
        .await
        .unwrap();
    let before = usual(&worker.printed()).len();
    let nowhere = format!("x.{}", "y".repeat(3900));
    for _ in 0..EACH {
        stranger.publish("ib.v1.lookup", "x".into()).await.unwrap();
        for (who, subject) in [
            (&stranger, "ib.v1.lookup"),
            (&otto, "ib.v1.api.node.list"),
            // The client library answers this by itself, and the server refuses.
            (&otto, "$SRV.PING.ironbeat"),
        ] {
            who.publish_with_reply(subject, nowhere.clone(), "{}".into())
                .await
                .unwrap();
        }
    }
    // What was asked before was heard before.
    for (who, subject) in [(&stranger, "ib.v1.lookup"), (&otto, "ib.v1.api.node.list")] {
        who.flush().await.unwrap();
        let body = codec::encode(&lookup(boot(1), machine(1))).into();
        let inbox = match subject {
            "ib.v1.lookup" => format!("{BOOT_INBOX}.mine"),
            _ => who.new_inbox(),
        };
        let mut answers = who.subscribe(inbox.clone()).await.unwrap();
        who.publish_with_reply(subject, inbox, body).await.unwrap();
        let answer = tokio::time::timeout(SOON, answers.next()).await;
        assert!(answer.unwrap().is_some(), "{subject}");
    }
    until("the server has refused", async || {
        let printed = worker.printed();
        printed
            .contains("asked for an answer to x.yyy")
            .then_some(())
    })
    .await;
    let printed = worker.printed();
    let lines = usual(&printed);
    let more = lines.len() - before;
    assert!((2..EACH).contains(&more), "{more} lines");
    let longest = lines[before..].iter().map(|line| line.len()).max();
    assert!(longest < Some(600), "{longest:?} bytes");
    worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_login_is_dropped_and_stays_out_for_all_workers() {
    for binary in NatsBinary::supported() {
        let mut site = Site::start_with_logins(binary, &[]).await;
        let _first = site.worker("w1", "");
        let _second = site.worker("w2", "");
        for name in ["bob", "eve"] {
            site.cli(&["auth", "user", "add", name, "--role", "operator"])
                .await
                .good();
        }
        let twice = ["auth", "user", "add", "bob", "--role", "admin"];
        assert!(site.cli(&twice).await.bad().contains("has a login already"));
        let bob = connect_as(&site.nats, site.auth(), "people/bob.creds")
            .await
            .unwrap();
        let mut ear = bob.subscribe("ib.v1.event.>").await.unwrap();
        bob.flush().await.unwrap();
        // Whoever has the site's keys needs no worker; but it is said that none has noted it.
        let key = KeyPair::new_user().public_key();
        let said = site.cli_by("bob", &["auth", "user", "revoke", &key]).await;
        assert!(
            said.ok && said.err.contains("may not call auth.revoke"),
            "{said:?}"
        );
        let said = site.cli(&["auth", "user", "revoke", "bob"]).await.good();
        assert!(said.contains("bob is out"), "{said}");
        let said = site.cli_by("bob", &["node", "list"]).await.bad();
        assert!(
            said.contains("do not take this login (bob, operator)"),
            "{said}"
        );
        until("bob is dropped", async || {
            (bob.connection_state() != async_nats::connection::State::Connected).then_some(())
        })
        .await;
        site.enroll(json!({ "name": "box", "bmc": idle_bmc(1) }))
            .await;
        assert!(
            futures_util::poll!(ear.next()).is_pending(),
            "he heard nothing of it"
        );
        let people = site.cli(&["auth", "user", "list"]).await.good();
        let bobs = people.lines().find(|line| line.starts_with("bob")).unwrap();
        assert!(
            bobs.contains("revoked") && people.contains("eve"),
            "{people}"
        );
        site.nats.restart().unwrap();
        until("eve is served again", async || {
            site.cli_by("eve", &["node", "list"]).await.ok.then_some(())
        })
        .await;
        site.cli_by("bob", &["node", "list"]).await.bad();
        // As a backup of last week has it.
        let records = connect_as(&site.nats, site.auth(), "worker/worker.creds")
            .await
            .unwrap();
        let stream = async_nats::jetstream::new(records);
        let stream = stream.get_stream("KV_ib").await.unwrap();
        let list = stream
            .get_last_raw_message_by_subject("$KV.ib.orders")
            .await
            .unwrap();
        stream.delete_message(list.sequence).await.unwrap();
        // Who knows a public key needs no name.
        let key = creds(&site, "people/eve.creds").key.public_key();
        site.cli(&["auth", "user", "revoke", &key]).await.good();
        site.cli_by("eve", &["node", "list"]).await.bad();
        site.cli_by("bob", &["node", "list"]).await.bad();
        for own in ["worker/worker.creds", "worker/front.creds"] {
            let key = creds(&site, own).key.public_key();
            let said = site.cli(&["auth", "user", "revoke", &key]).await.bad();
            assert!(said.contains("worker revoke --shared"), "{said}");
        }
        let ask = json!({ "key": "UNONSENSE", "order": "" });
        let said = site.ask("auth.revoke", ask).await;
        assert!(said.refused(400).contains("no public key"));
    }
}

/// docs/security.md has it offline.
#[tokio::test(flavor = "multi_thread")]
async fn once_a_site_is_made_nothing_needs_the_operators_own_key() {
    let site = Site::start_with_logins(NatsBinary::Floor, &["--tls"]).await;
    std::fs::remove_file(site.auth().join("operator/identity.seed")).unwrap();
    let mut worker = site.worker("w1", "");
    let file = |name: &str| site.dir().join(name).display().to_string();
    let (jetstream, dir) = (file("jetstream.creds"), site.auth().display().to_string());
    let to = file("");
    for args in [
        &["auth", "user", "add", "bob", "--role", "observer"][..],
        &["auth", "worker", "add", "w2", "--may-revoke"],
        &["auth", "bootstrap", "replace"],
        &["auth", "bootstrap", "revoke"],
        &["auth", "jetstream", &jetstream],
        &["auth", "roles"],
        &[
            "auth",
            "certificate",
            &dir,
            "w1",
            "--host",
            "127.0.0.1",
            "--to",
            &to,
        ],
        &["auth", "user", "revoke", "bob"],
        &["auth", "worker", "revoke", "w2"],
    ] {
        site.cli(args).await.good();
    }
    for login in ["people/bob.creds", "workers/w2/worker.creds"] {
        let came = connect_as(&site.nats, site.auth(), login).await;
        assert!(came.is_err(), "{login}");
    }
    worker.assert_well();
}

/// Consoles and lists of events stay for hours.
#[tokio::test(flavor = "multi_thread")]
async fn commands_that_stay_end_with_their_login_and_say_so() {
    let site = Site::start_with_logins(NatsBinary::Floor, &[]).await;
    let bmcs = Bmcs::start(1);
    let _worker = site.worker("w1", "power_sync_secs = 0");
    site.cli(&["auth", "user", "add", "otto", "--role", "observer"])
        .await
        .good();
    site.enroll(json!({ "name": "box", "bmc": bmcs.access(0) }))
        .await;
    let watch = ["node", "console", "box", "--watch"];
    until("the console is served", async || {
        let once = [&watch[..], &["--seconds", "0"]].concat();
        site.cli_by("otto", &once).await.ok.then_some(())
    })
    .await;
    let mut console = site.start_cli_by("otto", &watch);
    console.wait_for_log("serial console of box", SOON).unwrap();
    let mut events = site.start_cli_by("otto", &["events", "--follow"]);
    events.wait_for_log("enrolled", SOON).unwrap();
    site.cli(&["auth", "user", "revoke", "otto"]).await.good();
    for command in [&mut console, &mut events] {
        let status = command.wait_exit(SOON).unwrap();
        let said = command.log().text();
        assert_eq!(status.code(), Some(1), "{said}");
        let why = "do not take your login (otto, observer) any more";
        assert!(said.contains(why), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_name_gets_another_login_and_the_old_one_stays_out() {
    let site = Site::start_with_logins(NatsBinary::Floor, &[]).await;
    let _worker = site.worker("w1", "");
    let add = ["auth", "user", "add", "bob", "--role", "observer"];
    site.cli(&add).await.good();
    let [now, old] = ["bob", "old"].map(|name| site.auth().join(format!("people/{name}.creds")));
    std::fs::copy(now, old).unwrap();
    assert!(site.cli(&add).await.bad().contains("has a login already"));
    site.cli(&["auth", "user", "revoke", "bob"]).await.good();
    site.cli(&add).await.good();
    site.cli_by("bob", &["node", "list"]).await.good();
    let people = site.cli(&["auth", "user", "list"]).await.good();
    let of_bob: Vec<&str> = people.lines().filter(|it| it.starts_with("bob")).collect();
    let [before, now] = of_bob[..] else {
        panic!("{people}")
    };
    assert!(
        before.contains("revoked") && !now.contains("revoked"),
        "{people}"
    );
    // Whatever else is forgotten, not his old key.
    let again = ["auth", "user", "revoke", "bob", "--forget-others"];
    site.cli(&again).await.good();
    for login in ["old", "bob"] {
        let said = site.cli_by(login, &["node", "list"]).await.bad();
        assert!(said.contains("do not take this login"), "{login}: {said}");
    }
    site.cli(&add).await.good();
    site.cli_by("bob", &["node", "list"]).await.good();

    // What workers share is not forgotten where nobody knows it: the site is of before, and their directory elsewhere.
    let (about, away) = (
        site.auth().join("operator/site.json"),
        site.auth().join("away"),
    );
    let mut older: Value = serde_json::from_slice(&std::fs::read(&about).unwrap()).unwrap();
    let shared = older.as_object_mut().unwrap().remove("shared");
    assert_eq!(shared.unwrap().as_array().map(Vec::len), Some(2));
    std::fs::write(&about, older.to_string()).unwrap();
    std::fs::rename(site.auth().join("worker"), away).unwrap();
    let said = site.cli(&again).await.bad();
    assert!(
        said.contains("whoever has a copy of them could come back"),
        "{said}"
    );
    site.cli_by("bob", &["node", "list"]).await.good();
}

/// Whoever has a worker's login can write what workers keep.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_somebody_has_written_ends_nobody_and_lets_nobody_in() {
    let site = Site::start_with_logins(NatsBinary::Floor, &[]).await;
    let worker = site.worker("w1", "");
    for name in ["bob", "eve"] {
        site.cli(&["auth", "user", "add", name, "--role", "operator"])
            .await
            .good();
    }
    site.cli(&["auth", "user", "revoke", "eve"]).await.good();
    let records = connect_as(&site.nats, site.auth(), "worker/worker.creds")
        .await
        .unwrap();
    let js = async_nats::jetstream::new(records.clone());
    let bob = creds(&site, "people/bob.creds").key.public_key();
    let signed = Order::new(&bob, None, Some([].into()), now());
    let signed = signed.sign(&KeyPair::new_operator()).unwrap();
    let agent = KeyPair::new_user().public_key();
    let soon = now() + 60;
    let mut list = json!({ bob.as_str(): FOR_GOOD, agent.as_str(): soon });
    list["forgotten"] = json!({ "at": now(), "but": [] });
    let orders = json!({ bob.as_str(): signed });
    for (key, value) in [("revoked", list), ("orders", orders)] {
        let value = serde_json::to_vec(&value).unwrap();
        let stored = js.publish(format!("$KV.ib.{key}"), value.into()).await;
        stored.unwrap().await.unwrap();
    }
    let changed = records.publish("ib.v1.worker.revoked", "".into()).await;
    changed.unwrap();
    until("the servers have the agent", async || {
        account(&site).await.contains_key(&agent).then_some(())
    })
    .await;
    assert!(
        worker
            .printed()
            .contains("what ends logins is not believed")
    );
    site.cli_by("bob", &["node", "list"]).await.good();
    site.cli_by("eve", &["node", "list"]).await.bad();
}

/// Who is ended, as the servers have it.
async fn account(site: &Site) -> Revoked {
    let (_, account) = token(site).await;
    let account: Claims<Account> = jwt::read(&account).unwrap();
    account.nats.revocations
}

/// A login to the system account, and the account as the servers have it.
async fn token(site: &Site) -> (async_nats::Client, String) {
    let system = connect_as(&site.nats, site.auth(), "worker/revoke/system.creds");
    let system = system.await.unwrap();
    let about = std::fs::read_to_string(site.auth().join("operator/site.json")).unwrap();
    let about: Value = serde_json::from_str(&about).unwrap();
    let id = about["account"].as_str().unwrap();
    let account = system.request(lookup_subject(id), "".into()).await;
    let account = String::from_utf8(account.unwrap().payload.to_vec()).unwrap();
    (system, account.trim().to_string())
}

/// Versions of before let whoever had a worker's login fill it.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_somebody_filled_is_forgotten_by_the_operators_order() {
    let site = Site::start_with_logins(NatsBinary::Floor, &[]).await;
    let worker = site.worker("w1", "");
    for name in ["bob", "eve"] {
        site.cli(&["auth", "user", "add", name, "--role", "operator"])
            .await
            .good();
    }
    site.cli(&["auth", "user", "revoke", "eve"]).await.good();
    let (system, present) = token(&site).await;
    let seed = std::fs::read_to_string(site.auth().join("operator/signer.seed")).unwrap();
    let signer = KeyPair::from_seed(seed.trim()).unwrap();
    let many = (0..5_000).map(|n| (format!("U{n:055}"), FOR_GOOD));
    let many = List {
        forgotten: None,
        revoked: many.collect(),
    };
    let long = revise(&present, &many, &[], now(), &signer)
        .unwrap()
        .unwrap();
    let id = jwt::read::<Account>(&present).unwrap().sub;
    let push = async |account: &str| {
        let said = system.request(update_subject(&id), account.to_owned().into());
        said.await.unwrap();
    };
    push(&long).await;
    assert_eq!(account(&site).await.len(), 5_001);
    let revoke = ["auth", "user", "revoke", "bob", "--forget-others"];
    let said = site.cli(&revoke).await.good();
    assert!(said.contains("bob is out"), "{said}");
    let two = async || {
        let ended = account(&site).await;
        (ended.len() == 2).then_some(())
    };
    two().await.expect("bob and eve are ended");

    // A slower worker pushes what it made before the order, and whoever carried the order out is no more: any other mends it.
    drop(worker);
    push(&long).await;
    let _another = site.worker("w2", "");
    until("the servers forget again", two).await;
    for gone in ["bob", "eve"] {
        site.cli_by(gone, &["node", "list"]).await.bad();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_site_gets_the_roles_of_this_version_while_all_runs() {
    for binary in NatsBinary::supported() {
        let site = Site::start_with_logins(binary, &[]).await;
        let (system, present) = token(&site).await;
        let mut account: Claims<Value> = jwt::read(&present).unwrap();
        let scopes = account.nats["signing_keys"].as_array_mut().unwrap();
        scopes.retain(|scope| scope["role"] != "jetstream");
        for scope in scopes {
            let role = scope["role"].clone();
            let allow = scope["template"]["pub"]["allow"].as_array_mut().unwrap();
            match role.as_str().unwrap() {
                "worker" => allow.push("$JS.API.>".into()),
                "operator" => allow.retain(|subject| subject != "ib.v1.api.node.hold"),
                _ => {}
            }
        }
        account.iat += 1;
        let seed = std::fs::read_to_string(site.auth().join("operator/signer.seed")).unwrap();
        let id = account.sub.clone();
        let older = jwt::sign(account, &KeyPair::from_seed(seed.trim()).unwrap()).unwrap();
        let told = system.request(update_subject(&id), older.into()).await;
        told.unwrap();
        std::fs::remove_file(site.auth().join("operator/role-jetstream.seed")).unwrap();
        let mut worker = site.worker("w1", "");
        let add = ["auth", "user", "add", "olga", "--role", "operator"];
        site.cli(&add).await.good();
        let hold = ["node", "hold", "box"];
        let said = site.cli_by("olga", &hold).await.bad();
        assert!(said.contains("may not call node.hold"), "{said}");

        let said = site.cli(&["auth", "roles"]).await.good();
        assert!(said.contains("let each role do"), "{said}");
        until("the worker answers olga", async || {
            let said = site.cli_by("olga", &hold).await.bad();
            said.contains("no node").then_some(())
        })
        .await;
        let thief = connect_as(&site.nats, site.auth(), "worker/worker.creds");
        let thief = thief.await.unwrap();
        let foreign = json!({ "name": "EARS", "subjects": ["ib.v1.api.>"] }).to_string();
        let made = thief.request("$JS.API.STREAM.CREATE.EARS", foreign.into());
        assert!(made.await.is_err());
        site.cli(&["auth", "strangers"]).await.good();
        let said = site.cli(&["auth", "roles"]).await.good();
        assert!(said.contains("already"), "{said}");
        site.enroll(json!({ "name": "box", "bmc": idle_bmc(1) }))
            .await;
        worker.assert_well();
    }
}

/// It hears the keys of workers, when they ask each other.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_stolen_an_admins_login_ends_nobodys() {
    for binary in NatsBinary::supported() {
        let site = Site::start_with_logins(binary, &[]).await;
        let mut shared = site.worker("w1", "power_sync_secs = 0");
        let add = ["auth", "worker", "add", "w2", "--may-revoke"];
        site.cli(&add).await.good();
        let add = ["auth", "user", "add", "bob", "--role", "observer"];
        site.cli(&add).await.good();
        let secrets = ironbeat_rack::secrets::section(site.dir()).unwrap();
        let more = format!("{secrets}[policy]\npower_sync_secs = 0\n");
        let http = PortLease::take().unwrap();
        let mut own = site.spawn_by("workers/w2", "w2", "w2", &more, http);
        own.process.wait_for_log(" ready ", SOON).unwrap();
        let logins = [
            "worker/worker.creds",
            "worker/front.creds",
            "workers/w2/worker.creds",
            "workers/w2/front.creds",
            "people/bob.creds",
        ];
        let of_another = site.order(&KeyPair::new_user().public_key());
        for login in logins {
            let key = creds(&site, login).key.public_key();
            let forged = Order::new(&key, None, None, 0);
            let forged = forged.sign(&KeyPair::new_operator()).unwrap();
            // The server chooses by chance which worker is asked.
            for _ in 0..8 {
                let said = site.ask("auth.revoke", json!({ "key": key })).await;
                assert!(said.refused(400).contains("order"), "{login}");
                for order in [json!(forged), of_another["order"].clone()] {
                    let ask = json!({ "key": key, "order": order });
                    site.ask("auth.revoke", ask).await.refused(403);
                }
            }
        }
        let signer = site.auth().join("operator/signer.seed");
        let elsewhere = site.auth().join("elsewhere");
        std::fs::rename(&signer, &elsewhere).unwrap();
        let why = site.cli(&["auth", "user", "revoke", "bob"]).await.bad();
        assert!(why.contains("signed by the operator's key"), "{why}");
        std::fs::rename(&elsewhere, &signer).unwrap();
        for login in logins {
            connect_as(&site.nats, site.auth(), login).await.unwrap();
        }
        site.cli(&["auth", "worker", "revoke", "w2"]).await.good();
        for (login, may) in logins.into_iter().zip([true, true, false, false, true]) {
            let came = connect_as(&site.nats, site.auth(), login).await;
            assert_eq!(came.is_ok(), may, "{login}");
        }
        shared.assert_well();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_worker_add_could_not_finish_is_not_there_and_is_made_by_the_next() {
    let site = Site::start_with_logins(NatsBinary::Floor, &[]).await;
    let (seed, away) = ("operator/system.seed", "operator/away");
    let path = |name: &str| site.auth().join(name);
    std::fs::rename(path(seed), path(away)).unwrap();
    let add = ["auth", "worker", "add", "w4", "--may-revoke"];
    let why = site.cli(&add).await.bad();
    assert!(why.contains("system.seed"), "{why}");
    let left: Vec<_> = std::fs::read_dir(path("workers")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    std::fs::rename(path(away), path(seed)).unwrap();
    // One that was killed meanwhile.
    std::fs::create_dir(path("workers/.w4.new")).unwrap();
    std::fs::write(path("workers/.w4.new/front.creds"), "").unwrap();
    site.cli(&add).await.good();
    let listed = site.cli(&["auth", "worker", "list"]).await.good();
    let key = creds(&site, "workers/w4/worker.creds").key.public_key();
    assert!(listed.contains(&key), "{listed}");
    assert!(path("workers/w4/revoke/signer.seed").exists());
    assert!(!path("workers/.w4.new").exists());
    // As earlier versions left it.
    std::fs::create_dir(path("workers/w5")).unwrap();
    let why = site.cli(&["auth", "worker", "add", "w5"]).await.bad();
    assert!(why.contains("workers/w5 is there"), "{why}");
}

/// A server that takes a new version of the account has no JetStream for a moment.
#[tokio::test(flavor = "multi_thread")]
async fn records_are_read_while_logins_are_revoked() {
    for binary in NatsBinary::supported() {
        let site = Site::start_with_logins(binary, &[]).await;
        let worker = site.worker("w1", "power_sync_secs = 0");
        let node = site
            .enroll(json!({ "name": "box", "bmc": idle_bmc(1) }))
            .await;
        let revoked = AtomicBool::new(false);
        let revokes = async {
            for _ in 0..12 {
                let key = KeyPair::new_user().public_key();
                site.ask("auth.revoke", site.order(&key)).await.good();
            }
            revoked.store(true, Ordering::Relaxed);
        };
        let reads = async {
            let mut reads = 0;
            while !revoked.load(Ordering::Relaxed) {
                site.show(&node).await;
                reads += 1;
            }
            reads
        };
        let ((), reads) = tokio::join!(revokes, reads);
        assert!(reads > 12, "{reads}: {}", worker.printed());
    }
}

fn creds(site: &Site, file: &str) -> Creds {
    Creds::parse(&std::fs::read_to_string(site.auth().join(file)).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_without_a_login_and_is_told_what_to_do() {
    let site = Site::start_with_logins(NatsBinary::Floor, &[]).await;
    let url = site.nats.url();
    assert!(async_nats::connect(&url).await.is_err());
    let plain = Site::start().await;
    let said = plain
        .cli(&["--nats", &url, "--no-auth", "node", "list"])
        .await
        .bad();
    assert!(
        said.contains("auth = none") && said.contains("do not take"),
        "{said}"
    );
    // Of another site of the same shape.
    let other = Site::start_with_logins(NatsBinary::Floor, &[]).await;
    let said = other.cli(&["--nats", &url, "node", "list"]).await.bad();
    assert!(
        said.contains("do not take this login (admin, admin)"),
        "{said}"
    );
    let far = [
        "--nats",
        "nats://192.0.2.1:4222",
        "--no-auth",
        "node",
        "list",
    ];
    let said = plain.cli(&far).await.bad();
    assert!(
        said.contains("is not on loopback") && said.contains("--i-know"),
        "{said}"
    );
    let config = |login: &str| {
        plain.file(
            "w.toml",
            &format!("id = 'w'\n[nats]\nservers = ['{url}']\n{login}\n[http]\nlisten = '127.0.0.1:1'\nboot_dir = '/'\nimage_dir = '/'\n[secrets]\nencryption = 'none'\n"),
        )
    };
    let conductor = async |login: &str| {
        let config = config(login);
        plain.cli(&["conductor", "--config", &config]).await.bad()
    };
    let said = conductor("").await;
    assert!(said.contains("ironbeat auth init"), "{said}");
    let worker = other.auth().join("worker");
    let login = format!("login = '{}'", worker.display());
    let said = conductor(&login).await;
    assert!(
        said.contains("do not take the login of this worker (worker, worker)"),
        "{said}"
    );
    let seed = worker.join("agents.seed");
    std::fs::set_permissions(&seed, PermissionsExt::from_mode(0o640)).unwrap();
    let said = conductor(&login).await;
    assert!(
        said.contains("others may read") && said.contains("agents.seed"),
        "{said}"
    );
    std::fs::remove_file(&seed).unwrap();
    let said = conductor(&login).await;
    assert!(said.contains("agents.seed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_ours_is_not_believed() {
    let site = Site::start_with_logins(NatsBinary::Floor, &["--tls"]).await;
    let other = Site::start_with_logins(NatsBinary::Floor, &["--tls"]).await;
    let named = Site::start_with_logins(NatsBinary::Floor, &["--tls", "--host", "127.0.0.1"]).await;
    site.cli(&["auth", "user", "list"]).await.good();
    // Another CA.
    let said = site
        .cli(&["--nats", &other.nats.url(), "node", "list"])
        .await
        .bad();
    assert!(said.contains("connect to NATS"), "{said}");
    // Another name than those in the certificate.
    let port = named.nats.address().port();
    let elsewhere = format!("nats://localhost:{port}");
    let said = named
        .cli(&["--nats", &elsewhere, "node", "list"])
        .await
        .bad();
    assert!(said.contains("connect to NATS"), "{said}");
    // No TLS at all, as a middle-man offers it: the login is not sent.
    let plain = NatsServer::start_loopback(NatsBinary::Floor).unwrap();
    let said = site
        .cli(&["--nats", &plain.url(), "node", "list"])
        .await
        .bad();
    assert!(said.contains("connect to NATS"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_init_makes_is_its_owners_and_is_never_overwritten() {
    let site = Site::start_with_logins(NatsBinary::Floor, &["--tls"]).await;
    fn check(path: &Path) {
        let mode = std::fs::metadata(path).unwrap().mode() & 0o777;
        if path.is_dir() {
            assert!(
                mode == 0o700 || path.ends_with("accounts"),
                "{} {mode:o}",
                path.display()
            );
            for entry in std::fs::read_dir(path).unwrap() {
                check(&entry.unwrap().path());
            }
        } else if !path.parent().unwrap().ends_with("accounts") {
            assert_eq!(mode, 0o600, "{}", path.display());
        }
    }
    check(site.auth());
    let dir = site.auth().to_str().unwrap();
    let seed = std::fs::read(site.auth().join("operator/signer.seed")).unwrap();
    let said = site.cli(&["auth", "init", dir]).await.bad();
    assert!(said.contains("never overwritten"), "{said}");
    assert_eq!(
        std::fs::read(site.auth().join("operator/signer.seed")).unwrap(),
        seed
    );
    for bad in ["", "a..b", "a.*", "a b", "a.>"] {
        let there = format!("{dir}-2");
        let said = site
            .cli(&["--prefix", bad, "auth", "init", &there])
            .await
            .bad();
        assert!(said.contains("prefix"), "{said}");
        assert!(!Path::new(&there).exists());
    }
    let wrong = ["auth", "user", "add", "../x", "--role", "observer"];
    assert!(site.cli(&wrong).await.bad().contains("is no name"));
}

/// A login of an earlier version, say: the client says Ok to all of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_login_allows_too_little_says_what_it_lacks() {
    let site = Site::start_with_logins(NatsBinary::Floor, &[]).await;
    let mut good = site.worker("w0", "");
    let worker = site.auth().join("worker");
    // Whoever made it took the one for the other.
    std::fs::copy(worker.join("worker.creds"), worker.join("front.creds")).unwrap();
    let worker = site.spawn("w1", "", PortLease::take().unwrap());
    until("it says what it lacks", async || {
        let log = worker.printed();
        let line = log
            .lines()
            .find(|line| line.contains("permission to listen on ib.v1.lookup"));
        line.map(|line| assert!(line.contains("ERROR"), "{line}"))
    })
    .await;
    until("others can tell", async || {
        let workers = site.ask("worker.list", json!({})).await.good();
        let mut workers = workers.as_array()?.iter();
        let refused = workers.find(|it| it["id"] == "w1")?["refused"].as_array()?;
        let lookups = "permission to listen on ib.v1.lookup";
        refused.iter().any(|it| it == lookups).then_some(())
    })
    .await;
    good.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_logins_of_its_own_is_shut_out_alone() {
    let site = Site::start_with_logins(NatsBinary::Floor, &[]).await;
    let shared = site.worker("w1", "power_sync_secs = 0");
    let secrets = ironbeat_rack::secrets::section(site.dir()).unwrap();
    let own = |name: &str| {
        let (login, http) = (format!("workers/{name}"), PortLease::take().unwrap());
        let more = format!("{secrets}[policy]\npower_sync_secs = 0\n");
        let mut worker = site.spawn_by(&login, name, name, &more, http);
        worker.process.wait_for_log(" ready ", SOON).unwrap();
        worker
    };
    let add = ["auth", "worker", "add", "w2"];
    let said = site.cli(&add).await.good();
    assert!(said.contains("goes to the host of worker w2"), "{said}");
    let why = site.cli(&add).await.bad();
    assert!(why.contains("w2 has logins already"), "{why}");
    assert!(!site.auth().join("workers/w2/revoke").exists());
    let mut second = own("w2");
    drop(shared);
    let enroll = |name| ["node", "enroll", "--name", name, "--bmc", "127.0.9.1"];
    // It is believed with secrets.
    site.cli_as(IDLE, &enroll("box")).await.good();
    let revoke = ["auth", "worker", "revoke", "w2"];
    // No worker is left that could note it.
    let said = site.cli(&revoke).await;
    assert!(
        said.ok && said.err.contains("no worker has noted it"),
        "{said:?}"
    );
    let came = connect_as(&site.nats, site.auth(), "workers/w2/worker.creds").await;
    assert!(came.is_err());

    let why = site.cli(&add).await.bad();
    assert!(why.contains("w2 was revoked, and stays so"), "{why}");
    let why = site.cli(&["auth", "worker", "sign"]).await.bad();
    let there = "worker/sealing.json is there already, and is never overwritten";
    assert!(why.contains(there), "{why}");

    let add = ["auth", "worker", "add", "w3", "--may-revoke"];
    site.cli(&add).await.good();
    let mut third = own("w3");
    let said = site.cli(&revoke).await.good();
    assert!(said.contains("w2 is out"), "{said}");
    for (creds, may) in [
        ("workers/w2/worker.creds", false),
        ("workers/w2/front.creds", false),
        ("workers/w3/worker.creds", true),
        ("worker/worker.creds", true),
    ] {
        let came = connect_as(&site.nats, site.auth(), creds).await;
        assert_eq!(came.is_ok(), may, "{creds}");
    }
    let listed = site.cli(&["auth", "worker", "list"]).await.good();
    let line = |name| listed.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(line("w2").contains("revoked") && !line("w3").contains("revoked"));
    site.cli(&["node", "explain", "box"]).await.good();
    third.assert_well();
    // It does not look well for ever, with boot scripts that let nobody in.
    let ended = second.process.wait_exit(SOON).unwrap();
    let said = second.printed();
    assert!(!ended.success(), "{said}");
    assert!(said.contains("login of this worker (w2, "), "{said}");
}
