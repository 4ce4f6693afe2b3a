//! What must be true of every node record at every moment: the random histories check it after every step, the
//! conductor before every save. `decide` keeps it true.
use crate::boot::{Boot, boot_for};
use crate::node::{
    BmcAct, Goal, Job, JobKind, MAX_ENDED, MAX_LEFT_DISKS, MAX_MACS, MAX_PAST_BOOTS, MAX_PLACES,
    MAX_REQUESTS, MAX_TRAITS, MAX_VOID, Node, OnFailure, Phase, Rest, State, Step,
};
use alloc::string::String;
use core::fmt;

/// The record contradicts itself: a bug, and the record is not saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant broken: {}", self.0)
    }
}

impl core::error::Error for Broken {}

fn is_on_hold(job: &Job) -> bool {
    matches!(job.phase, Phase::Held { .. })
}

/// # Errors
/// The first contradiction found.
pub fn check(node: &Node) -> Result<(), Broken> {
    let holds = |condition: bool, what: &str| {
        if condition {
            Ok(())
        } else {
            Err(Broken(what.into()))
        }
    };
    holds(
        node.wake_at.is_some() == node.job().is_some_and(|job| !is_on_hold(job)),
        "a node has an alarm exactly while it is busy and its job not on hold",
    )?;
    holds(node.requests.len() <= MAX_REQUESTS, "requests are bounded")?;
    holds(
        node.past_boots.len() <= MAX_PAST_BOOTS,
        "past boots are bounded",
    )?;
    holds(node.macs.len() <= MAX_MACS, "MAC addresses are bounded")?;
    holds(node.traits.len() <= MAX_TRAITS, "traits are bounded")?;
    holds(
        node.collisions.places.len() <= MAX_PLACES,
        "places on other disks are bounded",
    )?;
    holds(
        node.collisions.is_empty() || node.instance.is_some(),
        "only a deployed disk can be mistaken",
    )?;
    holds(
        node.left_alone.disks.len() <= MAX_LEFT_DISKS,
        "disks left alone are bounded",
    )?;
    holds(
        node.boot
            .is_none_or(|boot| !node.past_boots.contains(&boot)),
        "the current boot is not a past one",
    )?;
    holds(
        node.instance.is_some() || node.beside.instance_data.is_none(),
        "data of an instance belongs to an instance",
    )?;
    let rescues = node.job().is_some_and(|job| job.kind == JobKind::Rescue);
    holds(
        rescues == node.beside.rescue_login.is_some(),
        "a login for a rescue lies there exactly until the rescue is over",
    )?;
    let in_rescue = match &node.state {
        State::Resting(rest) => *rest == Rest::Rescue,
        State::Busy(job) => job.kind == JobKind::Bmc && job.goal == Goal::Rest(Rest::Rescue),
    };
    holds(
        in_rescue == node.rescue.is_some(),
        "how a rescue system is reached is known exactly while it runs",
    )?;
    holds(
        node.password_change.is_none() || node.beside.bmc_secrets.is_some(),
        "an open change has its passwords beside the record",
    )?;
    let tickets = &node.tickets;
    holds(
        tickets.void.len() <= MAX_VOID && tickets.ended.len() <= MAX_ENDED,
        "void tickets and ended logins are bounded",
    )?;
    holds(
        tickets.used.is_none() || node.boot.is_some(),
        "a login belongs to the present boot",
    )?;
    holds(
        (tickets.open.is_none() && tickets.void.is_empty()) || boot_for(node) == Boot::Ramdisk,
        "a ticket belongs to a wait for the ramdisk",
    )?;
    holds(
        node.protected.is_none() || node.instance.is_some(),
        "what is protected is an instance",
    )?;
    holds(
        node.schema == node.lowest_schema(),
        "a record has the lowest version that loses nothing of it",
    )?;
    match &node.state {
        State::Resting(rest) => {
            holds(
                node.allocation.is_none() || node.instance.is_some() || *rest == Rest::Available,
                "an allocated node is free or serves somebody",
            )?;
            holds(
                *rest != Rest::Available || node.retired.is_none(),
                "a retired node is not available",
            )?;
            holds(node.boot.is_none(), "a resting node listens to no ramdisk")?;
            holds(
                !rest.is_failure() || node.last_error.is_some(),
                "a failed node says why",
            )?;
            match rest {
                Rest::Enroll | Rest::Manageable | Rest::Available => holds(
                    node.instance.is_none(),
                    "a node that serves nobody has no instance",
                ),
                Rest::Active => holds(node.instance.is_some(), "an active node has an instance"),
                Rest::ServiceFailed | Rest::Rescue | Rest::RescueFailed | Rest::UnrescueFailed => {
                    holds(
                        node.instance.is_some(),
                        "a node in service or rescue has the instance that it serves",
                    )
                }
                Rest::AdoptFailed => holds(
                    node.instance.is_some(),
                    "a node that could not be adopted has the instance that it was to serve",
                ),
                Rest::InspectFailed
                | Rest::DeployFailed
                | Rest::CleanFailed
                | Rest::ManualCleanFailed
                | Rest::Error => Ok(()),
            }
        }
        State::Busy(job) => {
            holds(job.at < job.steps.len(), "the current step exists")?;
            holds(
                job.bounds
                    .iter()
                    .all(|bounded| bounded.follow < job.steps.len()),
                "what is said of a step is said of one that there is",
            )?;
            holds(job.tries > 0, "the current step was begun")?;
            let fits = match (&job.phase, job.step()) {
                (Phase::InLine { .. }, _) => {
                    job.at == 0 && job.boots == 0 && job.place.is_none() && node.boot.is_none()
                }
                (Phase::Held { .. }, _) if !job.hold || !job.can_be_held() => false,
                (
                    Phase::Acting { .. } | Phase::Backoff { .. } | Phase::Held { .. },
                    Step::Bmc(_),
                ) => true,
                (Phase::Backoff { .. } | Phase::Held { .. }, Step::Agent(_)) => node.boot.is_some(),
                (Phase::Held { .. }, Step::Hold | Step::Wait { .. })
                | (Phase::Waiting { .. }, Step::Wait { .. }) => {
                    job.kind.is_manual() || job.kind == JobKind::Deploy
                }
                (Phase::AwaitingAgent { .. }, Step::AwaitAgent) => true,
                (Phase::AgentStep { id, .. }, Step::Agent(_)) => {
                    node.boot.is_some() && id.0 <= node.counter
                }
                (
                    Phase::Acting { .. }
                    | Phase::Held { .. }
                    | Phase::Waiting { .. }
                    | Phase::Backoff { .. }
                    | Phase::AwaitingAgent { .. }
                    | Phase::AgentStep { .. },
                    Step::Bmc(_)
                    | Step::AwaitAgent
                    | Step::Agent(_)
                    | Step::Hold
                    | Step::Wait { .. },
                ) => false,
            };
            holds(fits, "what is waited for belongs to the current step")?;
            holds(
                !job.is_tidying() || node.last_error.is_some(),
                "a job that tidies up keeps the failure on record",
            )?;
            holds(
                *job.step() != Step::Bmc(BmcAct::SetPassword) || node.password_change.is_some(),
                "a password that is being set is on record",
            )?;
            holds(
                !node.disable_power_off
                    || matches!(job.kind, JobKind::Verify | JobKind::Adopt | JobKind::Bmc),
                "no job that switches the machine off runs where that is disabled",
            )?;
            holds(
                job.goal != Goal::Clean || job.kind == JobKind::Delete,
                "only tear-down is followed by cleaning",
            )?;
            if let (OnFailure::Back, Goal::Rest(rest)) = (job.kind.spec().on_failure, job.goal) {
                holds(
                    job.steps.iter().all(|step| matches!(step, Step::Bmc(_))),
                    "a job for the BMC alone asks nobody else",
                )?;
                // At the end the node is exactly there.
                let mut there = node.clone();
                (there.state, there.wake_at) = (State::Resting(rest), None);
                there.schema = there.lowest_schema();
                check(&there)?;
            }
            let serves = matches!(
                job.kind,
                JobKind::Deploy
                    | JobKind::Adopt
                    | JobKind::Service
                    | JobKind::Rescue
                    | JobKind::Unrescue
            );
            holds(
                !serves || node.instance.is_some(),
                "a deploy, an adoption, a service and a rescue have an instance",
            )
        }
    }
}
