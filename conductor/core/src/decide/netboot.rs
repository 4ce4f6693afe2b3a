//! What a machine does on its way to the ramdisk, as DHCP and HTTP see it: whether it still comes, or something else runs.
//! `agent` hears the ramdisk itself; `alarm` notices that nothing follows.
use super::draft::Draft;
use super::job::{FailureOf, HELD};
use crate::node::{Phase, Sign};
use crate::time::{Time, secs};
use alloc::format;
use alloc::string::String;

/// Each sign has to be followed by the next, the lookup being the last, sooner than the whole boot has to be over.
pub(super) fn seen(draft: &mut Draft<'_>, sign: Sign, at: Time) -> String {
    let (now, policy) = (draft.ctx.now, draft.ctx.policy);
    let whole = secs(policy.boot_timeout_secs);
    if draft.node.is_held() {
        return format!("{HELD}: its job waits");
    }
    let Some(Phase::AwaitingAgent {
        since,
        until,
        sign: known,
    }) = draft.node.job_mut().map(|job| &mut job.phase)
    else {
        return "no ramdisk is waited for".into();
    };
    if at < *since {
        return "this was another boot".into();
    }
    match (*known, sign) {
        (Some(Sign::Kernel), Sign::Script) => return died(draft),
        (Some(known), sign) if sign <= known => {}
        (Some(_) | None, _) => {
            *known = Some(sign);
            let next = now.after(secs(policy.boot_sign_secs));
            *until = next.min(since.after(whole));
        }
    }
    format!("the machine {}", sign.words())
}

/// A kernel that ran ended, for it cannot ask for a boot script. The machine loads the ramdisk again by itself.
fn died(draft: &mut Draft<'_>) -> String {
    let (now, policy) = (draft.ctx.now, draft.ctx.policy);
    let until = now.after(secs(policy.boot_timeout_secs));
    let job = draft.job();
    let what = "the ramdisk died before it called, or could not be loaded (too little memory? its console says)";
    if job.boots >= policy.max_boots {
        let boots = job.boots;
        return draft.fail(
            FailureOf::Other,
            format!("{what}, {boots} ramdisk boots were tried"),
        );
    }
    job.boots += 1;
    job.phase = Phase::AwaitingAgent {
        since: now,
        until,
        sign: Some(Sign::Script),
    };
    format!("{what}: the machine boots from the network again")
}
