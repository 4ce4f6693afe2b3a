//! Puts the parts together for the machine at hand: what is read, what may be done, and the life in between.
//! The parts themselves are the other modules.
use crate::beat::{self, Heart};
use crate::clock::Timings;
use crate::cmdline::Hints;
use crate::collect::{Collector, Collectors, Roots, disks, nics};
use crate::link::Link;
use crate::log::Lines;
use crate::steps::{Authority, Ending, Runner, perform};
use crate::{net, random};
use anyhow::Context;
use ironbeat_common::inventory::Inventory;
use rustix::system::RebootCommand;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// For an inventory that a lookup waits for: what takes longer (a BMC, a dying disk) is in the next one.
const LOOKUP_BOUND: Duration = Duration::from_secs(3);
/// For an inspection, which is in no hurry.
const INSPECT_BOUND: Duration = Duration::from_secs(30);

/// Runs on a machine that somebody else started and keeps.
///
/// # Errors
/// When the settings can never work.
pub fn run_as_process(hints: Hints, lines: Lines, authority: Authority) -> anyhow::Result<()> {
    let timings = Arc::new(Timings::default());
    timings.note(|t, now| t.agent_ms = now);
    let ending = live(&hints, lines, authority, timings)?;
    end(ending);
    Ok(())
}

/// The agent's life, on one thread for all sockets.
fn live(
    hints: &Hints,
    lines: Lines,
    authority: Authority,
    timings: Arc<Timings>,
) -> anyhow::Result<Ending> {
    for word in &hints.refused {
        tracing::warn!(word, "not understood");
    }
    let roots = Roots::at("/");
    let collectors = Arc::new(Collectors::new(collectors(&roots, hints)));
    let inventory = {
        let (collectors, timings) = (collectors.clone(), timings.clone());
        move || {
            let inventory = collectors.read(LOOKUP_BOUND);
            timings.note(|t, now| t.inventory_ms = now);
            inventory
        }
    };
    let inspect = move |_lldp_wait: Duration, _cancelled: &AtomicBool| -> Inventory {
        collectors.read(INSPECT_BOUND)
    };
    let disks = move || match disks::list(&roots.sys) {
        Ok((disks, _)) => disks,
        Err(error) => {
            tracing::error!("{error:#}");
            Vec::new()
        }
    };
    let runner = Runner::new(
        Arc::new(move |order, context| perform(order, context, authority, &inspect)),
        Arc::new(disks),
    );
    let boot = random::boot_id();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .context("starting the runtime for sockets")?;
    runtime.block_on(async {
        let name = format!("ironbeat-agent {}", hints.booted.map_or_else(String::new, |mac| mac.to_string()));
        let link = Link::start(hints, &boot, name.trim_end()).await?;
        tracing::info!(version = env!("CARGO_PKG_VERSION"), %boot, servers = hints.nats.join(","), "agent started");
        let heart = Heart {
            link,
            prefix: hints.prefix.clone(),
            boot,
            runner,
            inventory: Arc::new(inventory),
            timings,
            lines,
        };
        Ok(beat::run(heart).await)
    })
}

fn collectors(roots: &Roots, hints: &Hints) -> Vec<Collector> {
    let mut all = Collectors::of_machine(roots, hints.booted);
    let roots = roots.clone();
    all.push(Collector {
        name: "nics",
        read: Arc::new(move || {
            let seen = net::Seen::now().context("asking the kernel for its network interfaces")?;
            nics::read(&roots, &seen)
        }),
    });
    all
}

/// Does the last order. Returns only when the kernel refuses.
fn end(ending: Ending) {
    rustix::fs::sync();
    let command = match ending {
        Ending::Reboot => RebootCommand::Restart,
        Ending::PowerOff => RebootCommand::PowerOff,
    };
    tracing::info!(?ending, "the last order");
    if let Err(error) = rustix::system::reboot(command) {
        tracing::error!(%error, ?ending, "the kernel refused");
    }
}
