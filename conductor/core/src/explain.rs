//! Says in words what a node is doing: what it waits for, since when, until when, which attempt, what comes next.
//! It reads the record alone, so it answers even when everything else is down.
use crate::node::{
    AgentStep, BmcAct, Goal, Job, LastError, Node, OnFailure, Phase, PowerSource, Rest, State, Step,
};
use crate::policy::Policy;
use crate::time::Time;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use core::time::Duration;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Explanation {
    pub provision_state: String,
    /// Seconds in this state.
    pub for_secs: u64,
    /// On or off, who says so, and how old that is.
    #[serde(default)]
    pub power: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_power_state: Option<String>,
    /// What is waited for, and who has to act.
    pub waiting_for: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// `step 3 of 6, try 1 of 5, ramdisk boot 1 of 2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<String>,
    /// What happens next, by itself or by an operator.
    pub next: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<String>,
}

pub fn explain(node: &Node, now: Time, policy: &Policy) -> Explanation {
    let (since, until) = match node.job().map(|job| &job.phase) {
        Some(
            Phase::Acting { since, until, .. }
            | Phase::Backoff { since, until, .. }
            | Phase::AwaitingAgent { since, until }
            | Phase::AgentStep { since, until, .. },
        ) => (Some(*since), Some(*until)),
        None => (None, None),
    };
    Explanation {
        provision_state: node.state.provision_state().to_string(),
        for_secs: now.since(node.since).as_secs(),
        power: power(node, now),
        target_power_state: node.job().and_then(Job::target_power_state).map(Into::into),
        waiting_for: waiting_for(node),
        since,
        until,
        attempt: node.job().map(|job| attempt(job, policy)),
        next: next(node, policy),
        last_error: node.last_error.clone(),
        maintenance: node.maintenance.as_ref().map(|m| match m.fault {
            Some(_) => format!(
                "since {}, by itself: {}; ends when the BMC answers",
                m.since, m.reason
            ),
            None => format!("since {}: {}", m.since, m.reason),
        }),
    }
}

fn power(node: &Node, now: Time) -> String {
    let Some(power) = &node.power else {
        return "unknown: nobody has asked the BMC yet".to_string();
    };
    let on = if power.on { "on" } else { "off" };
    let age = human(now.since(power.at).as_secs());
    match power.source {
        PowerSource::Bmc => format!("{on}, as the BMC said {age} ago"),
        PowerSource::Agent => format!("{on}, as an agent was alive {age} ago"),
        PowerSource::Command => format!("{on} is what was ordered; nobody has confirmed it for {age}"),
    }
}

fn waiting_for(node: &Node) -> String {
    let bmc = node.bmc.address();
    let faulty = node.maintenance.as_ref().is_some_and(|m| m.fault.is_some());
    match &node.state {
        State::Resting(_) if faulty => format!("the BMC at {bmc} to report the power"),
        State::Resting(_) => "an operator".to_string(),
        State::Busy(job) => match (&job.phase, job.step()) {
            (Phase::Acting { worker, .. }, Step::Bmc(act)) => {
                format!(
                    "worker {worker} to {} through the BMC at {bmc}",
                    act_words(*act)
                )
            }
            (Phase::Backoff { because, .. }, _) => {
                format!("a pause before another try, because: {because}")
            }
            (Phase::AwaitingAgent { .. }, _) => {
                "the machine to boot the ramdisk and look up (POST, DHCP, kernel, agent)"
                    .to_string()
            }
            (Phase::AgentStep { id, mark, .. }, step) => {
                let progress = mark
                    .as_ref()
                    .map_or(String::new(), |mark| match mark.total {
                        Some(total) => format!(", {} {} of {total}", mark.phase, mark.done),
                        None => format!(", {} {}", mark.phase, mark.done),
                    });
                format!("the agent to {} (step id {id}{progress})", step_words(step))
            }
            (Phase::Acting { .. }, step) => format!("a worker to {}", step_words(step)),
        },
    }
}

fn attempt(job: &Job, policy: &Policy) -> String {
    format!(
        "step {} of {}, try {} of {}, ramdisk boot {} of {}",
        job.at + 1,
        job.steps.len(),
        job.tries,
        policy.max_tries,
        job.boots,
        policy.max_boots
    )
}

fn next(node: &Node, policy: &Policy) -> String {
    let job = match &node.state {
        State::Resting(rest) => return format!("the operator: {}", verbs(*rest)),
        State::Busy(job) => job,
    };
    let done = match job.steps.get(job.at + 1) {
        Some(step) => step_words(step),
        None => match job.goal {
            Goal::Clean => "be cleaned".to_string(),
            Goal::Rest(rest) if job.kind.spec().on_failure == OnFailure::Back => {
                format!("be {} as before", rest.name())
            }
            Goal::Rest(_) if job.is_tidying() => {
                "wait for the operator with the failure on record".to_string()
            }
            Goal::Rest(rest) => format!("become {}", rest.name()),
        },
    };
    let otherwise = match &job.phase {
        Phase::Acting { .. } | Phase::Backoff { .. } if job.tries < policy.max_tries => {
            "another try".to_string()
        }
        Phase::AwaitingAgent { .. } | Phase::AgentStep { .. } if job.boots < policy.max_boots => {
            "if the machine falls silent, the ramdisk is booted again".to_string()
        }
        Phase::Acting { .. }
        | Phase::Backoff { .. }
        | Phase::AwaitingAgent { .. }
        | Phase::AgentStep { .. } => "the job fails".to_string(),
    };
    format!("{done}; otherwise {otherwise}")
}

/// What an operator can do with a node that rests here.
fn verbs(rest: Rest) -> &'static str {
    match rest {
        Rest::Enroll => "manage",
        Rest::Manageable => "inspect or provide",
        Rest::Available => "deploy",
        Rest::Active => "undeploy or rebuild",
        Rest::InspectFailed => "inspect again, or manage",
        Rest::DeployFailed => "deploy again, or undeploy",
        Rest::CleanFailed => "manage, then provide",
        Rest::Error => "undeploy again, or rebuild",
    }
}

fn act_words(act: BmcAct) -> &'static str {
    match act {
        BmcAct::Check => "check address and credentials",
        BmcAct::Netboot => "boot the ramdisk",
        BmcAct::SetBootDisk => "set the boot device to the disk",
        BmcAct::EnsureOn => "make sure that the machine is on and boots its disk",
        BmcAct::BootDisk => "boot the disk by force",
        BmcAct::PowerOff => "power the machine off",
        BmcAct::SoftOff { .. } => "have the operating system switch the machine off",
        BmcAct::Cycle => "cycle the power",
        BmcAct::Reset => "reset the machine",
        BmcAct::Diag => "send a diagnostic interrupt",
        BmcAct::SetBootDevice { .. } => "set the boot device",
        BmcAct::ResetBmc => "restart the BMC itself",
    }
}

fn step_words(step: &Step) -> String {
    match step {
        Step::Bmc(act) => act_words(*act).to_string(),
        Step::AwaitAgent => "wait for the ramdisk".to_string(),
        Step::Agent(AgentStep::Inspect { .. }) => {
            "read the hardware and listen for LLDP".to_string()
        }
        Step::Agent(AgentStep::WriteImage(write)) => format!("write the image to {}", write.disk),
        Step::Agent(AgentStep::SetBootEntry { .. }) => "make a UEFI boot entry".to_string(),
        Step::Agent(AgentStep::EraseMetadata { disks }) => {
            format!("erase the metadata of {} disks", disks.len())
        }
        Step::Agent(AgentStep::Reboot) => "reboot into the disk".to_string(),
        Step::Agent(AgentStep::PowerOff) => "power off".to_string(),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "state     {} for {}",
            self.provision_state,
            human(self.for_secs)
        )?;
        write!(f, "power     {}", self.power)?;
        match &self.target_power_state {
            Some(target) => writeln!(f, "; wanted: {target}")?,
            None => writeln!(f)?,
        }
        if let Some(reason) = &self.maintenance {
            writeln!(f, "          in maintenance {reason}")?;
        }
        writeln!(f, "waits for {}", self.waiting_for)?;
        if let (Some(since), Some(until)) = (self.since, self.until) {
            writeln!(f, "          since {since}, until {until}")?;
        }
        if let Some(attempt) = &self.attempt {
            writeln!(f, "attempt   {attempt}")?;
        }
        if let Some(error) = &self.last_error {
            writeln!(
                f,
                "error     {} in {}: {}",
                error.at, error.during, error.what
            )?;
        }
        writeln!(f, "next      {}", self.next)
    }
}

fn human(secs: u64) -> String {
    let duration = Duration::from_secs(secs);
    match duration.as_secs() {
        s if s < 120 => format!("{s} s"),
        s if s < 7200 => format!("{} min", s / 60),
        s if s < 172_800 => format!("{} h", s / 3600),
        s => format!("{} d", s / 86_400),
    }
}
