//! One worker process, from configuration to shutdown: what is started, in which order, and how it stops.
//! The parts do the work.
use crate::bmc::{Bmcs, Found};
use crate::clock;
use crate::config::{Config, Flight, HttpTls, Images, Nats};
use crate::confirm;
use crate::discovery::Enroller;
use crate::drive::{Drive, RealDrive, RealHands, ReconcileError, ServersClock};
use crate::front::nats;
use crate::login::{Connector, Login, Part, Refusals, watch};
use crate::loops::alarm;
use crate::loops::console::{self, Consoles};
use crate::loops::grants;
use crate::loops::logins;
use crate::loops::password;
use crate::loops::power::{self, PowerSync};
use crate::loops::revoke;
use crate::loops::sweep;
use crate::loops::trouble;
use crate::loops::turn;
use crate::measured::files::{Files, watch as watch_files};
use crate::netboot::boots::Boots;
use crate::netboot::budget::Budgets;
use crate::netboot::files;
use crate::netboot::http::{self, BootAnswers, Wish};
use crate::netboot::script::{Facts, Workers, check_command_line};
use crate::netboot::stage;
use crate::netboot::whose::Whose;
use crate::records::dhcp::Dhcp;
use crate::records::events::Events;
use crate::records::logins::Logins;
use crate::records::lookups::Lookups;
use crate::records::marks::Marks;
use crate::records::origin;
use crate::records::presence::Presence;
use crate::records::revoked::Revocations;
use crate::records::seen::Seen;
use crate::records::view::View;
use crate::records::{Names, StoreError};
use crate::secrets::{self, ImageTokens, Purpose};
use crate::seldom::Seldom;
use crate::strangers::Strangers;
use crate::tickets::{EndLogins, Tickets, new_ticket};
use crate::worker::Worker;
use anyhow::Context;
use axum::http::StatusCode;
use ironbeat_common::id::NodeId;
use ironbeat_common::image::Digest;
use ironbeat_common::login::UserKey;
use ironbeat_core::decide::{Event, Rejected};
use ironbeat_core::id::{Incarnation, WorkerId};
use ironbeat_core::node::Sign;
use ironbeat_core::time::Time;
use ironbeat_ops::policy::changed;
use ironbeat_ops::reply::WorkerInfo;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// At shutdown, work in flight gets this long; then its alarms take over.
const GRACE: Duration = Duration::from_secs(10);

/// A worker that cannot say good-bye lapses, which others notice within seconds anyway.
const GOOD_BYE: Duration = Duration::from_secs(3);

/// Before a loop that could not begin is tried again.
const AGAIN: Duration = Duration::from_secs(60);

/// A bucket that another worker is just making, or whose leader is gone, answers after an election.
const ELECTION: Duration = Duration::from_secs(60);

/// Opens what NATS keeps, however long the servers need to elect a leader for it.
async fn elected<T>(open: impl AsyncFn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let begun = Instant::now();
    loop {
        match open().await {
            Err(error) if error.may_pass() && begun.elapsed() < ELECTION => {
                tracing::warn!(
                    "the NATS servers do not answer yet (is JetStream enabled there?): {error}"
                );
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            opened => return opened,
        }
    }
}

/// Runs until SIGTERM or SIGINT. `i_know`: a worker without logins may use servers on other machines.
///
/// # Errors
/// When a part cannot be started.
pub async fn run(config: Config, i_know: bool) -> anyhow::Result<()> {
    start_log();
    files::check(&config.http)?;
    let id = config.worker_id()?;
    let masters = secrets::load(&config.secrets).await?;
    let image_tokens = match config.http.images {
        Images::Open => None,
        Images::Private => ImageTokens::of(&masters),
    };
    let enroller = Enroller::of(&config.auto_discovery)?;
    let login = Login::of(&config.nats, i_know)?.map(Arc::new);
    let refusals = Refusals::default();
    let (client, front) = connect(&config.nats, &id, login.as_deref(), &refusals).await?;
    tokio::spawn(watch(client.clone(), config.nats.servers.clone()));
    let names = Names {
        prefix: config.nats.prefix.clone(),
        replicas: config.nats.replicas.into(),
        ..Names::default()
    };
    let (store, origin) =
        elected(async || origin::open(&client, &names, &masters, clock::now()).await)
            .await
            .context("open the node store")?;
    elected(async || store.keys.ready().await)
        .await
        .context("open the keys of the node store")?;
    let view = View::start(&store);
    let incarnation = Incarnation(uuid::Uuid::new_v4().as_u128() as u32);
    let keep = Duration::from_secs(config.policy.boot_timeout_secs.into());
    let tftp_dir = config.dnsmasq.as_ref().map(|it| it.tftp_dir.as_path());
    let mut hashed = Files::new(&config.http.boot_dir, tftp_dir, keep);
    let (serves, loaders) = hashed.look(Instant::now());
    let info = WorkerInfo {
        id: id.clone(),
        incarnation,
        url: config.http.url(),
        https: config.http.tls.as_ref().map(HttpTls::url),
        version: env!("CARGO_PKG_VERSION").into(),
        started: clock::now(),
        lacks: files::lacking(&config.http.boot_dir),
        serves,
        loaders,
        host: String::new(),
        stands_by: None,
        lacks_images: None,
        refused: vec![],
        records: vec![],
        policy: changed(&config.policy),
        master_keys: masters.ids(),
        mints_with: login.as_ref().map(|login| login.mint.key()),
        dnsmasq: None,
    };
    let presence = elected(async || Presence::start(&store, info.clone()).await)
        .await
        .context("announce this worker")?;
    let seen = elected(async || Seen::open(&store).await)
        .await
        .context("open the stream of last heartbeats")?;
    let bounds = &config.records;
    let events = elected(async || Events::open_with(&store, bounds).await)
        .await
        .context("open the event stream")?;
    let lookups = elected(async || Lookups::open(&store).await)
        .await
        .context("open the bucket of lookups")?;
    let logins = Logins::new(&store);
    let revocations = Revocations::new(&store, client.clone(), &config.nats.prefix);
    let spacing = Duration::from_millis(config.bmc.spacing_ms.into());
    let (found, passwords) = mpsc::channel(password::WAITING);
    let bmcs = Arc::new(Bmcs::new(spacing, found));
    let (prefix, tasks) = (config.nats.prefix.clone(), TaskTracker::new());
    let lives_secs = config.policy.agent_login_secs;
    let tickets = login.as_ref().map(|login| {
        let end = end_with(revocations.clone());
        Arc::new(Tickets::new(Arc::clone(login), end, lives_secs))
    });
    let hands = RealHands {
        prefix: prefix.clone(),
        client: client.clone(),
        presence: presence.clone(),
        view: view.clone(),
        events: events.clone(),
        logins: logins.clone(),
        bmcs: Arc::clone(&bmcs),
        tickets: tickets.clone(),
        tasks: tasks.clone(),
        flight: config.records.flight == Flight::On,
        ironic: config.events.ironic,
    };
    let drive = Drive::new(
        store.clone(),
        ServersClock,
        hands,
        id.clone(),
        incarnation,
        config.policy.clone(),
    );
    let worker = Arc::new(Worker {
        id: id.clone(),
        prefix,
        client,
        front,
        login,
        revocations,
        marks: Marks::start(&store),
        store,
        view,
        presence,
        seen,
        events,
        lookups,
        logins,
        bmcs,
        drive: Arc::new(drive),
        policy: config.policy.clone(),
        discovery: config.discovery,
        enroller,
        tickets,
        strangers: Strangers::default(),
        refusals: Seldom::default(),
        knocks: Seldom::default(),
        welcomes: Seldom::default(),
        plain: Seldom::default(),
        unanswered: Seldom::default(),
        image_tokens,
        image_dir: config.http.image_dir.clone(),
        scripts_by: config.http.scripts,
        tasks,
    });
    let consoles = Consoles::new(&worker);
    let remembering = origin::answer(worker.front.clone(), &worker.prefix, id.clone(), origin)
        .await
        .context("answer other workers")?;
    let served = tokio::spawn(watch_files(hashed, worker.presence.clone()));
    let started = start(&worker, &consoles, &config, &refusals, passwords).await;
    let Started {
        http,
        background,
        listening,
    } = match started {
        Ok(started) => started,
        Err(error) => {
            leave(&worker).await;
            return Err(error);
        }
    };
    tracing::info!(worker = %id, http = config.http.url(), nodes = worker.view.len(), "ready");

    let error = tokio::select! {
        ended = wait_for_signal() => ended.err(),
        by = worker.presence.replaced() => {
            Some(anyhow::Error::from(by).context("this worker was away for too long"))
        }
        why = refusals.ended() => Some(why),
    };
    tracing::info!(worker = %id, "stopping");
    // First refuse new work, then finish what is in flight, then give up the presence that entitles to it.
    if let Err(error) = listening.service.stop().await {
        tracing::warn!("stop the service: {error}");
    }
    served.abort();
    background.iter().for_each(|task| task.abort());
    worker.tasks.close();
    let in_flight = async {
        worker.tasks.wait().await;
        tokio::join!(worker.events.flush(), worker.lookups.flush());
    };
    if tokio::time::timeout(GRACE, in_flight).await.is_err() {
        tracing::warn!(
            "{} tasks were still running; other workers take over",
            worker.tasks.len()
        );
    }
    consoles.close().await;
    leave(&worker).await;
    listening.handed_over.abort();
    remembering.abort();
    worker.bmcs.close().await;
    http.stop().await;
    for connection in [&worker.front, &worker.client] {
        // What waits for servers that are away may leave no room for it.
        match tokio::time::timeout(GOOD_BYE, connection.drain()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("drain the NATS connection: {error}"),
            Err(_) => tracing::warn!("drain the NATS connection: no room for it"),
        }
    }
    error.map_or(Ok(()), Err)
}

/// The parts of a worker that machines and operators meet.
struct Started {
    http: http::Server,
    background: Vec<JoinHandle<()>>,
    listening: nats::Listening,
}

async fn start(
    worker: &Arc<Worker>,
    consoles: &Consoles,
    config: &Config,
    refusals: &Refusals,
    passwords: mpsc::Receiver<Found>,
) -> anyhow::Result<Started> {
    worker.view.ready().await;
    let boots = Boots {
        worker: worker.id.clone(),
        view: worker.view.clone(),
        presence: worker.presence.clone(),
        events: worker.events.clone(),
        on_sign: {
            let worker = Arc::clone(worker);
            Arc::new(move |node, sign| see(&worker, node, sign))
        },
        whose: Whose {
            view: worker.view.clone(),
            store: worker.store.clone(),
            discovery: config.discovery,
        },
        budgets: Arc::new(Budgets::of_events()),
        lines: Arc::default(),
        tickets: worker.tickets.clone(),
        scripts: Arc::new(Budgets::of_scripts()),
        scripts_by: config.http.scripts,
        leases: Arc::default(),
        on_script: {
            let drive = Arc::clone(&worker.drive);
            Arc::new(move |node, ticket| {
                let drive = Arc::clone(&drive);
                Box::pin(async move { give(&drive, node, ticket).await })
            })
        },
    };
    if let (Some(login), Some(tickets)) = (&worker.login, &worker.tickets) {
        // Its file may have a bootstrap login that was replaced since.
        let connector = connector(worker, login, &config.nats, refusals);
        grants::look(worker, &connector, login, tickets, &mut None).await;
    }
    let answers = boot_answers(&boots, config, worker)?;
    let ca = answers.ca.as_deref().map(confirm::sha256);
    let longest = longest(&answers, &boots, config.http.url());
    check_command_line(&longest).map_err(anyhow::Error::msg)?;
    let http = http::start(answers).await.context("serve HTTP")?;
    let consoles = console::start(consoles, config.console.record_mib())
        .await
        .context("serve consoles")?;
    let sync = Arc::new(PowerSync::default());
    let background = [
        tokio::spawn(consoles),
        tokio::spawn(files::watch(
            worker.presence.clone(),
            config.http.boot_dir.clone(),
            config.http.image_dir.clone(),
        )),
        tokio::spawn(trouble::watch(Arc::clone(worker), refusals.clone())),
        tokio::spawn(alarm::run(Arc::clone(worker))),
        tokio::spawn(turn::run(Arc::clone(worker))),
        tokio::spawn(power::run(Arc::clone(worker), Arc::clone(&sync))),
        tokio::spawn(sweep::run(Arc::clone(worker))),
        tokio::spawn(logins::run(Arc::clone(worker))),
        tokio::spawn(password::run(Arc::clone(worker), passwords)),
        tokio::spawn(revoke(
            Arc::clone(worker),
            config.nats.clone(),
            refusals.clone(),
        )),
        tokio::spawn(granted(
            Arc::clone(worker),
            config.nats.clone(),
            refusals.clone(),
        )),
    ];
    let dhcp = Dhcp::new(&worker.store);
    let staging = match config.dnsmasq.clone() {
        Some(dnsmasq) => {
            let info = worker.presence.own();
            let site = stage::Site {
                dnsmasq,
                http: config.http.clone(),
                policy: config.policy.clone(),
                ca,
            };
            Some(tokio::spawn(stage::run(boots, site, dhcp, info)))
        }
        None => {
            let gone = dhcp.tell(&worker.id, None).await;
            gone.context("say that no dnsmasq is here")?;
            None
        }
    };
    let background = background.into_iter().chain(staging).collect();
    if let Some(login) = &worker.login {
        let connector = connector(worker, login, &config.nats, refusals);
        grants::may_make_agents(&connector, login).await?;
    }
    let listening = nats::start(worker, &sync).await?;
    Ok(Started {
        http,
        background,
        listening,
    })
}

/// Where the operator has left it to workers.
async fn revoke(worker: Arc<Worker>, nats: Nats, refusals: Refusals) {
    let Some(login) = &worker.login else {
        return;
    };
    let Some(revoker) = &login.revoker else {
        return;
    };
    let connector = connector(&worker, login, &nats, &refusals);
    loop {
        if let Err(error) = revoke::run(&worker, &connector, revoker).await {
            tracing::error!("no login is ended before its time from here: {error:#}");
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Where there are logins.
async fn granted(worker: Arc<Worker>, nats: Nats, refusals: Refusals) {
    let (Some(login), Some(tickets)) = (&worker.login, &worker.tickets) else {
        return;
    };
    let connector = connector(&worker, login, &nats, &refusals);
    loop {
        if let Err(error) = grants::run(&worker, &connector, login, tickets).await {
            tracing::error!("granted keys are not looked after: {error:#}");
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn connector<'a>(
    worker: &'a Worker,
    login: &'a Login,
    nats: &'a Nats,
    refusals: &'a Refusals,
) -> Connector<'a> {
    Connector {
        nats,
        id: &worker.id,
        ca: login.ca.as_deref(),
        refusals,
    }
}

/// One connection for the worker's own traffic and one for answers; one for both where nobody has a login.
async fn connect(
    nats: &Nats,
    id: &WorkerId,
    login: Option<&Login>,
    refusals: &Refusals,
) -> anyhow::Result<(async_nats::Client, async_nats::Client)> {
    let connector = Connector {
        nats,
        id,
        ca: login.and_then(|login| login.ca.as_deref()),
        refusals,
    };
    let worker = login.map(|login| &login.worker);
    let client = connector.open(Part::Worker, worker).await?;
    let front = match login {
        Some(login) => connector.open(Part::Front, Some(&login.front)).await?,
        None => client.clone(),
    };
    Ok((client, front))
}

/// Hands on what was seen of a machine; a sign that is lost is missed by nothing but patience.
fn see(worker: &Arc<Worker>, node: NodeId, sign: Sign) {
    let (at, drive) = (clock::now(), Arc::clone(&worker.drive));
    worker.tasks.spawn(async move {
        if let Err(error) = drive.deliver(node, &Event::Seen { sign, at }).await {
            tracing::warn!(%node, ?sign, "not told to the node: {error}");
        }
    });
}

/// Writes keys of agents that are over to the list of those that the servers are to refuse.
fn end_with(revocations: Revocations) -> Arc<EndLogins> {
    Arc::new(move |logins| {
        let revocations = revocations.clone();
        let second = |time: Time| i64::try_from(time.unix_ms() / 1000 + 1).unwrap_or(i64::MAX);
        let listed = logins
            .iter()
            .map(|login| (login.key.to_string(), second(login.until)));
        let listed: Vec<_> = listed.collect();
        Box::pin(async move {
            revocations.revoke(&listed).await?;
            Ok(())
        })
    })
}

/// Saves the ticket of a boot script, before the script is served.
async fn give(drive: &Arc<RealDrive>, node: NodeId, ticket: UserKey) -> Option<bool> {
    let at = clock::now();
    match drive.deliver(node, &Event::Script { ticket, at }).await {
        Ok(node) => Some(node.tickets.opens(&ticket)),
        Err(ReconcileError::Rejected(Rejected::AgentNotWanted { .. })) => Some(false),
        Err(error) => {
            tracing::warn!(%node, "no ticket for its boot script: {error}");
            None
        }
    }
}

/// Hands on the word of an instance. Whoever has no token learns nothing, not even which nodes there are.
async fn confirmed(drive: &Arc<RealDrive>, node: NodeId, sha256: Digest<32>) -> StatusCode {
    match drive.deliver(node, &Event::Confirmed { sha256 }).await {
        Ok(_) => StatusCode::NO_CONTENT,
        Err(ReconcileError::NoNode(_) | ReconcileError::Rejected(_)) => StatusCode::NOT_FOUND,
        Err(error) => {
            tracing::warn!(%node, "the instance's word was not taken: {error}");
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

/// Whether a token is for a step that its node's agent is at. The index may be a moment behind the answer that told the agent to
/// begin: then the record says. None: it cannot be read.
async fn may_fetch(worker: &Worker, wish: &Wish) -> Option<bool> {
    let tokens = worker.image_tokens.as_ref();
    let purpose = tokens.and_then(|it| it.read(&wish.token, &wish.file, clock::now()));
    let (node, wanted) = match purpose {
        None => return Some(false),
        Some(Purpose::Look) => return Some(wish.is_look),
        Some(Purpose::Step { node, step }) => (node, step),
    };
    let entry = worker.view.get(&node);
    if entry.is_some_and(|entry| entry.agent.is_some_and(|at| at.step == wanted)) {
        return Some(true);
    }
    match worker.store.nodes.load(node).await {
        Ok(None) => Some(false),
        Ok(Some((node, _))) => Some(node.agent_step() == Some(wanted)),
        Err(error) => {
            tracing::warn!(%node, "whether it may have its image is not known: {error}");
            None
        }
    }
}

async fn leave(worker: &Worker) {
    if tokio::time::timeout(GOOD_BYE, worker.presence.leave())
        .await
        .is_err()
    {
        tracing::warn!("nobody hears this worker's good-bye");
    }
}

/// Log lines have the time of the host, as those of its other programs.
struct HostTime;

impl FormatTime for HostTime {
    fn format_time(&self, line: &mut Writer<'_>) -> std::fmt::Result {
        write!(line, "{}", clock::wall())
    }
}

fn start_log() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("IRONBEAT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // At debug it would print whole records, which have the queries of image URLs; at info, each time, what a connection
    // reports, which the worker tells itself.
    let quiet = "async_nats=warn".parse().expect("it is a directive");
    let filter = filter.add_directive(quiet);
    // A second subscriber is refused, which only tests that start several workers would meet.
    let _ = tracing_subscriber::fmt()
        .with_timer(HostTime)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
}

/// All that the HTTP side needs to answer a machine that boots.
///
/// # Errors
/// When the CA of the NATS servers cannot be read.
fn boot_answers(
    boots: &Boots,
    config: &Config,
    worker: &Arc<Worker>,
) -> anyhow::Result<BootAnswers> {
    let drive = Arc::clone(&worker.drive);
    let (of, on_fetch, workers) = (boots.clone(), boots.clone(), boots.clone());
    let on_distrust = boots.clone();
    let ca = worker.login.as_ref().and_then(|login| login.ca.as_ref());
    let ca = ca.map(|path| {
        let text = std::fs::read_to_string(path);
        text.with_context(|| format!("read {}", path.display()))
    });
    let ca = ca.transpose()?;
    Ok(BootAnswers {
        listen: config.http.listen,
        tls: config.http.tls.clone(),
        names: config.http.names.clone(),
        scripts: config.http.scripts,
        boot_dir: config.http.boot_dir.clone(),
        image_dir: config.http.image_dir.clone(),
        may_fetch: match config.http.images {
            Images::Open => None,
            Images::Private => {
                let worker = Arc::clone(worker);
                Some(Arc::new(move |wish| {
                    let worker = Arc::clone(&worker);
                    Box::pin(async move { may_fetch(&worker, &wish).await })
                }))
            }
        },
        limits: config.http.limits.clone(),
        nats: config.nats.for_agents().to_vec(),
        prefix: config.nats.prefix.clone(),
        kernel_args: config.http.kernel_args.clone(),
        ca: ca.map(Into::into),
        script_of: Arc::new(move |mac| {
            let of = of.clone();
            Box::pin(async move { of.script_of(mac).await })
        }),
        workers: Arc::new(move || workers.workers()),
        on_fetch: Arc::new(move |mac, what| on_fetch.fetched(mac, what)),
        on_distrust: Arc::new(move |ip, why| on_distrust.distrusted(ip, why)),
        on_confirm: Arc::new(move |node, sha256| {
            let drive = Arc::clone(&drive);
            Box::pin(async move { confirmed(&drive, node, sha256).await })
        }),
    })
}

/// What makes a kernel's command line as long as it gets here.
fn longest(answers: &BootAnswers, boots: &Boots, url: String) -> Facts {
    Facts {
        nats: answers.nats.clone(),
        prefix: answers.prefix.clone(),
        kernel_args: answers.kernel_args.clone(),
        ca: answers.ca.as_deref().map(confirm::sha256),
        workers: Workers {
            plain: vec![url; 3],
            boot: vec![],
        },
        access: boots.access(Some(new_ticket().0)),
    }
}

async fn wait_for_signal() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}
