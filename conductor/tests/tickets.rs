//! Machines with tickets: a worker, a real nats-server that asks who is there, and machines that come with the right ticket,
//! another one, a forged one or none.
//! Which ticket is good is the core's to say; the agent's own side is tested with the agent.
mod support;

use async_nats::{Client, ConnectOptions, Event};
use bytes::Bytes;
use ironbeat_auth::agent::Mint;
use ironbeat_auth::creds::Creds;
use ironbeat_common::codec;
use ironbeat_common::heartbeat::{Heartbeat, HeartbeatReply, Status};
use ironbeat_common::id::BootId;
use ironbeat_common::login::{
    LoginRequest, Renewal, RenewalReply, Signature, UserKey, signed_text,
};
use ironbeat_common::lookup::LookupReply;
use ironbeat_rack::logins::now;
use ironbeat_rack::nats::NatsBinary;
use ironbeat_rack::ports::PortLease;
use nkeys::KeyPair;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::sync::{Arc, Mutex};
use support::bmcs::Bmcs;
use support::{SOON, Site, Worker, boot, lookup, mac, machine, until, word};

/// A machine between its boot script and its login.
struct Machine {
    n: u8,
    boot: BootId,
    ticket: Option<KeyPair>,
    key: KeyPair,
}

fn public(key: &KeyPair) -> UserKey {
    key.public_key().parse().unwrap()
}

impl Machine {
    fn new(n: u8, boot_n: u8, ticket: Option<&str>) -> Self {
        Self {
            n,
            boot: boot(boot_n),
            ticket: ticket.map(|seed| KeyPair::from_seed(seed).unwrap()),
            key: KeyPair::new_user(),
        }
    }

    fn request(&self) -> Option<LoginRequest> {
        let ticket = self.ticket.as_ref()?;
        let text = signed_text(&self.boot, &public(&self.key));
        let by = |key: &KeyPair| Signature(key.sign(text.as_bytes()).unwrap().try_into().unwrap());
        Some(LoginRequest {
            key: public(&self.key),
            ticket: public(ticket),
            signature: by(ticket),
            by_key: Some(by(&self.key)),
        })
    }

    async fn looks_up(&self, lab: &Lab) -> LookupReply {
        self.shows(lab, self.request()).await
    }

    async fn shows(&self, lab: &Lab, login: Option<LoginRequest>) -> LookupReply {
        let mut lookup = lookup(self.boot, machine(self.n));
        lookup.login = login;
        ask(&lab.bootstrap, "ib.v1.lookup", &lookup).await
    }

    /// The token that a welcome has.
    async fn welcome(&self, lab: &Lab) -> String {
        match self.looks_up(lab).await {
            LookupReply::Welcome { login, .. } => login.expect("it has a login").jwt,
            LookupReply::Wait { .. } => panic!("it has to wait: {}", lab.worker.printed()),
        }
    }

    async fn has_to_wait(&self, lab: &Lab, login: Option<LoginRequest>) {
        let reply = self.shows(lab, login).await;
        assert!(matches!(reply, LookupReply::Wait { .. }), "{reply:?}");
    }

    fn beat(&self) -> Heartbeat {
        Heartbeat {
            version: codec::VERSION,
            boot: self.boot,
            seq: 1,
            status: Status::Idle,
            nudge: None,
        }
    }
}

async fn ask<T: DeserializeOwned>(client: &Client, subject: &str, message: &impl Serialize) -> T {
    let body = codec::encode(message).into();
    let reply = client.request(subject.to_owned(), body).await.unwrap();
    codec::decode(&reply.payload).unwrap()
}

/// A worker, its nodes `one` and `two`, and what a machine has before it has a login.
struct Lab {
    site: Site,
    worker: Worker,
    _bmcs: Bmcs,
    bootstrap: Client,
    nodes: [String; 2],
}

impl Lab {
    async fn start() -> Self {
        Self::start_with("").await
    }

    /// `options`: lines of the worker's configuration that are in no section.
    async fn start_with(options: &str) -> Self {
        let site = Site::start_with_logins(NatsBinary::Floor, &[]).await;
        let secrets = ironbeat_rack::secrets::section(site.dir()).unwrap();
        let more = format!("{options}\n{secrets}[policy]\npower_sync_secs = 0");
        let mut worker = site.spawn_with("w1", "w1", &more, PortLease::take().unwrap());
        worker.process.wait_for_log(" ready ", SOON).unwrap();
        let bmcs = Bmcs::start(2);
        let mut nodes = [const { String::new() }; 2];
        for (n, name) in [(0, "one"), (1, "two")] {
            let mac = mac(n as u8 + 1);
            let wish = json!({ "name": name, "bmc": bmcs.access(n), "macs": [mac] });
            nodes[n] = site.enroll(wish).await;
            site.cli(&["node", "manage", name, "--wait"]).await.good();
        }
        let jwt = std::fs::read_to_string(site.auth().join("worker/bootstrap.jwt")).unwrap();
        let bootstrap = with_token(jwt.trim(), None)
            .custom_inbox_prefix("_INBOX.boot.test")
            .connect(site.nats.url())
            .await
            .unwrap();
        Self {
            site,
            worker,
            _bmcs: bmcs,
            bootstrap,
            nodes,
        }
    }

    /// The node waits for its ramdisk.
    async fn waits(&self, name: &str) {
        self.site.cli(&["node", "inspect", name]).await.good();
        self.is(name, "inspect wait").await;
    }

    async fn is(&self, name: &str, state: &str) {
        let what = format!("{name} is {state}");
        until(&what, async || {
            let shown = self.site.show(name).await;
            (shown["provision_state"] == state).then_some(())
        })
        .await;
    }

    /// The boot script of a NIC.
    async fn script(&self, n: u8) -> String {
        self.worker.script(n).await
    }

    /// The ticket in it.
    async fn ticket(&self, n: u8) -> String {
        let script = self.script(n).await;
        word(&script, "ib.ticket=").expect("there is a ticket")
    }

    /// What operators are told of the last lookup of a machine.
    async fn outcome(&self) -> String {
        self.site.cli(&["lookups"]).await.good()
    }

    /// Waits until an operator is told so of some lookup.
    async fn told(&self, words: &str) {
        let what = format!("lookups say {words:?}");
        until(&what, async || {
            self.outcome().await.contains(words).then_some(())
        })
        .await;
    }

    async fn explained(&self, name: &str) -> String {
        self.site.cli(&["node", "explain", name]).await.good()
    }
}

/// `seed`: of the key that the token is bound to.
fn with_token(jwt: &str, seed: Option<&KeyPair>) -> ConnectOptions {
    let jwt = jwt.to_string();
    let key = seed.map(|key| Arc::new(KeyPair::from_seed(&key.seed().unwrap()).unwrap()));
    ConnectOptions::with_auth_callback(move |nonce| {
        let mut auth = async_nats::Auth::new();
        auth.jwt = Some(jwt.clone());
        auth.signature = key.as_ref().map(|key| key.sign(&nonce).unwrap());
        std::future::ready(Ok(auth))
    })
    .request_timeout(Some(SOON))
}

/// A connection that stays away once it is refused, and what the server said.
async fn connect(
    lab: &Lab,
    jwt: &str,
    key: &KeyPair,
) -> Result<(Client, Arc<Mutex<Vec<String>>>), async_nats::ConnectError> {
    let options = with_token(jwt, Some(key));
    let inbox = format!("_INBOX.{}", key.public_key());
    listening(lab, options.custom_inbox_prefix(inbox)).await
}

async fn listening(
    lab: &Lab,
    options: ConnectOptions,
) -> Result<(Client, Arc<Mutex<Vec<String>>>), async_nats::ConnectError> {
    let said = Arc::new(Mutex::new(Vec::new()));
    let heard = said.clone();
    let client = options
        .max_reconnects(Some(2))
        .event_callback(move |event: Event| {
            heard.lock().unwrap().push(event.to_string());
            std::future::ready(())
        })
        .connect(lab.site.nats.url())
        .await?;
    client.flush().await.unwrap();
    Ok((client, said))
}

async fn says(said: &Arc<Mutex<Vec<String>>>, words: &str) {
    let what = format!("the server says {words:?}");
    until(&what, async || {
        let said = said.lock().unwrap();
        let found = said.iter().any(|it| it.to_lowercase().contains(words));
        found.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_ticket_of_the_last_boot_script_is_good() {
    let mut lab = Lab::start().await;
    // Neither waits yet: no script of theirs has a ticket or a login.
    let idle = lab.script(1).await;
    assert!(!idle.contains("ib."), "{idle}");
    lab.waits("one").await;
    lab.waits("two").await;
    let none = Machine::new(1, 10, None);
    none.has_to_wait(&lab, None).await;
    lab.told("it has no ticket").await;
    let ticket = lab.ticket(1).await;
    let good = Machine::new(1, 11, Some(&ticket));
    // A forged signature: the same ticket, another key.
    let mut forged = good.request().unwrap();
    forged.key = public(&KeyPair::new_user());
    good.has_to_wait(&lab, Some(forged)).await;
    lab.told("its signature is not its ticket's").await;
    // Another node's ticket, and one that nobody gave out.
    let of_two = lab.ticket(2).await;
    let made_up = KeyPair::new_user().seed().unwrap();
    for seed in [of_two.as_str(), made_up.as_str()] {
        let wrong = Machine::new(1, 12, Some(seed));
        wrong.has_to_wait(&lab, wrong.request()).await;
    }
    lab.told("its ticket is not this node's").await;
    // The good one, twice: the first answer may have been lost.
    let first = good.welcome(&lab).await;
    good.welcome(&lab).await;
    // Somebody repeats what he heard: a token for a key that he has not.
    let thief = KeyPair::new_user();
    assert!(connect(&lab, &first, &thief).await.is_err());
    // Somebody has the same ticket, and another boot or key.
    let late = Machine::new(1, 13, Some(&ticket));
    late.has_to_wait(&lab, late.request()).await;
    let same_boot = Machine {
        key: KeyPair::new_user(),
        ..Machine::new(1, 11, Some(&ticket))
    };
    same_boot.has_to_wait(&lab, same_boot.request()).await;
    let secrets = [&ticket, &of_two, &first];
    let printed = lab.worker.printed();
    assert!(secrets.iter().all(|secret| !printed.contains(*secret)));
    lab.worker.assert_well();
}

/// The key of an agent ends with its boot. Whoever may have a ticket must not name a worker's, and end that.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_names_anothers_key_gets_no_login() {
    let mut lab = Lab::start().await;
    lab.waits("one").await;
    let ticket = lab.ticket(1).await;
    let good = Machine::new(1, 15, Some(&ticket));
    let creds = std::fs::read_to_string(lab.site.auth().join("worker/worker.creds")).unwrap();
    let key: UserKey = Creds::parse(&creds)
        .unwrap()
        .key
        .public_key()
        .parse()
        .unwrap();
    let text = signed_text(&good.boot, &key);
    let by = |key: &KeyPair| Signature(key.sign(text.as_bytes()).unwrap().try_into().unwrap());
    let pair = good.ticket.as_ref().unwrap();
    for by_key in [None, Some(by(&good.key)), Some(by(pair))] {
        let of_worker = LoginRequest {
            key,
            ticket: public(pair),
            signature: by(pair),
            by_key,
        };
        good.has_to_wait(&lab, Some(of_worker)).await;
    }
    lab.told("does not prove that the key is its own").await;
    good.welcome(&lab).await;
    lab.worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_script_voids_the_first_ticket_and_who_comes_with_that_is_named() {
    let mut lab = Lab::start().await;
    lab.waits("one").await;
    let first = lab.ticket(1).await;
    let second = lab.ticket(1).await;
    assert!(!lab.explained("one").await.contains("two machines"));
    let rival = Machine::new(1, 20, Some(&first));
    rival.has_to_wait(&lab, rival.request()).await;
    let told = lab.explained("one").await;
    assert!(told.contains("two machines claim this node"), "{told}");
    Machine::new(1, 21, Some(&second)).welcome(&lab).await;
    lab.worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_for_its_node_and_its_boot_alone_and_ends_with_it() {
    let mut lab = Lab::start().await;
    lab.waits("one").await;
    let ticket = lab.ticket(1).await;
    let machine = Machine::new(1, 30, Some(&ticket));
    let jwt = machine.welcome(&lab).await;
    let (client, said) = connect(&lab, &jwt, &machine.key).await.unwrap();
    let [one, two] = &lab.nodes;
    let beat: HeartbeatReply =
        ask(&client, &format!("ib.v1.heartbeat.{one}"), &machine.beat()).await;
    assert!(matches!(beat, HeartbeatReply::Step { .. }), "{beat:?}");
    // Another node's heartbeat does not get past the server, nor does its login.
    for subject in [
        format!("ib.v1.heartbeat.{two}"),
        format!("ib.v1.agent.{two}.login"),
        "ib.v1.lookup".into(),
    ] {
        let forged = Bytes::from(codec::encode(&machine.beat()));
        client.publish(subject.clone(), forged).await.unwrap();
        says(&said, &format!("publish to \"{subject}\"")).await;
    }
    let seen = lab.site.show("two").await;
    assert_eq!(seen["provision_state"], "manageable");
    // It is renewed for this boot and key, and for no other.
    let renew = async |boot, key| -> RenewalReply {
        let renewal = Renewal {
            version: codec::VERSION,
            boot,
            key,
        };
        ask(&client, &format!("ib.v1.agent.{one}.login"), &renewal).await
    };
    let key = public(&machine.key);
    let renewed = renew(machine.boot, key).await;
    let RenewalReply::Login(renewed) = renewed else {
        panic!("it is the present boot");
    };
    assert_eq!(renew(boot(31), key).await, RenewalReply::Over);
    let other = public(&KeyPair::new_user());
    assert_eq!(renew(machine.boot, other).await, RenewalReply::Over);
    // Its boot is over: the server drops it, and takes neither token any more.
    lab.site.cli(&["node", "abort", "one"]).await.good();
    says(&said, "revoked").await;
    for jwt in [&jwt, &renewed.jwt] {
        assert!(connect(&lab, jwt, &machine.key).await.is_err());
    }
    until("the record has no login to end any more", async || {
        let shown = lab.site.show("one").await;
        let ended = shown["tickets"]["ended"].as_array();
        ended.is_none_or(Vec::is_empty).then_some(())
    })
    .await;
    machine.has_to_wait(&lab, machine.request()).await;
    lab.worker.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_whose_time_is_over_is_refused() {
    let lab = Lab::start().await;
    let worker = lab.site.auth().join("worker");
    let read = |name| std::fs::read_to_string(worker.join(name)).unwrap();
    let account = Creds::parse(&read("worker.creds")).unwrap().account();
    let key = KeyPair::from_seed(read("agents.seed").trim()).unwrap();
    let mint = Mint::new(key, account.unwrap());
    let (agent, now) = (KeyPair::new_user(), now());
    let token = |from, until| mint.login(&lab.nodes[0], &agent.public_key(), from, until);
    let good = token(now - 10, now + 600).unwrap();
    assert!(connect(&lab, &good, &agent).await.is_ok());
    let over = token(now - 600, now - 10).unwrap();
    assert!(connect(&lab, &over, &agent).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_nobody_knows_is_discovered_and_gets_no_ticket() {
    let mut lab = Lab::start().await;
    let script = lab.script(9).await;
    assert_eq!(word(&script, "ib.ticket="), None);
    let jwt = word(&script, "ib.login=").expect("it may look up");
    let options = with_token(&jwt, None).custom_inbox_prefix("_INBOX.boot.x");
    let (client, said) = listening(&lab, options).await.unwrap();
    let reply: LookupReply = ask(&client, "ib.v1.lookup", &lookup(boot(40), machine(9))).await;
    assert!(matches!(reply, LookupReply::Wait { .. }));
    lab.told("unknown machine: discovered").await;
    // All machines that look up share one inbox: what is answered there is of use to nobody else. They hear nothing else.
    for subject in ["ib.v1.>", "ib.v1.lookup", "_INBOX.>", "_INBOX.UABC.>"] {
        let _refused = client.subscribe(subject).await.unwrap();
        says(
            &said,
            &format!("subscription to \"{}\"", subject.to_lowercase()),
        )
        .await;
    }
    assert!(!lab.worker.printed().contains(&jwt));
    lab.worker.assert_well();
}

/// Whoever fetched a boot script once can look up, as whatever machine.
#[tokio::test(flavor = "multi_thread")]
async fn without_discovery_a_machine_that_nobody_knows_boots_its_disk_and_leaves_no_trace() {
    let mut lab = Lab::start_with("discovery = false").await;
    let script = lab.script(9).await;
    assert!(!script.contains("ib."), "{script}");
    Machine::new(9, 50, None).has_to_wait(&lab, None).await;
    // Of one that is a node's, operators are told as ever, and with its ticket it is welcome.
    lab.waits("one").await;
    Machine::new(1, 51, None).has_to_wait(&lab, None).await;
    lab.told("it has no ticket").await;
    let ticket = lab.ticket(1).await;
    Machine::new(1, 52, Some(&ticket)).welcome(&lab).await;
    let remembered = lab.site.ask("lookup.list", json!({})).await.good();
    let remembered = remembered.to_string();
    assert!(remembered.contains("SN-1"), "{remembered}");
    assert!(!remembered.contains("SN-9"), "{remembered}");
    let printed = lab.worker.printed();
    assert!(!printed.contains("SN-9") && !printed.contains("unknown machine"));
    lab.worker.assert_well();
}
