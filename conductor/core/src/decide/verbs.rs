//! What an operator asked for: which verb is possible in which state, and the job it begins.
//! How the job then goes on is in `job`.
use super::job::{Fault, said};
use super::power;
use super::{Draft, Patch, PowerVerb, Rejected, Verb};
use crate::id::RequestId;
use crate::node::{
    BmcAct, Goal, Instance, Job, JobKind, MAX_MACS, MAX_REQUESTS, Maintenance, Phase, State, Step,
};
use crate::plan;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

pub(super) fn asked(
    draft: &mut Draft<'_>,
    request: &RequestId,
    verb: &Verb,
) -> Result<String, Rejected> {
    if draft.node.requests.contains(request) {
        return Ok(said("this request was carried out before"));
    }
    let because = carry_out(draft, verb)?;
    draft.node.requests.push(request.clone());
    let surplus = draft.node.requests.len().saturating_sub(MAX_REQUESTS);
    draft.node.requests.drain(..surplus);
    Ok(because)
}

fn carry_out(draft: &mut Draft<'_>, verb: &Verb) -> Result<String, Rejected> {
    match verb {
        Verb::Maintenance(reason) => return Ok(maintenance(draft, reason.as_deref())),
        Verb::Set(patch) => return set(draft, patch),
        Verb::Manage | Verb::Inspect | Verb::Provide | Verb::Deploy(_) => {
            not_in_maintenance(draft, verb)?
        }
        Verb::Rebuild(_) | Verb::Undeploy => not_in_maintenance(draft, verb)?,
        Verb::Abort | Verb::Power(_) | Verb::BootDevice { .. } => {}
    }
    let wrong = Rejected::WrongState {
        verb: verb.name().to_string(),
        state: words(&draft.node.state),
    };
    let automated_clean = draft.ctx.policy.automated_clean;
    match (&draft.node.state, verb) {
        (State::Enroll, Verb::Manage) => Ok(draft.start(
            JobKind::Verify,
            Goal::Manageable,
            vec![Step::Bmc(BmcAct::Check)],
        )),
        (State::Available | State::Failed(JobKind::Inspect | JobKind::Clean), Verb::Manage) => {
            draft.node.state = State::Manageable;
            draft.node.last_error = None;
            Ok(said("the operator took the node back"))
        }
        (State::Manageable | State::Failed(JobKind::Inspect), Verb::Inspect) => {
            Ok(draft.start(JobKind::Inspect, Goal::Manageable, plan::with_ramdisk()))
        }
        (State::Manageable, Verb::Provide) if automated_clean => {
            Ok(draft.start(JobKind::Clean, Goal::Available, plan::with_ramdisk()))
        }
        (State::Manageable, Verb::Provide) => {
            draft.node.state = State::Available;
            Ok(said("provided without cleaning, as automated_clean is off"))
        }
        (State::Available | State::Failed(JobKind::Deploy), Verb::Deploy(instance)) => {
            deploy(draft, instance)
        }
        (
            State::Active | State::Failed(JobKind::Deploy | JobKind::Delete),
            Verb::Rebuild(instance),
        ) => {
            let instance = instance.clone().or_else(|| draft.node.instance.clone());
            let instance = instance.ok_or_else(|| Rejected::Invalid {
                why: said("nothing was deployed that could be rebuilt"),
            })?;
            deploy(draft, &instance)
        }
        (State::Active | State::Failed(JobKind::Deploy | JobKind::Delete), Verb::Undeploy) => {
            Ok(undeploy(draft, automated_clean))
        }
        (State::Busy(job), Verb::Undeploy) if job.kind == JobKind::Deploy && waits(job) => {
            Ok(undeploy(draft, automated_clean))
        }
        (State::Busy(job), Verb::Abort) if abortable(job.kind) && waits(job) => {
            Ok(draft.fail(Fault::Other, said("aborted by the operator")))
        }
        (
            State::Enroll | State::Manageable | State::Available | State::Active | State::Failed(_),
            Verb::Power(verb),
        ) => {
            let steps = power_steps(*verb, draft.ctx.policy.soft_power_off_secs)?;
            power::start(draft, steps);
            Ok(said("the operator changes the power"))
        }
        (
            State::Enroll | State::Manageable | State::Available | State::Active | State::Failed(_),
            Verb::BootDevice { device, persistent },
        ) => {
            let (device, persistent) = (*device, *persistent);
            let act = BmcAct::SetBootDevice { device, persistent };
            power::start(draft, vec![Step::Bmc(act)]);
            Ok(said("the operator chooses what to boot"))
        }
        (
            State::Enroll
            | State::Manageable
            | State::Available
            | State::Active
            | State::Failed(_)
            | State::Busy(_),
            Verb::Manage
            | Verb::Inspect
            | Verb::Provide
            | Verb::Deploy(_)
            | Verb::Rebuild(_)
            | Verb::Undeploy
            | Verb::Abort
            | Verb::Maintenance(_)
            | Verb::Set(_)
            | Verb::Power(_)
            | Verb::BootDevice { .. },
        ) => Err(wrong),
    }
}

/// The longest time that an operator can give an operating system for switching off: a day.
const MAX_SOFT_OFF_SECS: u32 = 86_400;

fn power_steps(verb: PowerVerb, soft_secs: u32) -> Result<Vec<Step>, Rejected> {
    let soft_off = |timeout: Option<u32>, then_hard| {
        let patience_secs = timeout.unwrap_or(soft_secs);
        if patience_secs == 0 || patience_secs > MAX_SOFT_OFF_SECS {
            return Err(Rejected::Invalid {
                why: format!(
                    "a timeout of {patience_secs} s: it must be from 1 to {MAX_SOFT_OFF_SECS}"
                ),
            });
        }
        Ok(Step::Bmc(BmcAct::SoftOff {
            patience_secs,
            then_hard,
        }))
    };
    let on = Step::Bmc(BmcAct::EnsureOn);
    Ok(match verb {
        PowerVerb::On => vec![on],
        PowerVerb::Off => vec![Step::Bmc(BmcAct::PowerOff)],
        PowerVerb::Reboot => vec![Step::Bmc(BmcAct::PowerOff), on],
        PowerVerb::SoftOff {
            timeout_secs,
            then_hard,
        } => vec![soft_off(timeout_secs, then_hard)?],
        PowerVerb::SoftReboot {
            timeout_secs,
            then_hard,
        } => vec![soft_off(timeout_secs, then_hard)?, on],
        PowerVerb::Cycle => vec![Step::Bmc(BmcAct::Cycle)],
        PowerVerb::Reset => vec![Step::Bmc(BmcAct::Reset)],
        PowerVerb::Diag => vec![Step::Bmc(BmcAct::Diag)],
    })
}

/// The state, for an operator whose verb is not possible in it.
fn words(state: &State) -> String {
    match state {
        State::Busy(Job {
            kind: JobKind::Bmc, ..
        }) => format!(
            "{} and has its BMC at work for another request",
            state.provision_state()
        ),
        state => state.provision_state().to_string(),
    }
}

fn not_in_maintenance(draft: &Draft<'_>, verb: &Verb) -> Result<(), Rejected> {
    match &draft.node.maintenance {
        None => Ok(()),
        Some(maintenance) => Err(Rejected::InMaintenance {
            verb: verb.name().to_string(),
            reason: maintenance.reason.clone(),
        }),
    }
}

/// Between two acts of a worker, not in the middle of one.
fn waits(job: &Job) -> bool {
    job.goal != Goal::Failed
        && match job.phase {
            Phase::Acting { .. } => false,
            Phase::Backoff { .. } | Phase::AwaitingAgent { .. } | Phase::AgentStep { .. } => true,
        }
}

fn abortable(kind: JobKind) -> bool {
    match kind {
        JobKind::Inspect | JobKind::Deploy | JobKind::Clean | JobKind::Bmc => true,
        JobKind::Verify | JobKind::Delete => false,
    }
}

fn deploy(draft: &mut Draft<'_>, instance: &Instance) -> Result<String, Rejected> {
    plan::check_instance(&draft.node, instance).map_err(|why| Rejected::Invalid { why })?;
    draft.node.instance = Some(instance.clone());
    Ok(draft.start(JobKind::Deploy, Goal::Active, plan::with_ramdisk()))
}

fn undeploy(draft: &mut Draft<'_>, automated_clean: bool) -> String {
    let goal = if automated_clean {
        Goal::Clean
    } else {
        Goal::Available
    };
    draft.start(JobKind::Delete, goal, vec![Step::Bmc(BmcAct::PowerOff)])
}

fn maintenance(draft: &mut Draft<'_>, reason: Option<&str>) -> String {
    let now = draft.ctx.now;
    match (reason, &draft.node.maintenance) {
        (None, _) => draft.node.maintenance = None,
        (Some(reason), before) => {
            let since = before.as_ref().map_or(now, |before| before.since);
            draft.node.maintenance = Some(Maintenance {
                since,
                reason: reason.chars().take(255).collect(),
                fault: None,
            });
        }
    }
    said(if reason.is_some() {
        "maintenance begins"
    } else {
        "maintenance ends"
    })
}

fn set(draft: &mut Draft<'_>, patch: &Patch) -> Result<String, Rejected> {
    if let State::Busy(_) = draft.node.state {
        let state = words(&draft.node.state);
        return Err(Rejected::WrongState {
            verb: said("change"),
            state,
        });
    }
    let invalid = |why: String| Rejected::Invalid { why };
    let Patch {
        name,
        bmc,
        macs,
        boot_mode,
        root_device,
    } = patch.clone();
    let node = &mut draft.node;
    if let Some(macs) = macs {
        if macs.len() > MAX_MACS {
            return Err(invalid(format!(
                "{} MAC addresses, at most {MAX_MACS}",
                macs.len()
            )));
        }
        node.macs = macs;
    }
    if let Some(hints) = root_device {
        hints.check().map_err(|bad| invalid(bad.to_string()))?;
        node.root_device = hints;
    }
    node.name = name.or(node.name.take());
    node.bmc = bmc.unwrap_or_else(|| node.bmc.clone());
    node.boot_mode = boot_mode.or(node.boot_mode);
    Ok(said("the description changed"))
}
