//! The time in `wake_at` has come: a worker died, a pause is over, a machine is silent, a step hangs.
//! The conductor watches the clock and brings the last heartbeat along.
use super::draft::{ANSWER_SECS, Draft};
use super::job::FailureOf;
use super::power;
use super::turn;
use crate::boot;
use crate::event::LastBeat;
use crate::id::Actor;
use crate::node::{Mark, Node, Phase, Sign, Step, deaths};
use crate::time::{Time, secs};
use alloc::format;
use alloc::string::String;
use ironbeat_common::heartbeat::Status;

pub(super) fn due(draft: &mut Draft<'_>, last_beat: Option<&LastBeat>) -> String {
    let now = draft.ctx.now;
    if draft.node.wake_at.is_none_or(|at| at > now) {
        return "nothing is due yet".into();
    }
    if let Some(because) = draft.stopped() {
        return because;
    }
    match draft.job().phase.clone() {
        Phase::InLine { .. } => turn::not_yet(draft),
        Phase::Held { .. } => unreachable!("what is held has no alarm, and that was asked first"),
        // What was to be waited for is over, whatever holds the step that follows.
        Phase::Waiting { .. } => draft.advance(),
        Phase::Backoff { .. } | Phase::AwaitingAgent { .. } | Phase::AgentStep { .. }
            if draft.node.is_held() =>
        {
            draft.postpone()
        }
        Phase::Acting { worker, .. } => draft.retry(
            FailureOf::Bmc,
            format!("worker {worker} did not report in time"),
        ),
        Phase::Backoff {
            because, same_try, ..
        } => {
            match same_try {
                true => draft.set_out(),
                false => draft.begin(),
            }
            format!("another try after: {because}")
        }
        Phase::AwaitingAgent {
            since, sign, died, ..
        } => {
            let seen = match sign {
                None => String::new(),
                // Old systems ask for addresses too.
                Some(Sign::Lease) => {
                    let refused = boot::refused_loader(&draft.node, draft.ctx.policy);
                    let or = refused.map_or_else(String::new, |why| format!("; or {why}"));
                    format!(", though the machine got an address: it may have booted its disk{or}")
                }
                Some(sign @ (Sign::Script | Sign::Kernel)) => {
                    format!(", though the machine {}", sign.words())
                }
            };
            let waited = now.since(since).as_secs();
            draft.reboot_ramdisk(&format!(
                "no ramdisk has called for {waited} s after power-on{seen}{}",
                deaths(died)
            ))
        }
        Phase::AgentStep { .. } => step_due(draft, last_beat),
    }
}

/// Who began an act had a presence then, though others may see the act before they see the presence. It lapses after so
/// long (`records/presence/roster.rs` of the conductor).
const YOUNG_ACT_SECS: u32 = 10;

/// Another worker takes over from a dead one at once, not only when the dead one's budget is over.
pub(super) fn worker_lost(
    draft: &mut Draft<'_>,
    lost: &Actor,
    had_until: Time,
    replaced: bool,
) -> String {
    let now = draft.ctx.now;
    match draft.node.job().map(|job| &job.phase) {
        Some(Phase::Acting {
            worker,
            incarnation,
            since,
            until,
            ..
        }) if *worker == lost.worker && *incarnation == lost.incarnation && *until == had_until => {
            if !replaced && now.since(*since) < secs(YOUNG_ACT_SECS) {
                return "the lost worker was there to begin this act".into();
            }
            let what = match replaced {
                true => format!("worker {worker} was started again while it acted"),
                false => format!("worker {worker} died while it acted"),
            };
            if let Some(because) = draft.stopped() {
                return because;
            }
            if let Some(what) = draft.once_only(&what) {
                return draft.step_failed(FailureOf::Bmc, what);
            }
            let tries = draft.job().tries;
            if tries >= draft.max_tries() {
                return draft.step_failed(FailureOf::Bmc, format!("{what} ({tries} tries)"));
            }
            draft.begin();
            format!("{what}: begun again")
        }
        Some(
            Phase::InLine { .. }
            | Phase::Held { .. }
            | Phase::Waiting { .. }
            | Phase::Acting { .. }
            | Phase::Backoff { .. }
            | Phase::AwaitingAgent { .. }
            | Phase::AgentStep { .. },
        )
        | None => "the lost worker was not acting on this node".into(),
    }
}

/// The node when its last heartbeat is taken into account, which the stream of heartbeats keeps.
#[must_use]
pub fn heard(node: &Node, beat: &LastBeat, now: Time) -> Node {
    let mut node = node.clone();
    let boot = node.boot;
    let Some(Phase::AgentStep {
        id,
        seen,
        mark,
        marked,
        ..
    }) = node.job_mut().map(|job| &mut job.phase)
    else {
        return node;
    };
    if boot != Some(beat.boot) {
        return node;
    }
    *seen = (*seen).max(beat.at.min(now));
    if let Status::Running { step, progress } = &beat.status
        && step == id
        && mark.as_ref() != Some(&Mark::from(progress))
    {
        *mark = Some(progress.into());
        *marked = beat.at.min(now).max(*marked);
    }
    let seen = *seen;
    power::lives(&mut node, seen);
    node
}

fn step_due(draft: &mut Draft<'_>, last_beat: Option<&LastBeat>) -> String {
    let (now, policy) = (draft.ctx.now, draft.ctx.policy);
    if let Some(beat) = last_beat {
        draft.node = heard(&draft.node, beat, now);
    }
    let job = draft.job();
    let name = job.step().name();
    let ends = matches!(job.step(), Step::Agent(step) if step.ends_agent());
    let Phase::AgentStep {
        since,
        until,
        seen,
        marked,
        ..
    } = &job.phase
    else {
        unreachable!("the caller matched on the phase");
    };
    let silent = now.since(*seen);
    let hung = now.since(*marked);
    let ran = now.since(*since);
    let (over, seen) = (now >= *until, *seen);
    let off = draft.node.off_since();
    let off = off.filter(|off| now.since(*off) >= secs(ANSWER_SECS));
    if silent >= secs(policy.heartbeat_timeout_secs) || off.is_some() {
        if ends {
            let because = draft.advance();
            return format!(
                "the agent was told to switch the machine off, and has sent no heartbeat since {seen}: {because}"
            );
        }
        let but = off.map_or_else(String::new, |off| {
            format!(", and the BMC says since {off} that the machine is off")
        });
        return draft.reboot_ramdisk(&format!(
            "the agent has sent no heartbeat since {seen}, in the middle of {name}{but}"
        ));
    }
    if over {
        return draft.step_failed(
            FailureOf::Other,
            format!("{name} ran for {} s, its whole budget", ran.as_secs()),
        );
    }
    if hung >= secs(policy.step_stall_secs) {
        return draft.step_failed(
            FailureOf::Other,
            format!("{name} has made no progress for {} s", hung.as_secs()),
        );
    }
    "the agent lives and the step goes on".into()
}
