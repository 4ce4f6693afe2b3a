//! What is read of this machine for a lookup, an inspection and a step, and how long each waits for it.
//! How one kind of thing is read is in `collect`.
use super::settle::{self, Look, Settling};
use crate::collect::{Collector, Collectors, Roots, bmc, disks, nics, problem, tpm, undriven};
use crate::context::StepContext;
use crate::init::modules::load::Loaded;
use crate::latch::Latch;
use crate::net;
use crate::net::lldp::Neighbours;
use crate::netlink::Events;
use anyhow::Context;
use ironbeat_common::heartbeat::Progress;
use ironbeat_common::id::Mac;
use ironbeat_common::inventory::{DRIVERS, Disk, Inventory};
use ironbeat_common::measured::Measurements;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// For the inventory of a lookup: what takes longer (a BMC, a dying disk) is in the next one.
const LOOKUP_BOUND: Duration = Duration::from_secs(3);
/// For an inspection, which may take its time.
const INSPECT_BOUND: Duration = Duration::from_secs(30);
/// The first lookup waits for the hardware at most this long after the start: RAID controllers with many disks need some
/// 20 s for their driver alone, and `settle` waits half a minute for what comes after.
const DRIVERS_BOUND: Duration = Duration::from_secs(120);
/// A list of disks that takes longer is not a list of no disks: a lookup waits for it.
const DISKS_BOUND: Duration = Duration::from_secs(30);

/// Devices are looked at this often even without an event, as a safety net.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Problems with drivers that are reported: one is enough to doubt the disks.
const MAX_DOUBTS: usize = 16;

/// What is read of this machine, and when.
pub struct Hardware {
    started: Instant,
    roots: Roots,
    neighbours: Arc<Neighbours>,
    /// Everything but the NICs, which change while the rest is read, and the disks.
    machine: Collectors,
    disks: Collectors,
    nics: Collectors,
    /// Of firmware and loaders, whose measurements do not change while this kernel runs. Empty: not read yet.
    measured: Arc<OnceLock<Option<Measurements>>>,
    pub drivers: Latch,
    /// The firmware's variables can be read and written.
    pub variables: Latch,
    /// Read as soon as there were drivers, for the first lookup.
    ahead: Mutex<Option<Inventory>>,
    /// Why disks may be missing, however often they are read: what was the matter with their drivers.
    doubts: Mutex<Vec<String>>,
}

impl Hardware {
    pub fn new(booted: Option<Mac>, neighbours: Arc<Neighbours>) -> Self {
        let roots = Roots::at("/");
        let mut machine = Collectors::of_machine(&roots, booted);
        let (reader, bmc_roots) = (bmc::Reader::default(), roots.clone());
        machine.push(Collector {
            name: "bmc",
            read: Arc::new(move || reader.read(&bmc_roots)),
        });
        let (measured, tpm_roots) = (Arc::<OnceLock<_>>::default(), roots.clone());
        let once = measured.clone();
        machine.push(Collector {
            name: "tpm",
            read: Arc::new(move || {
                once.get_or_init(|| tpm::read(&tpm_roots));
                Ok(Box::new(|_| ()))
            }),
        });
        let (heard, nics_roots) = (neighbours.clone(), roots.clone());
        let nics = Collector {
            name: "nics",
            read: Arc::new(move || {
                let view = net::KernelView::now(heard.clone())
                    .context("asking the kernel for its network interfaces")?;
                nics::read(&nics_roots, &|name| view.facts(name))
            }),
        };
        Self {
            started: Instant::now(),
            disks: Collectors::of_disks(&roots),
            roots,
            neighbours,
            machine: Collectors::new(machine),
            nics: Collectors::new(vec![nics]),
            measured,
            drivers: Latch::default(),
            variables: Latch::default(),
            ahead: Mutex::default(),
            doubts: Mutex::default(),
        }
    }

    /// Waits until the firmware's variables can be read, at most as long as for drivers.
    pub fn wait_for_variables(&self) {
        self.variables.wait(DRIVERS_BOUND);
    }

    /// Waits until the machine shows all of its disks, and reads it. `load` loads drivers for new devices.
    pub fn settle(&self, mut load: impl FnMut() -> Loaded) {
        let first = load();
        tracing::info!(
            count = first.modules,
            failed = first.failed.join(", "),
            "modules loaded"
        );
        let mut doubts = first.hides_disks;
        let (loaded, mut settling) = (Instant::now(), Settling::default());
        let (missing, disks) = loop {
            let more = load();
            doubts.extend(more.hides_disks);
            let disks = self.disks.read(LOOKUP_BOUND);
            let look = Look {
                modules: more.modules,
                disks: disks.disks.len(),
                unread: disks.problems.len(),
                ..settle::look_at_controllers(&self.roots.sys)
            };
            if let Some(missing) = settling.look(loaded.elapsed(), &look) {
                break (missing, disks);
            }
            std::thread::sleep(settle::LOOK_EVERY);
        };
        doubts.extend(missing);
        self.read_ahead(doubts, disks);
    }

    /// Loads drivers for devices that come later: a stick, an SD card, what hangs on a controller that takes its time.
    pub fn watch(&self, events: &Events, mut load: impl FnMut() -> Loaded) {
        loop {
            if let Err(error) = events.wait(LOOK_AGAIN) {
                tracing::warn!(%error, "cannot listen for devices");
                std::thread::sleep(LOOK_AGAIN);
            }
            // Devices come in groups: a stick is five of them.
            std::thread::sleep(settle::LOOK_EVERY);
            let late = load();
            if late.modules > 0 || !late.failed.is_empty() {
                tracing::info!(
                    count = late.modules,
                    failed = late.failed.join(", "),
                    "modules loaded for a new device"
                );
            }
            let mut doubts = self.doubts.lock().unwrap_or_else(PoisonError::into_inner);
            doubts.extend(late.hides_disks);
            doubts.truncate(MAX_DOUBTS);
        }
    }

    fn read_ahead(&self, doubts: Vec<String>, disks: Inventory) {
        *self.doubts.lock().unwrap_or_else(PoisonError::into_inner) = doubts;
        let mut inventory = self.machine.read(LOOKUP_BOUND);
        add_disks(&mut inventory, disks);
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = Some(inventory);
    }

    pub fn for_lookup(&self) -> (Inventory, Option<Measurements>) {
        let in_time = self
            .drivers
            .wait(DRIVERS_BOUND.saturating_sub(self.started.elapsed()));
        let ahead = self
            .ahead
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let mut inventory = ahead.unwrap_or_else(|| {
            let mut inventory = self.machine.read(LOOKUP_BOUND);
            add_disks(&mut inventory, self.disks.read(DISKS_BOUND));
            inventory
        });
        self.add_nics(&mut inventory);
        self.add_doubts(&mut inventory);
        if !in_time {
            let what = format!("still loading after {} s", DRIVERS_BOUND.as_secs());
            problem(&mut inventory, DRIVERS, what);
        }
        (inventory, self.measured.get().cloned().flatten())
    }

    pub fn inspect(&self, lldp_wait: Duration, context: &StepContext<'_>) -> Inventory {
        let report = |phase: &str| {
            (context.progress)(Progress {
                phase: phase.to_string(),
                ..Progress::default()
            })
        };
        report("hardware");
        let mut inventory = self.machine.read(INSPECT_BOUND);
        add_disks(&mut inventory, self.disks.read(INSPECT_BOUND));
        self.add_doubts(&mut inventory);
        report("lldp");
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

    fn add_doubts(&self, inventory: &mut Inventory) {
        let doubts = self.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        for what in doubts.iter().take(MAX_DOUBTS) {
            problem(inventory, DRIVERS, what.clone());
        }
        for bare in undriven::list(&self.roots.sys).into_iter().take(MAX_DOUBTS) {
            tracing::warn!(bare.collector, bare.what, "inventory");
            inventory.problems.push(bare);
        }
    }

    fn add_nics(&self, inventory: &mut Inventory) {
        let read = self.nics.read(LOOKUP_BOUND);
        inventory.nics = read.nics;
        inventory.problems.extend(read.problems);
    }

    pub fn disks(&self) -> Vec<Disk> {
        match disks::list(&self.roots.sys) {
            Ok((disks, _)) => disks,
            Err(error) => {
                tracing::error!("{error:#}");
                Vec::new()
            }
        }
    }
}

fn add_disks(inventory: &mut Inventory, read: Inventory) {
    inventory.disks = read.disks;
    inventory.problems.extend(read.problems);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_matter_with_storage_drivers_is_in_every_inventory() {
        let hardware = Hardware::new(None, Arc::default());
        let why = "mpt3sas: Invalid argument";
        hardware.read_ahead(vec![why.to_string()], Inventory::default());
        hardware.drivers.set();
        // The first was read ahead.
        for _ in 0..2 {
            let (inventory, _) = hardware.for_lookup();
            let mut problems = inventory.disk_problems();
            let of_drivers = problems.find(|problem| problem.collector == DRIVERS);
            assert_eq!(of_drivers.map(|problem| problem.what.as_str()), Some(why));
        }
    }
}
