//! Simulated machines: power, POST, what firmware boots, and blows of fate. Their agents are in `agent`, their BMCs in `bmc`.
//! What a machine is told to boot from the network is the conductor's word, as one of its workers has it in its index.
use crate::agent::Agent;
use crate::disks::{Content, SimDisk};
use crate::front::Job;
use crate::{Happens, OfMachine, World};
use ironbeat_common::id::{BootId, Mac, NodeId};
use ironbeat_common::login::UserKey;
use ironbeat_core::boot::Boot;
use ironbeat_core::index::Entry;
use ironbeat_core::node::{BmcAddress, BootDevice, Sign};

/// A kernel that fails starts over after this long (`panic=30`).
const PANIC_MS: u64 = 30_000;

pub(crate) struct Machine {
    pub node: NodeId,
    pub address: BmcAddress,
    pub mac: Mac,
    pub uefi: bool,
    /// What firmware does by itself.
    pub net_first: bool,
    pub disks: Vec<SimDisk>,
    /// Counts the lives of what runs on it: each loss of power and each reset begins another.
    pub epoch: u64,
    pub on: bool,
    pub running: Running,
    /// What its BMC told it to boot next, and always.
    pub once: Option<BootDevice>,
    pub always: BootDevice,
    pub boots: u64,
    /// The driver of its disks has not come up in this boot.
    pub disks_late: bool,
    pub power_turn: u64,
    /// Its BMC said that it is off, while this ramdisk ran.
    pub seen_off_wrongly: bool,
    pub bmc_silent_until: u64,
    pub wrong_password_until: u64,
    pub password: u64,
    pub asks: u64,
    /// Of the boot script that it asked for last, and whether it got it.
    pub ticket: Option<UserKey>,
    pub given: Option<bool>,
}

pub(crate) enum Running {
    Off,
    Post,
    /// Nothing that it can boot, or a kernel that hangs.
    Stuck,
    Loading,
    Ramdisk(Box<Agent>),
    System,
}

impl Machine {
    pub fn agent(&mut self) -> Option<&mut Agent> {
        match &mut self.running {
            Running::Ramdisk(agent) => Some(agent),
            Running::Off | Running::Post | Running::Stuck | Running::Loading | Running::System => {
                None
            }
        }
    }

    /// The ramdisk that runs, hung or not.
    pub fn ramdisk(&self) -> Option<BootId> {
        match &self.running {
            Running::Ramdisk(agent) => Some(agent.boot),
            Running::Off | Running::Post | Running::Stuck | Running::Loading | Running::System => {
                None
            }
        }
    }
}

impl World {
    pub(crate) fn machine_at(&self, address: &BmcAddress) -> Option<usize> {
        self.machines.iter().position(|it| it.address == *address)
    }

    pub(crate) fn set_power(&mut self, machine: usize, on: bool) {
        if self.machines[machine].on == on {
            return;
        }
        self.note("power", machine, || format!("{on}"));
        let it = &mut self.machines[machine];
        (it.on, it.running) = (on, Running::Off);
        it.epoch += 1;
        if on {
            self.post(machine);
        }
    }

    pub(crate) fn reset(&mut self, machine: usize) {
        if self.machines[machine].on {
            self.note("reset", machine, String::new);
            self.machines[machine].epoch += 1;
            self.post(machine);
        }
    }

    fn post(&mut self, machine: usize) {
        self.machines[machine].running = Running::Post;
        let ms = self.rng.between(10_000, 90_000);
        self.of_machine(ms, machine, OfMachine::PostOver);
    }

    pub(crate) fn post_over(&mut self, machine: usize) {
        let errs = self.faults.chance(&mut self.rng, self.faults.firmware_errs);
        let it = &mut self.machines[machine];
        let told = it.once.take().unwrap_or(it.always);
        let net = match told {
            BootDevice::Pxe => true,
            BootDevice::Disk | BootDevice::Safe => false,
            BootDevice::None | BootDevice::Cdrom | BootDevice::Bios => it.net_first,
        };
        if net != errs {
            self.boot_network(machine, true);
        } else {
            self.boot_disk(machine, true);
        }
    }

    /// `then`: what fails is followed by the other way to boot.
    fn boot_network(&mut self, machine: usize, then: bool) {
        let Some(worker) = self.any_worker() else {
            // The boot script asks for a while, and reboots.
            self.of_machine(60_000, machine, OfMachine::PostOver);
            return;
        };
        let mac = self.machines[machine].mac;
        let entry = self.workers[worker].index.of_mac(&mac).cloned();
        match entry.map(|entry| entry.boot) {
            Some(Boot::Ramdisk) => {
                self.note("loads", machine, || format!("told by w{worker}"));
                self.asks_for_script(machine);
                if self.faults.rare_chance(&mut self.rng, self.faults.rival) {
                    let ms = self.rng.between(1, 90_000);
                    self.after(ms, Happens::Rival(machine));
                }
                self.seen(machine, Sign::Kernel);
                self.machines[machine].running = Running::Loading;
                let ms = self.rng.between(5_000, 40_000);
                self.of_machine(ms, machine, OfMachine::Loaded);
            }
            Some(Boot::Disk) | None if then => self.boot_disk(machine, false),
            Some(Boot::Disk) | None => self.machines[machine].running = Running::Stuck,
        }
    }

    pub(crate) fn new_ticket(&mut self) -> UserKey {
        self.tickets += 1;
        let mut key = [0x7e; 32];
        key[..8].copy_from_slice(&self.tickets.to_be_bytes());
        UserKey::from_bytes(key)
    }

    fn asks_for_script(&mut self, machine: usize) {
        let ticket = self.new_ticket();
        let it = &mut self.machines[machine];
        (it.ticket, it.given) = (Some(ticket), None);
        let (Some(to), epoch) = (self.any_worker(), self.machines[machine].epoch) else {
            return;
        };
        let mac = self.machines[machine].mac;
        if let Some(node) = self.workers[to].index.of_mac(&mac).map(|it| it.id) {
            let ms = self.rng.between(1, 20);
            let job = Job::Script {
                machine,
                epoch,
                node,
                ticket,
            };
            self.after(ms, Happens::Comes { to, job });
        }
    }

    pub(crate) fn script_comes(&mut self, machine: usize, ticket: UserKey, given: Option<bool>) {
        let it = &mut self.machines[machine];
        if it.ticket == Some(ticket) {
            it.given = given;
        }
    }

    /// A worker that serves it sees how far it comes.
    fn seen(&mut self, machine: usize, sign: Sign) {
        let Some(to) = self.any_worker() else { return };
        let mac = self.machines[machine].mac;
        let entry = self.workers[to].index.of_mac(&mac);
        let waits = |entry: &Entry| entry.boot == Boot::Ramdisk && entry.acting.is_none();
        if let Some(node) = entry.filter(|it| waits(it)).map(|it| it.id) {
            let ms = self.rng.between(1, 20);
            let job = Job::Seen { node, sign };
            self.after(ms, Happens::Comes { to, job });
        }
    }

    fn boot_disk(&mut self, machine: usize, then: bool) {
        let bootable = |content| matches!(content, Content::Old | Content::Image);
        let it = &mut self.machines[machine];
        if it.disks.iter().any(|disk| bootable(disk.content)) {
            it.running = Running::System;
            self.note("system", machine, String::new);
            self.seen(machine, Sign::Lease);
        } else if then && self.rng.below(2) == 0 {
            self.boot_network(machine, false);
        } else {
            it.running = Running::Stuck;
        }
    }

    pub(crate) fn loaded(&mut self, machine: usize) {
        match self.machines[machine].given {
            Some(true) => {}
            Some(false) => return self.boot_disk(machine, false),
            // It asks for a while, and reboots.
            None => return self.of_machine(10_000, machine, OfMachine::PostOver),
        }
        let dies = self.faults.chance(&mut self.rng, self.faults.ramdisk_dies);
        if dies {
            self.note("ramdisk dies", machine, String::new);
            self.machines[machine].running = Running::Stuck;
            self.of_machine(PANIC_MS, machine, OfMachine::Resets);
            return;
        }
        let late = self.faults.chance(&mut self.rng, self.faults.disks_late);
        let it = &mut self.machines[machine];
        it.boots += 1;
        it.disks_late = late;
        it.seen_off_wrongly = false;
        let mut boot = [0xb0; 16];
        boot[0] = machine as u8;
        boot[8..].copy_from_slice(&it.boots.to_be_bytes());
        let boot = BootId::from_bytes(boot);
        it.running = Running::Ramdisk(Box::new(Agent::new(boot)));
        self.note("ramdisk", machine, || format!("{boot}, disks late: {late}"));
        self.agent_due(machine, 1_000);
    }

    pub(crate) fn power_turns(&mut self, machine: usize, turn: u64, on: bool) {
        if self.machines[machine].power_turn == turn {
            self.set_power(machine, on);
        }
    }

    /// The power changes in a moment; a later command supersedes it.
    pub(crate) fn turn_power(&mut self, machine: usize, on: bool, ms: u64) {
        self.machines[machine].power_turn += 1;
        let turn = self.machines[machine].power_turn;
        self.after(ms, Happens::Power { machine, turn, on });
    }
}
