//! Work in flight: a list of steps, how far it has come, and what it waits for.
//! `decide` moves it on.
use super::spec::{JobKind, OnFailure, Rest};
use super::step::{BmcAct, Step};
use crate::id::{Incarnation, OpId, WorkerId};
use crate::named::Bounds;
use crate::text::said;
use crate::time::Time;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use ironbeat_common::heartbeat::Progress;
use ironbeat_common::id::StepId;
use serde::{Deserialize, Serialize};

/// Where a node is in its life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum State {
    Resting(Rest),
    Busy(Box<Job>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Job {
    pub kind: JobKind,
    /// The end that follows the last step.
    pub goal: Goal,
    pub began: Time,
    pub steps: Vec<Step>,
    /// What was said of some of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bounds: Vec<Bounded>,
    /// A step has failed, and the next one followed all the same.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub went_on: bool,
    /// Index of the current step.
    pub at: usize,
    /// How often the current step was begun.
    pub tries: u32,
    /// How often this job has booted the ramdisk, since its plan last asked for that.
    pub boots: u32,
    /// Why it boots the ramdisk again, the last time; none: it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<String>,
    /// Its place among the jobs of its kind that run at once, where their number is bounded. No other node has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<u16>,
    /// Nothing more is begun until an operator says so.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub hold: bool,
    pub phase: Phase,
}

/// What was said of a step. It is known by how many follow it: boots of the ramdisk that come before it, and other disks for
/// those that are left, change nothing of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Bounded {
    pub follow: usize,
    #[serde(flatten)]
    pub bounds: Bounds,
}

/// The steps of a job, and what was said of some of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    pub steps: Vec<Step>,
    pub bounds: Vec<Bounded>,
}

impl From<Vec<Step>> for Work {
    fn from(steps: Vec<Step>) -> Self {
        let bounds = Vec::new();
        Self { steps, bounds }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// The node rests here: where the job leads, where it was before, or in failure.
    Rest(Rest),
    /// Tear-down is over; cleaning follows.
    Clean,
}

/// What the current step waits for. Every wait says since when and until when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing is begun: as many jobs of this kind run as may. The alarm at `until` only looks again.
    InLine { since: Time, until: Time },
    /// The current step is not begun until an operator says so; a ramdisk that is there stays. No time counts.
    Held { since: Time },
    /// Nothing is done until `until`; a ramdisk that is there stays.
    Waiting { since: Time, until: Time },
    /// `worker` acts on the BMC and stops acting at `until`, or when its life ends.
    Acting {
        op: OpId,
        worker: WorkerId,
        #[serde(default)]
        incarnation: Incarnation,
        since: Time,
        until: Time,
        /// An operator wants something else: `worker` lets go of the act, and this follows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instead: Option<Instead>,
    },
    /// The BMC or the agent did not do it; the next try begins at `until`.
    Backoff {
        since: Time,
        until: Time,
        because: String,
        /// What begins then is the same try: its worker had to let go of it.
        #[serde(default, skip_serializing_if = "core::ops::Not::not")]
        same_try: bool,
    },
    /// The ramdisk has not called yet.
    AwaitingAgent {
        since: Time,
        until: Time,
        /// How far the machine has come.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sign: Option<Sign>,
        /// How often it had fetched a kernel and then began anew.
        #[serde(default, skip_serializing_if = "is_zero")]
        died: u32,
    },
    /// `boot` shall run the step with this id.
    AgentStep {
        id: StepId,
        since: Time,
        /// The step's own budget ends here, whatever the agent says.
        until: Time,
        /// Last sign of life that a decision was based on; the stream of heartbeats has later ones.
        seen: Time,
        /// The step's progress when it was last looked at, and when it last changed.
        mark: Option<Mark>,
        marked: Time,
    },
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// What to think of a machine that fetched a kernel so often and then began anew; nothing, if it did not.
pub(crate) fn deaths(died: u32) -> String {
    match died {
        0 => String::new(),
        died => format!(
            "; {died} times it fetched the kernel and then began anew: the ramdisk died before it called, or could not be loaded \
             (too little memory? its console says)"
        ),
    }
}

/// What is seen of a machine on its way to the ramdisk, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// It got an address: firmware, iPXE, or whatever system it boots.
    Lease,
    /// It fetched the script that boots the ramdisk.
    Script,
    Kernel,
}

impl Sign {
    pub fn words(self) -> &'static str {
        match self {
            Sign::Lease => "got an address",
            Sign::Script => "fetched its boot script",
            Sign::Kernel => "fetched the kernel",
        }
    }
}

/// What an operator wants instead of the act under way. It follows when that act is over, so that there is never more
/// than one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Instead {
    /// The job ends.
    Abort,
    /// Another job takes its place.
    Begin {
        kind: JobKind,
        goal: Goal,
        steps: Vec<Step>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        bounds: Vec<Bounded>,
    },
}

/// The progress that an agent last reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Mark {
    pub phase: String,
    pub done: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

/// Characters of a phase's name; our agent's have at most 14.
const MAX_PHASE: usize = 64;

impl From<&Progress> for Mark {
    fn from(progress: &Progress) -> Self {
        Self {
            phase: said(&progress.phase, MAX_PHASE),
            done: progress.done,
            total: progress.total,
        }
    }
}

impl State {
    /// Ironic's `provision_state`.
    pub fn provision_state(&self) -> &'static str {
        match self {
            State::Resting(rest) => rest.name(),
            State::Busy(job) => job.provision_state(),
        }
    }

    /// Ironic's `target_provision_state`: where a busy or failed node is headed.
    pub fn target_provision_state(&self) -> Option<&'static str> {
        let target = match self {
            State::Resting(rest) => rest.target(),
            State::Busy(job) => job.target(),
        };
        target.map(Rest::name)
    }

    /// Where the node rests; none: it is busy.
    pub fn resting(&self) -> Option<Rest> {
        match self {
            State::Resting(rest) => Some(*rest),
            State::Busy(_) => None,
        }
    }
}

impl Job {
    pub fn step(&self) -> &Step {
        &self.steps[self.at]
    }

    /// What was said of the current step.
    pub fn bounds(&self) -> Bounds {
        let follow = self.steps.len() - self.at - 1;
        let mut said = self.bounds.iter();
        let said = said.find(|bounded| bounded.follow == follow);
        said.map_or(Bounds::NONE, |bounded| bounded.bounds)
    }

    /// The BMC act under way, and the worker that does it.
    pub fn bmc_act(&self) -> Option<(&WorkerId, BmcAct)> {
        match (&self.phase, self.step()) {
            (Phase::Acting { worker, .. }, Step::Bmc(act)) => Some((worker, *act)),
            (
                Phase::InLine { .. }
                | Phase::Held { .. }
                | Phase::Waiting { .. }
                | Phase::Acting { .. }
                | Phase::Backoff { .. }
                | Phase::AwaitingAgent { .. }
                | Phase::AgentStep { .. },
                Step::Bmc(_) | Step::AwaitAgent | Step::Agent(_) | Step::Hold | Step::Wait { .. },
            ) => None,
        }
    }

    /// What an operator wants instead of the act under way.
    pub fn instead(&self) -> Option<&Instead> {
        match &self.phase {
            Phase::Acting { instead, .. } => instead.as_ref(),
            Phase::InLine { .. }
            | Phase::Held { .. }
            | Phase::Waiting { .. }
            | Phase::Backoff { .. }
            | Phase::AwaitingAgent { .. }
            | Phase::AgentStep { .. } => None,
        }
    }

    /// It asks the operating system to switch off.
    pub fn is_soft(&self) -> bool {
        let soft = |step: &Step| matches!(step, Step::Bmc(BmcAct::SoftOff { .. }));
        self.kind == JobKind::Bmc && self.steps.iter().any(soft)
    }

    /// Nobody has been asked to do anything for it yet.
    pub fn is_untouched(&self) -> bool {
        match &self.phase {
            Phase::InLine { .. } => true,
            Phase::Held { .. } => self.at == 0 && self.tries == 1 && self.boots == 0,
            Phase::Acting { .. }
            | Phase::Waiting { .. }
            | Phase::Backoff { .. }
            | Phase::AwaitingAgent { .. }
            | Phase::AgentStep { .. } => false,
        }
    }

    /// Whatever was done, the machine runs what it ran before: the job has only waited, or restarted the BMC.
    pub fn leaves_machine_alone(&self) -> bool {
        let harmless = |step: &Step| match step {
            Step::Hold | Step::Wait { .. } | Step::Bmc(BmcAct::ResetBmc | BmcAct::Check) => true,
            Step::Bmc(_) | Step::AwaitAgent | Step::Agent(_) => false,
        };
        let rests = matches!(self.phase, Phase::Held { .. } | Phase::Waiting { .. });
        self.is_untouched() || (rests && self.steps[..self.at].iter().all(harmless))
    }

    /// An operator may keep it from going on (Ironic's hold states).
    pub fn can_be_held(&self) -> bool {
        let holding = self.kind.spec().names.and_then(|names| names.holding);
        holding.is_some() && !self.is_tidying()
    }

    /// The job has failed, and only tidying up is left.
    pub fn is_tidying(&self) -> bool {
        match (self.kind.spec().on_failure, self.goal) {
            (OnFailure::Rest(failed), Goal::Rest(rest)) => rest == failed,
            (OnFailure::Rest(_), Goal::Clean) | (OnFailure::Back, _) => false,
        }
    }

    pub fn provision_state(&self) -> &'static str {
        match (self.kind.spec().names, self.goal) {
            (Some(names), _) => match &self.phase {
                Phase::Held { .. } => names.holding.unwrap_or(names.doing),
                Phase::AwaitingAgent { .. } | Phase::AgentStep { .. } | Phase::Waiting { .. } => {
                    names.waiting
                }
                Phase::InLine { .. } | Phase::Acting { .. } | Phase::Backoff { .. } => names.doing,
            },
            (None, Goal::Rest(rest)) => rest.name(),
            (None, Goal::Clean) => Rest::Error.name(),
        }
    }

    fn target(&self) -> Option<Rest> {
        let spec = self.kind.spec();
        match (spec.on_failure, self.goal) {
            (OnFailure::Back, Goal::Rest(rest)) => rest.target(),
            (OnFailure::Rest(_), Goal::Rest(rest)) if !self.is_tidying() => Some(rest),
            (OnFailure::Rest(_) | OnFailure::Back, _) => spec.target,
        }
    }

    /// Ironic's `target_power_state`: what the power shall be, if this job is about nothing else.
    pub fn target_power_state(&self) -> Option<&'static str> {
        if self.kind != JobKind::Bmc {
            return None;
        }
        match self.steps.as_slice() {
            [Step::Bmc(BmcAct::EnsureOn)] => Some("power on"),
            [Step::Bmc(BmcAct::PowerOff)] => Some("power off"),
            [Step::Bmc(BmcAct::SoftOff { .. })] => Some("soft power off"),
            [Step::Bmc(BmcAct::SoftOff { .. }), _] => Some("soft rebooting"),
            [Step::Bmc(BmcAct::Cycle | BmcAct::Reset)] | [Step::Bmc(BmcAct::PowerOff), _] => {
                Some("rebooting")
            }
            _ => None,
        }
    }
}

impl Phase {
    /// When it began.
    pub fn since(&self) -> Time {
        match self {
            Phase::InLine { since, .. }
            | Phase::Held { since }
            | Phase::Waiting { since, .. }
            | Phase::Acting { since, .. }
            | Phase::Backoff { since, .. }
            | Phase::AwaitingAgent { since, .. }
            | Phase::AgentStep { since, .. } => *since,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_kept_as_short_and_plain_as_the_record_can_bear() {
        let mark = |phase: &str| {
            let phase = phase.into();
            Mark::from(&Progress {
                phase,
                done: 1,
                total: None,
                trouble: None,
            })
        };
        assert_eq!(mark("download").phase, "download");
        let long = mark(&"\u{1b}".repeat(9000)).phase;
        assert_eq!(long, "\u{fffd}".repeat(MAX_PHASE));
    }
}
