//! Starts everything in order, as PID 1 or as an ordinary process, and reboots or powers off at the end.
//! What each part does is left to its module.
use super::beat::{self, Heart};
use super::hardware::Hardware;
use super::link::{Link, Servers};
use super::login::Access;
use super::perform::{Authority, perform};
use super::steps::{Ending, Runner};
use crate::clock::Timings;
use crate::collect::undriven;
use crate::context::StepContext;
use crate::init::cmdline::{self, Settings};
use crate::init::{modules, pid1, ramdisk, seed};
use crate::log::{self, Lines};
use crate::net::lldp::Neighbours;
use crate::net::setup::{BootNetwork, Surroundings};
use crate::netlink::Events;
use crate::{net, random};
use anyhow::Context;
use ironbeat_common::order::Order;
use rustix::system::RebootCommand;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::oneshot;

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
    let settings = cmdline::parse(&std::fs::read_to_string("/proc/cmdline").unwrap_or_default());
    let lines = log::start(settings.debug);
    in_background("entropy", seed::when_needed);
    assert!(
        !settings.nats.is_empty(),
        "the kernel's command line names no NATS server (ib.nats=nats://HOST:PORT)"
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
            let network = Network { ready, reached };
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

/// The network that is being set up.
struct Network {
    /// Fires when it is up.
    ready: oneshot::Receiver<()>,
    /// Where it is told that a server was reached.
    reached: Arc<AtomicBool>,
}

/// Connects and runs the heart; one thread serves all sockets. `network`: `None` if it is up already.
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
    let variables = hardware.clone();
    let runner = Runner::new(
        Arc::new(move |order, context| {
            if matches!(order, Order::SetBootEntry { .. }) {
                variables.wait_for_variables();
            }
            perform(order, context, authority, &inspect)
        }),
        Arc::new(disks),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .context("starting the runtime for sockets")?;
    runtime.block_on(async {
        let mut reached = Arc::default();
        if let Some(network) = network {
            let ready = network.ready.await;
            ready.context("the network thread ended before there was a network")?;
            reached = network.reached;
        }
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
        };
        let heart = Heart {
            link: Link::start(&servers, access.bootstrap()).await?,
            servers,
            access,
            prefix: settings.prefix.clone(),
            boot,
            runner,
            inventory: Arc::new(move || hardware.for_lookup()),
            timings,
            lines,
            final_beat: beat::FINAL_BEAT,
        };
        Ok(beat::run(heart).await)
    })
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
