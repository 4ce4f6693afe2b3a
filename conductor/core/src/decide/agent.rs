//! What a ramdisk said: it booted, it beats. And the other way: what the conductor wants of it.
//! Which node a lookup belongs to is found in `lookup`; silence is noticed in `alarm`.
use super::answer::{Effect, Rejected};
use super::draft::Draft;
use super::job::{Fault, boot_disk_by_force, said};
use crate::node::{BmcAct, Node, Phase, Power, PowerSource, State, Step};
use crate::plan;
use alloc::format;
use alloc::string::{String, ToString};
use ironbeat_common::heartbeat::{HeartbeatReply, Outcome, Status};
use ironbeat_common::id::BootId;
use ironbeat_common::inventory::Inventory;

pub(super) fn booted(
    draft: &mut Draft<'_>,
    boot: BootId,
    inventory: &Inventory,
) -> Result<String, Rejected> {
    if draft.node.past_boots.contains(&boot) {
        return Err(Rejected::OldBoot);
    }
    if !wants_agent(&draft.node) {
        return Err(Rejected::AgentNotWanted {
            state: draft.node.state.provision_state().to_string(),
        });
    }
    if draft.node.boot == Some(boot) {
        return Ok(said("the same boot looked up again"));
    }
    draft.retire_boot();
    draft.node.boot = Some(boot);
    draft.node.inventory = Some(with_neighbours(inventory, draft.node.inventory.as_ref()));
    draft.node.power = Some(Power {
        on: true,
        at: draft.ctx.now,
        source: PowerSource::Agent,
    });
    let max_tries = draft.ctx.policy.max_tries;
    let job = draft.job();
    let phase = job.phase.clone();
    let because = match phase {
        Phase::AwaitingAgent { .. } => {
            match plan::after_lookup(&draft.node, inventory, draft.ctx.policy) {
                Ok(steps) => {
                    let job = draft.job();
                    job.steps.truncate(job.at + 1);
                    job.steps.extend(steps);
                    draft.advance()
                }
                Err(why) => draft.fail(Fault::Other, why),
            }
        }
        Phase::AgentStep { .. } if boot_disk_by_force(job) => {
            draft.begin();
            said("the machine came back to the ramdisk instead of its disk: booted by force")
        }
        Phase::AgentStep { .. } if job.tries >= max_tries => {
            let what = format!(
                "the machine rebooted in the middle of {} ({} tries)",
                job.step().name(),
                job.tries
            );
            draft.fail(Fault::Other, what)
        }
        Phase::AgentStep { .. } => {
            let because = format!(
                "the machine rebooted in the middle of {}: begun again",
                job.step().name()
            );
            draft.begin();
            because
        }
        Phase::Acting { .. } | Phase::Backoff { .. } => {
            said("the machine rebooted while the BMC was driven")
        }
    };
    // The agent beats as soon as it is welcome: a nudge would only make it beat twice.
    draft.effects.retain(|effect| *effect != Effect::Nudge);
    Ok(because)
}

/// A lookup does not wait for the switches, as an inspection does: what they said before is kept until they say more.
fn with_neighbours(fresh: &Inventory, known: Option<&Inventory>) -> Inventory {
    let mut fresh = fresh.clone();
    for nic in &mut fresh.nics {
        let before = known.and_then(|known| known.nics.iter().find(|before| before.mac == nic.mac));
        if nic.lldp.is_none() {
            nic.lldp = before.and_then(|before| before.lldp.clone());
        }
    }
    fresh
}

pub(super) fn beat(
    draft: &mut Draft<'_>,
    boot: BootId,
    status: &Status,
) -> Result<String, Rejected> {
    if draft.node.boot != Some(boot) {
        return Err(Rejected::UnknownBoot);
    }
    let Some(Phase::AgentStep { id, .. }) = draft.node.job().map(|job| job.phase.clone()) else {
        return Ok(said("nothing is asked of the agent"));
    };
    let because = match status {
        Status::Done { step, outcome } if *step == id => {
            if let Outcome::Inventory(inventory) = outcome {
                draft.node.inventory = Some((**inventory).clone());
            }
            draft.advance()
        }
        Status::Failed { step, error } if *step == id => {
            draft.fail(Fault::Other, error.what.chars().take(2000).collect())
        }
        Status::Idle | Status::Running { .. } | Status::Done { .. } | Status::Failed { .. } => {
            return Ok(said("the step goes on"));
        }
    };
    // The reply to this very beat carries the next step.
    draft.effects.retain(|effect| *effect != Effect::Nudge);
    Ok(because)
}

/// Whether a ramdisk that calls now is of use: its boot is over and a later step needs it.
fn wants_agent(node: &Node) -> bool {
    node.job().is_some_and(|job| {
        let booting = *job.step() == Step::Bmc(BmcAct::Netboot);
        !booting
            && job.steps[job.at..]
                .iter()
                .any(|step| matches!(step, Step::AwaitAgent | Step::Agent(_)))
    })
}

/// The reply to a heartbeat: a function of the record alone.
pub fn wanted(node: &Node, boot: BootId) -> HeartbeatReply {
    if node.boot != Some(boot) {
        return HeartbeatReply::LookUp;
    }
    match &node.state {
        State::Busy(job) => match (job.step(), &job.phase) {
            (Step::Agent(step), Phase::AgentStep { id, .. }) => HeartbeatReply::Step {
                id: *id,
                order: step.order(),
            },
            (Step::Agent(_) | Step::Bmc(_) | Step::AwaitAgent, _) => HeartbeatReply::Idle,
        },
        State::Resting(_) => HeartbeatReply::Idle,
    }
}
