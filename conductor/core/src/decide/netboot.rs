//! What a machine does on its way to the ramdisk, as DHCP and HTTP see it: whether it still comes, or something else runs.
//! `agent` hears the ramdisk itself; `alarm` notices that nothing follows.
use super::draft::Draft;
use super::job::HELD;
use crate::node::{Phase, Sign, deaths};
use crate::time::{Time, secs};
use alloc::format;
use alloc::string::String;

const NOT_AWAITED: &str = "no ramdisk is waited for";

/// Each sign has to be followed by the next, the lookup being the last, sooner than the whole boot has to be over.
pub(super) fn seen(draft: &mut Draft<'_>, sign: Sign, at: Time) -> String {
    let (now, policy) = (draft.ctx.now, draft.ctx.policy);
    if draft.node.is_held() {
        return format!("{HELD}: its job waits");
    }
    if draft.node.job().is_none() {
        return NOT_AWAITED.into();
    }
    let whole = draft.boot_time();
    let Phase::AwaitingAgent {
        since,
        until,
        sign: known,
        died,
    } = &mut draft.job().phase
    else {
        return NOT_AWAITED.into();
    };
    if at < *since {
        return "this was another boot".into();
    }
    // A kernel that runs cannot ask for a boot script: it ended, and the machine boots from the network again. Or somebody else
    // asks, who needs to know no more than a MAC address: no job ends because of it.
    let anew = *known == Some(Sign::Kernel) && sign == Sign::Script;
    if anew {
        *died = died.saturating_add(1);
    }
    if anew || known.is_none_or(|known| sign > known) {
        *known = Some(sign);
        let next = now.after(secs(policy.boot_sign_secs));
        *until = next.min(since.after(whole));
    }
    format!("the machine {}{}", sign.words(), deaths(*died))
}
