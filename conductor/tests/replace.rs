//! Logins and keys that are replaced while all runs: a worker's key for agents, and the login of boot scripts, with real
//! nats-servers, workers that go on, and machines that are at work or just boot.
//! What servers make of a key that is put in or taken out is tried in `ironbeat-auth`.
mod support;

use async_nats::{Client, ConnectError, ConnectErrorKind};
use ironbeat_auth::agent::Mint;
use ironbeat_auth::creds::Creds;
use ironbeat_auth::jwt::{self, User};
use ironbeat_auth::revoke::update_subject;
use ironbeat_auth::roles::BOOT_INBOX;
use ironbeat_common::codec;
use ironbeat_common::heartbeat::{Heartbeat, HeartbeatReply, Status};
use ironbeat_common::login::{LoginRequest, Signature, UserKey, signed_text};
use ironbeat_common::lookup::LookupReply;
use ironbeat_ops::ASK_ANOTHER;
use ironbeat_rack::logins::now;
use ironbeat_rack::nats::NatsBinary;
use ironbeat_rack::ports::PortLease;
use nkeys::KeyPair;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;
use support::bmcs::Bmcs;
use support::{SOON, Site, Worker, boot, connect_as, idle_bmc, lookup, mac, machine, until, word};

const NOBODY: &str = "6a1f8a0e-0000-4000-8000-000000000001";

/// Starts a worker with the logins of a directory, and waits until it answers.
fn worker(site: &Site, login: &str, id: &str) -> Worker {
    let secrets = ironbeat_rack::secrets::section(site.dir()).unwrap();
    let more = format!("{secrets}[policy]\npower_sync_secs = 0\n");
    let mut worker = site.spawn_by(login, id, id, &more, PortLease::take().unwrap());
    worker.process.wait_for_log(" ready ", SOON).unwrap();
    worker
}

/// It stops, and so many are left.
async fn leaves(site: &Site, mut worker: Worker, left: usize) {
    worker.process.stop();
    until("it has left", async || {
        let workers = site.ask("worker.list", json!({})).await.good();
        (workers.as_array()?.len() == left).then_some(())
    })
    .await;
}

async fn add(site: &Site, name: &str, more: &[&str]) {
    let add = [&["auth", "worker", "add", name], more].concat();
    site.cli(&add).await.good();
}

/// A connection with a token, that stays away once it is refused.
async fn come(site: &Site, jwt: &str, key: Option<&KeyPair>) -> Result<Client, ConnectError> {
    let jwt = jwt.to_string();
    let inbox = match key {
        Some(key) => format!("_INBOX.{}", key.public_key()),
        None => format!("{BOOT_INBOX}.test"),
    };
    let key = key.cloned().map(Arc::new);
    let options = async_nats::ConnectOptions::with_auth_callback(move |nonce| {
        let mut auth = async_nats::Auth::new();
        auth.jwt = Some(jwt.clone());
        auth.signature = key.as_ref().map(|key| key.sign(&nonce).unwrap());
        std::future::ready(Ok(auth))
    });
    let options = options.request_timeout(Some(SOON)).max_reconnects(Some(2));
    let options = options.custom_inbox_prefix(inbox);
    // A busy server may be too late to say either.
    until("the server lets it in or not", async || {
        match options.clone().connect(site.nats.url()).await {
            Ok(client) => client.flush().await.ok().map(|()| Ok(client)),
            Err(error) if error.kind() == ConnectErrorKind::AuthorizationViolation => {
                Some(Err(error))
            }
            Err(_) => None,
        }
    })
    .await
}

/// An agent that is made with the key of a worker's directory.
async fn agent_by(site: &Site, login: &str) -> Result<Client, ConnectError> {
    let read = |name: &str| std::fs::read_to_string(site.auth().join(login).join(name)).unwrap();
    let account = Creds::parse(&read("worker.creds")).unwrap().account();
    let key = KeyPair::from_seed(read("agents.seed").trim()).unwrap();
    let mint = Mint::new(key, account.unwrap());
    let agent = KeyPair::new_user();
    let jwt = mint.login(NOBODY, &agent.public_key(), now(), now() + 600);
    come(site, &jwt.unwrap(), Some(&agent)).await
}

async fn is_dropped(client: &Client) {
    until("the server drops it", async || {
        let connected = async_nats::connection::State::Connected;
        (client.connection_state() != connected).then_some(())
    })
    .await;
}

async fn ask<T: DeserializeOwned>(client: &Client, subject: &str, message: &impl Serialize) -> T {
    let body = codec::encode(message).into();
    let reply = client.request(subject.to_owned(), body).await.unwrap();
    codec::decode(&reply.payload).unwrap()
}

/// The login of the boot script that a worker has for a machine that nobody knows.
async fn handed_out(worker: &Worker) -> String {
    word(&worker.script(99).await, "ib.login=").expect("it may look up")
}

fn issuer(jwt: &str) -> String {
    jwt::read::<User>(jwt).unwrap().iss
}

/// A machine in its ramdisk, with the ticket of its boot script.
struct Machine {
    n: u8,
    login: String,
    ticket: KeyPair,
    key: KeyPair,
}

impl Machine {
    /// Boots from this worker's script.
    async fn boots(worker: &Worker, n: u8) -> Self {
        let script = worker.script(n).await;
        let word = |key| word(&script, key).expect("there is one");
        Self {
            n,
            login: word("ib.login="),
            ticket: KeyPair::from_seed(&word("ib.ticket=")).unwrap(),
            key: KeyPair::new_user(),
        }
    }

    /// The token that its lookup brings.
    async fn looks_up(&self, site: &Site) -> String {
        let public = |key: &KeyPair| -> UserKey { key.public_key().parse().unwrap() };
        let text = signed_text(&boot(self.n), &public(&self.key));
        let by = |key: &KeyPair| Signature(key.sign(text.as_bytes()).unwrap().try_into().unwrap());
        let mut lookup = lookup(boot(self.n), machine(self.n));
        lookup.login = Some(LoginRequest {
            key: public(&self.key),
            ticket: public(&self.ticket),
            signature: by(&self.ticket),
            by_key: Some(by(&self.key)),
        });
        let client = come(site, &self.login, None).await.unwrap();
        match ask(&client, "ib.v1.lookup", &lookup).await {
            LookupReply::Welcome { login, .. } => login.expect("it has a login").jwt,
            LookupReply::Wait { .. } => panic!("it has to wait"),
        }
    }

    async fn beats(&self, client: &Client, node: &str, status: Status) -> HeartbeatReply {
        let beat = Heartbeat {
            version: codec::VERSION,
            boot: boot(self.n),
            seq: 1,
            status,
            nudge: None,
        };
        ask(client, &format!("ib.v1.heartbeat.{node}"), &beat).await
    }
}

/// A node that waits for its ramdisk.
async fn waiting(site: &Site, bmcs: &Bmcs, n: usize) -> String {
    let name = format!("box{n}");
    let wish = json!({ "name": name, "bmc": bmcs.access(n - 1), "macs": [mac(n as u8)] });
    let node = site.enroll(wish).await;
    for verb in [&["manage", &*name, "--wait"][..], &["inspect", &name]] {
        site.cli(&[&["node"], verb].concat()).await.good();
    }
    until("it waits for its ramdisk", async || {
        let shown = site.show(&name).await;
        (shown["provision_state"] == "inspect wait").then_some(())
    })
    .await;
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_workers_key_makes_nobody_and_agents_at_work_go_on() {
    for binary in NatsBinary::supported() {
        let site = Site::start_with_logins(binary, &[]).await;
        let shared = worker(&site, "worker", "w1");
        add(&site, "w2", &[]).await;
        add(&site, "w3", &["--may-revoke"]).await;
        // Nobody knows its key before it has run.
        assert!(agent_by(&site, "workers/w2").await.is_err());
        let second = worker(&site, "workers/w2", "w2");
        let made = agent_by(&site, "workers/w2").await.unwrap();
        leaves(&site, shared, 1).await;

        // The second worker makes its login.
        let bmcs = Bmcs::start(1);
        let node = waiting(&site, &bmcs, 1).await;
        let machine = Machine::boots(&second, 1).await;
        let first = machine.looks_up(&site).await;
        let client = come(&site, &first, Some(&machine.key)).await.unwrap();
        let HeartbeatReply::Step { id, .. } = machine.beats(&client, &node, Status::Idle).await
        else {
            panic!("it has something to do");
        };

        let mut third = worker(&site, "workers/w3", "w3");
        let said = site.cli(&["auth", "worker", "revoke", "w2"]).await.good();
        assert!(
            said.contains("w2 is out") && said.contains("the agents that it has made"),
            "{said}"
        );
        is_dropped(&made).await;
        is_dropped(&client).await;
        assert!(agent_by(&site, "workers/w2").await.is_err());
        assert!(come(&site, &first, Some(&machine.key)).await.is_err());
        assert!(
            connect_as(&site.nats, site.auth(), "workers/w2/worker.creds")
                .await
                .is_err()
        );
        agent_by(&site, "workers/w3").await.unwrap();
        agent_by(&site, "worker").await.unwrap();

        // It looks up again, and its step goes on.
        let next = machine.looks_up(&site).await;
        assert_ne!(issuer(&next), issuer(&first));
        let client = come(&site, &next, Some(&machine.key)).await.unwrap();
        let running = Status::Running {
            step: id,
            progress: Default::default(),
        };
        let reply = machine.beats(&client, &node, running).await;
        assert_eq!(reply, HeartbeatReply::Idle);
        let listed = site.cli(&["auth", "worker", "list"]).await.good();
        let line = listed.lines().find(|line| line.starts_with("w2")).unwrap();
        assert!(line.contains("revoked") && line.contains("own"), "{line}");
        third.assert_well();
    }
}

/// A backup of last week was restored, or the NATS servers were set up anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_workers_key_comes_back_when_the_list_and_the_account_were_lost() {
    let site = Site::start_with_logins(NatsBinary::Floor, &[]).await;
    let _shared = worker(&site, "worker", "w1");
    add(&site, "w2", &[]).await;
    let _second = worker(&site, "workers/w2", "w2");
    agent_by(&site, "workers/w2").await.unwrap();

    let records = connect_as(&site.nats, site.auth(), "worker/worker.creds")
        .await
        .unwrap();
    let stream = async_nats::jetstream::new(records.clone());
    let stream = stream.get_stream("KV_ib").await.unwrap();
    let list = stream
        .get_last_raw_message_by_subject("$KV.ib.grants")
        .await
        .unwrap();
    stream.delete_message(list.sequence).await.unwrap();
    let about = std::fs::read_to_string(site.auth().join("operator/site.json")).unwrap();
    let about: Value = serde_json::from_str(&about).unwrap();
    let account = about["account"].as_str().unwrap();
    let lines = std::fs::read_to_string(site.auth().join("server/auth.conf")).unwrap();
    let first = word(&lines, &format!("{account}: ")).unwrap();
    let system = connect_as(&site.nats, site.auth(), "worker/revoke/system.creds")
        .await
        .unwrap();
    system
        .request(update_subject(account), first.into())
        .await
        .unwrap();
    assert!(agent_by(&site, "workers/w2").await.is_err());
    // What workers look for once a minute, sooner.
    records
        .publish("ib.v1.worker.revoked", "".into())
        .await
        .unwrap();
    until("its agents are let in", async || {
        agent_by(&site, "workers/w2").await.ok()
    })
    .await;
}

/// As all were before each had its own.
#[tokio::test(flavor = "multi_thread")]
async fn what_workers_share_ends_when_each_has_its_own() {
    let site = Site::start_with_logins(NatsBinary::Floor, &[]).await;
    let shared = worker(&site, "worker", "w1");
    // A directory of the version before: the minting key that all share, and no grant.
    add(&site, "old", &[]).await;
    let old = site.auth().join("workers/old");
    std::fs::copy(
        site.auth().join("worker/agents.seed"),
        old.join("agents.seed"),
    )
    .unwrap();
    std::fs::remove_file(old.join("agents.grant")).unwrap();
    let about = site.auth().join("workers/old.json");
    let mut made: Value = serde_json::from_str(&std::fs::read_to_string(&about).unwrap()).unwrap();
    made.as_object_mut().unwrap().remove("agents");
    std::fs::write(&about, made.to_string()).unwrap();
    let second = worker(&site, "workers/old", "old");

    let end = ["auth", "worker", "revoke", "--shared"];
    let why = site.cli(&end).await.bad();
    assert!(
        why.contains("use what they share") && why.contains("w1"),
        "{why}"
    );
    leaves(&site, second, 1).await;
    let said = site.cli(&["auth", "worker", "revoke", "old"]).await.good();
    assert!(
        said.contains("STILL HAS THE KEY THAT MAKES AGENTS") && said.contains("--shared"),
        "{said}"
    );
    let stolen = agent_by(&site, "workers/old").await.unwrap();

    add(&site, "w2", &["--may-revoke"]).await;
    let mut own = worker(&site, "workers/w2", "w2");
    let why = site.cli(&end).await.bad();
    assert!(why.contains("w1") && !why.contains("w2"), "{why}");
    leaves(&site, shared, 1).await;
    let said = site.cli(&end).await.good();
    assert!(said.contains("is of no use any more"), "{said}");
    is_dropped(&stolen).await;
    assert!(agent_by(&site, "workers/old").await.is_err());
    for creds in ["worker/worker.creds", "worker/front.creds"] {
        assert!(
            connect_as(&site.nats, site.auth(), creds).await.is_err(),
            "{creds}"
        );
    }
    agent_by(&site, "workers/w2").await.unwrap();
    site.cli(&["node", "list"]).await.good();
    own.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn boot_scripts_have_the_next_login_at_once_and_the_last_one_works_until_it_is_ended() {
    for binary in NatsBinary::supported() {
        let site = Site::start_with_logins(binary, &[]).await;
        let first = worker(&site, "worker", "w1");
        add(&site, "w2", &[]).await;
        let mut second = worker(&site, "workers/w2", "w2");
        let end = ["auth", "bootstrap", "revoke"];
        let why = site.cli(&end).await.bad();
        assert!(why.contains("no bootstrap login was replaced"), "{why}");

        let last = handed_out(&first).await;
        let booting = come(&site, &last, None).await.unwrap();
        let said = site.cli(&["auth", "bootstrap", "replace"]).await.good();
        assert!(
            said.contains("until `ironbeat auth bootstrap revoke`"),
            "{said}"
        );
        let next = until("both workers hand out the next", async || {
            let [one, two] = [handed_out(&first).await, handed_out(&second).await];
            (one == two && issuer(&one) != issuer(&last)).then_some(one)
        })
        .await;
        // Whoever booted a moment ago is let in.
        let unknown = lookup(boot(98), machine(98));
        let reply: LookupReply = ask(&booting, "ib.v1.lookup", &unknown).await;
        assert!(matches!(reply, LookupReply::Wait { .. }));
        // A worker that starts with the login of its file has the next one from its first script on.
        leaves(&site, first, 1).await;
        let first = worker(&site, "worker", "w1");
        assert_eq!(handed_out(&first).await, next);

        let bmcs = Bmcs::start(1);
        let node = waiting(&site, &bmcs, 1).await;
        let machine = Machine::boots(&second, 1).await;
        assert_eq!(machine.login, next);
        // It may have booted a moment before.
        let why = site.cli(&end).await.bad();
        assert!(
            why.contains("wait for a ramdisk") && why.contains(": box1."),
            "{why}"
        );
        come(&site, &last, None).await.unwrap();
        let end_all = [&end[..], &["--force"]].concat();
        site.cli(&end_all).await.good();
        is_dropped(&booting).await;
        assert!(come(&site, &last, None).await.is_err());
        let jwt = machine.looks_up(&site).await;
        let client = come(&site, &jwt, Some(&machine.key)).await.unwrap();
        let reply = machine.beats(&client, &node, Status::Idle).await;
        assert!(matches!(reply, HeartbeatReply::Step { .. }), "{reply:?}");

        // What is handed out cannot be ended.
        let why = site.cli(&end).await.bad();
        assert!(why.contains("no bootstrap login was replaced"), "{why}");
        let key = issuer(&next);
        // One of them has no revoke/, and says to ask another.
        let said = loop {
            let said = site.ask("auth.revoke", site.order(&key)).await;
            if said
                .error()
                .is_none_or(|(code, _)| code as usize != ASK_ANOTHER)
            {
                break said;
            }
        };
        assert!(said.refused(409).contains("replace it first"));
        site.enroll(json!({ "name": "box", "bmc": idle_bmc(9) }))
            .await;
        second.assert_well();
    }
}
