//! A whole run: nodes are enrolled, and waves of jobs pass over them in groups, one fault in the middle of each wave.
//! Leaves a wave to `wave` and the table to `report`.
use crate::faults::{FAULTS, Fault, QUIET};
use crate::judge::{Seen, Wish};
use crate::site::{Programs, Site};
use crate::wave::{self, Job, Outcome};
use anyhow::{Context, Result, ensure};
use ironbeat_fleet::Unanswered;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::task::JoinSet;

/// A group is provided in one wave, deployed in the next, undeployed in the third. The first three waves are quiet: the
/// last of them is the measure, and from it on every wave has jobs of all kinds in flight.
const QUIET_WAVES: usize = 3;
const ENROLMENTS_AT_ONCE: usize = 16;
const AGAIN: Duration = Duration::from_millis(300);

#[derive(Clone, Debug)]
pub struct Options {
    pub nodes: usize,
    /// Nodes that one wave provides, and another deploys and undeploys, at most; the others are looked after only.
    pub flight: usize,
    pub faults: Vec<Fault>,
}

impl Options {
    /// All faults, or those of the short form, or those named.
    ///
    /// # Errors
    /// When a name is unknown, or there are too few nodes for all waves.
    pub fn new(nodes: usize, flight: usize, short: bool, only: &[String]) -> Result<Self> {
        for name in only {
            let known = FAULTS.iter().any(|fault| fault.name == name);
            ensure!(known, "there is no fault {name:?}");
        }
        let chosen = |fault: &&Fault| match only.is_empty() {
            true => fault.short || !short,
            false => only.iter().any(|name| name == fault.name),
        };
        let faults: Vec<Fault> = FAULTS.iter().filter(chosen).copied().collect();
        let groups = faults.len() + QUIET_WAVES;
        // One node more is the diary's.
        ensure!(
            nodes > groups,
            "{groups} waves need more than {nodes} nodes"
        );
        Ok(Self {
            nodes,
            flight,
            faults,
        })
    }
}

/// Runs all waves, telling `each` what became of them.
///
/// # Errors
/// When the site does not come up, or a part of it cannot be broken or mended.
pub fn run(
    programs: &Programs,
    options: &Options,
    each: impl FnMut(&Outcome) + Send,
) -> Result<Vec<Outcome>> {
    let hub = Site::hub()?;
    hub.inside(|| {
        let mut site = Site::start(&hub, programs.clone(), options.nodes)?;
        waves(&mut site, options, each)
    })
}

fn waves(
    site: &mut Site,
    options: &Options,
    mut each: impl FnMut(&Outcome),
) -> Result<Vec<Outcome>> {
    // The diary's node is the last one.
    let nodes = options.nodes - 1;
    enrol(site, options.nodes)?;
    let mut diary = (nodes, 0);
    let manage: Vec<Job> = (0..nodes).map(|node| job(node, Wish::Manage)).collect();
    let nothing = BTreeMap::new();
    let managed = wave::run(site, 0, &QUIET, &manage, &nothing, &mut diary)?;
    ensure!(managed.is_good(), "nodes cannot be managed: {managed:?}");
    let groups = options.faults.len() + QUIET_WAVES;
    let group = |n: usize| {
        let (from, to) = (nodes * n / groups, nodes * (n + 1) / groups);
        from..to.min(from + options.flight)
    };
    let mut quiet: BTreeMap<Wish, Seen> = BTreeMap::new();
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut out: BTreeSet<usize> = BTreeSet::new();
    let faults = [QUIET; QUIET_WAVES];
    let faults = faults.iter().chain(&options.faults);
    for (n, fault) in faults.enumerate() {
        let mut jobs = Vec::new();
        for (back, wish) in [(0, Wish::Provide), (1, Wish::Deploy), (2, Wish::Undeploy)] {
            let group = n.checked_sub(back).map(group).unwrap_or_default();
            jobs.extend(
                group
                    .filter(|node| !out.contains(node))
                    .map(|node| job(node, wish)),
            );
        }
        interleave(&mut jobs);
        let outcome = wave::run(site, n + 1, fault, &jobs, &quiet, &mut diary)
            .with_context(|| format!("with the fault {}", fault.name))?;
        each(&outcome);
        if n < QUIET_WAVES {
            ensure!(outcome.is_good(), "quiet times are not quiet: {outcome:?}");
            quiet.extend(outcome.seen.clone());
        }
        out.extend(&outcome.failed);
        outcomes.push(outcome);
    }
    all_there(site, options.nodes)?;
    Ok(outcomes.split_off(QUIET_WAVES - 1))
}

fn job(node: usize, wish: Wish) -> Job {
    Job { node, wish }
}

/// Jobs of all kinds at any time, not one kind after the other.
fn interleave(jobs: &mut [Job]) {
    let share = |node: usize| (node as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    jobs.sort_by_key(|job| share(job.node));
}

fn enrol(site: &Site, nodes: usize) -> Result<()> {
    let enrolled = async {
        let mut tasks: JoinSet<Result<()>> = JoinSet::new();
        for n in 0..nodes {
            while tasks.len() >= ENROLMENTS_AT_ONCE {
                tasks.join_next().await.context("there are some")???;
            }
            let (link, wish) = (site.operator().clone(), site.fleet.enrolment(n));
            tasks.spawn(async move {
                loop {
                    match link.operate(&wish).await {
                        Ok(_) => return Ok(()),
                        // Errors from 500 are about the conductor itself, and pass.
                        Err(error @ Unanswered::Refused(..500, _)) => return Err(error.into()),
                        Err(_) => tokio::time::sleep(AGAIN).await,
                    }
                }
            });
        }
        while let Some(task) = tasks.join_next().await {
            task??;
        }
        Ok(())
    };
    site.runtime().block_on(enrolled)
}

/// No node was lost that nothing was wanted of.
fn all_there(site: &Site, nodes: usize) -> Result<()> {
    let listed = site.runtime().block_on(wave::list(site.operator()))?;
    ensure!(
        listed.len() == nodes,
        "{} of {nodes} nodes are listed",
        listed.len()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_chosen_by_form_or_by_name() {
        let count = |short, only: &[&str]| {
            let only: Vec<String> = only.iter().map(|name| (*name).into()).collect();
            Options::new(100, 9, short, &only).map(|options| options.faults.len())
        };
        assert_eq!(count(false, &[]).unwrap(), FAULTS.len());
        let short = count(true, &[]).unwrap();
        assert!((3..=4).contains(&short));
        assert_eq!(count(true, &["partition", "disk_full"]).unwrap(), 2);
        assert!(count(false, &["earthquake"]).is_err());
        assert!(Options::new(5, 9, false, &[]).is_err(), "too few nodes");
    }
}
