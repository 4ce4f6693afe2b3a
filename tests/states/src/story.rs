//! One node, driven through the core event by event, as workers do.
//! `ours` says which states are reached how.
use ironbeat_common::heartbeat::{Outcome, Rescued, Status};
use ironbeat_common::id::{BootId, Mac, NodeId};
use ironbeat_common::image::{Checksum, Digest};
use ironbeat_common::inventory::{Disk, Inventory};
use ironbeat_core::decide::{
    BmcFault, BmcReport, Ctx, Enrolment, Event, Policy, Proof, Verb, decide,
};
use ironbeat_core::hints::Hints;
use ironbeat_core::id::{Incarnation, OpId, WorkerId};
use ironbeat_core::node::{
    AgentStep, BmcAccess, BmcAct, Image, MeasuredBoot, NewInstance, Node, Phase, Secret, Step,
};
use ironbeat_core::time::Time;
use std::time::Duration;

#[derive(Clone)]
pub struct Story {
    pub node: Node,
    now: Time,
    count: u32,
}

pub fn instance() -> NewInstance {
    NewInstance {
        traits: vec![],
        deploy_steps: vec![],
        image: Image {
            source: "os.raw".parse().expect("a name"),
            checksum: Checksum::Sha256(Digest([7; 32])),
            format: None,
        },
        hostname: None,
        user_data: None,
        network_data: None,
        confirm: None,
        token: None,
        ssh_keys: vec![],
        root_device: Hints::default(),
    }
}

fn inventory() -> Inventory {
    let disk = Disk {
        name: "/dev/sda".into(),
        size_bytes: 10 << 30,
        logical_sector_bytes: 512,
        serial: Some("S1".into()),
        ..Disk::default()
    };
    Inventory {
        disks: vec![disk],
        ..Inventory::default()
    }
}

fn enrolment() -> Enrolment {
    Enrolment {
        id: NodeId::from_bytes([1; 16]),
        name: None,
        bmc: BmcAccess::Ipmi {
            address: "10.0.0.1".parse().expect("an address"),
            username: "admin".into(),
            password: Secret::new("hush"),
            cipher_suite: None,
            kg: None,
            ipmi_1_5: false,
        },
        macs: vec![Mac::from_bytes([2, 0, 0, 0, 0, 1])],
        system_uuid: None,
        serial: None,
        boot_mode: None,
        secure_boot: None,
        root_device: Hints::default(),
        skip_block_devices: vec![],
        further: Default::default(),
        inventory: None,
    }
}

impl Story {
    pub fn enrolled() -> Self {
        let now = Time::from_unix_ms(1_800_000_000_000);
        let node = decided(None, &Event::Enrolled(enrolment()), now, 0);
        Self {
            node: node.expect("a node begins"),
            now,
            count: 0,
        }
    }

    pub fn state(&self) -> &'static str {
        self.node.state.provision_state()
    }

    /// Whether the event is possible; the node goes on with it, if it is.
    pub fn happens(&mut self, event: &Event) -> bool {
        self.count += 1;
        self.now = self.now.after(Duration::from_secs(1));
        match decided(Some(&self.node), event, self.now, self.count) {
            Some(node) => self.node = node,
            None => return false,
        }
        true
    }

    /// Whether the verb is possible; the node goes on with it, once the worker has let go of what it was at.
    pub fn asks(&mut self, verb: Verb) -> bool {
        let request = format!("r{}", self.count).parse().expect("a token");
        let asked = self.happens(&Event::Asked { request, verb });
        if asked && self.node.job().is_some_and(|job| job.instead().is_some()) {
            self.bmc(Err("let go"));
        }
        asked
    }

    #[must_use]
    pub fn ask(mut self, verb: Verb) -> Self {
        assert!(self.asks(verb), "{:?}", self.node.state);
        self
    }

    /// The end of the act under way; an error is for good. Whether there is one.
    pub fn bmc(&mut self, result: Result<(), &str>) -> bool {
        let Some((op, act)) = self.acting() else {
            return false;
        };
        let off = matches!(
            act,
            BmcAct::PowerOff | BmcAct::SoftOff { .. } | BmcAct::LeaveRamdisk { .. }
        );
        let result = match result {
            Ok(()) => Ok(BmcReport { power_on: !off }),
            Err(why) => Err(BmcFault {
                what: why.into(),
                permanent: true,
                accepted: None,
                untold: false,
                let_go: false,
            }),
        };
        self.happens(&Event::Bmc { op, result })
    }

    #[must_use]
    pub fn acted(mut self) -> Self {
        assert!(self.bmc(Ok(())), "nobody acts: {:?}", self.node.state);
        self
    }

    #[must_use]
    pub fn failed(mut self) -> Self {
        assert!(
            self.bmc(Err("refused")),
            "nobody acts: {:?}",
            self.node.state
        );
        self
    }

    fn acting(&self) -> Option<(OpId, BmcAct)> {
        let job = self.node.job()?;
        match (&job.phase, job.step()) {
            (Phase::Acting { op, .. }, Step::Bmc(act)) => Some((op.clone(), *act)),
            (_, _) => None,
        }
    }

    /// The ramdisk calls.
    #[must_use]
    pub fn boots(mut self) -> Self {
        let boot = BootId::from_bytes([self.count as u8; 16]);
        let event = Event::Booted {
            boot,
            inventory: inventory(),
            proof: Proof::NotAsked,
            measured: MeasuredBoot::default(),
        };
        assert!(self.happens(&event), "{:?}", self.node.state);
        self
    }

    /// Its agent has done its step. Whether it has one.
    pub fn agent(&mut self) -> bool {
        let (Some(step), Some(boot)) = (self.node.agent_step(), self.node.boot) else {
            return false;
        };
        let outcome = match self.node.job().map(|job| job.step()) {
            Some(Step::Agent(AgentStep::Rescue(_))) => Outcome::Rescued(Rescued::default()),
            Some(_) | None => Outcome::Nothing,
        };
        let status = Status::Done { step, outcome };
        self.happens(&Event::Beat { boot, status })
    }

    #[must_use]
    pub fn did(mut self) -> Self {
        assert!(self.agent(), "no agent works: {:?}", self.node.state);
        self
    }

    /// Its time is over.
    pub fn alarm(&mut self) -> bool {
        let Some(at) = self.node.wake_at else {
            return false;
        };
        self.now = at;
        self.happens(&Event::Alarm { last_beat: None })
    }
}

fn decided(node: Option<&Node>, event: &Event, now: Time, count: u32) -> Option<Node> {
    let op: OpId = format!("op{count}").parse().expect("a token");
    let worker: WorkerId = "w1".parse().expect("a token");
    let ctx = Ctx {
        now,
        op: &op,
        worker: &worker,
        incarnation: Incarnation::default(),
        policy: &Policy {
            rescue_image: "rescue.cpio.zst".into(),
            rescue_checksum: "0".repeat(64),
            ..Policy::default()
        },
        inventory: None,
        secrets: None,
        instance_data: None,
        notes: None,
        rules: None,
    };
    decide(node, event, ctx).ok()?.node
}
