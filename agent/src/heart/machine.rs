//! Starts everything in order, as PID 1 or as an ordinary process, and reboots or powers off at the end.
//! What each part does is left to its module.
use super::beat::{self, Heart};
use super::hardware::Hardware;
use super::link::{Link, Servers};
use super::login::Access;
use super::perform::{Authority, perform};
use super::set_clock::{self, Bounds, Sources};
use super::steps::{Ending, Runner};
use super::{arguments, authority};
use crate::clock::{Timings, Wall};
use crate::collect::undriven;
use crate::context::StepContext;
use crate::init::cmdline::{self, Settings};
use crate::init::{modules, pid1, ramdisk, seed};
use crate::log::{self, Lines};
use crate::net::lldp::Neighbours;
use crate::net::setup::{BootNetwork, Surroundings};
use crate::netlink::Events;
use crate::web::trust::Trust;
use crate::web::url::Url;
use crate::web::way::Web;
use crate::{net, random};
use anyhow::Context;
use ironbeat_common::order::Order;
use rustix::system::RebootCommand;
use rustls::ClientConfig;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Runs as an ordinary process on a machine that is in use.
///
/// # Errors
/// When the settings can never work.
pub fn run_as_process(
    settings: &Settings,
    lines: Lines,
    authority: Authority,
) -> anyhow::Result<()> {
    let timings = Arc::new(Timings::default());
    timings.note(|t, now| t.agent_ms = now);
    let neighbours = Arc::new(Neighbours::default());
    net::listen_everywhere(Path::new("/sys"), &neighbours);
    let hardware = Arc::new(Hardware::new(settings.booted, neighbours));
    hardware.drivers.set();
    hardware.variables.set();
    end(live(settings, lines, authority, timings, hardware, None)?)
}

/// Runs as the only program of a ramdisk. When it cannot go on it panics, and the panic hook reboots.
pub fn run_as_init() -> ! {
    pid1::prepare();
    let timings = Arc::new(Timings::default());
    timings.note(|t, now| t.agent_ms = now);
    let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let settings = cmdline::parse(&line);
    let lines = log::start(settings.debug);
    in_background("entropy", seed::when_needed);
    assert!(
        !settings.nats.is_empty() || !settings.workers.is_empty(),
        "the kernel's command line names no NATS server (ib.nats=nats://HOST:PORT), and no worker to ask for one (ib.http)"
    );
    let neighbours = Arc::new(Neighbours::default());
    let hardware = Arc::new(Hardware::new(settings.booted, neighbours.clone()));
    load_modules(hardware.clone(), timings.clone());
    let boot = BootNetwork {
        booted: settings.booted,
        address: settings.address,
        name_servers: settings.name_servers.clone(),
    };
    let reached = Arc::new(AtomicBool::new(false));
    let around = Surroundings::of_machine(reached.clone(), no_network);
    let ended = net::setup::start(boot, around, neighbours, timings.clone())
        .and_then(|ready| {
            let ready = ready.blocking_recv();
            let named = ready.context("the network thread ended before there was a network")?;
            let named = named.iter().map(ToString::to_string);
            let sources = Sources {
                ntp: settings.ntp.iter().cloned().chain(named).collect(),
                workers: urls(&settings.workers),
            };
            let wall = Arc::new(Wall::of_machine());
            set_clock::start(&wall, Bounds::of_ramdisk(Path::new("/")), sources.clone());
            let trust = Arc::new(Trust::new(wall));
            let over_tls = urls(&settings.over_tls);
            let settings =
                arguments::complete(settings, &line, &trust, &sources.workers, &over_tls)?;
            let network = Network { trust, reached };
            live(
                &settings,
                lines,
                Authority::Full,
                timings,
                hardware,
                Some(network),
            )
        })
        .and_then(end);
    match ended {
        Ok(()) => panic!("the kernel neither rebooted nor powered off"),
        Err(error) => panic!("{error:#}"),
    }
}

/// Why a machine may have no network, for whoever looks at its console.
fn no_network() -> Vec<String> {
    let mut reasons = undriven::nics(Path::new("/sys"));
    reasons.extend(ramdisk::is_incomplete(Path::new("/")));
    reasons
}

/// On its own thread: loads the drivers until the hardware has settled, then reads the inventory, while the network is still coming up.
fn load_modules(hardware: Arc<Hardware>, timings: Arc<Timings>) {
    let load = move || {
        // Before the first look, so that no device comes between the two.
        let events = Events::of_devices();
        let mut loader = match modules::Loader::open(Path::new("/")) {
            Ok(loader) => Some(loader),
            // A kernel with everything built in has none.
            Err(error) => {
                match ramdisk::is_incomplete(Path::new("/")) {
                    Some(why) => tracing::error!("{why}"),
                    None => tracing::warn!(%error, "no modules"),
                }
                None
            }
        };
        let mut is_first = true;
        hardware.settle(|| {
            let loaded = loader.as_mut().map(modules::Loader::load_new);
            if std::mem::take(&mut is_first) {
                timings.note(|t, now| t.modules_ms = now);
            }
            loaded.unwrap_or_default()
        });
        timings.note(|t, now| t.inventory_ms = now);
        hardware.drivers.set();
        // Slow firmware takes a quarter of a second to list its variables: no lookup should wait for that.
        pid1::mount_firmware_variables();
        hardware.variables.set();
        match (events, loader) {
            (Ok(events), Some(mut loader)) => hardware.watch(&events, || loader.load_new()),
            (Err(error), _) => tracing::warn!(%error, "cannot listen for devices"),
            (Ok(_), None) => {}
        }
    };
    in_background("drivers", load);
}

fn in_background(name: &str, work: impl FnOnce() + Send + 'static) {
    let spawned = std::thread::Builder::new()
        .name(name.to_string())
        .spawn(work);
    spawned.expect("a machine that just booted has threads");
}

/// The network that was set up.
struct Network {
    /// By a clock that the network sets.
    trust: Arc<Trust>,
    /// Where it is told that a server was reached.
    reached: Arc<AtomicBool>,
}

/// Connects and runs the heart; one thread serves all sockets. `network`: `None` if it was up already.
fn live(
    settings: &Settings,
    lines: Lines,
    authority: Authority,
    timings: Arc<Timings>,
    hardware: Arc<Hardware>,
    network: Option<Network>,
) -> anyhow::Result<Ending> {
    for word in &settings.refused {
        tracing::warn!(word, "not understood");
    }
    let workers = urls(&settings.workers);
    let proxy = urls(settings.proxy.as_slice()).pop();
    let (trust, reached) = match network {
        Some(Network { trust, reached }) => (trust, reached),
        None => (trust_of_process(settings, &workers), Arc::default()),
    };
    let web = Arc::new(Web::new(trust, proxy, &workers));
    let boot = random::boot_id();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %boot, servers = settings.nats.join(","), "agent started");
    let inspect = {
        let hardware = hardware.clone();
        move |lldp_wait, context: &StepContext<'_>| hardware.inspect(lldp_wait, context)
    };
    let disks = {
        let hardware = hardware.clone();
        move || hardware.disks()
    };
    let (variables, fetching) = (hardware.clone(), web.clone());
    let runner = Runner::new(
        Arc::new(move |order, context| {
            if matches!(order, Order::SetBootEntry { .. }) {
                variables.wait_for_variables();
            }
            perform(order, context, authority, &inspect, &fetching)
        }),
        Arc::new(disks),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .context("starting the runtime for sockets")?;
    runtime.block_on(async {
        let tls = whom_to_believe(settings, web, workers).await?;
        let name = format!(
            "ironbeat-agent {}",
            settings
                .booted
                .map_or_else(String::new, |mac| mac.to_string())
        );
        let access = Access::new(settings.login.as_ref(), settings.ticket.as_ref());
        let servers = Servers {
            urls: settings.nats.clone(),
            boot,
            name: name.trim_end().into(),
            reached,
            tls,
        };
        let heart = Heart {
            link: Link::start(&servers, access.bootstrap()).await?,
            servers,
            access,
            prefix: settings.prefix.clone(),
            boot,
            runner,
            machine: Arc::new(move || hardware.for_lookup()),
            timings,
            lines,
            final_beat: beat::FINAL_BEAT,
        };
        Ok(beat::run(heart).await)
    })
}

/// The time is that of the machine, with what others say of it.
fn trust_of_process(settings: &Settings, workers: &[Url]) -> Arc<Trust> {
    let wall = Arc::new(Wall::default());
    let sources = Sources {
        ntp: settings.ntp.clone(),
        workers: workers.to_vec(),
    };
    set_clock::start(&wall, None, sources);
    Arc::new(Trust::new(wall))
}

/// Those that can be used; the boot script has no others.
fn urls(words: &[String]) -> Vec<Url> {
    let read = |word: &String| match Url::parse(word) {
        Ok(url) => Some(url),
        Err(error) => {
            tracing::warn!(word, %error, "not understood");
            None
        }
    };
    words.iter().filter_map(read).collect()
}

/// Whom the connection to NATS believes, once that and the time are known; none: it may go without TLS.
async fn whom_to_believe(
    settings: &Settings,
    web: Arc<Web>,
    workers: Vec<Url>,
) -> anyhow::Result<Option<ClientConfig>> {
    let site = {
        let (web, named) = (web.clone(), settings.ca);
        let find = move || authority::of_site(&web, &workers, named.as_ref());
        let found = tokio::task::spawn_blocking(find).await;
        found.context("fetching the CA of the site")??
    };
    let by_tls = |server: &String| server.starts_with("tls://");
    if site.is_none() && !settings.nats.iter().any(by_tls) {
        return Ok(None);
    }
    let believe = move || {
        if let Some(site) = site {
            web.trust.believe(site);
        }
        // The time says which certificates are good.
        web.trust.wall().wait(set_clock::FIRST_ROUND);
        web.trust.of_site()
    };
    let config = tokio::task::spawn_blocking(believe).await;
    config.context("waiting for the time").map(Some)
}

/// Reboots or powers off. Returns only when the kernel refuses, or as an ordinary process in a container.
fn end(ending: Ending) -> anyhow::Result<()> {
    rustix::fs::sync();
    tracing::info!(?ending, "leaving");
    let command = match ending {
        Ending::Reboot => RebootCommand::Restart,
        Ending::PowerOff => RebootCommand::PowerOff,
    };
    rustix::system::reboot(command).with_context(|| format!("asking the kernel for {ending:?}"))
}
