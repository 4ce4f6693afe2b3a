//! Says in words what a node is doing: what it waits for, since when, until when, which attempt, what comes next.
//! It reads the record alone, so it answers even when everything else is down.
use crate::boot;
use crate::decide::{ANSWER_SECS, LastBeat, wake_at};
use crate::deploying;
use crate::lookup::weak_identity;
use crate::node::{
    AgentStep, BmcAct, Goal, HardwareFault, Instead, Job, JobKind, LastError, MeasuredBoot, Node,
    OnFailure, PasswordChange, Phase, PowerSource, Rest, Sign, State, Step, deaths,
};
use crate::plan::steps_of;
use crate::policy::{OnMeasurement, Policy};
use crate::text::said;
use crate::time::{Time, secs};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use ironbeat_common::heartbeat::Status;
use serde::{Deserialize, Serialize};

/// From its address to its boot script a machine takes seconds; by way of TFTP alone, some more.
const QUIET_SECS: u32 = 30;

/// From its first power-on to the confirmation by cloud-init a system takes minutes: POST, boot, packages.
const FIRST_BOOT_SECS: u32 = 600;
/// Characters of what troubles an agent.
const MAX_TROUBLE: usize = 500;

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
    /// When the first time-out of this wait comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// When its agent's last heartbeat came, and what troubles it, while it works. Watchers hear of its progress more often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// What ends the wait for an agent at work, each with its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<String>,
    /// `step 3 of 6, try 1 of 5, ramdisk boot 1 of 2`, and why it is booted again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<String>,
    /// What the network boot of its machine was seen to do last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netboot: Option<String>,
    /// What happens next, by itself or by an operator.
    pub next: String,
    /// What an operator can ask for now, as it is typed after `ironbeat`.
    #[serde(default)]
    pub verbs: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
    /// Of the last verb for the BMC alone, or of the power sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc_error: Option<LastError>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<String>,
    /// Since when, how often and why its power cannot be read, as the worker that owns it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_sync: Option<String>,
    /// That its BMC may have one of two passwords, and what follows from that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_change: Option<String>,
    /// What is missing to tell its machine from others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// How often an active machine came to the ramdisk, and when last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub astray: Option<String>,
    /// Two machines claim the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rival: Option<String>,
    /// What was measured of its last ramdisk, compared with what workers serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<String>,
    /// What other disks have that firmware, or the deployed system, may take for the deployed disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collisions: Option<String>,
    /// How people reach the rescue system that runs, and its SSH server's keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rescue: Option<String>,
    /// Whether the instance said that it runs, where it is to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<String>,
    /// Why the worker that would look after it does not. Another one does, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
}

impl Explanation {
    /// Adds why machines may not boot from the network, where the node waits for one that does.
    #[must_use]
    pub fn no_network_boot(mut self, node: &Node, why: Option<&str>) -> Self {
        let waits = node
            .job()
            .is_some_and(|job| *job.step() == Step::AwaitAgent);
        if let (true, Some(why)) = (waits, why) {
            self.waiting_for += &format!("; but {why}");
        }
        self
    }

    /// Adds what may keep iPXE from a boot script over TLS, where the site has no other and the machine has an address.
    #[must_use]
    pub fn over_tls(mut self, node: &Node, now: Time, policy: &Policy) -> Self {
        let is_ipxe = boot::loader_of(node.secure_boot, policy) == boot::Loader::Ipxe;
        if is_ipxe && asks_for_no_script(node, now, policy) {
            self.waiting_for += "; boot scripts go over https (http.scripts), and its iPXE may not speak that, not believe the \
                site's CA, or go by a wrong clock: its console says which";
        }
        self
    }

    /// Adds what troubles its agent in its step, as its last heartbeat says.
    #[must_use]
    pub fn troubled(mut self, node: &Node, last_beat: &LastBeat) -> Self {
        if let (Status::Running { step, progress }, Some(agent)) =
            (&last_beat.status, &mut self.agent)
            && (node.boot, node.agent_step()) == (Some(last_beat.boot), Some(*step))
            && let Some(trouble) = &progress.trouble
        {
            *agent += &format!("; its last trouble: {}", said(trouble, MAX_TROUBLE));
        }
        self
    }

    /// Adds what the record alone does not tell: how many are before it in line.
    #[must_use]
    pub fn in_line(mut self, position: Option<usize>) -> Self {
        if let Some(position) = position {
            self.waiting_for += &format!("; it is number {position} in line");
        }
        self
    }
}

pub fn explain(node: &Node, now: Time, policy: &Policy) -> Explanation {
    let since = node.job().map(|job| job.phase.since());
    // In line an alarm only looks around: nothing ends then.
    let in_line = node
        .job()
        .is_some_and(|job| matches!(job.phase, Phase::InLine { .. }));
    let until = wake_at(node, policy).filter(|_| !node.is_held() && !in_line);
    Explanation {
        provision_state: node.state.provision_state().to_string(),
        for_secs: now.since(node.since).as_secs(),
        power: power(node, now),
        target_power_state: node.job().and_then(Job::target_power_state).map(Into::into),
        waiting_for: waiting_for(node, now, policy),
        since,
        until,
        agent: node.job().and_then(|job| agent(job, now)),
        timeouts: timeouts(node, policy).filter(|_| !node.is_held()),
        attempt: node.job().map(|job| attempt(node, job, policy)),
        netboot: None,
        next: next(node, policy),
        verbs: verbs(node, policy).into_iter().map(Into::into).collect(),
        last_error: node.last_error.clone(),
        bmc_error: node.bmc_error.clone(),
        astray: node.astray.as_ref().map(|astray| {
            let ago = human(now.since(astray.at).as_secs());
            format!("{}, last {ago} ago", astray.words())
        }),
        power_sync: None,
        password_change: node.password_change.as_ref().map(password_change),
        identity: weak_identity(node),
        rival: node.tickets.rival.as_ref().map(|rival| {
            let ago = human(now.since(rival.at).as_secs());
            format!("{}, {ago} ago", rival.sign.words())
        }),
        measured: measured(node, policy),
        confirmed: confirmed(node, now),
        collisions: (!node.collisions.is_empty()).then(|| node.collisions.to_string()),
        rescue: node.rescue.as_ref().map(ToString::to_string),
        maintenance: node.maintenance.as_ref().map(|m| match m.fault {
            Some(HardwareFault::Power) => format!(
                "since {}, by itself: {}; ends when the BMC answers",
                m.since, m.reason
            ),
            Some(HardwareFault::Clean | HardwareFault::Service) => format!(
                "since {}, by itself, for somebody to look at the machine: {}",
                m.since, m.reason
            ),
            None => format!("since {}: {}", m.since, m.reason),
        }),
        worker: None,
    }
}

/// Of an agent at work.
fn agent(job: &Job, now: Time) -> Option<String> {
    match &job.phase {
        Phase::AgentStep { seen, .. } => {
            let ago = human(now.since(*seen).as_secs());
            Some(format!("last heartbeat {ago} ago"))
        }
        Phase::InLine { .. }
        | Phase::Held { .. }
        | Phase::Waiting { .. }
        | Phase::Acting { .. }
        | Phase::Backoff { .. }
        | Phase::AwaitingAgent { .. } => None,
    }
}

/// Each that may end a step of an agent, as `decide/alarm` does it.
fn timeouts(node: &Node, policy: &Policy) -> Option<String> {
    let Phase::AgentStep {
        until,
        seen,
        marked,
        ..
    } = &node.job()?.phase
    else {
        return None;
    };
    let (silence, stall) = (policy.heartbeat_timeout_secs, policy.step_stall_secs);
    let off = node.off_since().map_or_else(String::new, |at| {
        let answer = at.after(secs(ANSWER_SECS));
        format!("at {answer} without an answer, as the BMC says that the machine is off; ")
    });
    Some(format!(
        "{off}at {} after {silence} s without a heartbeat; at {} after {stall} s without progress; at {until} in any case",
        seen.after(secs(silence)),
        marked.after(secs(stall)),
    ))
}

fn password_change(change: &PasswordChange) -> String {
    let since = change.since;
    match change.refused {
        None => format!(
            "open since {since}: the BMC has the old password or the new one; whoever logs in tries both, and the one that is \
             right is kept"
        ),
        Some(at) => format!(
            "open since {since}: the BMC has refused the old password and the new one since {at}; both are tried further, or \
             give the right one (ironbeat node set --bmc-password-file)"
        ),
    }
}

/// That most machines have no TPM is worth a line only where one is wanted.
fn measured(node: &Node, policy: &Policy) -> Option<String> {
    let measured = node.measured_boot.as_ref()?;
    let required = policy.measured_boot == OnMeasurement::Require;
    let refused = match required && !measured.is_served() {
        true => "; it is refused (policy measured_boot = \"require\")",
        false => "",
    };
    let is_news = required || *measured != MeasuredBoot::NoTpm;
    is_news.then(|| format!("{measured}{refused}"))
}

fn confirmed(node: &Node, now: Time) -> Option<String> {
    let confirm = node.instance.as_ref()?.confirm.as_ref()?;
    let ago = |time| human(now.since(time).as_secs());
    match (confirm.at, &node.state) {
        (Some(at), _) => Some(format!(
            "confirmed by the instance at {at}, {} ago",
            ago(at)
        )),
        (None, State::Resting(Rest::Active)) => {
            let late = now.since(node.since) >= secs(FIRST_BOOT_SECS);
            let hint = match late {
                true => ": look at its console, and whether it reaches a worker by HTTP",
                false => "",
            };
            let ago = ago(node.since);
            Some(format!(
                "not confirmed by the instance, {ago} after the node became active{hint}"
            ))
        }
        (None, State::Resting(_) | State::Busy(_)) => None,
    }
}

fn power(node: &Node, now: Time) -> String {
    let Some(power) = &node.power else {
        return "unknown: the BMC has not said it yet".to_string();
    };
    let on = if power.on { "on" } else { "off" };
    let mut at = power.at;
    // Its heartbeats are not written down.
    if let (PowerSource::Agent, Some(Phase::AgentStep { seen, .. })) =
        (power.source, node.job().map(|job| &job.phase))
    {
        at = at.max(*seen);
    }
    let age = human(now.since(at).as_secs());
    match power.source {
        PowerSource::Bmc => format!("{on}, as the BMC said {age} ago"),
        PowerSource::Agent => format!("{on}, as an agent was alive {age} ago"),
        PowerSource::Command => {
            format!("{on} is what was ordered; nobody has confirmed it for {age}")
        }
    }
}

fn waiting_for(node: &Node, now: Time, policy: &Policy) -> String {
    let bmc = node.bmc.address();
    let fault = node.maintenance.as_ref().and_then(|m| m.fault);
    let faulty = fault == Some(HardwareFault::Power);
    match &node.state {
        State::Resting(_) if faulty => format!("the BMC at {bmc} to report the power"),
        State::Resting(_) => "an operator".to_string(),
        State::Busy(job) => match (&job.phase, job.step()) {
            (Phase::Backoff { .. } | Phase::AwaitingAgent { .. } | Phase::AgentStep { .. }, _)
                if node.is_held() =>
            {
                "an operator to end maintenance, which holds its job; no time counts".to_string()
            }
            (Phase::Acting { worker, .. }, _) if job.instead().is_some() => {
                format!("worker {worker} to let go of the BMC at {bmc}")
            }
            (Phase::InLine { .. }, _) => {
                let max = policy.max_concurrent(job.kind).unwrap_or_default();
                let nodes = if max == 1 { "node is" } else { "nodes are" };
                format!(
                    "its turn: {max} {nodes} {} at once (max_concurrent_{})",
                    job.provision_state(),
                    match job.kind {
                        JobKind::Clean | JobKind::ManualClean => "clean",
                        JobKind::Deploy
                        | JobKind::Verify
                        | JobKind::Inspect
                        | JobKind::Adopt
                        | JobKind::Delete
                        | JobKind::Service
                        | JobKind::Rescue
                        | JobKind::Unrescue
                        | JobKind::Bmc => "deploy",
                    }
                )
            }
            (Phase::Held { .. }, _) => "an operator to end the hold; no time counts".to_string(),
            (Phase::Waiting { .. }, _) => "the time to pass, as the operator wants".to_string(),
            (Phase::Acting { worker, .. }, Step::Bmc(act)) => {
                format!(
                    "worker {worker} to {} through the BMC at {bmc}",
                    act_words(*act)
                )
            }
            (Phase::Backoff { because, .. }, _) => {
                format!("a pause before another try, because: {because}")
            }
            (Phase::AwaitingAgent { died, .. }, _) => {
                let refused = boot::refused_loader(node, policy)
                    .filter(|_| asks_for_no_script(node, now, policy));
                let refused = refused.map_or_else(String::new, |why| {
                    format!("; it got an address and asks for no boot script: {why}")
                });
                format!(
                    "the machine to boot the ramdisk and look up (POST, DHCP, kernel, agent){refused}{}",
                    deaths(*died)
                )
            }
            (Phase::AgentStep { id, mark, .. }, step) => {
                // Before the first word of it there is none.
                let mark = mark.as_ref().filter(|mark| !mark.phase.is_empty());
                let progress = mark.map_or(String::new(), |mark| match mark.total {
                    Some(total) => format!(", {} {} of {total}", mark.phase, mark.done),
                    None => format!(", {} {}", mark.phase, mark.done),
                });
                let off = match node.off_since() {
                    Some(_) => "; but the BMC says that the machine is off",
                    None => "",
                };
                format!(
                    "the agent to {} (step id {id}{progress}){off}",
                    step_words(step)
                )
            }
            (Phase::Acting { .. }, step) => format!("a worker to {}", step_words(step)),
        },
    }
}

/// It got an address, and then nothing was seen of it for a while.
fn asks_for_no_script(node: &Node, now: Time, policy: &Policy) -> bool {
    match node.job().map(|job| &job.phase) {
        Some(Phase::AwaitingAgent { until, sign, .. }) => {
            let quiet = secs(policy.boot_sign_secs).saturating_sub(until.since(now));
            *sign == Some(Sign::Lease) && quiet >= secs(QUIET_SECS)
        }
        Some(
            Phase::InLine { .. }
            | Phase::Held { .. }
            | Phase::Waiting { .. }
            | Phase::Acting { .. }
            | Phase::Backoff { .. }
            | Phase::AgentStep { .. },
        )
        | None => false,
    }
}

fn attempt(node: &Node, job: &Job, policy: &Policy) -> String {
    let again = job.again.as_ref();
    let again = again.map_or_else(String::new, |why| format!(", because {why}"));
    format!(
        "step {} of {}, try {} of {}, ramdisk boot {} of {}{again}",
        job.at + 1,
        steps_of(job, node.found_boot_mode, node.instance.as_ref()),
        job.tries,
        job.bounds().tries(policy),
        // The one that is being prepared counts for whoever reads this.
        job.boots + u32::from(*job.step() == Step::Bmc(BmcAct::Netboot)),
        policy.max_boots
    )
}

fn next(node: &Node, policy: &Policy) -> String {
    let job = match &node.state {
        State::Resting(rest) => {
            let how = match (rest, &node.maintenance) {
                (Rest::ServiceFailed, None) => {
                    "; node abort switches the machine off and boots its disk"
                }
                (Rest::Rescue | Rest::RescueFailed | Rest::UnrescueFailed, None) => {
                    "; node unrescue switches the machine off and boots its disk"
                }
                (_, _) => "",
            };
            return format!("the operator: {}{how}", either(&verbs(node, policy)));
        }
        State::Busy(job) => job,
    };
    match job.instead() {
        None => {}
        Some(Instead::Abort) => return "the job is aborted".to_string(),
        Some(Instead::Begin { steps, .. }) => {
            let first = steps.first().map(step_words).unwrap_or_default();
            return format!("{first}, as the operator wants");
        }
    }
    if let Phase::InLine { .. } = job.phase {
        let first = step_words(job.step());
        return format!("{first}, when its turn has come; an operator can abort it");
    }
    if let (Phase::Held { .. }, Step::Bmc(_) | Step::Agent(_) | Step::Wait { .. }) =
        (&job.phase, job.step())
    {
        let first = step_words(job.step());
        return format!("{first}, when an operator has ended the hold");
    }
    let done = match (job.steps.get(job.at + 1), job.kind) {
        (Some(step), _) => step_words(step),
        // The lookup says which steps follow.
        (None, JobKind::Deploy) if *job.step() == Step::AwaitAgent => {
            let added = node
                .instance
                .as_ref()
                .and_then(|it| deploying::before_write(&it.deploy_steps));
            added.map_or_else(
                || "write the image".to_string(),
                |step| step.replace('_', " "),
            )
        }
        (None, JobKind::Inspect) if *job.step() == Step::AwaitAgent => {
            "read the hardware".to_string()
        }
        (None, JobKind::Clean) if *job.step() == Step::AwaitAgent => {
            "erase the metadata of its disks".to_string()
        }
        (None, _) => match job.goal {
            Goal::Clean => "be cleaned".to_string(),
            Goal::Rest(rest) if job.kind.spec().on_failure == OnFailure::Back => {
                format!("be {} as before", rest.name())
            }
            Goal::Rest(_) if job.is_tidying() => {
                "wait for the operator with the failure on record".to_string()
            }
            Goal::Rest(rest) => format!("become {}", node.or_retired(rest).name()),
        },
    };
    if let Phase::Held { .. } = job.phase {
        return format!("{done}, when an operator has ended the hold");
    }
    if let Phase::Waiting { until, .. } = job.phase {
        return format!("{done}, at {until}");
    }
    let max_tries = job.bounds().tries(policy);
    let otherwise = match &job.phase {
        Phase::Acting { .. } | Phase::Backoff { .. } if job.tries < max_tries => {
            "another try".to_string()
        }
        Phase::AwaitingAgent { .. } | Phase::AgentStep { .. } if job.boots < policy.max_boots => {
            let again = match job.step() {
                Step::Agent(_) if job.tries < max_tries => "another try, if that makes sense; ",
                Step::Agent(_)
                | Step::Bmc(_)
                | Step::AwaitAgent
                | Step::Hold
                | Step::Wait { .. } => "",
            };
            format!("{again}if the machine falls silent, the ramdisk is booted again")
        }
        Phase::InLine { .. }
        | Phase::Held { .. }
        | Phase::Waiting { .. }
        | Phase::Acting { .. }
        | Phase::Backoff { .. }
        | Phase::AwaitingAgent { .. }
        | Phase::AgentStep { .. } => "the job fails".to_string(),
    };
    match job.hold {
        true => "be held before its next step, as the operator wants".to_string(),
        false => format!("{done}; otherwise {otherwise}"),
    }
}

/// What leads on from here, as it is typed after `ironbeat`: only what would be accepted now.
fn verbs(node: &Node, policy: &Policy) -> Vec<&'static str> {
    let rest = match &node.state {
        State::Resting(rest) => *rest,
        State::Busy(job) => {
            let mut verbs = vec!["node abort"];
            if job.hold {
                verbs.push("node unhold");
            } else if job.can_be_held() {
                verbs.push("node hold");
            }
            let leads_out = matches!(
                job.kind,
                JobKind::Deploy | JobKind::Service | JobKind::Rescue
            );
            if leads_out && node.maintenance.is_none() {
                verbs.push("node undeploy");
            }
            if job.is_soft() {
                verbs.extend(["power off", "power reboot"]);
            }
            if node.maintenance.is_some() {
                verbs.push("node maintenance unset");
            }
            return without_kept(node, verbs);
        }
    };
    let mut verbs = match (&node.maintenance, rest) {
        (Some(_), _) => vec!["node maintenance unset"],
        (None, Rest::Enroll) => vec!["node manage"],
        (None, Rest::Manageable) => {
            vec!["node inspect", "node provide", "node clean", "node adopt"]
        }
        (None, Rest::Available) => vec!["node deploy", "node manage"],
        (None, Rest::Active) => vec![
            "node undeploy",
            "node rebuild",
            "node service",
            "node rescue",
        ],
        (None, Rest::InspectFailed) => vec!["node inspect", "node manage"],
        (None, Rest::AdoptFailed) => vec!["node adopt", "node manage"],
        (None, Rest::DeployFailed) => vec!["node deploy", "node undeploy"],
        (None, Rest::CleanFailed | Rest::ManualCleanFailed) => vec!["node manage"],
        (None, Rest::ServiceFailed) => {
            vec!["node service", "node abort", "node rescue", "node undeploy"]
        }
        (None, Rest::Rescue | Rest::RescueFailed | Rest::UnrescueFailed) => {
            vec!["node unrescue", "node rescue", "node undeploy"]
        }
        (None, Rest::Error) if node.instance.is_some() => vec!["node undeploy", "node rebuild"],
        (None, Rest::Error) => vec!["node undeploy"],
    };
    if policy.rescue_system().is_err() {
        verbs.retain(|verb| *verb != "node rescue");
    }
    // A BMC, a MAC address or a hint that is wrong is behind most failures.
    let change = node.password_change.as_ref();
    let refused = change.is_some_and(|change| change.refused.is_some());
    if node.last_error.is_some() || node.bmc_error.is_some() || refused {
        verbs.push("node set");
    }
    if node.bmc_error.is_some() || refused {
        verbs.push("bmc check");
    }
    without_kept(node, verbs)
}

/// What the node's flags keep from it is left out; another `set` leads on then.
fn without_kept(node: &Node, mut verbs: Vec<&'static str>) -> Vec<&'static str> {
    let kept = |verb: &&str| match *verb {
        "node undeploy" | "node rebuild" => node.protected.is_some() || node.disable_power_off,
        "node provide" | "node deploy" => node.retired.is_some() || node.disable_power_off,
        "node inspect" | "node clean" | "node service" | "node rescue" | "node unrescue"
        | "power off" => node.disable_power_off,
        "node abort" => node.disable_power_off && node.job().is_none(),
        _ => false,
    };
    let before = verbs.len();
    verbs.retain(|verb| !kept(verb));
    if verbs.len() < before && node.job().is_none() && !verbs.contains(&"node set") {
        verbs.push("node set");
    }
    verbs
}

/// `a, b or c`
fn either(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [word] => word.to_string(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

fn act_words(act: BmcAct) -> &'static str {
    match act {
        BmcAct::Check => "check address and credentials",
        BmcAct::Netboot => "boot the ramdisk",
        BmcAct::LeaveRamdisk { .. } => {
            "see the machine go off, out of the ramdisk, or switch it off by force"
        }
        BmcAct::BootDisk => "boot the disk",
        BmcAct::EnsureOn => "make sure that the machine is on",
        BmcAct::PowerOff => "power the machine off",
        BmcAct::SoftOff { .. } => "have the operating system switch the machine off",
        BmcAct::Cycle => "cycle the power",
        BmcAct::Reset => "reset the machine",
        BmcAct::Diag => "send a diagnostic interrupt",
        BmcAct::SetBootDevice { .. } => "set the boot device",
        BmcAct::ResetBmc => "restart the BMC itself",
        BmcAct::SetPassword => "set the BMC's password",
    }
}

fn step_words(step: &Step) -> String {
    match step {
        Step::Bmc(act) => act_words(*act).to_string(),
        Step::AwaitAgent => "wait for the ramdisk".to_string(),
        Step::Agent(AgentStep::Inspect { .. }) => {
            "read the hardware and listen for LLDP".to_string()
        }
        Step::Agent(AgentStep::WriteImage(write)) => {
            format!(
                "write the image {} to {}",
                write.source.without_query(),
                write.disk
            )
        }
        Step::Agent(AgentStep::SetBootEntry { .. }) => "make a UEFI boot entry".to_string(),
        Step::Agent(AgentStep::EraseMetadata { disks }) => {
            match disks.len() {
                // Before the lookup.
                0 => "erase the metadata of its disks".to_string(),
                disks => format!("erase the metadata of {disks} disks"),
            }
        }
        Step::Agent(AgentStep::Rescue(system)) => {
            let source = system.source.without_query();
            format!("let people in, with {source}")
        }
        Step::Agent(AgentStep::PowerOff) => {
            "end the ramdisk and switch the machine off".to_string()
        }
        Step::Hold => "wait for an operator to end the hold".to_string(),
        Step::Wait { secs } => format!("wait for {secs} s"),
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
        if let Some(sync) = &self.power_sync {
            writeln!(f, "          {sync}")?;
        }
        if let Some(reason) = &self.maintenance {
            writeln!(f, "          in maintenance {reason}")?;
        }
        writeln!(f, "waits for {}", self.waiting_for)?;
        if let (Some(since), Some(until)) = (self.since, self.until) {
            writeln!(f, "          since {since}, until {until}")?;
        }
        if let Some(timeouts) = &self.timeouts {
            writeln!(f, "          ends {timeouts}")?;
        }
        if let Some(worker) = &self.worker {
            writeln!(f, "          {worker}")?;
        }
        if let Some(agent) = &self.agent {
            writeln!(f, "agent     {agent}")?;
        }
        if let Some(attempt) = &self.attempt {
            writeln!(f, "attempt   {attempt}")?;
        }
        if let Some(netboot) = &self.netboot {
            writeln!(f, "netboot   {netboot}")?;
        }
        if let Some(change) = &self.password_change {
            writeln!(f, "password  {change}")?;
        }
        if let Some(identity) = &self.identity {
            writeln!(f, "machine   {identity}")?;
        }
        if let Some(astray) = &self.astray {
            writeln!(f, "astray    {astray}")?;
        }
        if let Some(rival) = &self.rival {
            writeln!(f, "rival     {rival}")?;
        }
        if let Some(measured) = &self.measured {
            writeln!(f, "booted    {measured}")?;
        }
        if let Some(confirmed) = &self.confirmed {
            writeln!(f, "instance  {confirmed}")?;
        }
        if let Some(rescue) = &self.rescue {
            writeln!(f, "rescue    {rescue}")?;
        }
        if let Some(collisions) = &self.collisions {
            writeln!(f, "disks     {collisions}")?;
        }
        if let Some(error) = &self.last_error {
            writeln!(f, "error     {error}")?;
        }
        if let Some(error) = &self.bmc_error {
            writeln!(f, "bmc error {error}")?;
        }
        writeln!(f, "next      {}", self.next)?;
        match self.since {
            // The last line has them.
            None => Ok(()),
            Some(_) => writeln!(f, "verbs     {}", self.verbs.join(", ")),
        }
    }
}

/// A length of time, as roughly as people say it.
pub fn human(secs: u64) -> String {
    let duration = Duration::from_secs(secs);
    match duration.as_secs() {
        s if s < 120 => format!("{s} s"),
        s if s < 7200 => format!("{} min", s / 60),
        s if s < 172_800 => format!("{} h", s / 3600),
        s => format!("{} d", s / 86_400),
    }
}
