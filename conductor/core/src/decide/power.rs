//! What a power reading changes: it agrees with the record, it differs, or the BMC is silent.
//! The conductor says when to read, and counts how often in a row there was trouble.
#[cfg(test)]
mod tests;

use super::draft::Draft;
use crate::event::{BmcFault, BmcReport};
use crate::index::Entry;
use crate::node::{
    BmcAct, During, Goal, HardwareFault, JobKind, LastError, Maintenance, Node, Phase, Power,
    PowerSource, Rest, State, Step,
};
use crate::policy::Policy;
use crate::time::{Time, secs};
use alloc::format;
use alloc::string::String;
use alloc::vec;

/// Whether a power reading can change a node that rests there (none: it is busy): not while a job is under way, before
/// the BMC was verified, or while an operator has the node in maintenance (Ironic skips the same).
pub fn power_is_synced(rest: Option<Rest>, maintenance: Option<&Maintenance>) -> bool {
    rest.is_some_and(|rest| !matches!(rest, Rest::Enroll | Rest::AdoptFailed))
        && maintenance.is_none_or(|maintenance| maintenance.fault == Some(HardwareFault::Power))
}

/// Whether the power of such a node is asked now and then: also while its agent works, since a machine that somebody switches off is
/// silent in no other way than one whose network is away.
pub fn power_is_read(node: &Entry) -> bool {
    power_is_synced(node.rest, node.maintenance.as_ref())
        || (node.agent.is_some() && node.maintenance.is_none())
}

/// Whether a reading may change a node that was last seen as `known`. When in doubt it may: then the record is read.
pub fn is_news(
    known: &Entry,
    at: Time,
    result: &Result<BmcReport, BmcFault>,
    troubles: u32,
    policy: &Policy,
) -> bool {
    match result {
        Err(_) => {
            known.rest.is_some()
                && known.maintenance.is_none()
                && troubles > policy.power_sync_max_retries
        }
        Ok(report) => !known.power.as_ref().is_some_and(|power| {
            known.maintenance.is_none()
                && known.bmc_error.is_none()
                && power.on == report.power_on
                && power.confirmed()
                && at.since(power.at) < secs(policy.power_evidence_secs)
        }),
    }
}

/// `at`: when the BMC was asked. `troubles`: how many readings in a row, this one included, failed or differed.
pub(super) fn read(
    draft: &mut Draft<'_>,
    at: Time,
    result: &Result<BmcReport, BmcFault>,
    troubles: u32,
) -> String {
    let (state, maintenance) = (&draft.node.state, draft.node.maintenance.as_ref());
    if let State::Busy(_) = state {
        return read_while_busy(draft, at, result);
    }
    if !power_is_synced(state.resting(), maintenance) {
        return "the power is not synced now".into();
    }
    let (node, policy) = (&draft.node, draft.ctx.policy);
    let rescued = node.state == State::Resting(Rest::Rescue);
    let too_often = troubles > policy.power_sync_max_retries;
    let recovering = node.maintenance.is_some();
    let since = node.maintenance.as_ref().map(|fault| fault.since);
    if since.is_some_and(|since| since >= at) {
        return "this reading is older than the fault".into();
    }
    let power_on = match result {
        Ok(report) => report.power_on,
        Err(_) if recovering => return "the BMC still does not report the power".into(),
        Err(fault) if too_often => return give_up(draft, troubles, &fault.what),
        Err(fault) => return format!("the power could not be read: {}", fault.what),
    };
    let seen = Power {
        on: power_on,
        at,
        source: PowerSource::Bmc,
    };
    let known = node.power.clone();
    if known.as_ref().is_some_and(|known| known.at >= at) {
        return "this reading is older than what is known".into();
    }
    if recovering {
        draft.node.maintenance = None;
        clear_error(&mut draft.node);
        draft.node.power = Some(match known {
            // Its first word may be false, as after a restart. What was ordered stands, unconfirmed; the next reading decides.
            Some(known) if known.on != power_on => Power {
                on: known.on,
                at,
                source: PowerSource::Command,
            },
            Some(_) | None => seen,
        });
        return "the BMC answers again: maintenance ends".into();
    }
    match known {
        None => {
            draft.node.power = Some(seen);
            format!("the power is {}", word(power_on))
        }
        Some(known) if known.on == power_on => {
            let aged = at.since(known.at) >= secs(policy.power_evidence_secs);
            let had_error = clear_error(&mut draft.node);
            if aged || had_error || !known.confirmed() {
                draft.node.power = Some(seen);
            }
            format!("the power is {}, as known", word(power_on))
        }
        Some(known) if too_often => {
            let what = format!(
                "the power is {}, and does not become {}",
                word(power_on),
                word(known.on)
            );
            give_up(draft, troubles, &what)
        }
        // A rescued machine that is switched on boots its disk: that is the operator's to say. One that must not be switched off
        // is believed when it is on.
        Some(known)
            if policy.force_power_state_during_sync
                && if known.on {
                    !rescued
                } else {
                    !draft.node.disable_power_off
                } =>
        {
            let act = if known.on {
                BmcAct::EnsureOn
            } else {
                BmcAct::PowerOff
            };
            let goal = goal(draft);
            draft.start(JobKind::Bmc, goal, vec![Step::Bmc(act)]);
            format!(
                "the power is {} without an order: made {} again",
                word(power_on),
                word(known.on)
            )
        }
        Some(_) => {
            draft.node.power = Some(seen);
            format!("the power became {} without an order", word(power_on))
        }
    }
}

/// What the BMC says is put down, and nothing is put right: that is the job's. An agent whose machine is said to be off is asked
/// whether it lives; its alarm hears the answer.
fn read_while_busy(
    draft: &mut Draft<'_>,
    at: Time,
    result: &Result<BmcReport, BmcFault>,
) -> String {
    let report = match result {
        Ok(report) => report,
        Err(fault) => return format!("the power could not be read: {}", fault.what),
    };
    if let Phase::Acting { .. } = draft.job().phase {
        return "the BMC is driven, and the power with it".into();
    }
    let seen = Power {
        on: report.power_on,
        at,
        source: PowerSource::Bmc,
    };
    let evidence = secs(draft.ctx.policy.power_evidence_secs);
    let aged = |known: &Power| at.since(known.at) >= evidence;
    match &draft.node.power {
        Some(known) if known.at >= at => return "this reading is older than what is known".into(),
        Some(known) if known.on == seen.on && known.confirmed() && !aged(known) => {
            return format!("the power is {}, as known", word(seen.on));
        }
        Some(_) | None => {}
    }
    draft.node.power = Some(seen);
    let name = draft.job().step().name();
    if draft.node.off_since().is_some() {
        draft.nudge();
        return format!("the BMC says that the machine is off, in the middle of {name}");
    }
    format!("the power is {}, in {name}", word(report.power_on))
}

/// Its agent was heard at that time, which takes power.
pub(super) fn lives(node: &mut Node, at: Time) {
    let off = node.power.as_ref().filter(|power| !power.on);
    if off.is_some_and(|off| off.at < at) {
        node.power = Some(Power {
            on: true,
            at,
            source: PowerSource::Agent,
        });
    }
}

/// Where a job for the BMC alone leads: where the node is, or was before the one that is under way.
pub(super) fn goal(draft: &Draft<'_>) -> Goal {
    match &draft.node.state {
        State::Resting(rest) => Goal::Rest(*rest),
        State::Busy(job) => job.goal,
    }
}

fn give_up(draft: &mut Draft<'_>, troubles: u32, what: &str) -> String {
    let now = draft.ctx.now;
    let reason = format!("power sync failed {troubles} times in a row: {what}");
    draft.node.bmc_error = Some(LastError {
        at: now,
        during: During::PowerSync,
        what: reason.clone(),
    });
    draft.node.maintenance = Some(Maintenance {
        since: now,
        reason: reason.chars().take(255).collect(),
        fault: Some(HardwareFault::Power),
    });
    reason
}

fn clear_error(node: &mut Node) -> bool {
    let error = node.bmc_error.as_ref();
    let ours = error.is_some_and(|error| error.during == During::PowerSync);
    if ours {
        node.bmc_error = None;
    }
    ours
}

fn word(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}
