//! The agent's login against a real nats-server that asks who is there, and a scripted conductor: it looks up with the token
//! of its boot script, goes on with its own, renews that, and starts over when it is refused.
//! Whom the real conductor gives a login is tested with the conductor.
use async_nats::{Client, Message, Subscriber};
use futures_util::StreamExt;
use ironbeat_agent::clock::Timings;
use ironbeat_agent::context::StepContext;
use ironbeat_agent::heart::beat::{self, Heart};
use ironbeat_agent::heart::link::{Link, Servers};
use ironbeat_agent::heart::login::Access;
use ironbeat_agent::heart::steps::{Ending, Perform, Runner};
use ironbeat_agent::init::cmdline;
use ironbeat_agent::log::Lines;
use ironbeat_agent::random;
use ironbeat_auth::agent::Mint;
use ironbeat_auth::grant::Grant;
use ironbeat_auth::revoke::{FOR_GOOD, List, revise, update_subject};
use ironbeat_auth::roles::Role;
use ironbeat_auth::site::{self, Site};
use ironbeat_common::codec;
use ironbeat_common::heartbeat::{Heartbeat, HeartbeatReply, Outcome, Status};
use ironbeat_common::id::{NodeId, StepId};
use ironbeat_common::login::{Login, LoginRequest, Renewal, RenewalReply, UserKey, signed_text};
use ironbeat_common::lookup::{Lookup, LookupReply};
use ironbeat_common::order::Order;
use ironbeat_common::subject;
use ironbeat_rack::logins::now;
use ironbeat_rack::nats::{NatsBinary, NatsServer};
use nkeys::KeyPair;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use tokio::task::JoinHandle;

/// A wait that never ends on a working agent; generous, because the machine may be busy.
const FOR_EVER: Duration = Duration::from_secs(120);
const NODE: NodeId = NodeId::from_bytes([7; 16]);

/// A site whose server asks who is there, and its conductor's ears.
struct Scripted {
    site: Site,
    server: NatsServer,
    client: Client,
    lookups: Subscriber,
    beats: Subscriber,
    renewals: Subscriber,
}

impl Scripted {
    async fn start() -> Self {
        let site = Site::new("ib.v1");
        let lines = site
            .server_lines(Path::new("accounts"), None, now())
            .unwrap();
        let server = NatsServer::start_loopback_with(NatsBinary::Floor, &lines).unwrap();
        let creds = site.login(Role::Front, "w1", now(), None).unwrap();
        let options = async_nats::ConnectOptions::new();
        let options = options.credentials(&creds.text().unwrap()).unwrap();
        let client = options.connect(server.url()).await.unwrap();
        let [lookups, beats, renewals] =
            ["ib.v1.lookup", "ib.v1.heartbeat.*", "ib.v1.agent.*.login"]
                .map(|subject| client.subscribe(subject));
        Self {
            site,
            server,
            lookups: lookups.await.unwrap(),
            beats: beats.await.unwrap(),
            renewals: renewals.await.unwrap(),
            client,
        }
    }

    /// An agent that booted from a script with this ticket.
    fn agent(&self, ticket: &KeyPair) -> JoinHandle<Ending> {
        self.agent_that(ticket, Arc::new(|_, _| Ok(Outcome::Nothing)))
    }

    /// It does its steps so.
    fn agent_that(&self, ticket: &KeyPair, perform: Arc<Perform>) -> JoinHandle<Ending> {
        let words = format!(
            "ib.nats={} ib.ticket={} ib.login={}",
            self.server.url(),
            ticket.seed().unwrap(),
            self.site.bootstrap_jwt(now()).unwrap()
        );
        let settings = cmdline::parse(&words);
        assert_eq!(settings.refused, Vec::<String>::new());
        let boot = random::boot_id();
        let servers = Servers {
            urls: settings.nats,
            boot,
            name: "agent under test".into(),
            reached: Arc::default(),
            tls: None,
        };
        tokio::spawn(async move {
            let access = Access::new(settings.login.as_ref(), settings.ticket.as_ref());
            let link = Link::start(&servers, access.bootstrap()).await.unwrap();
            beat::run(Heart {
                link,
                servers,
                access,
                prefix: subject::DEFAULT_PREFIX.into(),
                boot,
                runner: Runner::new(perform, Arc::new(Vec::new)),
                machine: Arc::new(Default::default),
                timings: Arc::new(Timings::default()),
                lines: Lines::default(),
                final_beat: beat::FINAL_BEAT,
            })
            .await
        })
    }

    fn login(&self, key: &UserKey, lives_secs: u32) -> Login {
        self.login_by(self.site.key(Role::Agent), key, lives_secs)
    }

    /// Made by the worker with this key for agents.
    fn login_by(&self, minting: &KeyPair, key: &UserKey, lives_secs: u32) -> Login {
        let mint = Mint::new(minting.clone(), &self.site.account);
        let until = now() + i64::from(lives_secs);
        let jwt = mint.login(&NODE.to_string(), &key.to_string(), now(), until);
        Login {
            jwt: jwt.unwrap(),
            lives_secs,
        }
    }

    async fn answer(&self, message: &Message, answer: &impl Serialize) {
        let reply = message.reply.clone().unwrap();
        let answer = codec::encode(answer).into();
        self.client.publish(reply, answer).await.unwrap();
    }

    /// The next lookup; its signatures are good.
    async fn looked_up(&mut self) -> (Message, LoginRequest) {
        let (message, lookup) = next::<Lookup>(&mut self.lookups).await;
        let request = lookup.login.expect("it has a ticket");
        let text = signed_text(&lookup.boot, &request.key);
        let by_key = request.by_key.as_ref().expect("it has its key");
        for (key, signature) in [(request.ticket, &request.signature), (request.key, by_key)] {
            let key = KeyPair::from_public_key(&key.to_string()).unwrap();
            key.verify(text.as_bytes(), &signature.0).unwrap();
        }
        (message, request)
    }

    /// Welcomes the next lookup with a login for so long.
    async fn welcome(&mut self, lives_secs: u32) -> LoginRequest {
        let (message, request) = self.looked_up().await;
        let welcome = LookupReply::Welcome {
            node: NODE,
            heartbeat_timeout_secs: 1,
            login: Some(self.login(&request.key, lives_secs)),
        };
        self.answer(&message, &welcome).await;
        request
    }

    /// The next beat, answered; where its answer goes to.
    async fn beat(&mut self) -> String {
        let message = tokio::time::timeout(FOR_EVER, self.beats.next());
        let message = message.await.expect("it beats").unwrap();
        assert_eq!(*message.subject, *format!("ib.v1.heartbeat.{NODE}"));
        self.answer(&message, &HeartbeatReply::Idle).await;
        message.reply.unwrap().to_string()
    }

    /// The status of the next beat, which is answered so.
    async fn status(&mut self, reply: &HeartbeatReply) -> Status {
        let (message, beat) = next::<Heartbeat>(&mut self.beats).await;
        self.answer(&message, reply).await;
        beat.status
    }

    /// The agent does this step.
    async fn gives(&mut self, id: StepId) {
        let order = Order::Inspect { lldp_wait_secs: 0 };
        self.status(&HeartbeatReply::Step { id, order }).await;
        until(&mut *self, async |scripted| {
            let status = scripted.status(&HeartbeatReply::Idle).await;
            matches!(status, Status::Running { step, .. } if step == id)
        })
        .await;
    }

    /// The servers learn that the key is over with which the first worker makes agents, and that `other` is good.
    async fn revoke_first_worker(&self, other: &KeyPair) {
        let Site {
            system,
            account,
            signer,
            ..
        } = &self.site;
        let creds = site::revoker(system, account, now(), None).unwrap();
        let options = async_nats::ConnectOptions::new().custom_inbox_prefix(creds.inbox());
        let options = options.credentials(&creds.text().unwrap()).unwrap();
        let client = options.connect(self.server.url()).await.unwrap();
        let key = other.public_key();
        let grant = Grant::sign(Role::Agent, &key, "ib.v1", None, now(), signer).unwrap();
        let grants = [Grant::read_of(&grant, signer).unwrap().nats];
        let mut revoked = List::default();
        let key = self.site.key(Role::Agent).public_key();
        revoked.revoked.insert(key, FOR_GOOD);
        let present = self.site.account_jwt(now()).unwrap();
        let revised = revise(&present, &revoked, &grants, now(), signer);
        let revised = revised.unwrap().unwrap();
        let told = client
            .request(update_subject(account), revised.into())
            .await;
        let told = String::from_utf8(told.unwrap().payload.to_vec()).unwrap();
        assert!(told.contains("200"), "{told}");
    }
}

async fn until(scripted: &mut Scripted, mut is_so: impl AsyncFnMut(&mut Scripted) -> bool) {
    while !is_so(scripted).await {}
}

/// A step that goes on until it is told to end, or is cancelled; and what became of it.
fn step_that_waits() -> (Arc<Perform>, mpsc::Sender<()>, mpsc::Receiver<bool>) {
    const LOOK: Duration = Duration::from_millis(10);
    let (end, ends) = mpsc::channel();
    let (say, ended) = mpsc::channel();
    let ends = Mutex::new(ends);
    let perform = move |_: &Order, context: &StepContext<'_>| {
        let ends = ends.lock().unwrap();
        let mut was_told = false;
        while !was_told && !context.cancelled.load(Ordering::Relaxed) {
            was_told = ends.recv_timeout(LOOK).is_ok();
        }
        say.send(was_told).unwrap();
        Ok(Outcome::Nothing)
    };
    (Arc::new(perform), end, ended)
}

async fn next<T: DeserializeOwned>(subscriber: &mut Subscriber) -> (Message, T) {
    let message = tokio::time::timeout(FOR_EVER, subscriber.next());
    let message = message.await.expect("the agent asks").unwrap();
    let asked = codec::decode(&message.payload).unwrap();
    (message, asked)
}

#[tokio::test]
async fn an_agent_looks_up_with_its_ticket_and_goes_on_with_its_own_key() {
    let mut scripted = Scripted::start().await;
    let ticket = KeyPair::new_user();
    let agent = scripted.agent(&ticket);
    let (message, request) = scripted.looked_up().await;
    assert_eq!(request.ticket.to_string(), ticket.public_key());
    assert_ne!(request.key, request.ticket, "the key is the agent's own");
    let reply = message.reply.clone().unwrap();
    assert!(reply.starts_with("_INBOX.boot."), "{reply}");
    // The answer is lost: it asks again, with the same key.
    let again = scripted.welcome(600).await;
    assert_eq!(again, request);
    let inbox = scripted.beat().await;
    let own = format!("_INBOX.{}.", request.key);
    assert!(inbox.starts_with(&own), "{inbox}");
    agent.abort();
}

#[tokio::test]
async fn a_login_is_renewed_in_time_and_the_connection_goes_on_with_the_newest() {
    let mut scripted = Scripted::start().await;
    let agent = scripted.agent(&KeyPair::new_user());
    let request = scripted.welcome(4).await;
    scripted.beat().await;
    let first_ends = now() + 4;
    let mut renewals = 0;
    // The first token and the second end, and nothing stops.
    while now() <= first_ends + 4 {
        tokio::select! {
            (message, renewal) = next::<Renewal>(&mut scripted.renewals) => {
                assert_eq!(renewal.key, request.key);
                assert_eq!(*message.subject, *format!("ib.v1.agent.{NODE}.login"));
                let login = scripted.login(&request.key, 4);
                scripted.answer(&message, &RenewalReply::Login(login)).await;
                renewals += 1;
            }
            Some(message) = scripted.beats.next() => {
                scripted.answer(&message, &HeartbeatReply::Idle).await;
            }
        }
    }
    assert!(renewals >= 2, "{renewals}");
    scripted.beat().await;
    agent.abort();
}

#[tokio::test]
async fn an_agent_whose_login_ended_looks_up_again_with_what_its_script_brought() {
    let mut scripted = Scripted::start().await;
    let agent = scripted.agent(&KeyPair::new_user());
    let request = scripted.welcome(2).await;
    scripted.beat().await;
    let (message, _) = next::<Renewal>(&mut scripted.renewals).await;
    scripted.answer(&message, &RenewalReply::Over).await;
    let again = scripted.welcome(600).await;
    assert_eq!(again, request, "the same ticket, and the same key");
    let inbox = scripted.beat().await;
    assert!(inbox.starts_with(&format!("_INBOX.{}.", request.key)));
    agent.abort();
}

/// The worker that made its login was revoked, and so was its key: another worker makes the next.
#[tokio::test]
async fn a_step_goes_on_while_another_worker_makes_the_login_that_was_ended() {
    let mut scripted = Scripted::start().await;
    let (perform, end, ended) = step_that_waits();
    let agent = scripted.agent_that(&KeyPair::new_user(), perform);
    let first = scripted.welcome(600).await;
    scripted.gives(StepId(1)).await;

    let other = KeyPair::new_account();
    scripted.revoke_first_worker(&other).await;
    let (message, again) = scripted.looked_up().await;
    assert_eq!(again, first, "the same ticket, and the same key");
    let reply = message.reply.clone().unwrap();
    assert!(reply.starts_with("_INBOX.boot."), "{reply}");
    let welcome = LookupReply::Welcome {
        node: NODE,
        heartbeat_timeout_secs: 1,
        login: Some(scripted.login_by(&other, &again.key, 600)),
    };
    scripted.answer(&message, &welcome).await;
    let status = scripted.status(&HeartbeatReply::Idle).await;
    assert!(
        matches!(
            status,
            Status::Running {
                step: StepId(1),
                ..
            }
        ),
        "{status:?}"
    );
    end.send(()).unwrap();
    until(&mut scripted, async |scripted| {
        let status = scripted.status(&HeartbeatReply::Idle).await;
        matches!(
            status,
            Status::Done {
                step: StepId(1),
                ..
            }
        )
    })
    .await;
    assert_eq!(ended.recv(), Ok(true), "it was not cancelled");
    agent.abort();
}

/// While it is refused, the client connects again and looks at nothing else.
#[tokio::test]
async fn a_connection_that_the_servers_refuse_ends_with_its_link() {
    let scripted = Scripted::start().await;
    let stranger = Site::new("ib.v1").bootstrap_jwt(now()).unwrap();
    let settings = cmdline::parse(&format!("ib.login={stranger}"));
    let access = Access::new(settings.login.as_ref(), None);
    let servers = Servers {
        urls: vec![scripted.server.url()],
        boot: random::boot_id(),
        name: "agent under test".into(),
        reached: Arc::default(),
        tls: None,
    };
    let link = Link::start(&servers, access.bootstrap()).await.unwrap();
    link.refused().await;
    // Its other end is with the client.
    let mut connects = link.reconnects();
    drop(link);
    let ended = tokio::time::timeout(FOR_EVER, connects.changed()).await;
    let ended = ended.expect("the client ends");
    assert!(ended.is_err(), "a stranger is let in");
}

/// Its boot is over: there are others who may write to its disks now.
#[tokio::test]
async fn a_step_ends_when_the_login_was_ended_and_the_lookup_is_not_welcome() {
    let mut scripted = Scripted::start().await;
    let (perform, _end, ended) = step_that_waits();
    let agent = scripted.agent_that(&KeyPair::new_user(), perform);
    scripted.welcome(600).await;
    scripted.gives(StepId(1)).await;
    scripted.revoke_first_worker(&KeyPair::new_account()).await;
    let (message, _) = scripted.looked_up().await;
    scripted
        .answer(&message, &LookupReply::Wait { retry_secs: 60 })
        .await;
    let ended = tokio::task::spawn_blocking(move || ended.recv_timeout(FOR_EVER));
    assert_eq!(ended.await.unwrap(), Ok(false), "it was cancelled");
    agent.abort();
}

/// All that it says of itself, on the console and to watchers, at the level that says most.
#[tokio::test]
async fn nothing_that_an_agent_says_has_its_ticket_its_login_or_its_key_in_it() {
    let program = env!("CARGO_BIN_EXE_ironbeat-agent");
    let mut scripted = Scripted::start().await;
    let ticket = KeyPair::new_user();
    let bootstrap = scripted.site.bootstrap_jwt(now()).unwrap();
    let child = std::process::Command::new(program)
        .arg(format!("ib.nats={}", scripted.server.url()))
        .arg(format!("ib.ticket={}", ticket.seed().unwrap()))
        .arg(format!("ib.login={bootstrap}"))
        .args(["ib.ticket=hush-hush", "ib.login=hush-hush", "ib.log=debug"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    let (message, lookup) = next::<Lookup>(&mut scripted.lookups).await;
    let request = lookup.login.clone().unwrap();
    let login = scripted.login(&request.key, 600);
    let welcome = LookupReply::Welcome {
        node: NODE,
        heartbeat_timeout_secs: 1,
        login: Some(login.clone()),
    };
    scripted.answer(&message, &welcome).await;
    scripted.beat().await;
    scripted.beat().await;
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    let mut said = String::from_utf8_lossy(&printed).into_owned();
    assert!(said.contains("welcome"), "{said}");
    said += &format!("{:?}{:?}", lookup.inventory, lookup.timings);
    for secret in [&ticket.seed().unwrap(), &bootstrap, &login.jwt, "hush"] {
        assert!(!said.contains(secret), "{said}");
    }
    // Seeds of its own would begin so.
    assert!(!said.contains("SUA"), "{said}");
}
