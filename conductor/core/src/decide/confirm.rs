//! The instance's own word that it runs, and how its token is taken from a deploy.
//! The conductor's HTTP side hears it; `explain` says what it means.
use super::answer::Rejected;
use super::draft::Draft;
use crate::node::{BmcAct, Confirm, Instance, InstanceData, JobKind, NewInstance, Step};
use crate::policy::Policy;
use alloc::string::String;
use ironbeat_common::image::Digest;

pub(super) fn confirmed(draft: &mut Draft<'_>, sha256: &Digest<32>) -> Result<String, Rejected> {
    let now = draft.ctx.now;
    // What ran before a rebuild may speak until its machine is switched off.
    let is_written = draft.node.job().is_none_or(|job| {
        job.kind != JobKind::Deploy || *job.step() == Step::Bmc(BmcAct::BootDisk)
    });
    let instance = draft.node.instance.as_mut().filter(|_| is_written);
    let confirm = instance.and_then(|instance| instance.confirm.as_mut());
    let Some(confirm) = confirm.filter(|confirm| confirm.sha256 == *sha256) else {
        return Err(Rejected::WrongToken);
    };
    if confirm.at.is_some() {
        return Ok("the instance confirmed before that it runs".into());
    }
    confirm.at = Some(now);
    Ok("the instance confirmed that it runs".into())
}

/// Gives the instance its token, if it is to confirm: as asked, or as it was, or else as the policy has it.
pub(super) fn take_token(
    given: &NewInstance,
    kept: Option<&Instance>,
    policy: &Policy,
    instance: &mut Instance,
    data: &mut InstanceData,
) {
    let before = kept.map(|kept| kept.confirm.is_some());
    let wanted = given.confirm.or(before).unwrap_or(policy.confirm_instances);
    let token = given.token.as_ref().filter(|_| wanted);
    data.token = token.map(|token| token.secret.clone());
    instance.confirm = token.map(|token| Confirm {
        sha256: token.sha256.clone(),
        at: None,
    });
}
