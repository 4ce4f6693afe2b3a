//! `bench bmc`: what reading the power of many BMCs costs, ours and its peers in turns, all in one run.
//! Leaves starting and counting to `load`, and the BMCs to `sims`.
mod load;
mod sims;
pub mod sync;

use super::{median, print};
use crate::{artifacts, interrupt, packages};
use anyhow::{Result, ensure};
use load::{Ours, Pyghmi, Sweep};
use sims::{Fleet, IpmiSims};
use std::fmt::Display;
use std::path::Path;

/// BMCs in a sweep; where some are silent, one in this many is.
const FLEET: usize = 10_000;
const SILENT_EVERY: usize = 10;
/// What ipmitool asks, 8 at a time as Ironic does. Ours does the same reads, also 8 at a time.
const AT_ONCE: usize = 8;
/// Datagrams lost in a thousand, in either direction.
const LOSS_PERMILLE: u32 = 200;
/// Ironic's power sync interval: within it every live BMC must have been read.
const PERIOD_SECS: u64 = 120;
/// One BMC in this many is on, so that a wrong answer shows.
const ON_EVERY: usize = 2;

#[derive(clap::Args)]
pub struct Args {
    /// Rounds; in each, all take turns.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// One round, with fewer calls of the peers and fewer BMCs behind the bad network.
    #[arg(long)]
    quick: bool,
}

/// How much work a round is.
struct Work {
    ipmitool_reads: usize,
    ipmi_sim_reads: usize,
    pyghmi_reads: usize,
    /// BMCs behind the bad network.
    lossy: usize,
    /// Of the sweep without dead ones and the one with them.
    turns: usize,
}

const FULL: Work = Work {
    ipmitool_reads: 304,
    ipmi_sim_reads: 160,
    pyghmi_reads: 300,
    lossy: FLEET,
    turns: 5,
};

const QUICK: Work = Work {
    ipmitool_reads: 80,
    ipmi_sim_reads: 40,
    pyghmi_reads: 200,
    lossy: 1000,
    turns: 3,
};

/// Values by name, one a round, in the order in which they came first.
#[derive(Default)]
struct Measures(Vec<(String, &'static str, Vec<f64>)>);

impl Measures {
    fn add(&mut self, name: impl Display, unit: &'static str, value: f64) {
        let name = format!("bmc.{name}");
        match self.0.iter_mut().find(|(known, ..)| *known == name) {
            Some((.., values)) => values.push(value),
            None => self.0.push((name, unit, vec![value])),
        }
    }

    fn print(&self) {
        for (name, unit, values) in &self.0 {
            print(name, unit, values);
        }
    }
}

pub fn run(args: &Args) -> Result<()> {
    let (runs, work) = if args.quick {
        (1, QUICK)
    } else {
        (args.runs, FULL)
    };
    ensure!(runs > 0, "no runs, no result");
    packages::ensure(&[packages::BUILD, packages::BMC_BENCH])?;
    let ours = Ours::new(artifacts::bmc_load()?);
    let sim = artifacts::bmc_sim()?;
    let worker = artifacts::ironbeat()?;
    let dir = tempfile::tempdir()?;
    let pyghmi = Pyghmi::prepare(&artifacts::bench_dir()?)
        .inspect_err(|error| eprintln!("pyghmi is missing, and its lines with it: {error:#}"))
        .ok();
    // Programs inherit which signals are blocked: a build that was started later could not be interrupted.
    interrupt::catch()?;
    let mut measures = Measures::default();
    for round in 1..=runs {
        eprintln!("round {round} of {runs}");
        let count = ["--count", &FLEET.to_string()];
        let fleet = Fleet::start(&sim, ON_EVERY, &count)?;
        let some_dead = ["--silent-every", &SILENT_EVERY.to_string()];
        let some_dead = Fleet::start(&sim, ON_EVERY, &[count, some_dead].concat())?;
        interrupt::check()?;
        sweeps(&mut measures, &ours, &fleet, &some_dead, &work)?;
        interrupt::check()?;
        ipmitool(&mut measures, &ours, &fleet, &work)?;
        interrupt::check()?;
        ipmi_sim(
            &mut measures,
            &ours,
            &IpmiSims::start(dir.path(), AT_ONCE)?,
            &work,
        )?;
        if let Some(pyghmi) = &pyghmi {
            interrupt::check()?;
            one_bmc(&mut measures, &ours, pyghmi, &fleet, &work)?;
        }
        fleet.finish()?;
        some_dead.finish()?;
        interrupt::check()?;
        bad_network(&mut measures, &ours, &sim, &work)?;
    }
    measures.print();
    sync::measure(&worker)
}

/// Sweeps over all of them, with and without dead ones in turns: kept sessions and fresh ones.
fn sweeps(
    measures: &mut Measures,
    ours: &Ours,
    fleet: &Fleet,
    some_dead: &Fleet,
    work: &Work,
) -> Result<()> {
    let (count, silent) = (FLEET.to_string(), SILENT_EVERY.to_string());
    for (name, ratio, fresh) in [
        ("kept", "dead_ratio", &[][..]),
        ("fresh", "dead_ratio.fresh", &["--fresh"]),
    ] {
        let arguments = [&["--count", &count, "--sweeps", "3"], fresh].concat();
        let some_silent = [&arguments[..], &["--silent-every", &silent]].concat();
        let (mut all, mut live) = (Vec::new(), Vec::new());
        for _ in 0..work.turns {
            interrupt::check()?;
            all.extend(ours.sweep(fleet.target(), &arguments)?);
            live.extend(ours.sweep(some_dead.target(), &some_silent)?);
        }
        let median_of = |sweeps: &[Sweep], what: fn(&Sweep) -> f64| {
            median(&sweeps.iter().map(what).collect::<Vec<_>>())
        };
        let secs = median_of(&all, |sweep| sweep.wall_secs);
        measures.add(format!("sweep_per_s.{name}"), "BMC/s", FLEET as f64 / secs);
        let cpu = median_of(&all, Sweep::cpu_us);
        measures.add(format!("ours.cpu_us_per_read.sweep_{name}"), "us", cpu);
        let with_dead = median_of(&live, |sweep| sweep.wall_secs);
        measures.add(ratio, "ratio", with_dead / secs);
        if fresh.is_empty() {
            let rss = all.iter().map(Sweep::rss_mib).fold(0.0, f64::max);
            measures.add("rss_mib", "MiB", rss);
        }
    }
    Ok(())
}

/// The same reads as ipmitool's, 8 at a time too.
fn ipmitool(measures: &mut Measures, ours: &Ours, fleet: &Fleet, work: &Work) -> Result<()> {
    let reads = work.ipmitool_reads;
    let (count, at_once) = (reads.to_string(), AT_ONCE.to_string());
    let same = ["--count", &count, "--at-once", &at_once];
    let kept = ours.cpu_us(fleet.target(), &[&same[..], &["--sweeps", "20"]].concat())?;
    let fresh = [&same[..], &["--sweeps", "10", "--fresh"]].concat();
    let fresh = ours.cpu_us(fleet.target(), &fresh)?;
    let theirs = load::ipmitool(fleet.target(), reads, reads, |n| n % ON_EVERY == 0)?;
    measures.add("cpu_ratio.kept", "ratio", theirs.cpu_us / kept);
    measures.add("cpu_ratio.fresh", "ratio", theirs.cpu_us / fresh);
    measures.add("ours.cpu_us_per_read.kept", "us", kept);
    measures.add("ours.cpu_us_per_read.fresh", "us", fresh);
    measures.add("ipmitool.cpu_ms_per_read", "ms", theirs.cpu_us / 1e3);
    measures.add("ipmitool.reads_per_s", "1/s", theirs.per_sec);
    Ok(())
}

/// The same against BMCs that somebody else wrote. The ratio is that of fresh sessions, as ipmitool's all are.
fn ipmi_sim(measures: &mut Measures, ours: &Ours, sims: &IpmiSims, work: &Work) -> Result<()> {
    let count = sims.len().to_string();
    let same = ["--count", &count, "--on-every", "1", "--retry-for", "10"];
    let per_bmc = (work.ipmi_sim_reads / sims.len()).to_string();
    let kept = [&same[..], &["--sweeps", "3", "--reads", &per_bmc]].concat();
    let kept = ours.cpu_us(sims.target(), &kept)?;
    let fresh = [
        &same[..],
        &["--sweeps", "3", "--reads", &per_bmc, "--fresh"],
    ]
    .concat();
    let fresh = ours.cpu_us(sims.target(), &fresh)?;
    let theirs = load::ipmitool(sims.target(), sims.len(), work.ipmi_sim_reads, |_| true)?;
    measures.add("cpu_ratio.ipmi_sim", "ratio", theirs.cpu_us / fresh);
    measures.add("cpu_ratio.ipmi_sim.kept", "ratio", theirs.cpu_us / kept);
    measures.add("ours.cpu_us_per_read.ipmi_sim.fresh", "us", fresh);
    measures.add("ours.cpu_us_per_read.ipmi_sim.kept", "us", kept);
    measures.add(
        "ipmitool.cpu_ms_per_read.ipmi_sim",
        "ms",
        theirs.cpu_us / 1e3,
    );
    Ok(())
}

/// One BMC, one kept session, one read after the other: pyghmi at its best, and ours where it can batch nothing.
fn one_bmc(
    measures: &mut Measures,
    ours: &Ours,
    pyghmi: &Pyghmi,
    fleet: &Fleet,
    work: &Work,
) -> Result<()> {
    let reads = work.pyghmi_reads;
    let ours = ours.cpu_us(
        fleet.target(),
        &["--reads", &reads.to_string(), "--sweeps", "5"],
    )?;
    let theirs = pyghmi.read(fleet.target(), reads)?;
    measures.add("cpu_ratio.pyghmi_kept", "ratio", theirs.cpu_us / ours);
    measures.add("ours.cpu_us_per_read.one_bmc", "us", ours);
    measures.add("pyghmi.cpu_us_per_read", "us", theirs.cpu_us);
    measures.add("pyghmi.reads_per_s", "1/s", theirs.per_sec);
    Ok(())
}

/// A fifth of the datagrams is lost on either way: is everything read in time, and nothing done twice?
fn bad_network(measures: &mut Measures, ours: &Ours, sim: &Path, work: &Work) -> Result<()> {
    let (count, period) = (work.lossy.to_string(), PERIOD_SECS.to_string());
    let loss = ["--count", &count, "--loss", &LOSS_PERMILLE.to_string()];
    let same = ["--count", &count, "--retry-for", &period];
    let fleet = Fleet::start(sim, ON_EVERY, &loss)?;
    // The first sweep opens the sessions, the second has them.
    for sweep in ours.sweep_as_it_comes(fleet.target(), &same)? {
        let in_time = sweep.wall_secs <= PERIOD_SECS as f64;
        let right = if in_time { sweep.right } else { 0 };
        measures.add("loss_read_share", "share", right as f64 / sweep.due as f64);
        measures.add("loss_read_s", "s", sweep.wall_secs);
    }
    fleet.finish()?;
    // All of them on, so that each can be cycled.
    let fleet = Fleet::start(sim, 1, &loss)?;
    let cycles = [&same[..], &["--on-every", "1", "--cycle"]].concat();
    let cycles = ours.sweep_as_it_comes(fleet.target(), &cycles)?;
    let counted = fleet.finish()?;
    let due: u64 = cycles.iter().map(|sweep| sweep.due).sum();
    let unconfirmed: u64 = cycles.iter().map(|sweep| sweep.unconfirmed).sum();
    measures.add(
        "double_executions",
        "commands",
        counted.control_again as f64,
    );
    measures.add(
        "loss_cycles_executed_share",
        "share",
        counted.cycles as f64 / due as f64,
    );
    measures.add(
        "loss_cycles_unconfirmed_share",
        "share",
        unconfirmed as f64 / due as f64,
    );
    Ok(())
}
