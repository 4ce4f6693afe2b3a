//! What is read of this machine for a lookup, an inspection and a step, and how long each waits for it.
//! How one kind of thing is read is in `collect`.
use crate::collect::{Collector, Collectors, Roots, bmc, disks, nics, problem};
use crate::context::StepContext;
use crate::net;
use crate::net::lldp::Neighbours;
use anyhow::Context;
use ironbeat_common::heartbeat::Progress;
use ironbeat_common::id::Mac;
use ironbeat_common::inventory::{Disk, Inventory};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For the inventory of a lookup: what takes longer (a BMC, a dying disk) is in the next one.
const LOOKUP_BOUND: Duration = Duration::from_secs(3);
/// For an inspection, which may take its time.
const INSPECT_BOUND: Duration = Duration::from_secs(30);
/// A lookup waits for drivers at most this long: RAID controllers with many disks need some 20 s.
const DRIVERS_BOUND: Duration = Duration::from_secs(30);

/// What is read of this machine, and when.
pub struct Hardware {
    started: Instant,
    roots: Roots,
    neighbours: Arc<Neighbours>,
    /// Everything but the NICs, which change while the rest is read.
    machine: Collectors,
    nics: Collectors,
    pub drivers: Latch,
    /// The firmware's variables can be read and written.
    pub variables: Latch,
    /// Read as soon as there were drivers, for the first lookup.
    ahead: Mutex<Option<Inventory>>,
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
            roots,
            neighbours,
            machine: Collectors::new(machine),
            nics: Collectors::new(vec![nics]),
            drivers: Latch::default(),
            variables: Latch::default(),
            ahead: Mutex::default(),
        }
    }

    /// Waits until the firmware's variables can be read, at most as long as for drivers.
    pub fn wait_for_variables(&self) {
        self.variables.wait(DRIVERS_BOUND);
    }

    pub fn read_ahead(&self) {
        let inventory = self.machine.read(LOOKUP_BOUND);
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = Some(inventory);
    }

    pub fn for_lookup(&self) -> Inventory {
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

    pub fn inspect(&self, lldp_wait: Duration, context: &StepContext<'_>) -> Inventory {
        let report = |phase: &str| {
            (context.progress)(Progress {
                phase: phase.to_string(),
                ..Progress::default()
            })
        };
        report("hardware");
        let mut inventory = self.machine.read(INSPECT_BOUND);
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

/// A flag that is set once, and that threads can wait for.
#[derive(Default)]
pub struct Latch {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Latch {
    pub fn set(&self) {
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
