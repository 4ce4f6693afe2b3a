//! Steps that an operator names, for a manual cleaning or for a service: the plan that they make. `named` has what there is.
//! Plans that need no naming are in `plan`.
use crate::id::RunbookName;
use crate::named::{Bounds, ManualStep, NamedStep};
use crate::node::{AgentStep, BmcAct, Bounded, JobKind, Step, Work};
use crate::plan;
use crate::policy::Policy;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// What a manual cleaning, or a service, is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// In this order; from 1 to 64, unless a runbook has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<NamedStep>,
    /// The ramdisk is not booted: only steps that need none, and what was on stays on.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub disable_ramdisk: bool,
    /// They are those of this runbook, which a worker puts in their place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<RunbookName>,
}

const MAX_STEPS: usize = 64;
const MAX_WAIT_SECS: u32 = 86_400;

/// The whole plan of a job of this kind; the disks that are erased follow with the lookup (`plan`).
///
/// # Errors
/// Why the steps cannot be done so, for the operator.
pub(crate) fn steps(kind: JobKind, wish: &Wish, policy: &Policy) -> Result<Work, String> {
    if wish.steps.is_empty() || wish.steps.len() > MAX_STEPS {
        let all: Vec<&str> = ManualStep::ALL.iter().map(ManualStep::name).collect();
        let (count, all) = (wish.steps.len(), all.join(", "));
        return Err(format!(
            "{count} steps: from 1 to {MAX_STEPS} are done at once; there are {all}"
        ));
    }
    let mut plan = match wish.disable_ramdisk {
        true => Vec::new(),
        false => plan::with_ramdisk(),
    };
    let mut is_up = !wish.disable_ramdisk;
    // By its index.
    let mut said: Vec<(usize, Bounds)> = Vec::new();
    for (i, NamedStep { step, bounds }) in wish.steps.iter().enumerate() {
        check(kind, wish, step)
            .and_then(|()| bounds.check(step))
            .map_err(|why| format!("step {}, {}: {why}", i + 1, step.name()))?;
        if step.needs_ramdisk() && !is_up {
            plan.extend(plan::with_ramdisk());
            is_up = true;
        }
        let first = plan.len();
        match step {
            ManualStep::Hold => plan.push(Step::Hold),
            ManualStep::Wait { seconds } => plan.push(Step::Wait { secs: *seconds }),
            ManualStep::PowerOn if wish.disable_ramdisk => plan.push(Step::Bmc(BmcAct::EnsureOn)),
            ManualStep::PowerOn if is_up => {}
            ManualStep::Reboot if wish.disable_ramdisk => {
                plan.extend([BmcAct::PowerOff, BmcAct::EnsureOn].map(Step::Bmc));
            }
            ManualStep::PowerOn | ManualStep::Reboot => {
                plan.extend(plan::with_ramdisk());
                is_up = true;
            }
            ManualStep::PowerOff => {
                plan.push(Step::Bmc(BmcAct::PowerOff));
                is_up = false;
            }
            // Who drives the BMC listens to no ramdisk: the next step of the agent boots it again.
            ManualStep::ResetBmc => {
                plan.push(Step::Bmc(BmcAct::ResetBmc));
                is_up = false;
            }
            ManualStep::Inspect => plan.push(Step::Agent(AgentStep::Inspect {
                lldp_wait_secs: policy.lldp_wait_secs,
            })),
            ManualStep::EraseDevicesMetadata => {
                plan.push(Step::Agent(AgentStep::EraseMetadata { disks: Vec::new() }));
            }
        }
        // What takes several steps is bounded in each.
        if *bounds != Bounds::NONE {
            said.extend((first..plan.len()).map(|at| (at, *bounds)));
        }
    }
    match (wish.disable_ramdisk, kind) {
        (false, JobKind::Service) => plan.extend(back_to_work(is_up)),
        (false, _) => plan.push(Step::Bmc(BmcAct::PowerOff)),
        // Power on where it is on already is all that was wished for.
        (true, _) if plan.is_empty() => plan.push(Step::Bmc(BmcAct::Check)),
        (true, _) => {}
    }
    let last = plan.len() - 1;
    let bounded = said.into_iter().map(|(at, bounds)| Bounded {
        follow: last - at,
        bounds,
    });
    Ok(Work {
        bounds: bounded.collect(),
        steps: plan,
    })
}

fn check(kind: JobKind, wish: &Wish, step: &ManualStep) -> Result<(), String> {
    match step {
        ManualStep::EraseDevicesMetadata if kind == JobKind::Service => {
            Err("the instance needs its disks; undeploy the node to have them erased".into())
        }
        step if step.needs_ramdisk() && wish.disable_ramdisk => {
            Err("it is done by the ramdisk, which disable_ramdisk leaves out".into())
        }
        ManualStep::Wait { seconds } if !(1..=MAX_WAIT_SECS).contains(seconds) => {
            Err(format!("{seconds} s: it must be from 1 to {MAX_WAIT_SECS}"))
        }
        ManualStep::Hold
        | ManualStep::Wait { .. }
        | ManualStep::PowerOn
        | ManualStep::PowerOff
        | ManualStep::Reboot
        | ManualStep::ResetBmc
        | ManualStep::Inspect
        | ManualStep::EraseDevicesMetadata => Ok(()),
    }
}

/// Out of the ramdisk, if it runs, and into the instance.
fn back_to_work(is_up: bool) -> Vec<Step> {
    let mut steps = match is_up {
        true => vec![Step::Agent(AgentStep::PowerOff)],
        false => vec![],
    };
    steps.extend(plan::into_the_disk());
    steps
}
