//! Lookups, heartbeats and steps against a real nats-server and a scripted conductor.
//! The real conductor's decisions are tested with the conductor.
use async_nats::{Client, Message, Subscriber};
use futures_util::StreamExt;
use ironbeat_agent::clock::Timings;
use ironbeat_agent::heart::beat::{self, Heart};
use ironbeat_agent::heart::link::{Link, Servers};
use ironbeat_agent::heart::login::Access;
use ironbeat_agent::heart::steps::{Ending, Runner};
use ironbeat_agent::log::Lines;
use ironbeat_agent::random;
use ironbeat_common::codec;
use ironbeat_common::heartbeat::{Heartbeat, HeartbeatReply, Outcome, Progress, Status};
use ironbeat_common::id::{BootId, NodeId, StepId};
use ironbeat_common::inventory::Inventory;
use ironbeat_common::lookup::{Lookup, LookupReply};
use ironbeat_common::order::Order;
use ironbeat_common::subject;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// A wait that never ends on a working agent; generous, because the machine may be busy.
const FOR_EVER: Duration = Duration::from_secs(120);
/// Long enough that no beat is due during a test.
const QUIET_SECS: u32 = 3600;

struct Server {
    port: u16,
    child: Child,
}

impl Server {
    fn start() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let base = 20_000 + (std::process::id() % 120) as u16 * 100;
        loop {
            let port = base + NEXT.fetch_add(1, Ordering::Relaxed) % 100;
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return Self {
                    port,
                    child: Self::spawn(port),
                };
            }
        }
    }

    fn spawn(port: u16) -> Child {
        Command::new("nats-server")
            .args(["-a", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server is installed")
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the scripted conductor received.
enum Heard {
    Lookup(Box<Lookup>),
    Beat(NodeId, Heartbeat),
}

struct Conductor {
    client: Client,
    asked: Subscriber,
    welcomed_as: Option<NodeId>,
}

impl Conductor {
    async fn at(server: &Server) -> Self {
        let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
        let client = options.connect(server.url()).await.unwrap();
        let asked = client.subscribe("ib.v1.>").await.unwrap();
        Self {
            client,
            asked,
            welcomed_as: None,
        }
    }

    async fn message(&mut self) -> Message {
        loop {
            let message = tokio::time::timeout(FOR_EVER, self.asked.next())
                .await
                .expect("the agent asks")
                .unwrap();
            if message.reply.is_some() {
                return message;
            }
        }
    }

    async fn lookup(&mut self) -> (Message, Lookup) {
        let message = self.message().await;
        match hear(&message) {
            Heard::Lookup(lookup) => (message, *lookup),
            Heard::Beat(_, beat) => panic!("a beat instead of a lookup: {beat:?}"),
        }
    }

    async fn beat(&mut self) -> (Message, Heartbeat) {
        let message = self.message().await;
        match hear(&message) {
            Heard::Beat(node, beat) => {
                assert_eq!(Some(node), self.welcomed_as);
                (message, beat)
            }
            Heard::Lookup(_) => panic!("a lookup instead of a beat"),
        }
    }

    async fn answer(&self, message: &Message, answer: &impl serde::Serialize) {
        self.raw(message, codec::encode(answer)).await;
    }

    async fn raw(&self, message: &Message, bytes: Vec<u8>) {
        self.client
            .publish(message.reply.clone().unwrap(), bytes.into())
            .await
            .unwrap();
    }

    async fn welcome(&mut self, node: NodeId, heartbeat_timeout_secs: u32) -> Lookup {
        let (message, lookup) = self.lookup().await;
        self.welcomed_as = Some(node);
        self.answer(
            &message,
            &LookupReply::Welcome {
                node,
                heartbeat_timeout_secs,
                login: None,
            },
        )
        .await;
        lookup
    }

    /// Answers the next beat and returns it.
    async fn reply(&mut self, reply: HeartbeatReply) -> Heartbeat {
        let (message, beat) = self.beat().await;
        self.answer(&message, &reply).await;
        beat
    }

    async fn nudge(&self, node: NodeId) {
        self.client
            .publish(subject::nudge("ib.v1", &node), "".into())
            .await
            .unwrap();
    }
}

fn hear(message: &Message) -> Heard {
    assert_eq!(
        message
            .headers
            .as_ref()
            .unwrap()
            .get("Content-Type")
            .unwrap()
            .as_str(),
        "application/cbor"
    );
    let parts: Vec<&str> = message.subject.split('.').collect();
    match parts[..] {
        ["ib", "v1", "lookup"] => Heard::Lookup(Box::new(codec::decode(&message.payload).unwrap())),
        ["ib", "v1", "heartbeat", node] => Heard::Beat(
            node.parse().unwrap(),
            codec::decode(&message.payload).unwrap(),
        ),
        _ => panic!("the agent should not ask on {}", message.subject),
    }
}

/// Every order waits until the test releases it, or until it is cancelled.
struct ScriptedSteps {
    started: tokio::sync::mpsc::UnboundedReceiver<Order>,
    release: mpsc::Sender<Result<Outcome, String>>,
}

impl ScriptedSteps {
    fn runner() -> (Runner, ScriptedSteps) {
        let (started_tx, started) = tokio::sync::mpsc::unbounded_channel();
        let (release, released) = mpsc::channel::<Result<Outcome, String>>();
        let released = Mutex::new(released);
        let perform = move |order: &Order, context: &ironbeat_agent::context::StepContext<'_>| {
            started_tx.send(order.clone()).unwrap();
            if matches!(order, Order::Reboot | Order::PowerOff) {
                return Ok(Outcome::Nothing);
            }
            (context.progress)(Progress {
                phase: "working".into(),
                done: 1,
                total: None,
                trouble: None,
            });
            loop {
                match released
                    .lock()
                    .unwrap()
                    .recv_timeout(Duration::from_millis(5))
                {
                    Ok(result) => {
                        return result.map_err(|e| anyhow::anyhow!(e).context("doing it"));
                    }
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Err(mpsc::RecvTimeoutError::Disconnected) => {
                        anyhow::bail!("the test is over")
                    }
                }
                if context.cancelled.load(Ordering::Relaxed) {
                    anyhow::bail!("cancelled");
                }
            }
        };
        (
            Runner::new(Arc::new(perform), Arc::new(Vec::new)),
            ScriptedSteps { started, release },
        )
    }

    async fn started(&mut self) -> Order {
        tokio::time::timeout(FOR_EVER, self.started.recv())
            .await
            .expect("the step starts")
            .unwrap()
    }
}

fn agent(server: &Server) -> (tokio::task::JoinHandle<Ending>, ScriptedSteps, BootId) {
    agent_that_tries(server, beat::FINAL_BEAT)
}

/// `final_beat`: how long it tries to say that it ends.
fn agent_that_tries(
    server: &Server,
    final_beat: Duration,
) -> (tokio::task::JoinHandle<Ending>, ScriptedSteps, BootId) {
    let (runner, steps) = ScriptedSteps::runner();
    let boot = random::boot_id();
    let servers = Servers {
        urls: vec![server.url()],
        boot,
        name: "agent under test".into(),
        reached: Arc::default(),
        tls: None,
    };
    let agent = async move {
        let access = Access::default();
        let link = Link::start(&servers, access.bootstrap()).await.unwrap();
        let inventory = || {
            let mut inventory = Inventory::default();
            inventory.cpu.count = 7;
            (inventory, None)
        };
        beat::run(Heart {
            link,
            servers,
            access,
            prefix: subject::DEFAULT_PREFIX.to_string(),
            boot,
            runner,
            machine: Arc::new(inventory),
            timings: Arc::new(Timings::default()),
            lines: Lines::default(),
            final_beat,
        })
        .await
    };
    (tokio::spawn(agent), steps, boot)
}

fn node(n: u8) -> NodeId {
    NodeId::from_bytes([n; 16])
}

fn inspect(id: u64) -> HeartbeatReply {
    HeartbeatReply::Step {
        id: StepId(id),
        order: Order::Inspect { lldp_wait_secs: 0 },
    }
}

fn is_running(beat: &Heartbeat, id: u64) -> bool {
    matches!(&beat.status, Status::Running { step, .. } if *step == StepId(id))
}

fn is_done(beat: &Heartbeat, id: u64) -> bool {
    matches!(&beat.status, Status::Done { step, .. } if *step == StepId(id))
}

#[tokio::test]
async fn an_agent_looks_up_beats_runs_steps_and_reboots() {
    let server = Server::start();
    let mut conductor = Conductor::at(&server).await;
    let (agent, mut steps, boot) = agent(&server);

    let (message, lookup) = conductor.lookup().await;
    assert_eq!(
        (lookup.version, lookup.boot, lookup.inventory.cpu.count),
        (codec::VERSION, boot, 7)
    );
    assert!(lookup.timings.lookup_ms > 0);
    conductor
        .answer(&message, &LookupReply::Wait { retry_secs: 1 })
        .await;
    let again = conductor.welcome(node(1), QUIET_SECS).await;
    assert_eq!(again.boot, boot);

    let beat = conductor.reply(HeartbeatReply::Idle).await;
    assert_eq!(
        (beat.boot, beat.seq, &beat.status, beat.nudge),
        (boot, 1, &Status::Idle, None)
    );

    // A nudge brings a beat, the beat a step, and the next beat reports it at once, with its latency.
    conductor.nudge(node(1)).await;
    let beat = conductor.reply(inspect(4)).await;
    assert_eq!((beat.seq, &beat.status), (2, &Status::Idle));
    assert_eq!(steps.started().await, Order::Inspect { lldp_wait_secs: 0 });
    let beat = conductor.reply(inspect(4)).await;
    assert!(is_running(&beat, 4), "{beat:?}");
    assert_eq!(beat.nudge.map(|n| n.step), Some(StepId(4)));

    // Its end brings a beat at once, and asking for it again changes nothing.
    steps.release.send(Ok(Outcome::Nothing)).unwrap();
    let beat = conductor.reply(inspect(4)).await;
    assert!(is_done(&beat, 4), "{beat:?}");
    assert_eq!(beat.nudge, None, "the latency is reported once");
    conductor.nudge(node(1)).await;
    let beat = conductor.reply(HeartbeatReply::Idle).await;
    assert!(
        is_done(&beat, 4),
        "repeated until another one is wanted: {beat:?}"
    );
    assert!(
        steps.started.try_recv().is_err(),
        "a finished step is not started again"
    );

    // A failure has its cause in words.
    conductor.nudge(node(1)).await;
    conductor.reply(inspect(5)).await;
    steps.started().await;
    assert!(is_running(&conductor.reply(HeartbeatReply::Idle).await, 5));
    steps.release.send(Err("no such disk".into())).unwrap();
    match conductor.reply(HeartbeatReply::Idle).await.status {
        Status::Failed { step, error } => assert_eq!(
            (step, error.what.as_str()),
            (StepId(5), "doing it: no such disk")
        ),
        other => panic!("{other:?}"),
    }

    // The final heartbeat is sent before the reboot.
    conductor.nudge(node(1)).await;
    conductor
        .reply(HeartbeatReply::Step {
            id: StepId(6),
            order: Order::Reboot,
        })
        .await;
    loop {
        let beat = conductor.reply(HeartbeatReply::Idle).await;
        if is_done(&beat, 6) {
            break;
        }
        assert!(is_running(&beat, 6), "{beat:?}");
    }
    assert_eq!(
        tokio::time::timeout(FOR_EVER, agent)
            .await
            .unwrap()
            .unwrap(),
        Ending::Reboot
    );
}

#[tokio::test]
async fn answers_that_make_no_sense_are_asked_for_again() {
    let server = Server::start();
    let mut conductor = Conductor::at(&server).await;
    let (agent, mut steps, _) = agent(&server);

    let (message, _) = conductor.lookup().await;
    conductor.raw(&message, b"\xff\xffnot CBOR".to_vec()).await;
    let (message, _) = conductor.lookup().await;
    conductor.raw(&message, Vec::new()).await;
    conductor.welcome(node(1), QUIET_SECS).await;

    let (message, first) = conductor.beat().await;
    conductor.raw(&message, codec::encode(&"a text")).await;
    let (message, second) = conductor.beat().await;
    assert_eq!(second.seq, first.seq + 1);
    let mut trailing = codec::encode(&HeartbeatReply::Idle);
    trailing.push(0);
    conductor.raw(&message, trailing).await;
    // A service refuses by a header.
    let (message, _) = conductor.beat().await;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Service-Error", "the bucket is away");
    headers.insert("Nats-Service-Error-Code", "503");
    let to = message.reply.clone().unwrap();
    conductor
        .client
        .publish_with_headers(to, headers, "".into())
        .await
        .unwrap();
    // After all that a good answer counts.
    conductor.reply(inspect(1)).await;
    steps.started().await;
    assert!(is_running(&conductor.reply(HeartbeatReply::Idle).await, 1));
    agent.abort();
}

#[tokio::test]
async fn another_step_takes_the_place_of_the_running_one() {
    let server = Server::start();
    let mut conductor = Conductor::at(&server).await;
    let (agent, mut steps, _) = agent(&server);
    conductor.welcome(node(1), QUIET_SECS).await;
    conductor.reply(inspect(1)).await;
    steps.started().await;
    assert!(is_running(&conductor.reply(inspect(1)).await, 1));

    conductor.nudge(node(1)).await;
    assert!(is_running(&conductor.reply(inspect(2)).await, 1));
    // The first was never released: it was cancelled, and only then the second started.
    steps.started().await;
    let beat = conductor.reply(inspect(2)).await;
    assert!(is_running(&beat, 2), "{beat:?}");
    steps.release.send(Ok(Outcome::Nothing)).unwrap();
    assert!(is_done(&conductor.reply(HeartbeatReply::Idle).await, 2));
    agent.abort();
}

#[tokio::test]
async fn a_running_step_outlives_a_server_restart() {
    let mut server = Server::start();
    let mut conductor = Conductor::at(&server).await;
    let (agent, mut steps, _) = agent(&server);
    conductor.welcome(node(1), QUIET_SECS).await;
    conductor.reply(inspect(1)).await;
    steps.started().await;
    assert!(is_running(&conductor.reply(inspect(1)).await, 1));

    server.stop();
    steps.release.send(Ok(Outcome::Nothing)).unwrap();
    server.child = Server::spawn(server.port);
    // The end could not be reported while the server was away, and is reported as soon as it is back.
    assert!(is_done(&conductor.reply(HeartbeatReply::Idle).await, 1));
    // Nudges arrive again too.
    conductor.nudge(node(1)).await;
    conductor.reply(inspect(2)).await;
    steps.started().await;
    assert!(!agent.is_finished());
    agent.abort();
}

#[tokio::test]
async fn an_agent_nobody_knows_looks_up_again() {
    let server = Server::start();
    let mut conductor = Conductor::at(&server).await;
    let (agent, mut steps, boot) = agent(&server);
    conductor.welcome(node(1), QUIET_SECS).await;
    conductor.reply(inspect(1)).await;
    steps.started().await;
    assert!(is_running(
        &conductor.reply(HeartbeatReply::LookUp).await,
        1
    ));
    // Nobody wants the step any more: it is cancelled before anybody answers, its end is not reported, and beats go on counting.
    assert_eq!(conductor.welcome(node(1), QUIET_SECS).await.boot, boot);
    let mut seq = 2;
    loop {
        let beat = conductor.reply(HeartbeatReply::Idle).await;
        seq += 1;
        assert_eq!(beat.seq, seq);
        if beat.status == Status::Idle {
            break;
        }
        assert!(is_running(&beat, 1), "{beat:?}");
        conductor.nudge(node(1)).await;
    }
    agent.abort();
}

#[tokio::test]
async fn a_conductor_that_comes_late_is_found() {
    let mut server = Server::start();
    let port = server.port;
    server.stop();
    let (agent, _steps, _) = agent(&server);
    // First there is no server, then one without a conductor, then a conductor.
    server.child = Server::spawn(port);
    let client = loop {
        if let Ok(client) = async_nats::connect(server.url()).await {
            break client;
        }
        tokio::task::yield_now().await;
    };
    let mut lookups = client.subscribe("ib.v1.lookup").await.unwrap();
    let lookup = tokio::time::timeout(FOR_EVER, lookups.next())
        .await
        .unwrap()
        .unwrap();
    drop((lookup, lookups));
    let mut conductor = Conductor::at(&server).await;
    conductor.welcome(node(1), 1).await;
    // Beats come by themselves at 0.3 to 0.6 of the time-out.
    for seq in 1..=3 {
        assert_eq!(conductor.reply(HeartbeatReply::Idle).await.seq, seq);
    }
    agent.abort();
}

#[tokio::test]
async fn a_machine_powers_off_although_its_final_heartbeat_gets_no_answer() {
    let server = Server::start();
    let mut conductor = Conductor::at(&server).await;
    let (agent, mut steps, _) = agent_that_tries(&server, Duration::from_secs(1));
    conductor.welcome(node(1), QUIET_SECS).await;
    conductor
        .reply(HeartbeatReply::Step {
            id: StepId(1),
            order: Order::PowerOff,
        })
        .await;
    assert_eq!(steps.started().await, Order::PowerOff);
    assert_eq!(
        tokio::time::timeout(FOR_EVER, agent)
            .await
            .unwrap()
            .unwrap(),
        Ending::PowerOff
    );
}

/// Servers that elect a leader leave a request without an answer for up to 9 s.
#[tokio::test]
async fn a_reboot_is_announced_until_somebody_hears_it() {
    let server = Server::start();
    let mut conductor = Conductor::at(&server).await;
    let (agent, mut steps, _) = agent(&server);
    conductor.welcome(node(1), QUIET_SECS).await;
    let reboot = HeartbeatReply::Step {
        id: StepId(1),
        order: Order::Reboot,
    };
    conductor.reply(reboot).await;
    assert_eq!(steps.started().await, Order::Reboot);
    let is_done = |beat: &Heartbeat| matches!(beat.status, Status::Done { .. });
    while !is_done(&conductor.beat().await.1) {}
    assert!(is_done(&conductor.reply(HeartbeatReply::Idle).await));
    let ending = tokio::time::timeout(FOR_EVER, agent).await;
    assert_eq!(ending.unwrap().unwrap(), Ending::Reboot);
}

/// What was published while an agent had no connection is gone, nudges too.
#[tokio::test]
async fn an_agent_whose_connection_comes_back_beats_at_once() {
    let mut server = Server::start();
    let mut conductor = Conductor::at(&server).await;
    let (agent, _steps, _) = agent(&server);
    conductor.welcome(node(1), QUIET_SECS).await;
    // From here on it would not beat for minutes.
    for _ in 0..6 {
        conductor.reply(HeartbeatReply::Idle).await;
        conductor.nudge(node(1)).await;
    }
    conductor.reply(HeartbeatReply::Idle).await;
    let port = server.port;
    server.stop();
    server.child = Server::spawn(port);
    let beat = conductor.reply(HeartbeatReply::Idle).await;
    assert_eq!(beat.status, Status::Idle, "not one that a step asked for");
    agent.abort();
}

#[tokio::test]
async fn watchers_see_progress() {
    let server = Server::start();
    let mut conductor = Conductor::at(&server).await;
    let mut watching = conductor
        .client
        .subscribe("ib.v1.agent.*.progress")
        .await
        .unwrap();
    let (agent, mut steps, _) = agent(&server);
    conductor.welcome(node(1), QUIET_SECS).await;
    conductor.reply(inspect(1)).await;
    steps.started().await;
    conductor.reply(HeartbeatReply::Idle).await;
    loop {
        let message = tokio::time::timeout(FOR_EVER, watching.next())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            message.subject.as_str(),
            format!("ib.v1.agent.{}.progress", node(1))
        );
        let status: Status = codec::decode(&message.payload).unwrap();
        if matches!(&status, Status::Running { progress, .. } if progress.phase == "working") {
            break;
        }
    }
    // It is told again although nothing has changed, so that silence means something.
    let again = tokio::time::timeout(FOR_EVER, watching.next());
    let status: Status = codec::decode(&again.await.unwrap().unwrap().payload).unwrap();
    assert!(
        matches!(&status, Status::Running { progress, .. } if progress.phase == "working"),
        "{status:?}"
    );
    agent.abort();
}
