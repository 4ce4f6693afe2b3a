//! The one flow that all work shares: begin a step, go on to the next, finish, fail, boot the ramdisk again.
//! `plan` makes the steps; `verbs`, `agent`, `bmc` and `alarm` move the job on.
use super::answer::Effect;
use super::draft::Draft;
use super::password;
use crate::named::OnStepFailure;
use crate::node::{
    BMC_RESTART_SECS, BesideKind, BmcAct, Collisions, During, Goal, HardwareFault, Instead, Job,
    JobKind, LastError, LeftAlone, Maintenance, Node, OnFailure, Phase, Rest, State, Step, Tickets,
    Work,
};
use crate::plan;
use crate::policy::Policy;
use crate::time::{Time, secs};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use ironbeat_common::id::StepId;

/// How often to look whether maintenance still holds a job.
const HELD_SECS: u32 = 60;
pub(super) const HELD: &str = "the node is in maintenance";

/// What failed. When it was the BMC, there is no point in asking it to turn the machine off.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureOf {
    Bmc,
    Other,
}

/// What maintenance does to a job that would begin a BMC act.
fn held(now: Time) -> Phase {
    Phase::Backoff {
        since: now,
        until: now.after(secs(HELD_SECS)),
        because: HELD.into(),
        same_try: false,
    }
}

impl Draft<'_> {
    /// Begins a job with its first step, which is never the agent's; so the last boot is retired.
    pub(super) fn start(&mut self, kind: JobKind, goal: Goal, work: impl Into<Work>) -> String {
        let Work { steps, bounds } = work.into();
        self.retire_boot();
        let ended = core::mem::take(&mut self.node.tickets.ended);
        self.node.tickets = Tickets {
            ended,
            ..Tickets::default()
        };
        self.node.bmc_error = None;
        if kind != JobKind::Bmc {
            self.node.last_error = None;
        }
        if kind != JobKind::Bmc {
            self.node.rescue = None;
        }
        if kind != JobKind::Rescue {
            self.forget_rescue_login();
        }
        if kind == JobKind::Deploy {
            self.node.astray = None;
            self.node.collisions = Collisions::default();
            let instance = self.node.instance.as_mut();
            if let Some(confirm) = instance.and_then(|instance| instance.confirm.as_mut()) {
                confirm.at = None;
            }
        }
        if kind == JobKind::Clean {
            self.node.left_alone = LeftAlone::default();
        }
        let (now, in_line, first) = (self.ctx.now, self.line_for(kind), steps[0].clone());
        let waits = in_line.is_some();
        self.node.state = State::Busy(Box::new(Job {
            kind,
            goal,
            began: now,
            boots: 0,
            again: None,
            steps,
            bounds,
            went_on: false,
            at: 0,
            tries: 1,
            place: None,
            hold: false,
            phase: in_line.unwrap_or_else(|| held(now)),
        }));
        if !waits && !self.node.is_held() {
            let phase = self.enter(&first);
            self.job().phase = phase;
        }
        format!("{} begins", self.node.state.provision_state())
    }

    /// Begins the current step, for the first time or again.
    pub(super) fn begin(&mut self) {
        self.job().tries += 1;
        self.set_out();
    }

    /// The try that was counted begins now.
    pub(super) fn set_out(&mut self) {
        let boot = self.node.boot;
        let step = self.job().step().clone();
        if boot.is_none() && matches!(step, Step::Agent(_)) {
            self.reboot_ramdisk("no ramdisk is left to run the next step");
            return;
        }
        if self.node.is_held() && matches!(step, Step::Bmc(_)) {
            let now = self.ctx.now;
            self.job().phase = held(now);
            return;
        }
        let phase = self.enter(&step);
        self.job().phase = phase;
    }

    /// Sets out on a step: orders it, and returns what it now waits for.
    pub(super) fn enter(&mut self, step: &Step) -> Phase {
        let (now, policy, bounds) = (self.ctx.now, self.ctx.policy, self.job().bounds());
        match step {
            Step::Hold => {
                self.job().hold = true;
                Phase::Held { since: now }
            }
            // A machine that boots is let come.
            Step::Bmc(_) | Step::Agent(_) | Step::Wait { .. } if self.job().hold => {
                Phase::Held { since: now }
            }
            Step::Wait { secs: wait } => Phase::Waiting {
                since: now,
                until: now.after(secs(*wait)),
            },
            Step::Bmc(act) => {
                let (op, act) = (self.ctx.op.clone(), *act);
                let until = now.after(budget(act, bounds.timeout_secs(policy.bmc_budget_secs)));
                self.retire_boot();
                if act == BmcAct::SetPassword {
                    password::begun(self, until);
                }
                self.effects.push(Effect::Bmc {
                    op: op.clone(),
                    act,
                    until,
                });
                Phase::Acting {
                    op,
                    worker: self.ctx.worker.clone(),
                    incarnation: self.ctx.incarnation,
                    since: now,
                    until,
                    instead: None,
                }
            }
            Step::AwaitAgent => {
                // Only now has the BMC let it boot.
                self.job().boots += 1;
                Phase::AwaitingAgent {
                    since: now,
                    until: now.after(secs(bounds.timeout_secs(policy.boot_timeout_secs))),
                    sign: None,
                    died: 0,
                }
            }
            Step::Agent(_) => {
                self.node.counter += 1;
                self.effects.push(Effect::Nudge);
                Phase::AgentStep {
                    id: StepId(self.node.counter),
                    since: now,
                    until: now.after(secs(bounds.timeout_secs(policy.step_budget_secs))),
                    seen: now,
                    mark: None,
                    marked: now,
                }
            }
        }
    }

    /// The current step is done.
    pub(super) fn advance(&mut self) -> String {
        let done = self.job().step().name();
        format!("{done} is done, {}", self.go_on())
    }

    /// With the next step, or to the job's end.
    fn go_on(&mut self) -> String {
        let job = self.job();
        job.tries = 0;
        if job.at + 1 < job.steps.len() {
            job.at += 1;
            let next = job.step().name();
            // This boot was planned: those that nobody planned are counted anew.
            if *job.step() == Step::Bmc(BmcAct::Netboot) {
                job.boots = 0;
            }
            self.begin();
            return format!("{next} follows");
        }
        let (kind, goal) = (job.kind, job.goal);
        let cleaned = kind == JobKind::Clean && !job.is_tidying();
        let last_error = job.went_on.then(|| self.node.last_error.clone());
        self.finish_job(kind, goal);
        if let Some(Some(last_error)) = last_error {
            self.node.last_error = Some(last_error);
        }
        let state = self.node.state.provision_state();
        match cleaned && !self.node.left_alone.is_empty() {
            true => format!("the node is {state}; left alone: {}", self.node.left_alone),
            false => format!("the node is {state}"),
        }
    }

    fn finish_job(&mut self, kind: JobKind, goal: Goal) {
        self.retire_boot();
        self.forget_rescue_login();
        match goal {
            Goal::Clean => {
                self.end_instance();
                self.start(
                    JobKind::Clean,
                    Goal::Rest(Rest::Available),
                    plan::with_ramdisk(),
                );
            }
            Goal::Rest(rest) => {
                let freed = rest == Rest::Available;
                let rest = self.node.or_retired(rest);
                self.node.state = State::Resting(rest);
                if kind != JobKind::Bmc && !rest.is_failure() {
                    self.node.last_error = None;
                }
                // A free node whose power was switched is still whose it was.
                if freed && kind != JobKind::Bmc {
                    self.end_instance();
                }
            }
        }
    }

    /// Whoever may log in knows it by now, or never will.
    fn forget_rescue_login(&mut self) {
        self.node.beside.set(BesideKind::RescueLogin, None);
    }

    pub(super) fn end_instance(&mut self) {
        self.node.instance = None;
        self.node.protected = None;
        self.node.allocation = None;
        self.node.collisions = Collisions::default();
        self.node.beside.set(BesideKind::InstanceData, None);
    }

    /// What an operator wants now. An act under way is over first: its worker lets go of it.
    pub(super) fn instead(&mut self, wanted: Instead) -> String {
        if let State::Busy(job) = &mut self.node.state
            && let Phase::Acting {
                worker, instead, ..
            } = &mut job.phase
        {
            let because = format!("the operator stops {worker}, which drives the BMC");
            *instead = Some(wanted);
            return because;
        }
        self.follow(wanted)
    }

    /// The act under way is over: what an operator wanted instead of it follows. None: nothing was.
    pub(super) fn stopped(&mut self) -> Option<String> {
        let wanted = self.node.job()?.instead()?.clone();
        Some(self.follow(wanted))
    }

    fn follow(&mut self, wanted: Instead) -> String {
        match wanted {
            Instead::Begin {
                kind,
                goal,
                steps,
                bounds,
            } => self.start(kind, goal, Work { steps, bounds }),
            // The machine is as it was, and so is its node.
            Instead::Abort if self.job().kind.is_manual() && self.job().leaves_machine_alone() => {
                let Goal::Rest(before) = self.job().goal else {
                    unreachable!("only tear-down is followed by cleaning");
                };
                self.node.state = State::Resting(before);
                "aborted by the operator: the machine is as it was".into()
            }
            Instead::Abort => {
                let what = "aborted by the operator";
                let once = self.once_only(what);
                let what = match self.job().is_untouched() {
                    true => {
                        "aborted by the operator before it began: the machine is as it was".into()
                    }
                    false => once.unwrap_or_else(|| what.into()),
                };
                self.fail(FailureOf::Other, what)
            }
        }
    }

    /// The current step has failed for good: so has the job, unless the step says otherwise.
    pub(super) fn step_failed(&mut self, failure_of: FailureOf, what: String) -> String {
        let bounds = self.job().bounds();
        if bounds.on_failure == OnStepFailure::Fail || self.job().is_tidying() {
            return self.fail(failure_of, what);
        }
        let during = self.during();
        self.node.last_error = Some(LastError {
            at: self.ctx.now,
            during,
            what: what.clone(),
        });
        let job = self.job();
        job.went_on = true;
        let name = job.step().name();
        format!(
            "{name} failed ({what}), and is not relied on: {}",
            self.go_on()
        )
    }

    /// Fails the job. A machine that a failed deploy or inspection left running is turned off first.
    pub(super) fn fail(&mut self, failure_of: FailureOf, what: String) -> String {
        let (now, during) = (self.ctx.now, self.during());
        let job = self.job();
        let (kind, goal, tidying) = (job.kind, job.goal, job.is_tidying());
        let spec = kind.spec();
        // Whatever runs on the machine of a job that has only waited is none of the job's.
        let untouched = job.is_untouched();
        if !tidying {
            let error = match kind {
                JobKind::Bmc => &mut self.node.bmc_error,
                JobKind::Verify
                | JobKind::Inspect
                | JobKind::Adopt
                | JobKind::Deploy
                | JobKind::Delete
                | JobKind::Clean
                | JobKind::ManualClean
                | JobKind::Service
                | JobKind::Rescue
                | JobKind::Unrescue => &mut self.node.last_error,
            };
            *error = Some(LastError {
                at: now,
                during,
                what: what.clone(),
            });
        }
        self.retire_boot();
        self.forget_rescue_login();
        let failed = match (spec.on_failure, goal) {
            (OnFailure::Rest(rest), _) | (OnFailure::Back, Goal::Rest(rest)) => rest,
            (OnFailure::Back, Goal::Clean) => Rest::Error,
        };
        let hands_off = self.node.maintenance.is_some() || untouched;
        if spec.powers_off && failure_of == FailureOf::Other && !tidying && !hands_off {
            let job = self.job();
            (job.goal, job.steps, job.at, job.tries) =
                (Goal::Rest(failed), vec![Step::Bmc(BmcAct::PowerOff)], 0, 0);
            job.hold = false;
            job.bounds = Vec::new();
            self.begin();
        } else {
            self.node.state = State::Resting(failed);
        }
        what
    }

    /// The current step, for an error.
    fn during(&self) -> During {
        let state = self.node.state.provision_state().to_string();
        let job = self.node.job().expect("only a busy node fails");
        During::Step {
            provision_state: state,
            name: job.step().name().to_string(),
            number: job.at + 1,
            of: plan::steps_of(job, self.node.found_boot_mode, self.node.instance.as_ref()),
        }
    }

    /// A machine that failed in the middle of a step of cleaning or of a service is put aside, as Ironic does: in maintenance,
    /// its power as it is. `before`: the record before this event.
    pub(super) fn put_aside(&mut self, before: &Node) {
        let fault = match self.node.state.resting() {
            Some(Rest::CleanFailed | Rest::ManualCleanFailed) => HardwareFault::Clean,
            Some(Rest::ServiceFailed) => HardwareFault::Service,
            Some(
                Rest::Enroll
                | Rest::Manageable
                | Rest::Available
                | Rest::Active
                | Rest::InspectFailed
                | Rest::AdoptFailed
                | Rest::DeployFailed
                | Rest::Rescue
                | Rest::RescueFailed
                | Rest::UnrescueFailed
                | Rest::Error,
            )
            | None => return,
        };
        let worked = |job: &Job| matches!(job.step(), Step::Agent(step) if !step.ends_agent());
        if let (None, Some(error)) = (&self.node.maintenance, &self.node.last_error)
            && before.job().is_some_and(worked)
        {
            self.node.maintenance = Some(Maintenance {
                since: self.ctx.now,
                reason: error.what.chars().take(255).collect(),
                fault: Some(fault),
            });
        }
    }

    /// The ramdisk is gone or never came: boot it once more, or give up.
    pub(super) fn reboot_ramdisk(&mut self, because: &str) -> String {
        let max_boots = self.ctx.policy.max_boots;
        let job = self.job();
        let can = job.boots < max_boots;
        // What was done of named steps is not done again: a boot more comes before the one that has none.
        if job.kind.is_manual() && can && matches!(job.step(), Step::Agent(_)) {
            // Nor does the boot take the place of one of them, and what was said of it.
            let follow = job.steps.len() - job.at - 1;
            job.bounds.retain(|bounded| bounded.follow <= follow);
            job.steps.splice(job.at..job.at, plan::with_ramdisk());
        }
        let netboot = job.steps[..=job.at]
            .iter()
            .rposition(|step| *step == Step::Bmc(BmcAct::Netboot));
        match netboot {
            Some(index) if can => {
                (job.at, job.tries) = (index, 0);
                job.again = Some(because.to_string());
                self.node.tickets.open = None;
                self.begin();
                format!("{because}: the ramdisk is booted again")
            }
            Some(_) | None => {
                let boots = job.boots;
                self.fail(
                    FailureOf::Other,
                    format!("{because}, {boots} ramdisk boots were tried"),
                )
            }
        }
    }

    /// Maintenance is over: what it held goes on now, and has all its time anew.
    pub(super) fn resume(&mut self) {
        self.postpone();
        let otherwise = self.ctx.policy.step_budget_secs;
        let budget = secs(self.job().bounds().timeout_secs(otherwise));
        let now = self.ctx.now;
        match &mut self.job().phase {
            Phase::Backoff { until, .. } => *until = now,
            Phase::AgentStep { until, .. } => *until = now.after(budget),
            Phase::InLine { .. }
            | Phase::Held { .. }
            | Phase::Waiting { .. }
            | Phase::Acting { .. }
            | Phase::AwaitingAgent { .. } => {}
        }
    }

    /// From now on nothing more is begun. What nobody has begun yet is held at once.
    pub(super) fn hold(&mut self) -> String {
        let now = self.ctx.now;
        let job = self.job();
        job.hold = true;
        let step = job.step().name();
        match job.phase {
            Phase::Held { .. } => "the job is held already".into(),
            Phase::Backoff { .. } => {
                job.tries += 1;
                job.phase = Phase::Held { since: now };
                format!("held before {step}")
            }
            Phase::InLine { .. }
            | Phase::Waiting { .. }
            | Phase::Acting { .. }
            | Phase::AwaitingAgent { .. }
            | Phase::AgentStep { .. } => format!("to be held after {step}"),
        }
    }

    /// The step that was held back begins.
    pub(super) fn unhold(&mut self) -> String {
        let job = self.job();
        job.hold = false;
        let step = job.step().name();
        match (&job.phase, job.step()) {
            (Phase::Held { .. }, Step::Hold) => {
                let because = self.advance();
                return format!("the hold ends: {because}");
            }
            (Phase::Held { .. }, _) => {
                self.set_out();
                return format!("the hold ends: {step} begins");
            }
            (_, _) => {}
        }
        "nothing is to be held any more".into()
    }

    /// No time counts while maintenance holds the job.
    pub(super) fn postpone(&mut self) -> String {
        let (now, whole) = (self.ctx.now, self.boot_time());
        match &mut self.job().phase {
            Phase::InLine { .. }
            | Phase::Held { .. }
            | Phase::Waiting { .. }
            | Phase::Acting { .. } => {}
            Phase::Backoff { until, .. } => *until = now.after(secs(HELD_SECS)),
            Phase::AwaitingAgent { since, until, .. } => {
                (*since, *until) = (now, now.after(whole));
            }
            Phase::AgentStep {
                until,
                seen,
                marked,
                ..
            } => {
                (*seen, *marked) = (now, now);
                *until = (*until).max(now.after(secs(HELD_SECS)));
            }
        }
        format!("{HELD}: its job waits")
    }

    /// Begin the present step again, after a pause, or give up.
    pub(super) fn retry(&mut self, fault: FailureOf, because: String) -> String {
        if let Some(what) = self.once_only(&because) {
            return self.step_failed(fault, what);
        }
        let tries = self.job().tries;
        if tries >= self.max_tries() {
            return self.step_failed(fault, format!("{because} ({tries} tries)"));
        }
        self.pause(because, false)
    }

    /// How often the current step may be tried.
    pub(super) fn max_tries(&mut self) -> u32 {
        self.job().bounds().tries(self.ctx.policy)
    }

    /// How long a whole boot of the ramdisk may take.
    pub(super) fn boot_time(&mut self) -> core::time::Duration {
        let otherwise = self.ctx.policy.boot_timeout_secs;
        secs(self.job().bounds().timeout_secs(otherwise))
    }

    /// Begin the present step again, after a pause.
    pub(super) fn pause(&mut self, because: String, same_try: bool) -> String {
        let (now, wait) = (self.ctx.now, backoff(self.ctx.policy, self.job().tries));
        self.job().phase = Phase::Backoff {
            since: now,
            until: now.after(wait),
            because: because.clone(),
            same_try,
        };
        because
    }

    /// Why the current step must not be repeated; none: it may be.
    pub(super) fn once_only(&mut self, because: &str) -> Option<String> {
        match self.job().step() {
            Step::Bmc(act) if act.is_once() => Some(format!(
                "{because}; it is not repeated: unless the BMC refused it, it may have been carried out"
            )),
            Step::Bmc(_) | Step::AwaitAgent | Step::Agent(_) | Step::Hold | Step::Wait { .. } => {
                None
            }
        }
    }
}

/// The time that a worker has for one act.
fn budget(act: BmcAct, usual_secs: u32) -> core::time::Duration {
    let patience = match act {
        BmcAct::SoftOff { patience_secs, .. } | BmcAct::LeaveRamdisk { patience_secs } => {
            patience_secs
        }
        BmcAct::ResetBmc => BMC_RESTART_SECS,
        BmcAct::Check
        | BmcAct::Netboot
        | BmcAct::BootDisk
        | BmcAct::EnsureOn
        | BmcAct::PowerOff
        | BmcAct::Cycle
        | BmcAct::Reset
        | BmcAct::Diag
        | BmcAct::SetBootDevice { .. }
        | BmcAct::SetPassword => 0,
    };
    secs(usual_secs.saturating_add(patience))
}

fn backoff(policy: &Policy, tries: u32) -> core::time::Duration {
    let doubled = policy.bmc_backoff_secs.saturating_mul(
        1u32.checked_shl(tries.saturating_sub(1))
            .unwrap_or(u32::MAX),
    );
    secs(doubled.min(policy.bmc_backoff_cap_secs))
}
