//! The vocabulary of states: where a node can rest, what kinds of job there are, and Ironic's names for both.
//! A table in `decide/verbs.rs` says which verb leads from which state to which job.
use serde::{Deserialize, Serialize};

/// Where a node can be while nothing is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    Enroll,
    Manageable,
    Available,
    Active,
    InspectFailed,
    AdoptFailed,
    DeployFailed,
    CleanFailed,
    /// A cleaning of named steps failed; Ironic has one name for both.
    ManualCleanFailed,
    ServiceFailed,
    /// People can log in to the ramdisk; its owner's disks are as they were.
    Rescue,
    RescueFailed,
    UnrescueFailed,
    /// A delete failed.
    Error,
}

impl Rest {
    pub const ALL: &[Rest] = &[
        Rest::Enroll,
        Rest::Manageable,
        Rest::Available,
        Rest::Active,
        Rest::InspectFailed,
        Rest::AdoptFailed,
        Rest::DeployFailed,
        Rest::CleanFailed,
        Rest::ManualCleanFailed,
        Rest::ServiceFailed,
        Rest::Rescue,
        Rest::RescueFailed,
        Rest::UnrescueFailed,
        Rest::Error,
    ];

    /// Ironic's `provision_state`.
    pub const fn name(self) -> &'static str {
        match self {
            Rest::Enroll => "enroll",
            Rest::Manageable => "manageable",
            Rest::Available => "available",
            Rest::Active => "active",
            Rest::InspectFailed => "inspect failed",
            Rest::AdoptFailed => "adopt failed",
            Rest::DeployFailed => "deploy failed",
            Rest::CleanFailed | Rest::ManualCleanFailed => "clean failed",
            Rest::ServiceFailed => "service failed",
            Rest::Rescue => "rescue",
            Rest::RescueFailed => "rescue failed",
            Rest::UnrescueFailed => "unrescue failed",
            Rest::Error => "error",
        }
    }

    /// The kind of job whose failure left the node here.
    pub const fn failed_job(self) -> Option<JobKind> {
        match self {
            Rest::Enroll | Rest::Manageable | Rest::Available | Rest::Active | Rest::Rescue => None,
            Rest::InspectFailed => Some(JobKind::Inspect),
            Rest::AdoptFailed => Some(JobKind::Adopt),
            Rest::DeployFailed => Some(JobKind::Deploy),
            Rest::CleanFailed => Some(JobKind::Clean),
            Rest::ManualCleanFailed => Some(JobKind::ManualClean),
            Rest::ServiceFailed => Some(JobKind::Service),
            Rest::RescueFailed => Some(JobKind::Rescue),
            Rest::UnrescueFailed => Some(JobKind::Unrescue),
            Rest::Error => Some(JobKind::Delete),
        }
    }

    pub const fn is_failure(self) -> bool {
        self.failed_job().is_some()
    }

    /// Ironic's `target_provision_state`: where the failed job was headed.
    pub const fn target(self) -> Option<Rest> {
        match self.failed_job() {
            Some(kind) => kind.spec().target,
            None => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    Verify,
    Inspect,
    /// Take over a machine that serves its owner, as it is.
    Adopt,
    Deploy,
    /// Tear down. Cleaning follows as a job of its own.
    Delete,
    Clean,
    /// Steps that an operator names, on a machine that serves nobody.
    ManualClean,
    /// The same on one that serves its owner, and goes back to that.
    Service,
    /// Boot the ramdisk of a machine that serves its owner, and let people in.
    Rescue,
    /// Have it serve its owner again.
    Unrescue,
    /// Something for the BMC alone; the node then rests where it was.
    Bmc,
}

/// What sets one kind of job apart from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Ironic's names for a node with such a job; none: the node keeps the name of the state it came from.
    pub names: Option<Names>,
    pub on_failure: OnFailure,
    /// Ironic's `target_provision_state`.
    pub target: Option<Rest>,
    /// A failed job turns off the machine that it leaves running.
    pub powers_off: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// While the conductor works.
    pub doing: &'static str,
    /// While the conductor waits for the ramdisk.
    pub waiting: &'static str,
    /// While it is held before its next step; none: it cannot be.
    pub holding: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The node rests here.
    Rest(Rest),
    /// The node rests where it was before.
    Back,
}

impl JobKind {
    pub const ALL: &[JobKind] = &[
        JobKind::Verify,
        JobKind::Inspect,
        JobKind::Adopt,
        JobKind::Deploy,
        JobKind::Delete,
        JobKind::Clean,
        JobKind::ManualClean,
        JobKind::Service,
        JobKind::Rescue,
        JobKind::Unrescue,
        JobKind::Bmc,
    ];

    /// An operator named its steps ([`manual`](crate::manual)).
    pub const fn is_manual(self) -> bool {
        matches!(self, JobKind::ManualClean | JobKind::Service)
    }

    /// The kind in whose line it waits, where only so many run at once.
    pub const fn line(self) -> JobKind {
        match self {
            JobKind::ManualClean => JobKind::Clean,
            JobKind::Verify
            | JobKind::Inspect
            | JobKind::Adopt
            | JobKind::Deploy
            | JobKind::Delete
            | JobKind::Clean
            | JobKind::Service
            | JobKind::Rescue
            | JobKind::Unrescue
            | JobKind::Bmc => self,
        }
    }

    pub const fn spec(self) -> Spec {
        match self {
            JobKind::Verify => Spec {
                names: named("verifying", "verifying"),
                on_failure: OnFailure::Rest(Rest::Enroll),
                target: Some(Rest::Manageable),
                powers_off: false,
            },
            JobKind::Inspect => Spec {
                names: named("inspecting", "inspect wait"),
                on_failure: OnFailure::Rest(Rest::InspectFailed),
                target: Some(Rest::Manageable),
                powers_off: true,
            },
            JobKind::Adopt => Spec {
                names: named("adopting", "adopting"),
                on_failure: OnFailure::Rest(Rest::AdoptFailed),
                target: Some(Rest::Active),
                powers_off: false,
            },
            JobKind::Deploy => Spec {
                names: holdable("deploying", "wait call-back", "deploy hold"),
                on_failure: OnFailure::Rest(Rest::DeployFailed),
                target: Some(Rest::Active),
                powers_off: true,
            },
            JobKind::Delete => Spec {
                names: named("deleting", "deleting"),
                on_failure: OnFailure::Rest(Rest::Error),
                target: Some(Rest::Available),
                powers_off: false,
            },
            JobKind::Clean => Spec {
                names: holdable("cleaning", "clean wait", "clean hold"),
                on_failure: OnFailure::Rest(Rest::CleanFailed),
                target: Some(Rest::Available),
                powers_off: false,
            },
            JobKind::ManualClean => Spec {
                names: holdable("cleaning", "clean wait", "clean hold"),
                on_failure: OnFailure::Rest(Rest::ManualCleanFailed),
                target: Some(Rest::Manageable),
                powers_off: false,
            },
            JobKind::Service => Spec {
                names: holdable("servicing", "service wait", "service hold"),
                on_failure: OnFailure::Rest(Rest::ServiceFailed),
                target: Some(Rest::Active),
                powers_off: false,
            },
            JobKind::Rescue => Spec {
                names: named("rescuing", "rescue wait"),
                on_failure: OnFailure::Rest(Rest::RescueFailed),
                target: Some(Rest::Rescue),
                powers_off: false,
            },
            JobKind::Unrescue => Spec {
                names: named("unrescuing", "unrescuing"),
                on_failure: OnFailure::Rest(Rest::UnrescueFailed),
                target: Some(Rest::Active),
                powers_off: false,
            },
            JobKind::Bmc => Spec {
                names: None,
                on_failure: OnFailure::Back,
                target: None,
                powers_off: false,
            },
        }
    }
}

const fn named(doing: &'static str, waiting: &'static str) -> Option<Names> {
    Some(Names {
        doing,
        waiting,
        holding: None,
    })
}

const fn holdable(
    doing: &'static str,
    waiting: &'static str,
    holding: &'static str,
) -> Option<Names> {
    Some(Names {
        doing,
        waiting,
        holding: Some(holding),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The two tables agree on every failure.
    #[test]
    fn a_failed_job_and_the_state_it_leads_to_name_each_other() {
        for rest in Rest::ALL {
            if let Some(kind) = rest.failed_job() {
                assert_eq!(kind.spec().on_failure, OnFailure::Rest(*rest));
            }
        }
        for kind in JobKind::ALL {
            match kind.spec().on_failure {
                OnFailure::Rest(rest) if rest.is_failure() => {
                    assert_eq!(rest.failed_job(), Some(*kind));
                }
                OnFailure::Rest(rest) => assert_eq!((*kind, rest), (JobKind::Verify, Rest::Enroll)),
                OnFailure::Back => assert_eq!(*kind, JobKind::Bmc),
            }
        }
    }
}
