//! Names of whole stories, as Ironic would tell them.
//! `announce` tests our own.
use super::super::announce::announce;
use super::{Change, Notification, notifications};
use crate::records::tests::{enrolment, node};
use ironbeat_common::heartbeat::{Outcome, Retry, Status, StepError};
use ironbeat_common::id::BootId;
use ironbeat_common::inventory::{Disk, Inventory};
use ironbeat_core::decide::{
    BmcFault, BmcReport, Ctx, Event, Patch, Policy, PowerVerb, Proof, Verb, decide,
};
use ironbeat_core::id::Incarnation;
use ironbeat_core::node::{MeasuredBoot, NewInstance, Node, Phase, Rest, State, Step};
use ironbeat_core::time::Time;
use serde_json::json;
use std::time::Duration;

const BOOT: BootId = BootId::from_bytes([0xb0; 16]);

/// A node, its clock, what lies beside its record, and what Ironic would have told since it was asked last.
struct Story {
    node: Option<Node>,
    now: Time,
    count: u32,
    inventory: Inventory,
    told: Vec<Notification>,
}

impl Story {
    fn of(state: Rest) -> Self {
        let mut node = node(1);
        node.state = State::Resting(state);
        let disk = Disk {
            name: "/dev/sda".into(),
            size_bytes: 100 << 30,
            logical_sector_bytes: 512,
            serial: Some("S1".into()),
            ..Disk::default()
        };
        Self {
            node: Some(node),
            now: Time::from_unix_ms(1_800_000_000_000),
            count: 0,
            inventory: Inventory {
                disks: vec![disk],
                ..Inventory::default()
            },
            told: vec![],
        }
    }

    fn event(&mut self, event: &Event) {
        self.count += 1;
        self.now = self.now.after(Duration::from_secs(1));
        let (op, worker) = (format!("op{}", self.count), "w1".parse().unwrap());
        let ctx = Ctx {
            now: self.now,
            op: &op.parse().unwrap(),
            worker: &worker,
            incarnation: Incarnation::default(),
            policy: &Policy {
                max_tries: 1,
                ..Policy::default()
            },
            inventory: Some(&self.inventory),
            secrets: None,
            instance_data: None,
            notes: None,
            rules: None,
        };
        let decision = decide(self.node.as_ref(), event, ctx).unwrap();
        let (before, after) = (self.node.as_ref(), decision.node.as_ref());
        let ours = announce(before, after, &decision.because, self.now, &worker);
        let change = Change {
            before,
            after,
            event,
            at: self.now,
            worker: &worker,
        };
        if before != after {
            let whats = ours.iter().map(|happening| &happening.what);
            self.told.extend(notifications(change, whats));
        }
        self.node = decision.node;
    }

    fn ask(&mut self, verb: Verb) {
        let request = format!("r{}", self.count).parse().unwrap();
        self.event(&Event::Asked { request, verb });
    }

    /// Whoever acts for the node says that it worked, until nobody does.
    fn acts(&mut self) {
        while let Some(job) = self.node.as_ref().and_then(Node::job) {
            let (Phase::Acting { op, .. }, Step::Bmc(act)) = (&job.phase, job.step()) else {
                return;
            };
            let off = matches!(
                act,
                ironbeat_core::node::BmcAct::PowerOff
                    | ironbeat_core::node::BmcAct::LeaveRamdisk { .. }
            );
            let (op, result) = (op.clone(), Ok(BmcReport { power_on: !off }));
            self.event(&Event::Bmc { op, result });
        }
    }

    fn fails(&mut self) {
        let op = match self.node.as_ref().and_then(Node::job).map(|job| &job.phase) {
            Some(Phase::Acting { op, .. }) => op.clone(),
            other => panic!("nobody acts: {other:?}"),
        };
        let fault = BmcFault {
            what: "BMC 10.0.0.1: wrong password".into(),
            permanent: true,
            accepted: None,
            untold: false,
            let_go: false,
        };
        let result = Err(fault);
        self.event(&Event::Bmc { op, result });
    }

    fn boots(&mut self) {
        self.event(&Event::Booted {
            boot: BOOT,
            inventory: self.inventory.clone(),
            proof: Proof::NotAsked,
            measured: MeasuredBoot::default(),
        });
    }

    fn beats(&mut self, status: impl FnOnce(ironbeat_common::id::StepId) -> Status) {
        let step = self.node.as_ref().and_then(Node::agent_step);
        let status = status(step.expect("its agent has a step"));
        self.event(&Event::Beat { boot: BOOT, status });
    }

    /// What was told since, without what all of it begins with.
    fn names(&mut self) -> Vec<String> {
        let told = std::mem::take(&mut self.told).into_iter();
        let name = |it: Notification| {
            assert_eq!(it.body["event_type"], it.event_type.as_str());
            let name = it.event_type.strip_prefix("baremetal.node.");
            let state = &it.body["payload"]["ironic_object.data"]["provision_state"];
            let state = state.as_str().unwrap();
            format!("{} {state}", name.unwrap())
        };
        told.map(name).collect()
    }
}

fn instance() -> NewInstance {
    let checksum: ironbeat_common::image::Checksum = "0".repeat(64).parse().unwrap();
    let instance = json!({
        "image": { "source": "https://h/os.raw?sig=hush", "checksum": checksum },
        "user_data": "hush",
    });
    serde_json::from_value(instance).unwrap()
}

#[test]
fn a_deploy_from_its_start_to_its_end() {
    let mut story = Story::of(Rest::Available);
    story.ask(Verb::Deploy(instance()));
    let asked = story.told[0].body.clone();
    let data = &asked["payload"]["ironic_object.data"];
    assert_eq!(asked["priority"], "info");
    assert_eq!(asked["publisher_id"], "ironic-conductor.w1");
    let name = &asked["payload"]["ironic_object.name"];
    assert_eq!(name, "NodeSetProvisionStatePayload");
    for (field, expected) in [
        ("event", json!("deploy")),
        ("previous_provision_state", json!("available")),
        ("target_provision_state", json!("active")),
        ("driver", json!("ipmi")),
        ("maintenance", json!(false)),
        ("uuid", json!(story.node.as_ref().unwrap().id)),
    ] {
        assert_eq!(data[field], expected, "{field}");
    }
    assert_eq!(
        data["instance_info"]["image_source"],
        "https://h/os.raw?******"
    );
    assert_eq!(story.names(), ["provision_set.start deploying"]);
    story.acts();
    assert_eq!(story.names(), ["provision_set.success wait call-back"]);
    story.boots();
    while story
        .node
        .as_ref()
        .is_some_and(|node| node.agent_step().is_some())
    {
        let outcome = Outcome::Nothing;
        story.beats(|step| Status::Done { step, outcome });
        story.acts();
    }
    let ended = [
        "provision_set.success deploying",
        "provision_set.end active",
    ];
    let phase = story.node.as_ref().map(|node| &node.state).cloned();
    assert_eq!(story.names(), ended, "{phase:?}");
}

#[test]
fn a_deploy_that_fails_and_one_that_is_aborted() {
    let mut story = Story::of(Rest::Available);
    story.ask(Verb::Deploy(instance()));
    story.names();
    story.fails();
    assert_eq!(story.told[0].body["priority"], "error");
    let data = &story.told[0].body["payload"]["ironic_object.data"];
    assert_eq!(data["event"], "fail");
    assert_eq!(
        data["last_error"],
        "boot_ramdisk: BMC 10.0.0.1: wrong password"
    );
    assert_eq!(story.names(), ["provision_set.error deploy failed"]);

    let mut story = Story::of(Rest::Available);
    story.ask(Verb::Deploy(instance()));
    story.acts();
    story.boots();
    story.names();
    story.ask(Verb::Abort);
    story.acts();
    // Between them the machine is switched off.
    let aborted = [
        "provision_set.success deploying",
        "provision_set.end deploy failed",
    ];
    assert_eq!(story.names(), aborted);

    let mut story = Story::of(Rest::Available);
    story.ask(Verb::Deploy(instance()));
    story.acts();
    story.boots();
    story.names();
    story.beats(|step| Status::Failed {
        step,
        error: StepError {
            what: "no space".into(),
            retry: Retry::Useless,
        },
    });
    story.acts();
    let failed = [
        "provision_set.success deploying",
        "provision_set.error deploy failed",
    ];
    assert_eq!(story.names(), failed);
}

#[test]
fn what_is_said_of_a_node_and_its_power() {
    let mut story = Story::of(Rest::Manageable);
    story.node = None;
    story.event(&Event::Enrolled(enrolment(1)));
    let info = &story.told[0].body["payload"]["ironic_object.data"]["driver_info"];
    assert_eq!(info["ipmi_password"], "******");
    assert_eq!(story.names(), ["create.start enroll", "create.end enroll"]);
    story.ask(Verb::set(Patch {
        name: "box".parse().ok(),
        ..Patch::default()
    }));
    assert_eq!(story.names(), ["update.start enroll", "update.end enroll"]);
    story.ask(Verb::Maintenance(Some("fan".into())));
    let reason =
        |of: &Notification| of.body["payload"]["ironic_object.data"]["maintenance_reason"].clone();
    let reasons: Vec<_> = story.told.iter().map(reason).collect();
    assert_eq!(reasons, [json!(null), json!("fan")]);
    let set = ["maintenance_set.start enroll", "maintenance_set.end enroll"];
    assert_eq!(story.names(), set);
    story.ask(Verb::Maintenance(None));
    assert_eq!(story.names(), set);
    story.ask(Verb::Manage);
    story.fails();
    let failed = [
        "provision_set.start verifying",
        "provision_set.error enroll",
    ];
    assert_eq!(story.names(), failed);
    story.ask(Verb::Manage);
    story.acts();
    let verified = [
        "provision_set.start verifying",
        "provision_set.end manageable",
    ];
    assert_eq!(story.names(), verified);
    story.ask(Verb::Power(PowerVerb::Off));
    let data = &story.told[0].body["payload"]["ironic_object.data"];
    assert_eq!(data["to_power"], "power off");
    story.acts();
    let off = ["power_set.start manageable", "power_set.end manageable"];
    assert_eq!(story.names(), off);
    story.ask(Verb::Power(PowerVerb::On));
    story.fails();
    let failed = ["power_set.start manageable", "power_set.error manageable"];
    assert_eq!(story.names(), failed);
    story.ask(Verb::Delete);
    assert_eq!(
        story.names(),
        ["delete.start manageable", "delete.end manageable"]
    );
}
