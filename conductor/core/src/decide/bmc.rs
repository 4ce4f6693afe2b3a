//! The outcome of a BMC act.
//! The conductor drives the BMC, and says which of its errors are worth another try.
use super::draft::Draft;
use super::job::FailureOf;
use super::password;
use crate::event::{Accepted, BmcFault, BmcReport};
use crate::id::OpId;
use crate::node::{BmcAct, Phase, Power, PowerSource, Step};
use alloc::format;
use alloc::string::String;

pub(super) fn reported(
    draft: &mut Draft<'_>,
    op: &OpId,
    result: &Result<BmcReport, BmcFault>,
) -> String {
    let act = match draft.node.job() {
        Some(job) => match (&job.phase, job.step()) {
            (Phase::Acting { op: present, .. }, Step::Bmc(act)) if present == op => *act,
            (
                Phase::InLine { .. }
                | Phase::Held { .. }
                | Phase::Waiting { .. }
                | Phase::Acting { .. }
                | Phase::Backoff { .. }
                | Phase::AwaitingAgent { .. }
                | Phase::AgentStep { .. },
                Step::Bmc(_) | Step::AwaitAgent | Step::Agent(_) | Step::Hold | Step::Wait { .. },
            ) => return "the act was not the current one".into(),
        },
        None => return "the act was not the current one".into(),
    };
    if act == BmcAct::SetPassword {
        password::reported(draft, result);
    }
    match result {
        Ok(report) => {
            if is_evidence(act) {
                draft.node.power = Some(Power {
                    on: report.power_on,
                    at: draft.ctx.now,
                    source: PowerSource::Bmc,
                });
            }
            match (draft.stopped(), contradiction(act, report.power_on)) {
                (Some(because), _) => because,
                (None, None) => draft.advance(),
                (None, Some(lie)) => draft.retry(FailureOf::Bmc, lie.into()),
            }
        }
        Err(fault) => {
            if let Some(accepted) = fault.accepted {
                draft.node.power = Some(Power {
                    on: accepted == Accepted::PowerOn,
                    at: draft.ctx.now,
                    source: PowerSource::Command,
                });
            }
            if let Some(because) = draft.stopped() {
                return because;
            }
            let what = format!("{}: {}", act.name(), fault.what);
            if fault.permanent {
                draft.fail(FailureOf::Bmc, what)
            } else if is_no_try(act, fault) {
                draft.pause(what, true)
            } else {
                draft.retry(FailureOf::Bmc, what)
            }
        }
    }
}

/// A worker's own trouble takes no try from the node. An act that is done once stays so; and a BMC that may have heard of a new
/// password may hear of it late, so whoever sets it next is not the first.
fn is_no_try(act: BmcAct, fault: &BmcFault) -> bool {
    let may_come_late = act == BmcAct::SetPassword && !fault.untold;
    fault.let_go && !act.is_once() && !may_come_late
}

/// What an act reports of the power counts where the power is its aim, and where the BMC is looked at for the first time. A
/// BMC that has just restarted says "off" of a running machine, whatever it is asked for next: the sync asks it later, and
/// then a lie costs no machine its power.
fn is_evidence(act: BmcAct) -> bool {
    match act {
        BmcAct::Check
        | BmcAct::Netboot
        | BmcAct::EnsureOn
        | BmcAct::BootDisk
        | BmcAct::Cycle
        | BmcAct::PowerOff
        | BmcAct::LeaveRamdisk { .. }
        | BmcAct::SoftOff { .. } => true,
        BmcAct::SetBootDevice { .. }
        | BmcAct::Reset
        | BmcAct::ResetBmc
        | BmcAct::Diag
        | BmcAct::SetPassword => false,
    }
}

/// A worker reports success only if the power is as the act wants it; this check holds even if a worker has a bug.
fn contradiction(act: BmcAct, power_on: bool) -> Option<&'static str> {
    match act {
        BmcAct::Check
        | BmcAct::SetBootDevice { .. }
        | BmcAct::Reset
        | BmcAct::ResetBmc
        | BmcAct::Diag
        | BmcAct::SetPassword => None,
        BmcAct::Netboot | BmcAct::EnsureOn | BmcAct::BootDisk | BmcAct::Cycle => {
            (!power_on).then_some("the machine was turned on, but its BMC says it is off")
        }
        BmcAct::PowerOff | BmcAct::SoftOff { .. } | BmcAct::LeaveRamdisk { .. } => {
            power_on.then_some("the machine was turned off, but its BMC says it is on")
        }
    }
}
