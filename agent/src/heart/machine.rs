//! Puts the parts together for the machine at hand: what is read, what may be done, and the life in between.
//! The parts themselves are the other modules.
use super::beat::{self, Heart};
use super::hardware::Hardware;
use super::link::Link;
use super::perform::{Authority, perform};
use super::steps::{Ending, Runner};
use crate::clock::Timings;
use crate::context::StepContext;
use crate::init::cmdline::{self, Settings};
use crate::init::{modules, pid1, seed};
use crate::log::{self, Lines};
use crate::net::lldp::Neighbours;
use crate::net::setup::BootNetwork;
use crate::{net, random};
use anyhow::Context;
use ironbeat_common::order::Order;
use rustix::system::RebootCommand;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Runs on a machine that somebody else started and keeps.
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

/// Runs as the only program of a ramdisk. A panic is how it ends when it cannot go on: the hook reboots.
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
    let ended = net::setup::start(boot, Path::new("/sys"), neighbours, timings.clone())
        .and_then(|network| {
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
        Ok(()) => panic!("the kernel went on after the last order"),
        Err(error) => panic!("{error:#}"),
    }
}

/// On a thread of its own; reads the inventory when the drivers are there, while the network still comes up.
fn load_modules(hardware: Arc<Hardware>, timings: Arc<Timings>) {
    let load = move || {
        match modules::load_all(Path::new("/")) {
            Ok(loaded) => {
                tracing::info!(
                    count = loaded.modules,
                    failed = loaded.failed.join(", "),
                    "modules loaded"
                );
            }
            // A kernel with everything built in has none.
            Err(error) => tracing::warn!(%error, "no modules"),
        }
        timings.note(|t, now| t.modules_ms = now);
        hardware.read_ahead();
        timings.note(|t, now| t.inventory_ms = now);
        hardware.drivers.set();
        // Firmware that is slow to list its variables takes a quarter of a second: no lookup waits for that.
        pid1::mount_firmware_variables();
        hardware.variables.set();
    };
    in_background("drivers", load);
}

fn in_background(name: &str, work: impl FnOnce() + Send + 'static) {
    let spawned = std::thread::Builder::new()
        .name(name.to_string())
        .spawn(work);
    spawned.expect("a machine that just booted has threads");
}

/// The agent's life, on one thread for all sockets. `network` is told when there is one; without it there is one already.
fn live(
    settings: &Settings,
    lines: Lines,
    authority: Authority,
    timings: Arc<Timings>,
    hardware: Arc<Hardware>,
    network: Option<oneshot::Receiver<()>>,
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
        if let Some(network) = network {
            network
                .await
                .context("the network thread ended before there was a network")?;
        }
        let name = format!(
            "ironbeat-agent {}",
            settings
                .booted
                .map_or_else(String::new, |mac| mac.to_string())
        );
        let heart = Heart {
            link: Link::start(&settings.nats, &boot, name.trim_end()).await?,
            prefix: settings.prefix.clone(),
            boot,
            runner,
            inventory: Arc::new(move || hardware.for_lookup()),
            timings,
            lines,
        };
        Ok(beat::run(heart).await)
    })
}

/// Does the last order. Returns only when the kernel refuses, or when this is not the whole machine's end.
fn end(ending: Ending) -> anyhow::Result<()> {
    rustix::fs::sync();
    tracing::info!(?ending, "the last order");
    let command = match ending {
        Ending::Reboot => RebootCommand::Restart,
        Ending::PowerOff => RebootCommand::PowerOff,
    };
    rustix::system::reboot(command).with_context(|| format!("asking the kernel for {ending:?}"))
}
