//! Puts the parts together for the machine at hand: what is read, what may be done, and the life in between.
//! The parts themselves are the other modules.
use crate::clock::Timings;
use crate::collect::{Collector, Collectors, Roots, bmc, disks, nics, problem};
use crate::heart::beat::{self, Heart};
use crate::heart::link::Link;
use crate::heart::perform::{Authority, perform};
use crate::heart::steps::{Ending, Runner, StepContext};
use crate::init::cmdline::{self, Hints};
use crate::init::{modules, pid1, seed};
use crate::log::{self, Lines};
use crate::net::lldp::Neighbours;
use crate::{net, random};
use anyhow::Context;
use ironbeat_common::heartbeat::Progress;
use ironbeat_common::inventory::{Disk, Inventory};
use ironbeat_common::order::Order;
use rustix::system::RebootCommand;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// For an inventory that a lookup waits for: what takes longer (a BMC, a dying disk) is in the next one.
const LOOKUP_BOUND: Duration = Duration::from_secs(3);
/// For an inspection, which is in no hurry.
const INSPECT_BOUND: Duration = Duration::from_secs(30);
/// A lookup waits for drivers at most this long: RAID controllers with many disks need some 20 s.
const DRIVERS_BOUND: Duration = Duration::from_secs(30);

/// Runs on a machine that somebody else started and keeps.
///
/// # Errors
/// When the settings can never work.
pub fn run_as_process(hints: &Hints, lines: Lines, authority: Authority) -> anyhow::Result<()> {
    let timings = Arc::new(Timings::default());
    timings.note(|t, now| t.agent_ms = now);
    let neighbours = Arc::new(Neighbours::default());
    net::listen_everywhere(Path::new("/sys"), &neighbours);
    let hardware = Arc::new(Hardware::new(hints, neighbours));
    hardware.drivers.set();
    hardware.variables.set();
    end(live(hints, lines, authority, timings, hardware, None)?)
}

/// Runs as the only program of a ramdisk. A panic is how it ends when it cannot go on: the hook reboots.
pub fn run_as_init() -> ! {
    pid1::prepare();
    let timings = Arc::new(Timings::default());
    timings.note(|t, now| t.agent_ms = now);
    let hints = cmdline::parse(&std::fs::read_to_string("/proc/cmdline").unwrap_or_default());
    let lines = log::start(hints.debug);
    in_background("entropy", seed::when_needed);
    assert!(
        !hints.nats.is_empty(),
        "the kernel's command line names no NATS server (ib.nats=nats://HOST:PORT)"
    );
    let neighbours = Arc::new(Neighbours::default());
    let hardware = Arc::new(Hardware::new(&hints, neighbours.clone()));
    load_modules(hardware.clone(), timings.clone());
    let ended = net::setup::start(&hints, Path::new("/sys"), neighbours, timings.clone())
        .and_then(|network| {
            live(
                &hints,
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
    hints: &Hints,
    lines: Lines,
    authority: Authority,
    timings: Arc<Timings>,
    hardware: Arc<Hardware>,
    network: Option<oneshot::Receiver<()>>,
) -> anyhow::Result<Ending> {
    for word in &hints.refused {
        tracing::warn!(word, "not understood");
    }
    let boot = random::boot_id();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %boot, servers = hints.nats.join(","), "agent started");
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
                variables.variables.wait(DRIVERS_BOUND);
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
            hints.booted.map_or_else(String::new, |mac| mac.to_string())
        );
        let heart = Heart {
            link: Link::start(hints, &boot, name.trim_end()).await?,
            prefix: hints.prefix.clone(),
            boot,
            runner,
            inventory: Arc::new(move || hardware.for_lookup()),
            timings,
            lines,
        };
        Ok(beat::run(heart).await)
    })
}

/// What is read of this machine, and when.
struct Hardware {
    started: Instant,
    roots: Roots,
    neighbours: Arc<Neighbours>,
    /// Everything but the NICs, which change while the rest is read.
    machine: Collectors,
    nics: Collectors,
    drivers: Latch,
    /// The firmware's variables can be read and written.
    variables: Latch,
    /// Read as soon as there were drivers, for the first lookup.
    ahead: Mutex<Option<Inventory>>,
}

impl Hardware {
    fn new(hints: &Hints, neighbours: Arc<Neighbours>) -> Self {
        let roots = Roots::at("/");
        let mut machine = Collectors::of_machine(&roots, hints.booted);
        let (reader, bmc_roots) = (bmc::Reader::default(), roots.clone());
        machine.push(Collector {
            name: "bmc",
            read: Arc::new(move || reader.read(&bmc_roots)),
        });
        let (heard, nics_roots) = (neighbours.clone(), roots.clone());
        let nics = Collector {
            name: "nics",
            read: Arc::new(move || {
                let seen = net::Seen::now(heard.clone())
                    .context("asking the kernel for its network interfaces")?;
                nics::read(&nics_roots, &seen)
            }),
        };
        Self {
            started: Instant::now(),
            roots,
            neighbours,
            machine: Collectors::new(machine),
            nics: Collectors::new(vec![nics]),
            drivers: Latch::default(),
            variables: Latch::default(),
            ahead: Mutex::default(),
        }
    }

    fn read_ahead(&self) {
        let inventory = self.machine.read(LOOKUP_BOUND);
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = Some(inventory);
    }

    fn for_lookup(&self) -> Inventory {
        let in_time = self.drivers.wait(DRIVERS_BOUND);
        let ahead = self
            .ahead
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let mut inventory = ahead.unwrap_or_else(|| self.machine.read(LOOKUP_BOUND));
        self.add_nics(&mut inventory);
        if !in_time {
            let what = format!("still loading after {} s", DRIVERS_BOUND.as_secs());
            problem(&mut inventory, "drivers", what);
        }
        inventory
    }

    fn inspect(&self, lldp_wait: Duration, context: &StepContext<'_>) -> Inventory {
        let tell = |phase: &str| {
            (context.progress)(Progress {
                phase: phase.to_string(),
                ..Progress::default()
            })
        };
        tell("hardware");
        let mut inventory = self.machine.read(INSPECT_BOUND);
        tell("lldp");
        net::wait_for_neighbours(
            &self.roots.sys,
            &self.neighbours,
            self.started,
            lldp_wait,
            context.cancelled,
        );
        self.add_nics(&mut inventory);
        inventory
    }

    fn add_nics(&self, inventory: &mut Inventory) {
        let read = self.nics.read(LOOKUP_BOUND);
        inventory.nics = read.nics;
        inventory.problems.extend(read.problems);
    }

    fn disks(&self) -> Vec<Disk> {
        match disks::list(&self.roots.sys) {
            Ok((disks, _)) => disks,
            Err(error) => {
                tracing::error!("{error:#}");
                Vec::new()
            }
        }
    }
}

/// Set once; whoever waits goes on.
#[derive(Default)]
struct Latch {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Latch {
    fn set(&self) {
        *self.is_set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Whether it was set within `limit`.
    fn wait(&self, limit: Duration) -> bool {
        let is_set = self.is_set.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .changed
            .wait_timeout_while(is_set, limit, |is_set| !*is_set);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
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
