//! Simulated operators: mostly they want what comes next in a good life; they repeat themselves and change their minds.
//! What is possible when is decided in the core.
use crate::front::Job;
use crate::rng::Rng;
use crate::scene::{endpoint, enrolment, instance, password};
use crate::{Happens, World};
use ironbeat_common::id::AllocationId;
use ironbeat_core::allocation::Wanted;
use ironbeat_core::decide::{Patch, PowerVerb, Verb};
use ironbeat_core::id::RequestId;
use ironbeat_core::manual::Wish;
use ironbeat_core::named::{Bounds, DeployStep, ManualStep, NamedStep, OnStepFailure};
use ironbeat_core::node::{
    BootDevice, JobKind, NewInstance, Node, RescueLogin, Rest, Secret, State,
};

impl World {
    pub(crate) fn operates(&mut self, machine: usize) {
        if !self.faults.on {
            return self.lets_go_on(machine);
        }
        let pause = self.rng.pick(&[2_000, 20_000, 60_000, 240_000]);
        let pause = self.rng.between(1, pause);
        self.after(pause, Happens::Operates(machine));
        let node = self.store.node(self.machines[machine].node).cloned();
        let Some(node) = node else {
            self.after(0, Happens::Enrols(machine));
            if self.rng.below(5) == 0 {
                self.after(self.now % 3_000, Happens::Enrols(machine));
            }
            return;
        };
        let verb = self.verb(machine, &node);
        self.requests(machine, verb);
        if self.rng.below(6) == 0 {
            let verb = self.verb(machine, &node);
            self.requests(machine, verb);
        }
    }

    /// In the end nobody's job is held by a maintenance or a hold that was forgotten.
    fn lets_go_on(&mut self, machine: usize) {
        let node = self.store.node(self.machines[machine].node);
        let Some(node) = node.filter(|node| node.job().is_some()) else {
            // What was asked for may come late, and hold then.
            self.after(600_000, Happens::Operates(machine));
            return;
        };
        if node.job().is_some_and(|job| job.hold) {
            self.requests(machine, Verb::Unhold);
        } else if node.is_held() {
            self.requests(machine, Verb::Maintenance(None));
        }
        self.after(60_000, Happens::Operates(machine));
    }

    /// It is sent once, or again because the answer was long in coming.
    fn requests(&mut self, machine: usize, verb: Verb) {
        self.requests += 1;
        let request: RequestId = format!("r{}", self.requests).parse().expect("a token");
        let sends = 1 + u64::from(self.rng.below(4) == 0) + u64::from(self.rng.below(20) == 0);
        for _ in 0..sends {
            let ms = self.rng.between(0, 5_000);
            let (request, verb) = (request.clone(), verb.clone());
            self.after(
                ms,
                Happens::Requests {
                    machine,
                    request,
                    verb,
                },
            );
        }
    }

    pub(crate) fn requested(&mut self, machine: usize, request: RequestId, verb: Verb) {
        let Some(to) = self.any_worker() else { return };
        let node = self.machines[machine].node;
        let job = Job::Request {
            node,
            request,
            verb,
        };
        self.note("operator", machine, || job.words());
        self.after(1, Happens::Comes { to, job });
    }

    pub(crate) fn enrols(&mut self, machine: usize) {
        let Some(to) = self.any_worker() else { return };
        // The last machine is nobody's to operate, so its MAC address stays taken.
        let taken = self.machines.len() - 1;
        let is_taken = self.store.node(self.machines[taken].node).is_some();
        if machine == taken && !is_taken {
            self.after(20_000, Happens::Enrols(taken));
        }
        let typed = match is_taken && self.rng.below(10) == 0 {
            true => taken,
            false => machine,
        };
        let job = Job::Enrol(Box::new(enrolment(machine, typed)));
        self.note("operator", machine, || job.words());
        self.after(1, Happens::Comes { to, job });
    }

    fn verb(&mut self, machine: usize, node: &Node) -> Verb {
        let rng = &mut self.rng;
        if node.maintenance.is_some() && rng.below(2) == 0 {
            return Verb::Maintenance(None);
        }
        let deploy = Verb::Deploy(some_instance(rng));
        let cleaning = Verb::Clean(wish(rng, true));
        let service = Verb::Service(wish(rng, false));
        let rescue = Verb::Rescue(rescue());
        let likely = match &node.state {
            State::Resting(Rest::Enroll) => Verb::Manage,
            State::Resting(Rest::Manageable) => rng.pick(&[
                Verb::Provide,
                Verb::Provide,
                Verb::Inspect,
                Verb::Adopt(instance()),
                cleaning.clone(),
            ]),
            State::Resting(Rest::AdoptFailed) => rng.pick(&[Verb::Adopt(instance()), Verb::Manage]),
            State::Resting(Rest::Available) => deploy.clone(),
            State::Resting(Rest::Active) => rng.pick(&[
                Verb::Undeploy,
                Verb::Rebuild(None),
                service.clone(),
                rescue.clone(),
            ]),
            State::Resting(Rest::Rescue | Rest::RescueFailed | Rest::UnrescueFailed) => {
                rng.pick(&[
                    Verb::Unrescue,
                    Verb::Unrescue,
                    rescue.clone(),
                    Verb::Undeploy,
                ])
            }
            State::Resting(Rest::ServiceFailed) => {
                rng.pick(&[service.clone(), Verb::Abort, Verb::Undeploy])
            }
            State::Resting(Rest::InspectFailed | Rest::CleanFailed | Rest::ManualCleanFailed) => {
                Verb::Manage
            }
            State::Resting(Rest::DeployFailed | Rest::Error) => {
                rng.pick(&[Verb::Undeploy, Verb::Rebuild(None)])
            }
            State::Busy(job) if job.hold => rng.pick(&[Verb::Unhold, Verb::Unhold, Verb::Abort]),
            // Mostly they wait.
            State::Busy(job) if rng.below(8) > 0 && job.kind != JobKind::Bmc => {
                Verb::set(Patch::default())
            }
            State::Busy(_) => rng.pick(&[
                Verb::Abort,
                Verb::Abort,
                Verb::Hold,
                Verb::Undeploy,
                Verb::Power(PowerVerb::Off),
            ]),
        };
        if rng.below(5) > 0 {
            return likely;
        }
        // Until it is enrolled, what is typed by mistake would really be another machine's.
        let taken = self.machines.len() - 1;
        let taken = match self.store.node(self.machines[taken].node) {
            Some(_) => taken,
            None => machine,
        };
        let macs_of = |n: usize| Some(vec![self.machines[n].mac]);
        let soft = PowerVerb::SoftOff {
            timeout_secs: Some(60),
            then_hard: rng.below(2) == 0,
        };
        let another = password(1 + self.requests);
        let given = Verb::Allocate {
            allocation: AllocationId::from_bytes([rng.below(2) as u8; 16]),
            wanted: Box::new(Wanted {
                resource_class: "large".into(),
                traits: vec![],
                candidates: vec![],
                owner: None,
                backfill: rng.below(2) == 0,
            }),
        };
        let set = |patch: Patch| Verb::set(patch);
        rng.pick(&[
            Verb::Manage,
            Verb::Inspect,
            Verb::Provide,
            deploy.clone(),
            Verb::Rebuild(Some(instance())),
            Verb::Undeploy,
            Verb::Adopt(instance()),
            cleaning.clone(),
            service.clone(),
            rescue.clone(),
            Verb::Unrescue,
            Verb::Abort,
            Verb::Hold,
            Verb::Unhold,
            Verb::Maintenance(Some("fan".into())),
            Verb::Maintenance(None),
            Verb::Delete,
            Verb::Delete,
            set(Patch {
                macs: macs_of(taken),
                ..Patch::default()
            }),
            set(Patch {
                macs: macs_of(machine),
                ..Patch::default()
            }),
            set(Patch {
                bmc: Some(endpoint(machine)),
                ..Patch::default()
            }),
            set(Patch {
                bmc: Some(endpoint(taken)),
                ..Patch::default()
            }),
            given,
            Verb::Deallocate(AllocationId::from_bytes([0; 16])),
            said(r#"{ "resource_class": "large" }"#),
            said(r#"{ "retired": "old" }"#),
            said(r#"{ "clear": ["retired", "protected"] }"#),
            said(r#"{ "clear": ["retired", "protected", "automated_clean"] }"#),
            said(r#"{ "protected": "payroll" }"#),
            said(r#"{ "automated_clean": false, "add_traits": ["CUSTOM_GPU"], "extra": { "rack": "R7" } }"#),
            Verb::Power(soft),
            Verb::Power(PowerVerb::On),
            Verb::Power(PowerVerb::Off),
            Verb::Power(PowerVerb::Reboot),
            Verb::Power(PowerVerb::Cycle),
            Verb::Power(PowerVerb::Reset),
            Verb::Power(PowerVerb::Diag),
            Verb::BootDevice {
                device: BootDevice::Pxe,
                persistent: false,
            },
            Verb::ResetBmc,
            Verb::SetPassword(another.clone()),
            Verb::SetPassword(another),
        ])
    }
}

fn rescue() -> RescueLogin {
    RescueLogin {
        password_hash: Some(Secret::new("$6$salt$hash")),
        ssh_keys: vec![],
    }
}

/// What an operator says of a node, as JSON.
fn said(json: &str) -> Verb {
    Verb::set(serde_json::from_str(json).expect("a patch"))
}

/// Half of them with steps beside the deploy's own.
fn some_instance(rng: &mut Rng) -> NewInstance {
    let steps = [
        (ManualStep::Wait { seconds: 60 }, [90, 70, 50, 30]),
        (ManualStep::EraseDevicesMetadata, [90, 81, 0, 100]),
        (ManualStep::Inspect, [90, 70, 50, 0]),
        (ManualStep::ResetBmc, [30, 25, 0, 21]),
    ];
    let mut deploy_steps = Vec::new();
    for _ in 0..rng.below(4).saturating_sub(1) {
        let (step, priorities) = rng.pick(&steps);
        let (priority, named) = (rng.pick(&priorities), bounded(step, rng));
        deploy_steps.push(DeployStep { priority, named });
    }
    NewInstance {
        deploy_steps,
        ..instance()
    }
}

/// Now and then a step has little time or few tries, or is not relied on.
fn bounded(step: ManualStep, rng: &mut Rng) -> NamedStep {
    let takes_bounds = match step {
        ManualStep::Hold | ManualStep::Wait { .. } => false,
        ManualStep::PowerOn
        | ManualStep::PowerOff
        | ManualStep::Reboot
        | ManualStep::ResetBmc
        | ManualStep::Inspect
        | ManualStep::EraseDevicesMetadata => true,
    };
    let relied_on = !matches!(
        step,
        ManualStep::ResetBmc | ManualStep::Inspect | ManualStep::EraseDevicesMetadata
    );
    let bounds = Bounds {
        timeout_secs: rng.pick(&[None, None, Some(120)]),
        tries: rng.pick(&[None, Some(1), Some(2)]),
        on_failure: match relied_on || rng.below(2) == 0 {
            true => OnStepFailure::Fail,
            false => OnStepFailure::Continue,
        },
    };
    let bounds = if takes_bounds { bounds } else { Bounds::NONE };
    NamedStep { step, bounds }
}

/// A few steps, of which a service erases nothing.
fn wish(rng: &mut Rng, erases: bool) -> Wish {
    let disable_ramdisk = rng.below(4) == 0;
    let all = ManualStep::ALL.iter().filter(|step| {
        let by_ramdisk = matches!(step, ManualStep::Inspect | ManualStep::EraseDevicesMetadata);
        (erases || **step != ManualStep::EraseDevicesMetadata) && !(by_ramdisk && disable_ramdisk)
    });
    let all: Vec<ManualStep> = all.copied().collect();
    Wish {
        steps: (0..=rng.below(4))
            .map(|_| bounded(rng.pick(&all), rng))
            .collect(),
        disable_ramdisk,
        runbook: None,
    }
}
