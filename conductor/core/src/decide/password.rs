//! A BMC gets another password: how the change begins, and which password is kept when it ends.
//! The conductor logs in, and says which password the BMC accepts.
//!
//! Both passwords are on record before the BMC hears of the new one, and until the BMC is seen to accept one of them when no
//! command that sets the new one can be under way any longer. A crash in between loses neither; and the next change begins
//! when nothing of this one can come late.
#[cfg(test)]
mod tests;

use super::answer::Rejected;
use super::draft::Draft;
use crate::event::{BmcFault, BmcReport};
use crate::id::OpId;
use crate::node::{
    Beside, BmcAct, BmcSecrets, Candidate, Node, PasswordChange, Secret, Step, check_password,
};
use crate::time::{Time, secs};
use alloc::format;
use alloc::string::String;

/// A command of a worker that was stopped comes late, over the session that it had. A BMC ends a session that is idle for
/// 60 s ± 3 s (IPMI 2.0 §6.12.15); some take two minutes.
const LATE_SECS: u32 = 180;

fn invalid(why: impl Into<String>) -> Rejected {
    Rejected::Invalid { why: why.into() }
}

/// Puts the new password beside the present one. The job that sets it follows.
pub(super) fn open(draft: &mut Draft<'_>, next: &Secret) -> Result<(), Rejected> {
    check_password(next).map_err(invalid)?;
    let now = draft.ctx.now;
    if let Some(change) = &draft.node.password_change {
        return Err(still_open(change));
    }
    let Some(known) = draft.ctx.secrets.cloned() else {
        return Err(invalid(
            "the BMC's password is not known: give it first (ironbeat node set --bmc-password-file)",
        ));
    };
    if known.password == *next {
        return Err(invalid("the BMC has this password already"));
    }
    draft.node.password_change = Some(PasswordChange {
        since: now,
        until: now,
        refused: None,
        told: 0,
    });
    draft.put(Beside::BmcSecrets(BmcSecrets {
        next: Some(next.clone()),
        ..known
    }));
    Ok(())
}

fn still_open(change: &PasswordChange) -> Rejected {
    Rejected::PasswordOpen {
        since: change.since,
        until: change.until,
    }
}

/// Whether an operator's word may take the place of the passwords on record: not while one of them may be the only one that
/// lets anybody in.
pub(super) fn may_be_replaced(draft: &Draft<'_>) -> Result<(), Rejected> {
    match &draft.node.password_change {
        Some(change) if change.refused.is_none() && draft.ctx.secrets.is_some() => {
            Err(still_open(change))
        }
        Some(_) | None => Ok(()),
    }
}

/// A worker sets out to set it, and stops at `until`.
pub(super) fn begun(draft: &mut Draft<'_>, until: Time) {
    if let Some(change) = &mut draft.node.password_change {
        change.until = until.after(secs(LATE_SECS));
        change.told += 1;
    }
}

/// The outcome of the act that sets it.
pub(super) fn reported(draft: &mut Draft<'_>, result: &Result<BmcReport, BmcFault>) {
    let (now, first) = (draft.ctx.now, draft.job().tries == 1);
    let Some(change) = &mut draft.node.password_change else {
        return;
    };
    match result {
        Err(fault) if fault.untold => change.told = change.told.saturating_sub(1),
        Ok(_) | Err(_) => {}
    }
    match result {
        Err(fault) if !fault.permanent => return,
        Ok(_) | Err(_) => {}
    }
    // Whoever was to set it says that it is over, and nobody else was.
    if first {
        change.until = now;
    }
    if result.is_ok() && change.until <= now {
        settle(draft, Candidate::Next);
    }
}

fn is_being_set(node: &Node) -> bool {
    let set = |step: &Step| *step == Step::Bmc(BmcAct::SetPassword);
    node.job().is_some_and(|job| job.steps.iter().any(set))
}

/// A change that nobody sets any more, and of which the BMC has not heard, is over: nobody could log in to say so where its address
/// or its user is wrong. What to add to why the event did what it did.
pub(super) fn close_untold(draft: &mut Draft<'_>) -> Option<String> {
    let change = draft.node.password_change.as_ref()?;
    if change.told > 0 || is_being_set(&draft.node) || draft.ctx.secrets.is_none() {
        return None;
    }
    settle(draft, Candidate::Present);
    Some("the BMC has not heard of the new password, and the old one stays".into())
}

/// Somebody logged in, or was refused.
pub(super) fn found(draft: &mut Draft<'_>, version: &OpId, found: Option<Candidate>) -> String {
    let (now, being_set) = (draft.ctx.now, is_being_set(&draft.node));
    let Some(change) = &mut draft.node.password_change else {
        return "no change of the BMC's password is open".into();
    };
    if draft.node.beside.bmc_secrets.as_ref() != Some(version) {
        return "the passwords on record are others by now".into();
    }
    if being_set {
        return "the BMC's password is being set".into();
    }
    let Some(found) = found else {
        change.refused.get_or_insert(now);
        return "the BMC refuses the old password and the new one".into();
    };
    change.refused = None;
    if now < change.until {
        let until = change.until;
        return format!("a worker may still set the BMC's new password, until {until}");
    }
    settle(draft, found)
}

/// One password is right: the others go.
fn settle(draft: &mut Draft<'_>, right: Candidate) -> String {
    let known = draft.ctx.secrets;
    let Some((known, password)) = known.and_then(|known| Some((known, known.candidate(right)?)))
    else {
        return "the BMC's passwords cannot be read".into();
    };
    let kg = known.kg.clone();
    draft.put(Beside::BmcSecrets(BmcSecrets {
        password,
        kg,
        next: None,
    }));
    draft.node.password_change = None;
    match right {
        Candidate::Present => "the BMC has the old password: the change is over",
        Candidate::Next => "the BMC has the new password: the change is over",
        Candidate::NextCut => "the BMC has kept 16 bytes of the new password: the change is over",
    }
    .into()
}
