//! A ramdisk looks up though its node is active: its machine is made to boot its disk, a few times in a row at most.
//! `agent` has the ramdisks that are wanted.
use super::answer::Rejected;
use super::draft::Draft;
use super::power;
use crate::node::{Astray, BmcAct, During, JobKind, LastError, Step};
use crate::time::secs;
use alloc::format;
use alloc::string::{String, ToString};
use core::time::Duration;
use ironbeat_common::id::BootId;

/// One lookup may be old: a worker that was stopped answers it when it goes on. A machine that lives asks again after this
/// long, as it is told to.
const SURE_SECS: u32 = 10;
/// More than this in a row does not help: the disk does not boot, or the BMC is another machine's.
const MAX_FORCED: u32 = 3;
/// What is this far apart is not in a row.
const ROW: Duration = Duration::from_secs(3600);

pub(super) fn looked_up(draft: &mut Draft<'_>, boot: BootId) -> Result<String, Rejected> {
    let now = draft.ctx.now;
    let refused = Rejected::AgentNotWanted {
        state: draft.node.state.provision_state().to_string(),
    };
    let before = draft.node.astray.clone();
    let in_a_row = before.as_ref().filter(|it| now.since(it.at) < ROW);
    let forced = in_a_row.map_or(0, |it| it.forced);
    let again = before.as_ref().filter(|it| it.boot == boot);
    let Some(astray) = again else {
        let astray = Astray {
            times: before.map_or(0, |it| it.times).saturating_add(1),
            boot,
            at: now,
            forced,
        };
        let words = astray.words();
        draft.node.astray = Some(astray);
        return Ok(words);
    };
    // Somebody may work on the machine, or it must not be switched off.
    let hands_off = draft.node.maintenance.is_some() || draft.node.disable_power_off;
    if hands_off || now.since(astray.at) < secs(SURE_SECS) {
        return Err(refused);
    }
    let mut astray = astray.clone();
    let words = astray.words();
    if forced >= MAX_FORCED {
        let what = format!("{words}, and still does after {forced} boots from the disk by force");
        let told = draft.node.bmc_error.as_ref();
        if told.is_some_and(|error| error.what == what) {
            return Err(refused);
        }
        draft.node.bmc_error = Some(LastError {
            at: now,
            during: During::Astray,
            what: what.clone(),
        });
        return Ok(what);
    }
    (astray.at, astray.forced) = (now, forced + 1);
    draft.node.astray = Some(astray);
    let goal = power::goal(draft);
    let steps = [BmcAct::PowerOff, BmcAct::BootDisk].map(Step::Bmc);
    draft.start(JobKind::Bmc, goal, steps.to_vec());
    Ok(format!("{words}: it is booted from the disk by force"))
}
