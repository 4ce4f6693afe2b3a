//! What can go wrong in a run, and how often. Each run draws its own mixture, so that no fault hides another.
//! What a fault then does is where it strikes.
use crate::rng::Rng;
use clap::ValueEnum;

/// A kind of fault that strikes by chance, wherever there is an occasion for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Chance {
    StoreLost,
    StoreLate,
    BmcLost,
    BmcSlow,
    BmcRefuses,
    BmcLies,
    BmcForgetsDevice,
    Crash,
    Freeze,
    StepFails,
    AgentHangs,
    HangsOnTheWayDown,
    DisksLate,
    RamdiskDies,
    FirmwareErrs,
    /// A leader of the records that has been deposed, and does not know it, answers a read.
    StoreStale,
    /// A follower of the records misses what is written for a while, and then reads all anew.
    FollowGap,
    /// When a machine loads its ramdisk, another one asks for its boot script too.
    Rival,
}

/// Chances are per mille of each occasion.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    pub on: bool,
    store_lost: u64,
    store_late: u64,
    bmc_lost: u64,
    bmc_slow: u64,
    pub bmc_refuses: u64,
    pub bmc_lies: u64,
    pub bmc_forgets_device: u64,
    pub crash: u64,
    pub freeze: u64,
    pub step_fails: u64,
    pub agent_hangs: u64,
    pub hangs_on_the_way_down: u64,
    pub disks_late: u64,
    pub ramdisk_dies: u64,
    pub firmware_errs: u64,
    pub store_stale: u64,
    pub follow_gap: u64,
    pub rival: u64,
    /// Mean time between two blows of fate, in ms; each is of one of the kinds in `Strike`.
    pub strike_ms: u64,
    pub strikes: Vec<Strike>,
}

/// A blow of fate, which comes at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Strike {
    StoreAway,
    Crash,
    Freeze,
    /// Somebody, or NTP, sets the clock of a worker's machine.
    ClockSet,
    /// It stands still, or goes on from there.
    ClockStops,
    BmcSilent,
    WrongPassword,
    MachineReboots,
    MachineDies,
    AgentHangs,
}

impl Faults {
    /// Clocks are wrong, and nothing else is.
    pub fn of_clocks() -> Self {
        Self {
            on: true,
            store_lost: 0,
            store_late: 0,
            bmc_lost: 0,
            bmc_slow: 0,
            bmc_refuses: 0,
            bmc_lies: 0,
            bmc_forgets_device: 0,
            crash: 0,
            freeze: 0,
            step_fails: 0,
            agent_hangs: 0,
            hangs_on_the_way_down: 0,
            disks_late: 0,
            ramdisk_dies: 0,
            firmware_errs: 0,
            store_stale: 0,
            follow_gap: 0,
            rival: 0,
            strike_ms: 20_000,
            strikes: vec![Strike::ClockSet, Strike::ClockStops],
        }
    }

    pub fn draw(rng: &mut Rng) -> Self {
        let mut rate = |most: u64| match rng.below(3) {
            0 => 0,
            1 => most / 5,
            _ => most,
        };
        let mut faults = Self {
            on: true,
            store_lost: rate(30),
            store_late: rate(15),
            bmc_lost: rate(60),
            bmc_slow: rate(200),
            bmc_refuses: rate(10),
            bmc_lies: rate(30),
            bmc_forgets_device: rate(50),
            crash: rate(4),
            freeze: rate(4),
            step_fails: rate(60),
            agent_hangs: rate(30),
            hangs_on_the_way_down: rate(60),
            disks_late: rate(60),
            ramdisk_dies: rate(60),
            firmware_errs: rate(60),
            store_stale: 0,
            follow_gap: 0,
            rival: 0,
            strike_ms: 0,
            strikes: Vec::new(),
        };
        faults.strike_ms = rng.pick(&[10_000, 60_000, 300_000]);
        let chosen = Strike::value_variants()
            .iter()
            .copied()
            .filter(|_| rng.below(3) > 0);
        faults.strikes = chosen.collect();
        faults
    }

    /// What readers are spared or not, by chance of its own: cases that were kept before repeat themselves without.
    pub fn draw_of_readers(&mut self, rng: &mut Rng) {
        let mut rate = |most| rng.pick(&[0, most / 5, most]);
        self.store_stale = rate(50);
        self.follow_gap = rate(10);
        self.rival = rate(100);
    }

    pub fn leave_out(&mut self, chances: &[Chance], strikes: &[Strike]) {
        for chance in chances {
            *self.of(*chance) = 0;
        }
        self.strikes.retain(|it| !strikes.contains(it));
    }

    fn of(&mut self, chance: Chance) -> &mut u64 {
        match chance {
            Chance::StoreLost => &mut self.store_lost,
            Chance::StoreLate => &mut self.store_late,
            Chance::BmcLost => &mut self.bmc_lost,
            Chance::BmcSlow => &mut self.bmc_slow,
            Chance::BmcRefuses => &mut self.bmc_refuses,
            Chance::BmcLies => &mut self.bmc_lies,
            Chance::BmcForgetsDevice => &mut self.bmc_forgets_device,
            Chance::Crash => &mut self.crash,
            Chance::Freeze => &mut self.freeze,
            Chance::StepFails => &mut self.step_fails,
            Chance::AgentHangs => &mut self.agent_hangs,
            Chance::HangsOnTheWayDown => &mut self.hangs_on_the_way_down,
            Chance::DisksLate => &mut self.disks_late,
            Chance::RamdiskDies => &mut self.ramdisk_dies,
            Chance::FirmwareErrs => &mut self.firmware_errs,
            Chance::StoreStale => &mut self.store_stale,
            Chance::FollowGap => &mut self.follow_gap,
            Chance::Rival => &mut self.rival,
        }
    }

    /// As [`Faults::chance`]; where it never comes, chance is not asked.
    pub fn rare_chance(&self, rng: &mut Rng, per_mille: u64) -> bool {
        per_mille > 0 && self.chance(rng, per_mille)
    }

    pub fn chance(&self, rng: &mut Rng, per_mille: u64) -> bool {
        self.on && rng.per_mille(per_mille)
    }

    pub fn store_latency(&self, rng: &mut Rng) -> u64 {
        if self.chance(rng, self.store_late) {
            return rng.between(100, 12_000);
        }
        rng.between(1, 4)
    }

    pub fn bmc_latency(&self, rng: &mut Rng) -> u64 {
        if self.chance(rng, self.bmc_slow) {
            return rng.between(100, 2_000);
        }
        rng.between(5, 50)
    }

    /// Whether the question is lost, whether the answer is.
    pub fn store_losses(&self, rng: &mut Rng) -> (bool, bool) {
        self.losses(rng, self.store_lost)
    }

    pub fn bmc_losses(&self, rng: &mut Rng) -> (bool, bool) {
        self.losses(rng, self.bmc_lost)
    }

    fn losses(&self, rng: &mut Rng, per_mille: u64) -> (bool, bool) {
        match self.chance(rng, per_mille) {
            true if rng.below(2) == 0 => (true, false),
            true => (false, true),
            false => (false, false),
        }
    }
}
