//! Operators' verbs: which is possible in which state, and the job it begins.
//! `job` carries the job on.
#[cfg(test)]
mod tests;

use super::allocate;
use super::answer::{Rejected, words};
use super::confirm;
use super::draft::Draft;
use super::flags;
use super::password;
use super::power;
use super::set;
use crate::event::{PowerVerb, Verb};
use crate::id::RequestId;
use crate::manual;
use crate::node::{
    Beside, BesideKind, BmcAct, Goal, Instead, JobKind, MAX_REQUESTS, Maintenance, Rest, State,
    Step, Work,
};
use crate::plan;
use crate::text::said;
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
        return Ok("this request was carried out before".into());
    }
    let because = carry_out(draft, verb)?;
    draft.node.requests.push(request.clone());
    let surplus = draft.node.requests.len().saturating_sub(MAX_REQUESTS);
    draft.node.requests.drain(..surplus);
    Ok(because)
}

/// Where a verb is possible, and what it does there.
struct Row(Allowed, Outcome);

enum Allowed {
    /// Nothing is under way, and the node rests in one of these.
    Resting(&'static [Rest]),
    /// A job of one of these kinds is under way, whatever it is at.
    Busy(&'static [JobKind]),
    /// A job that can be kept from going on is under way, and nobody has said so yet.
    Holdable,
    /// It is on hold, or will be.
    OnHold,
    /// The operating system is asked to switch off, and may never do it.
    Soft,
}

enum Outcome {
    Begin(JobKind),
    /// The node rests there from now on, without any work.
    Rest(Rest),
    GiveUp,
    Hold,
    Unhold,
}

/// Whatever boots a rescued machine ends its rescue: `unrescue` says so, and so does `rescue`.
const OUT_OF_RESCUE: &[Rest] = &[
    Rest::Enroll,
    Rest::Manageable,
    Rest::Available,
    Rest::Active,
    Rest::InspectFailed,
    Rest::AdoptFailed,
    Rest::DeployFailed,
    Rest::CleanFailed,
    Rest::ManualCleanFailed,
    Rest::ServiceFailed,
    Rest::RescueFailed,
    Rest::UnrescueFailed,
    Rest::Error,
];

/// Everything that an operator can do, and where. A verb without a matching row is refused.
fn rows(verb: &Verb) -> &'static [Row] {
    use Allowed::{Busy, Holdable, OnHold, Resting, Soft};
    use Outcome::{Begin, GiveUp};
    use Rest::{
        Active, AdoptFailed, Available, CleanFailed, DeployFailed, Enroll, Error, InspectFailed,
        Manageable, ManualCleanFailed, Rescue, RescueFailed, ServiceFailed, UnrescueFailed,
    };
    match verb {
        Verb::Manage => &[
            Row(Resting(&[Enroll]), Begin(JobKind::Verify)),
            Row(
                Resting(&[
                    Available,
                    InspectFailed,
                    CleanFailed,
                    ManualCleanFailed,
                    AdoptFailed,
                ]),
                Outcome::Rest(Manageable),
            ),
        ],
        Verb::Inspect => &[Row(
            Resting(&[Manageable, InspectFailed]),
            Begin(JobKind::Inspect),
        )],
        Verb::Provide => &[Row(Resting(&[Manageable]), Begin(JobKind::Clean))],
        Verb::Deploy(_) => &[Row(
            Resting(&[Available, DeployFailed]),
            Begin(JobKind::Deploy),
        )],
        Verb::Rebuild(_) => &[Row(
            Resting(&[Active, DeployFailed, Error]),
            Begin(JobKind::Deploy),
        )],
        Verb::Undeploy => &[
            Row(
                Resting(&[
                    Active,
                    DeployFailed,
                    ServiceFailed,
                    Rescue,
                    RescueFailed,
                    UnrescueFailed,
                    Error,
                ]),
                Begin(JobKind::Delete),
            ),
            Row(
                Busy(&[JobKind::Deploy, JobKind::Service, JobKind::Rescue]),
                Begin(JobKind::Delete),
            ),
        ],
        Verb::Adopt(_) => &[Row(
            Resting(&[Manageable, AdoptFailed]),
            Begin(JobKind::Adopt),
        )],
        Verb::Clean(_) => &[Row(Resting(&[Manageable]), Begin(JobKind::ManualClean))],
        Verb::Service(_) => &[Row(
            Resting(&[Active, ServiceFailed]),
            Begin(JobKind::Service),
        )],
        Verb::Rescue(_) => &[Row(
            Resting(&[Active, ServiceFailed, Rescue, RescueFailed, UnrescueFailed]),
            Begin(JobKind::Rescue),
        )],
        Verb::Unrescue => &[Row(
            Resting(&[Rescue, RescueFailed, UnrescueFailed]),
            Begin(JobKind::Unrescue),
        )],
        Verb::Abort => &[
            Row(Busy(JobKind::ALL), GiveUp),
            // Nobody knows what runs on the machine: it is booted from its disk.
            Row(Resting(&[ServiceFailed]), Begin(JobKind::Service)),
        ],
        Verb::Hold => &[Row(Holdable, Outcome::Hold)],
        Verb::Unhold => &[Row(OnHold, Outcome::Unhold)],
        Verb::Power(PowerVerb::Off) => &[
            Row(Resting(Rest::ALL), Begin(JobKind::Bmc)),
            Row(Soft, Begin(JobKind::Bmc)),
        ],
        Verb::Power(PowerVerb::Reboot | PowerVerb::Cycle | PowerVerb::Reset) => &[
            Row(Resting(OUT_OF_RESCUE), Begin(JobKind::Bmc)),
            Row(Soft, Begin(JobKind::Bmc)),
        ],
        Verb::Power(PowerVerb::On | PowerVerb::SoftReboot { .. }) => {
            &[Row(Resting(OUT_OF_RESCUE), Begin(JobKind::Bmc))]
        }
        Verb::Power(PowerVerb::SoftOff { .. } | PowerVerb::Diag)
        | Verb::BootDevice { .. }
        | Verb::ResetBmc
        | Verb::SetPassword(_) => &[Row(Resting(Rest::ALL), Begin(JobKind::Bmc))],
        // These change the record alone, whatever the state, or end it (`enroll`).
        Verb::Maintenance(_)
        | Verb::Set(_)
        | Verb::Allocate { .. }
        | Verb::Deallocate(_)
        | Verb::Delete => &[],
    }
}

impl Allowed {
    fn fits(&self, state: &State) -> bool {
        match (self, state) {
            (Allowed::Resting(rests), State::Resting(rest)) => rests.contains(rest),
            (Allowed::Busy(kinds), State::Busy(job)) => kinds.contains(&job.kind),
            (Allowed::Soft, State::Busy(job)) => job.is_soft(),
            (Allowed::Holdable, State::Busy(job)) => job.can_be_held() && !job.hold,
            (Allowed::OnHold, State::Busy(job)) => job.hold,
            (Allowed::Resting(_), State::Busy(_))
            | (
                Allowed::Busy(_) | Allowed::Soft | Allowed::Holdable | Allowed::OnHold,
                State::Resting(_),
            ) => false,
        }
    }
}

fn carry_out(draft: &mut Draft<'_>, verb: &Verb) -> Result<String, Rejected> {
    match verb {
        Verb::Maintenance(Some(reason)) if reason.trim().is_empty() => {
            return Err(Rejected::Invalid {
                why: "maintenance needs a reason, for whoever finds the node in it".into(),
            });
        }
        Verb::Maintenance(reason) => return Ok(maintenance(draft, reason.as_deref())),
        Verb::Set(patch) => return set::set(draft, patch),
        Verb::Allocate { allocation, wanted } => {
            return allocate::allocate(draft, *allocation, wanted);
        }
        Verb::Deallocate(allocation) => return allocate::deallocate(draft, *allocation),
        Verb::Manage
        | Verb::Inspect
        | Verb::Provide
        | Verb::Deploy(_)
        | Verb::Rebuild(_)
        | Verb::Undeploy
        | Verb::Adopt(_)
        | Verb::Clean(_)
        | Verb::Service(_)
        | Verb::Rescue(_)
        | Verb::Unrescue => not_in_maintenance(draft, verb)?,
        Verb::Abort
        | Verb::Hold
        | Verb::Unhold
        | Verb::Delete
        | Verb::Power(_)
        | Verb::BootDevice { .. }
        | Verb::ResetBmc
        | Verb::SetPassword(_) => {}
    }
    flags::allow(&draft.node, verb)?;
    if matches!(verb, Verb::Manage) {
        allocate::not_allocated(&draft.node, verb.name())?;
    }
    let state = &draft.node.state;
    let Some(Row(_, then)) = rows(verb).iter().find(|Row(when, _)| when.fits(state)) else {
        let state = match (verb, state) {
            (Verb::Hold | Verb::Unhold, _) => state.provision_state().to_string(),
            (Verb::Power(_), State::Resting(Rest::Rescue)) => {
                "in rescue (unrescue boots its disk, rescue its ramdisk anew)".to_string()
            }
            (_, state) => words(state),
        };
        return Err(Rejected::WrongState {
            verb: verb.name().to_string(),
            state,
        });
    };
    match then {
        Outcome::GiveUp => Ok(draft.instead(Instead::Abort)),
        Outcome::Hold => Ok(draft.hold()),
        Outcome::Unhold => Ok(draft.unhold()),
        Outcome::Rest(rest) => Ok(rest_there(draft, *rest)),
        Outcome::Begin(kind) => begin(draft, *kind, verb),
    }
}

fn rest_there(draft: &mut Draft<'_>, rest: Rest) -> String {
    draft.node.state = State::Resting(rest);
    draft.node.last_error = None;
    draft.end_instance();
    format!("the operator made the node {}", rest.name())
}

fn begin(draft: &mut Draft<'_>, kind: JobKind, verb: &Verb) -> Result<String, Rejected> {
    let policy = draft.ctx.policy;
    let automated_clean = draft.node.automated_clean.unwrap_or(policy.automated_clean);
    let ramdisk = || plan::with_ramdisk().into();
    let (goal, work): (Goal, Work) = match kind {
        JobKind::Verify => (
            Goal::Rest(Rest::Manageable),
            vec![Step::Bmc(BmcAct::Check)].into(),
        ),
        JobKind::Inspect => (Goal::Rest(Rest::Manageable), ramdisk()),
        JobKind::Adopt => {
            accept_instance(draft, verb)?;
            (
                Goal::Rest(Rest::Active),
                vec![Step::Bmc(BmcAct::Check)].into(),
            )
        }
        JobKind::Clean if automated_clean => (Goal::Rest(Rest::Available), ramdisk()),
        JobKind::Clean => return Ok(rest_there(draft, Rest::Available)),
        JobKind::ManualClean => (
            Goal::Rest(Rest::Manageable),
            manual_steps(draft, kind, verb)?,
        ),
        JobKind::Service => {
            not_in_maintenance(draft, verb)?;
            let failed = draft.node.state.resting() == Some(Rest::ServiceFailed);
            if failed && matches!(verb, Verb::Service(wish) if wish.disable_ramdisk) {
                return Err(Rejected::Invalid {
                    why: "after a failed service the machine may run the ramdisk still: leave out disable_ramdisk, or abort, which \
                          boots its disk"
                        .into(),
                });
            }
            (Goal::Rest(Rest::Active), manual_steps(draft, kind, verb)?)
        }
        JobKind::Rescue => (Goal::Rest(Rest::Rescue), rescue_steps(draft, verb)?.into()),
        JobKind::Unrescue => (
            Goal::Rest(Rest::Active),
            plan::out_of_a_silent_ramdisk().to_vec().into(),
        ),
        JobKind::Deploy => {
            accept_instance(draft, verb)?;
            (Goal::Rest(Rest::Active), ramdisk())
        }
        JobKind::Delete => {
            let goal = match automated_clean {
                true => Goal::Clean,
                false => Goal::Rest(Rest::Available),
            };
            (goal, vec![Step::Bmc(BmcAct::PowerOff)].into())
        }
        JobKind::Bmc => {
            let steps = match flags::instead_of_off(&draft.node, verb) {
                Some(act) => vec![Step::Bmc(act)],
                None => bmc_steps(verb, policy.soft_power_off_secs)?,
            };
            if let Verb::SetPassword(next) = verb {
                password::open(draft, next)?;
            }
            (power::goal(draft), steps.into())
        }
    };
    let Work { steps, bounds } = work;
    let because = draft.instead(Instead::Begin {
        kind,
        goal,
        steps,
        bounds,
    });
    let because = if let Verb::Clean(wish) | Verb::Service(wish) = verb
        && let Some(runbook) = &wish.runbook
    {
        format!("{because}, runbook {runbook}")
    } else {
        because
    };
    Ok(match kind {
        JobKind::Bmc => format!("the operator wants to {} the node: {because}", verb.name()),
        JobKind::Verify
        | JobKind::Inspect
        | JobKind::Adopt
        | JobKind::Clean
        | JobKind::ManualClean
        | JobKind::Service
        | JobKind::Rescue
        | JobKind::Unrescue
        | JobKind::Deploy
        | JobKind::Delete => because,
    })
}

/// Where none are named, the machine only goes back to its instance.
fn manual_steps(draft: &Draft<'_>, kind: JobKind, verb: &Verb) -> Result<Work, Rejected> {
    match verb {
        Verb::Clean(wish) | Verb::Service(wish) => {
            let steps = manual::steps(kind, wish, draft.ctx.policy);
            steps.map_err(|why| Rejected::Invalid { why })
        }
        Verb::Manage
        | Verb::Inspect
        | Verb::Provide
        | Verb::Deploy(_)
        | Verb::Rebuild(_)
        | Verb::Undeploy
        | Verb::Adopt(_)
        | Verb::Rescue(_)
        | Verb::Unrescue
        | Verb::Abort
        | Verb::Hold
        | Verb::Unhold
        | Verb::Maintenance(_)
        | Verb::Set(_)
        | Verb::Allocate { .. }
        | Verb::Deallocate(_)
        | Verb::Delete
        | Verb::Power(_)
        | Verb::BootDevice { .. }
        | Verb::ResetBmc
        | Verb::SetPassword(_) => Ok(plan::out_of_a_silent_ramdisk().to_vec().into()),
    }
}

/// Takes the login; the steps that let it in.
fn rescue_steps(draft: &mut Draft<'_>, verb: &Verb) -> Result<Vec<Step>, Rejected> {
    let Verb::Rescue(login) = verb else {
        unreachable!("no row of another verb begins a rescue");
    };
    let invalid = |why| Rejected::Invalid { why };
    login.check().map_err(invalid)?;
    let system = draft.ctx.policy.rescue_system().map_err(invalid)?;
    draft.put(Beside::RescueLogin(login.clone()));
    Ok(plan::into_a_rescue(system))
}

/// Takes the instance of a deploy; a rebuild keeps what is not given of the node's own.
fn accept_instance(draft: &mut Draft<'_>, verb: &Verb) -> Result<(), Rejected> {
    let (given, kept) = match verb {
        Verb::Deploy(instance) | Verb::Adopt(instance) => (Some(instance), None),
        Verb::Rebuild(instance) => (instance.as_ref(), draft.node.instance.as_ref()),
        Verb::Manage
        | Verb::Inspect
        | Verb::Provide
        | Verb::Undeploy
        | Verb::Clean(_)
        | Verb::Service(_)
        | Verb::Rescue(_)
        | Verb::Unrescue
        | Verb::Abort
        | Verb::Hold
        | Verb::Unhold
        | Verb::Maintenance(_)
        | Verb::Set(_)
        | Verb::Allocate { .. }
        | Verb::Deallocate(_)
        | Verb::Delete
        | Verb::Power(_)
        | Verb::BootDevice { .. }
        | Verb::ResetBmc
        | Verb::SetPassword(_) => (None, None),
    };
    let Some(given) = given else {
        // It was checked on arrival.
        return match draft.node.instance {
            Some(_) => Ok(()),
            None => Err(Rejected::Invalid {
                why: "nothing was deployed that could be rebuilt".into(),
            }),
        };
    };
    if given.image.source.is_masked() {
        return Err(Rejected::Invalid {
            why: format!(
                "image {}: the mask is no query; give the whole URL",
                given.image.source
            ),
        });
    }
    let (mut instance, mut data) = given.clone().split();
    // An adopted system runs already, and reads nothing of ours.
    if !matches!(verb, Verb::Adopt(_)) {
        confirm::take_token(given, kept, draft.ctx.policy, &mut instance, &mut data);
    }
    // With none of it given, the document beside the record stays, unless it has the URL of the image before.
    let had_url = kept.is_some_and(|kept| kept.image.source.is_masked());
    let keeps_data = kept.is_some() && data.is_empty() && !had_url;
    if let Some(kept) = kept.cloned() {
        instance = instance.or(kept);
        data = data.or(draft.ctx.instance_data.cloned().unwrap_or_default());
    }
    plan::check_instance(&draft.node, &instance, &data).map_err(|why| Rejected::Invalid { why })?;
    draft.node.instance = Some(instance);
    match data.is_empty() {
        _ if keeps_data => {}
        true => draft.node.beside.set(BesideKind::InstanceData, None),
        false => draft.put(Beside::InstanceData(data)),
    }
    Ok(())
}

fn bmc_steps(verb: &Verb, soft_secs: u32) -> Result<Vec<Step>, Rejected> {
    match verb {
        Verb::Power(verb) => power_steps(*verb, soft_secs),
        Verb::BootDevice { device, persistent } => Ok(vec![Step::Bmc(BmcAct::SetBootDevice {
            device: *device,
            persistent: *persistent,
        })]),
        Verb::ResetBmc => Ok(vec![Step::Bmc(BmcAct::ResetBmc)]),
        Verb::SetPassword(_) => Ok(vec![Step::Bmc(BmcAct::SetPassword)]),
        Verb::Manage
        | Verb::Inspect
        | Verb::Provide
        | Verb::Deploy(_)
        | Verb::Rebuild(_)
        | Verb::Undeploy
        | Verb::Adopt(_)
        | Verb::Clean(_)
        | Verb::Service(_)
        | Verb::Rescue(_)
        | Verb::Unrescue
        | Verb::Abort
        | Verb::Hold
        | Verb::Unhold
        | Verb::Maintenance(_)
        | Verb::Set(_)
        | Verb::Allocate { .. }
        | Verb::Deallocate(_)
        | Verb::Delete => unreachable!("no row of this verb begins a job for the BMC alone"),
    }
}

/// The longest time that an operator can give an operating system to switch off: a day.
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

fn not_in_maintenance(draft: &Draft<'_>, verb: &Verb) -> Result<(), Rejected> {
    match &draft.node.maintenance {
        None => Ok(()),
        Some(maintenance) => Err(Rejected::InMaintenance {
            verb: verb.name().to_string(),
            reason: maintenance.reason.clone(),
        }),
    }
}

/// Characters of a reason that are kept.
const MAX_REASON: usize = 255;

fn maintenance(draft: &mut Draft<'_>, reason: Option<&str>) -> String {
    let now = draft.ctx.now;
    match (reason, &draft.node.maintenance) {
        (None, _) => {
            if draft.node.is_held() {
                draft.resume();
            }
            draft.node.maintenance = None;
        }
        (Some(reason), before) => {
            let since = before.as_ref().map_or(now, |before| before.since);
            draft.node.maintenance = Some(Maintenance {
                since,
                reason: reason.chars().take(MAX_REASON).collect(),
                fault: None,
            });
        }
    }
    match reason {
        Some(reason) => format!("maintenance begins: {}", said(reason, MAX_REASON)),
        None => "maintenance ends".into(),
    }
}
