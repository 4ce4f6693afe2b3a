//! Named situations of a node's life: situation, event, outcome. The unnamed ones are in `histories`.
use super::{
    BmcFault, BmcReport, Ctx, Effect, Enrolment, Event, LastBeat, Marks, Policy, PowerVerb, Proof,
    Rejected, Verb, Wanted, decide, heard, needs_inventory, wanted,
};
use crate::explain::explain;
use crate::hints::Hints;
use crate::id::{Actor, Incarnation, OpId, RequestId};
use crate::node::{
    AgentStep, Beside, BesideKind, BmcAccess, BmcAct, BmcSecrets, ConfirmToken, HardwareFault,
    Image, InstanceData, MeasuredBoot, NewInstance, Node, Notes, Phase, Secret, Sign, Step,
};
use crate::policy::OnCollision;
use crate::rules::Rules;
use crate::time::Time;
use core::time::Duration;
use ironbeat_common::collision::{Clash, Collision, Fate};
use ironbeat_common::disk::DiskIdentity;
use ironbeat_common::heartbeat::{Outcome, Progress, Retry, Status, StepError, Written};
use ironbeat_common::id::{BootId, Mac, NodeId, StepId};
use ironbeat_common::image::{Checksum, Digest};
use ironbeat_common::inventory::{BootMode, DISKS, DRIVERS, Disk, Inventory, Problem};
use std::string::ToString;

pub(super) fn access() -> BmcAccess {
    BmcAccess::Ipmi {
        address: "10.0.0.1".parse().unwrap(),
        username: "admin".into(),
        password: Secret::new("hush"),
        cipher_suite: None,
        kg: None,
        ipmi_1_5: false,
    }
}

pub(crate) fn enrolment() -> Enrolment {
    Enrolment {
        id: NodeId::from_bytes([1; 16]),
        name: None,
        bmc: access(),
        macs: vec![Mac::from_bytes([2, 0, 0, 0, 0, 1])],
        system_uuid: None,
        serial: None,
        boot_mode: None,
        secure_boot: None,
        root_device: Hints::default(),
        skip_block_devices: Vec::new(),
        further: Default::default(),
        inventory: None,
    }
}

pub(super) fn w1(incarnation: u32) -> Actor {
    Actor {
        worker: "w1".parse().unwrap(),
        incarnation: Incarnation(incarnation),
    }
}

pub(crate) fn enrolled() -> Node {
    let (op, worker) = ("enroll".parse().unwrap(), "w1".parse().unwrap());
    let ctx = Ctx {
        now: Time::from_unix_ms(0),
        op: &op,
        worker: &worker,
        incarnation: Incarnation::default(),
        policy: &Policy::default(),
        inventory: None,
        secrets: None,
        instance_data: None,
        notes: None,
        rules: None,
    };
    let decision = decide(None, &Event::Enrolled(enrolment()), ctx);
    decision.unwrap().node.expect("a node begins")
}

pub(crate) fn instance() -> NewInstance {
    NewInstance {
        traits: vec![],
        deploy_steps: vec![],
        image: Image {
            source: "os.zst".parse().unwrap(),
            checksum: Checksum::Sha256(Digest([7; 32])),
            format: None,
        },
        hostname: Some("web1".into()),
        user_data: Some("#cloud-config\npassword: hush".into()),
        network_data: None,
        confirm: None,
        token: None,
        ssh_keys: vec!["ssh-ed25519 AAAA".into()],
        root_device: Hints::default(),
    }
}

pub(crate) fn inventory(serials: &[&str]) -> Inventory {
    let disk = |(i, serial): (usize, &&str)| Disk {
        name: format!("/dev/sd{i}"),
        size_bytes: (10 + i as u64) << 30,
        logical_sector_bytes: 512,
        serial: Some(serial.to_string()),
        ..Disk::default()
    };
    Inventory {
        disks: serials.iter().enumerate().map(disk).collect(),
        ..Inventory::default()
    }
}

/// A node and a clock, driven event by event.
pub(crate) struct Story {
    pub node: Node,
    pub now: Time,
    count: u32,
    pub policy: Policy,
    pub effects: Vec<Effect>,
    pub because: String,
    /// What was put beside the record last, of each kind.
    pub inventory: Option<Inventory>,
    pub data: Option<InstanceData>,
    pub secrets: Option<BmcSecrets>,
    pub notes: Option<Notes>,
    pub rules: Rules,
}

pub(crate) const BOOT: BootId = BootId::from_bytes([0xb0; 16]);
/// Ends a deploy's ramdisk.
const LEAVES: BmcAct = BmcAct::LeaveRamdisk { patience_secs: 30 };
pub(super) const NEXT_BOOT: BootId = BootId::from_bytes([0xb1; 16]);

impl Story {
    pub fn new() -> Self {
        let now = Time::from_unix_ms(1_800_000_000_000);
        Self {
            node: enrolled(),
            now,
            count: 0,
            policy: Policy::default(),
            effects: vec![],
            because: String::new(),
            inventory: None,
            data: None,
            secrets: Some(access().split().1),
            notes: None,
            rules: Rules::default(),
        }
    }

    pub fn try_event(&mut self, event: Event) -> Result<(), Rejected> {
        self.count += 1;
        self.now = self.now.after(Duration::from_secs(1));
        let op = format!("op{}", self.count).parse().unwrap();
        let worker = "w1".parse().unwrap();
        let ctx = Ctx {
            now: self.now,
            op: &op,
            worker: &worker,
            incarnation: Incarnation::default(),
            policy: &self.policy,
            inventory: self.inventory.as_ref(),
            secrets: self.secrets.as_ref(),
            instance_data: self.data.as_ref(),
            notes: self.notes.as_ref(),
            rules: Some(&self.rules),
        };
        let decision = decide(Some(&self.node), &event, ctx)?;
        self.node = decision.node.expect("no story deletes its node");
        self.effects = decision.effects;
        self.because = decision.because;
        crate::invariant::check(&self.node).unwrap();
        for document in decision.beside {
            let version = self.node.beside.of(document.kind());
            assert_eq!(version, Some(&op), "the record names what is put");
            match document {
                Beside::Inventory(inventory) => self.inventory = Some(*inventory),
                Beside::InstanceData(data) => self.data = Some(data),
                Beside::BmcSecrets(secrets) => self.secrets = Some(secrets),
                Beside::RescueLogin(_) => {}
                Beside::Notes(notes) => self.notes = Some(notes),
            }
        }
        if self.node.beside.notes.is_none() {
            self.notes = None;
        }
        Ok(())
    }

    pub fn event(mut self, event: Event) -> Self {
        self.try_event(event).unwrap();
        self
    }

    pub fn ask(self, verb: Verb) -> Self {
        let request = format!("r{}", self.count).parse().unwrap();
        self.event(Event::Asked { request, verb })
    }

    /// The worker carried out its act.
    pub fn bmc_did(self) -> Self {
        let (op, act) = self.acting();
        self.event(Event::Bmc {
            op,
            result: Ok(BmcReport {
                power_on: !matches!(
                    act,
                    BmcAct::PowerOff | BmcAct::SoftOff { .. } | BmcAct::LeaveRamdisk { .. }
                ),
            }),
        })
    }

    pub fn bmc_failed(self, permanent: bool) -> Self {
        let (op, _) = self.acting();
        self.event(Event::Bmc {
            op,
            result: Err(BmcFault {
                what: "BMC 10.0.0.1: silent".into(),
                permanent,
                accepted: None,
                untold: false,
                let_go: false,
            }),
        })
    }

    /// The worker might not act any more.
    pub fn let_go(self) -> Self {
        let (op, _) = self.acting();
        self.event(Event::Bmc {
            op,
            result: Err(BmcFault {
                what: "BMC 10.0.0.1: stopped".into(),
                permanent: false,
                accepted: None,
                untold: false,
                let_go: true,
            }),
        })
    }

    pub fn acting(&self) -> (OpId, BmcAct) {
        let job = self.node.job().expect("busy");
        match (&job.phase, job.step()) {
            (Phase::Acting { op, .. }, Step::Bmc(act)) => (op.clone(), *act),
            other => panic!("nobody acts: {other:?}"),
        }
    }

    pub fn boots(self, boot: BootId, serials: &[&str]) -> Self {
        let inventory = inventory(serials);
        self.event(Event::Booted {
            boot,
            inventory,
            proof: Proof::NotAsked,
            measured: MeasuredBoot::default(),
        })
    }

    pub fn step_id(&self) -> StepId {
        match self.node.job().map(|job| &job.phase) {
            Some(Phase::AgentStep { id, .. }) => *id,
            other => panic!("no agent step: {other:?}"),
        }
    }

    pub fn agent_did(self) -> Self {
        let status = Status::Done {
            step: self.step_id(),
            outcome: Outcome::Nothing,
        };
        let boot = self.node.boot.unwrap();
        self.event(Event::Beat { boot, status })
    }

    pub fn alarm(mut self, last_beat: Option<LastBeat>) -> Self {
        self.now = self.node.wake_at.expect("busy");
        self.event(Event::Alarm { last_beat })
    }

    pub fn is(self, state: &str) -> Self {
        assert_eq!(
            self.node.state.provision_state(),
            state,
            "{:?}",
            self.node.last_error
        );
        self
    }

    pub fn error(&self) -> String {
        let errors = [&self.node.bmc_error, &self.node.last_error];
        let error = errors.into_iter().flatten().next().expect("an error");
        format!("{}: {}", error.during, error.what)
    }

    /// Its ramdisk boots, and has not called yet.
    pub fn cleaning() -> Self {
        let story = Story::new()
            .ask(Verb::Manage)
            .is("verifying")
            .bmc_did()
            .is("manageable");
        story
            .ask(Verb::Provide)
            .is("cleaning")
            .bmc_did()
            .is("clean wait")
    }

    pub fn available() -> Self {
        Story::cleaning()
            .boots(BootId::from_bytes([9; 16]), &["S1"])
            .is("clean wait")
            .agent_did()
            .is("cleaning")
            .bmc_did()
            .is("available")
    }

    pub fn writing() -> Self {
        Story::available()
            .ask(Verb::Deploy(instance()))
            .is("deploying")
            .bmc_did()
            .is("wait call-back")
            .boots(BOOT, &["S1", "S2"])
    }
}

#[test]
fn from_enroll_to_active_and_back_to_available() {
    let story = Story::writing().is("wait call-back");
    assert_eq!(
        crate::boot::boot_for(&story.node),
        crate::boot::Boot::Ramdisk
    );
    let story = story.agent_did().is("wait call-back");
    assert_eq!(crate::boot::boot_for(&story.node), crate::boot::Boot::Disk);
    assert_eq!(
        wanted(&story.node, BOOT, &Status::Idle),
        Wanted::Step {
            id: story.step_id(),
            step: &AgentStep::PowerOff
        }
    );
    let story = story.agent_did().is("deploying");
    assert_eq!(story.acting().1, LEAVES);
    let story = story.bmc_did().is("deploying");
    assert_eq!(story.acting().1, BmcAct::BootDisk);
    let story = story.bmc_did().is("active");
    assert_eq!(story.node.last_error, None);
    let story = story
        .ask(Verb::Undeploy)
        .is("deleting")
        .bmc_did()
        .is("cleaning");
    assert_eq!(story.node.instance, None);
    story
        .bmc_did()
        .boots(NEXT_BOOT, &["S1", "S2"])
        .agent_did()
        .bmc_did()
        .is("available");
}

#[test]
fn inspection_stores_what_the_agent_saw_last() {
    let story = Story::new()
        .ask(Verb::Manage)
        .bmc_did()
        .ask(Verb::Inspect)
        .is("inspecting")
        .bmc_did()
        .is("inspect wait");
    let story = story.boots(BOOT, &["S1"]);
    let (step, seen) = (story.step_id(), inventory(&["S1", "S2", "S3"]));
    let status = Status::Done {
        step,
        outcome: Outcome::Inventory(seen.clone().into()),
    };
    let story = story
        .event(Event::Beat { boot: BOOT, status })
        .is("inspecting")
        .bmc_did()
        .is("manageable");
    assert_eq!(story.inventory, Some(seen));
}

#[test]
fn what_a_switch_said_outlives_a_lookup_that_did_not_wait_for_it() {
    let nic = |port: Option<&str>| ironbeat_common::inventory::Nic {
        name: "eth0".into(),
        mac: Mac::from_bytes([2, 0, 0, 0, 0, 1]),
        carrier: true,
        speed_mbps: None,
        driver: None,
        pci_address: None,
        pci_id: None,
        mtu: 1500,
        addresses: vec![],
        lldp: port.map(|port| ironbeat_common::inventory::LldpNeighbour {
            port_id: port.into(),
            ..Default::default()
        }),
    };
    let with = |port| Inventory {
        nics: vec![nic(port)],
        ..inventory(&["S1"])
    };
    let story = Story::new()
        .ask(Verb::Manage)
        .bmc_did()
        .ask(Verb::Inspect)
        .bmc_did()
        .boots(BOOT, &["S1"]);
    let seen = Outcome::Inventory(with(Some("Ethernet1/1")).into());
    let status = Status::Done {
        step: story.step_id(),
        outcome: seen,
    };
    let story = story
        .event(Event::Beat { boot: BOOT, status })
        .bmc_did()
        .ask(Verb::Provide)
        .bmc_did();
    let story = story.event(Event::Booted {
        boot: NEXT_BOOT,
        inventory: with(None),
        proof: Proof::NotAsked,
        measured: MeasuredBoot::default(),
    });
    let neighbour = story.inventory.unwrap().nics[0].lldp.clone().unwrap();
    assert_eq!(neighbour.port_id, "Ethernet1/1");
}

#[test]
fn a_lookup_that_shows_what_is_known_stores_no_inventory_again() {
    let version = |story: &Story| story.node.beside.of(BesideKind::Inventory).cloned();
    let story = Story::new()
        .ask(Verb::Manage)
        .bmc_did()
        .ask(Verb::Provide)
        .bmc_did()
        .boots(BOOT, &["S1"]);
    let first = version(&story);
    assert!(first.is_some());
    let story = story.boots(NEXT_BOOT, &["S1"]);
    assert_eq!(story.node.boot, Some(NEXT_BOOT), "it is taken");
    assert_eq!(version(&story), first);
    let other_boot = BootId::from_bytes([0xb2; 16]);
    let story = story.boots(other_boot, &["S1", "S2"]);
    assert_ne!(version(&story), first);
}

#[test]
fn a_wrong_password_fails_at_once() {
    let story = Story::new().ask(Verb::Manage).bmc_failed(true).is("enroll");
    assert_eq!(
        story.error(),
        "verifying, step check_bmc (1 of 1): check_bmc: BMC 10.0.0.1: silent"
    );
}

#[test]
fn a_silent_bmc_is_tried_five_times_with_growing_pauses() {
    let mut story = Story::new().ask(Verb::Manage);
    let mut pauses = vec![];
    for _ in 0..4 {
        story = story.bmc_failed(false).is("verifying");
        pauses.push(story.node.wake_at.unwrap().since(story.now).as_secs());
        story = story.alarm(None);
    }
    assert_eq!(pauses, [2, 4, 8, 16]);
    let story = story.bmc_failed(false).is("enroll");
    assert!(story.error().ends_with("(5 tries)"), "{}", story.error());
}

/// It lost touch with NATS for a moment, or its clock was wrong: that is not the BMC's failure.
#[test]
fn a_worker_that_lets_go_of_an_act_takes_no_try_and_is_not_the_reason() {
    let mut story = Story::new().ask(Verb::Manage);
    for _ in 0..4 {
        story = story.bmc_failed(false).alarm(None);
    }
    let (last, _) = story.acting();
    let mut story = story.let_go().is("verifying").alarm(None);
    assert_eq!(story.node.job().unwrap().tries, 5);
    assert_ne!(story.acting().0, last, "{}", story.because);
    story = story.bmc_failed(false).is("enroll");
    assert!(
        story.error().ends_with("silent (5 tries)"),
        "{}",
        story.error()
    );
}

#[test]
fn an_act_that_is_done_once_is_not_begun_again_when_its_worker_lets_go() {
    let story = Story::available().ask(Verb::Power(PowerVerb::Reset));
    let story = story.let_go().is("available");
    assert!(
        story.error().contains("may have been carried out"),
        "{}",
        story.error()
    );
}

#[test]
fn a_bmc_that_lies_about_power_is_not_believed() {
    let story = Story::available().ask(Verb::Deploy(instance()));
    let (op, _) = story.acting();
    let story = story
        .event(Event::Bmc {
            op,
            result: Ok(BmcReport { power_on: false }),
        })
        .is("deploying");
    assert!(
        explain(&story.node, story.now, &story.policy)
            .waiting_for
            .contains("says it is off")
    );
}

#[test]
fn a_dead_workers_act_is_begun_again_by_another() {
    let mut story = Story::available().ask(Verb::Deploy(instance()));
    story.now = story.now.after(Duration::from_secs(10));
    let (before, _) = story.acting();
    let until = story.node.wake_at.unwrap();
    let story = story.event(Event::WorkerLost {
        actor: w1(0),
        until,
        replaced: false,
    });
    let (after, act) = story.acting();
    assert_ne!(before, after);
    assert_eq!(act, BmcAct::Netboot);
    // A late report of the dead worker is not about the current act.
    story
        .event(Event::Bmc {
            op: before,
            result: Ok(BmcReport { power_on: true }),
        })
        .is("deploying")
        .bmc_did()
        .is("wait call-back");
}

/// Its presence lapsed while it was stopped; it went on, and began something new before that was told here.
#[test]
fn a_worker_that_came_back_keeps_what_it_began_since() {
    let story = Story::available().ask(Verb::Deploy(instance()));
    let until = story.node.wake_at.unwrap();
    let mut story = story.bmc_did().alarm(None).is("deploying");
    let (before, _) = story.acting();
    story.now = story.now.after(Duration::from_secs(10));
    let story = story.event(Event::WorkerLost {
        actor: w1(0),
        until,
        replaced: false,
    });
    assert_eq!(story.acting().0, before);
}

/// Records and presences travel apart: its first act after a stop is seen before its renewal.
#[test]
fn a_worker_that_has_just_begun_to_act_is_not_lost() {
    let story = Story::available().ask(Verb::Deploy(instance()));
    let (before, _) = story.acting();
    let until = story.node.wake_at.unwrap();
    let lost = || Event::WorkerLost {
        actor: w1(0),
        until,
        replaced: false,
    };
    let mut story = story.event(lost());
    assert_eq!(story.acting().0, before);
    story.now = story.now.after(Duration::from_secs(10));
    let story = story.event(lost());
    assert_ne!(story.acting().0, before);
}

/// It came back at once, so that nobody saw it lapse, and its acts are young.
#[test]
fn a_worker_that_was_started_again_has_lost_what_its_former_life_was_at() {
    let story = Story::available().ask(Verb::Deploy(instance()));
    let (before, _) = story.acting();
    let until = story.node.wake_at.unwrap();
    let replaced = |incarnation| Event::WorkerLost {
        actor: w1(incarnation),
        until,
        replaced: true,
    };
    let story = story.event(replaced(7));
    assert_eq!(story.acting().0, before, "it is another life's");
    let story = story.event(replaced(0));
    let (after, act) = story.acting();
    assert_ne!(after, before);
    assert_eq!(act, BmcAct::Netboot);
    assert!(
        story.because.contains("w1 was started again"),
        "{}",
        story.because
    );
}

#[test]
fn no_call_back_boots_the_ramdisk_again_and_then_gives_up() {
    let story = Story::available()
        .ask(Verb::Deploy(instance()))
        .bmc_did()
        .alarm(None)
        .is("deploying")
        .bmc_did();
    let story = story.alarm(None).is("deploying");
    assert_eq!(
        story.acting().1,
        BmcAct::PowerOff,
        "a failed deploy powers off"
    );
    let story = story.bmc_did().is("deploy failed");
    assert_eq!(
        story.error(),
        "wait call-back, step await_agent (2 of 6): no ramdisk has called for 901 s after power-on, 2 ramdisk boots were tried"
    );
}

fn seen(story: &Story, sign: Sign) -> Event {
    Event::Seen {
        sign,
        at: story.now,
    }
}

/// A BMC that is away for a while costs its job no boot: no machine was switched on.
#[test]
fn a_boot_counts_when_the_bmc_has_let_it_begin() {
    let mut story = Story::available().ask(Verb::Deploy(instance()));
    for tries in 2..=3 {
        story = story.bmc_failed(false).alarm(None);
        let job = story.node.job().unwrap();
        assert_eq!((job.tries, job.boots), (tries, 0));
        let told = explain(&story.node, story.now, &story.policy);
        assert!(told.attempt.unwrap().ends_with("ramdisk boot 1 of 2"));
    }
    let story = story.bmc_did();
    assert_eq!(story.node.job().unwrap().boots, 1);
    let told = explain(&story.node, story.now, &story.policy);
    assert!(told.attempt.unwrap().ends_with("ramdisk boot 1 of 2"));
}

#[test]
fn what_maintenance_held_has_all_its_time_when_it_ends() {
    let fan = || Verb::Maintenance(Some("fan".into()));
    let awaiting = || Story::available().ask(Verb::Deploy(instance())).bmc_did();
    let left = |story: &Story| {
        let until = explain(&story.node, story.now, &story.policy).until;
        until.map(|until| until.since(story.now).as_secs())
    };
    for begin in [awaiting, Story::writing] {
        let mut story = begin();
        let whole = left(&story).unwrap();
        story.now = story.now.after(Duration::from_secs(whole - 60));
        let mut story = story.ask(fan());
        assert_eq!(left(&story), None, "no time counts");
        story.now = story.now.after(Duration::from_secs(30));
        let story = story.ask(Verb::Maintenance(None));
        assert!(
            left(&story).unwrap() + 5 > whole,
            "{:?} of {whole}",
            left(&story)
        );
    }
    // A BMC act that it kept from beginning begins at once.
    let story = Story::writing().agent_did().agent_did().ask(fan());
    let story = story.bmc_did().ask(Verb::Maintenance(None));
    assert_eq!(story.node.wake_at, Some(story.now));
}

/// Seen: 112 MiB of memory, where the kernel panics. Its machine loads it again, for that is what it always boots.
#[test]
fn a_ramdisk_that_dies_early_is_told_of_when_its_machine_asks_for_a_boot_script_again() {
    let mut story = Story::available().ask(Verb::Deploy(instance())).bmc_did();
    let began = story.now;
    for n in 1..=3 {
        for sign in [Sign::Lease, Sign::Script, Sign::Lease, Sign::Kernel] {
            let event = seen(&story, sign);
            story = story.event(event).is("wait call-back");
        }
        let event = seen(&story, Sign::Script);
        // Whoever knows the MAC address can ask too: nothing ends because of it.
        story = story.event(event).is("wait call-back");
        assert_eq!(story.node.job().unwrap().boots, 1);
        let words =
            format!("{n} times it fetched the kernel and then began anew: the ramdisk died");
        assert!(story.because.contains(&words), "{}", story.because);
        let told = explain(&story.node, story.now, &story.policy).waiting_for;
        assert!(told.contains(&words), "{told}");
    }
    assert!(story.now.since(began).as_secs() < 60, "at once");
    let story = story.alarm(None).is("deploying");
    let words = "3 times it fetched the kernel and then began anew";
    assert!(story.because.contains(words), "{}", story.because);
}

#[test]
fn a_machine_that_is_seen_and_does_not_come_is_booted_again_soon() {
    for (signs, words) in [
        (
            &[Sign::Lease][..],
            "got an address: it may have booted its disk",
        ),
        (&[Sign::Lease, Sign::Script], "fetched its boot script"),
        (&[Sign::Script, Sign::Kernel], "fetched the kernel"),
    ] {
        let mut story = Story::available().ask(Verb::Deploy(instance())).bmc_did();
        for sign in signs {
            let event = seen(&story, *sign);
            story = story.event(event);
        }
        // What came late is no news, and what came before the power-on is of another boot.
        let until = story.node.wake_at.unwrap();
        let late = seen(&story, Sign::Lease);
        let early = Event::Seen {
            sign: Sign::Kernel,
            at: Time::from_unix_ms(story.now.unix_ms() - 600_000),
        };
        story = story.event(late).event(early);
        assert_eq!(story.node.wake_at, Some(until));
        assert!(until.since(story.now).as_secs() <= 300);
        let story = story.alarm(None).is("deploying");
        assert_eq!(story.acting().1, BmcAct::Netboot);
        assert!(story.because.contains(words), "{}", story.because);
    }
}

/// An address is all that is seen of firmware with Secure Boot, which loads iPXE and does not start it.
#[test]
fn a_machine_that_gets_an_address_and_asks_for_no_boot_script_may_refuse_its_loader() {
    const HINT: &str = "refuse iPXE (its console says Access Denied or Security Violation): node set --secure-boot on";
    for (found, secure, words) in [
        (None, None, Some(HINT)),
        (
            Some(BootMode::Uefi),
            Some(true),
            Some("shim or GRUB may not have got"),
        ),
        (Some(BootMode::Bios), None, None),
    ] {
        let after = |signs: &[Sign], secs| {
            let mut story = Story::available().ask(Verb::Deploy(instance())).bmc_did();
            story.node.found_boot_mode = found;
            story.node.secure_boot = secure;
            for sign in signs {
                let event = seen(&story, *sign);
                story = story.event(event);
            }
            story.now = story.now.after(Duration::from_secs(secs));
            story
        };
        let told = |story: &Story| explain(&story.node, story.now, &story.policy).waiting_for;
        let nothing = told(&after(&[], 30));
        assert_eq!(
            told(&after(&[Sign::Lease], 1)),
            nothing,
            "it has just got it"
        );
        assert_eq!(told(&after(&[Sign::Lease, Sign::Script], 30)), nothing);
        let says = |text: &str| words.is_some_and(|words| text.contains(words));
        let refused = after(&[Sign::Lease], 30);
        assert_eq!(says(&told(&refused)), words.is_some(), "{}", told(&refused));
        let over_tls = |story: &Story| {
            let explained = explain(&story.node, story.now, &story.policy);
            let explained = explained.over_tls(&story.node, story.now, &story.policy);
            explained.waiting_for.contains("not believe the site's CA")
        };
        assert_eq!(over_tls(&refused), secure != Some(true));
        assert!(!over_tls(&after(&[Sign::Lease], 1)));
        assert!(!over_tls(&after(&[Sign::Lease, Sign::Script], 30)));
        let story = refused.alarm(None);
        assert_eq!(says(&story.because), words.is_some(), "{}", story.because);
    }
}

#[test]
fn a_machine_that_comes_slowly_has_its_whole_time_and_no_more() {
    let mut story = Story::available().ask(Verb::Deploy(instance())).bmc_did();
    let whole = story.node.wake_at.unwrap();
    let slowly = Duration::from_secs(280);
    for sign in [Sign::Lease, Sign::Script, Sign::Kernel] {
        story.now = story.now.after(slowly);
        let event = seen(&story, sign);
        story = story.event(event).is("wait call-back");
    }
    assert_eq!(story.node.wake_at, Some(whole));
    story.boots(BOOT, &["S1", "S2"]).is("wait call-back");
}

#[test]
fn a_machine_that_reboots_in_the_middle_of_a_step_begins_it_again() {
    let story = Story::writing();
    let first = story.step_id();
    let mut story = story.boots(NEXT_BOOT, &["S1", "S2"]).is("wait call-back");
    assert!(story.step_id() > first);
    assert!(matches!(
        wanted(&story.node, NEXT_BOOT, &Status::Idle),
        Wanted::Step {
            step: AgentStep::WriteImage(_),
            ..
        }
    ));
    // A late beat of the boot that is gone.
    let late = Event::Beat {
        boot: BOOT,
        status: Status::Done {
            step: first,
            outcome: Outcome::Nothing,
        },
    };
    assert_eq!(story.try_event(late), Err(Rejected::UnknownBoot));
    assert_eq!(
        story.try_event(Event::Booted {
            boot: BOOT,
            inventory: inventory(&["S1"]),
            proof: Proof::NotAsked,
            measured: MeasuredBoot::default(),
        }),
        Err(Rejected::OldBoot)
    );
    story.agent_did().agent_did().is("deploying");
}

#[test]
fn a_machine_that_reboots_for_ever_fails() {
    let mut story = Story::writing();
    for n in 0..story.policy.max_tries as u8 {
        story = story.boots(BootId::from_bytes([100 + n; 16]), &["S1", "S2"]);
    }
    let story = story.is("deploying").bmc_did().is("deploy failed");
    assert!(
        story
            .error()
            .contains("rebooted in the middle of write_image (5 tries)"),
        "{}",
        story.error()
    );
}

#[test]
fn a_machine_is_active_only_after_its_bmc_saw_it_leave_the_ramdisk() {
    let mut story = Story::writing().agent_did().agent_did();
    let told = story.acting().1;
    assert_eq!(told, LEAVES);
    // The ramdisk is silent, and the machine on: a kernel that hangs on its way down.
    let mut tries = 0;
    while story.node.job().is_some() && story.acting().1 == told {
        let (op, _) = story.acting();
        let result = Ok(BmcReport { power_on: true });
        story = story.event(Event::Bmc { op, result });
        tries += 1;
        if tries < story.policy.max_tries {
            story = story.is("deploying").alarm(None);
        }
    }
    assert_eq!(tries, story.policy.max_tries);
    let story = story.is("deploy failed");
    let words = "step tear_down_agent (5 of 6): the machine was turned off, but its BMC says it is on (5 tries)";
    assert!(story.error().ends_with(words), "{}", story.error());
}

/// It rebooted though it was told to go off; its report is lost; it says that it cannot.
#[test]
fn a_ramdisk_that_does_not_end_as_it_was_told_is_ended_by_the_bmc() {
    let last = || Story::writing().agent_did().is("wait call-back");
    let back = last().boots(NEXT_BOOT, &["S1", "S2"]);
    let lost = last().alarm(None);
    let unable = last();
    let error = StepError {
        what: "no such call".into(),
        retry: Retry::Useless,
    };
    let step = unable.step_id();
    let status = Status::Failed { step, error };
    let unable = unable.event(Event::Beat { boot: BOOT, status });
    for story in [back, lost, unable] {
        assert_eq!(story.acting().1, LEAVES, "{}", story.because);
        assert_eq!(story.node.boot, None, "nobody is listened to any more");
        story.is("deploying").bmc_did().bmc_did().is("active");
    }
}

#[test]
fn an_agent_that_beats_without_progress_has_hung() {
    let mut story = Story::writing();
    let step = story.step_id();
    let progress = Progress {
        phase: "download".into(),
        done: 5,
        total: None,
        trouble: None,
    };
    while story.node.state.provision_state() == "wait call-back" {
        let at = story.node.wake_at.unwrap();
        let status = Status::Running {
            step,
            progress: progress.clone(),
        };
        story = story.alarm(Some(LastBeat {
            boot: BOOT,
            at,
            status,
        }));
    }
    assert!(
        story
            .error()
            .contains("write_image has made no progress for 60"),
        "{}",
        story.error()
    );
}

/// Of the three times that end the wait, `until` is the first, and the last heartbeat moves it.
#[test]
fn explain_says_when_an_agent_was_heard_what_troubles_it_and_which_times_act() {
    let mut story = Story::writing();
    let (began, step) = (story.now, story.step_id());
    let policy = story.policy.clone();
    let told = explain(&story.node, story.now, &policy);
    assert_eq!(told.until, Some(began.after(Duration::from_secs(300))));
    story.now = story.now.after(Duration::from_secs(200));
    let at = began.after(Duration::from_secs(180));
    let progress = Progress {
        phase: "download".into(),
        done: 5,
        total: Some(10),
        trouble: Some("GET http://w/os.zst: connect: Connection refused".into()),
    };
    let beat = LastBeat {
        boot: BOOT,
        at,
        status: Status::Running { step, progress },
    };
    let node = heard(&story.node, &beat, story.now);
    let told = explain(&node, story.now, &policy).troubled(&node, &beat);
    assert_eq!(told.until, Some(at.after(Duration::from_secs(300))));
    let stalled = at.after(Duration::from_secs(600));
    let budget = began.after(Duration::from_secs(7200));
    for words in [
        "the agent to write the image os.zst to ",
        ", download 5 of 10)",
        "agent     last heartbeat 20 s ago; its last trouble: GET http://w/os.zst: connect: Connection refused\n",
        &format!(
            "after 300 s without a heartbeat; at {stalled} after 600 s without progress; at {budget} in any case"
        ),
    ] {
        let told = told.to_string();
        assert!(told.contains(words), "{words}: {told}");
    }
    // What another boot said, or of another step, is nothing to this one.
    let other = LastBeat {
        boot: NEXT_BOOT,
        ..beat
    };
    assert_eq!(heard(&story.node, &other, story.now), story.node);
    let told = explain(&story.node, story.now, &policy).troubled(&story.node, &other);
    assert!(!told.agent.unwrap().contains("trouble"));
}

#[test]
fn explain_says_why_the_ramdisk_is_booted_again_and_what_follows_the_lookup() {
    let story = Story::available().ask(Verb::Deploy(instance())).bmc_did();
    let told = explain(&story.node, story.now, &story.policy).next;
    assert!(told.starts_with("write the image; otherwise "), "{told}");
    let story = Story::writing().alarm(None).is("deploying");
    let told = explain(&story.node, story.now, &story.policy).attempt;
    let told = told.unwrap();
    assert!(
        told.contains("ramdisk boot 2 of 2, because the agent has sent no heartbeat since"),
        "{told}"
    );
    let story = Story::cleaning();
    let told = explain(&story.node, story.now, &story.policy).next;
    assert!(told.starts_with("erase the metadata"), "{told}");
}

/// A slow machine, of which SMBIOS could not be read in time.
#[test]
fn what_could_not_be_read_stays_as_it_was_known() {
    let whole = |serial: &str| {
        let mut whole = inventory(&["S1", "S2"]);
        whole.system.uuid = Some("4c4c4544-0000-0000-0000-000000000001".parse().unwrap());
        whole.system.serial = Some(serial.into());
        whole.memory.installed_bytes = Some(1 << 30);
        whole
    };
    let inspected = |story: Story, seen: Inventory| {
        let status = Status::Done {
            step: story.step_id(),
            outcome: Outcome::Inventory(seen.into()),
        };
        story.event(Event::Beat { boot: BOOT, status })
    };
    let known = || {
        let story = Story::available().ask(Verb::Manage).ask(Verb::Inspect);
        let story = story.bmc_did().boots(BOOT, &["S1", "S2"]);
        inspected(story, whole("SN1")).bmc_did().is("manageable")
    };
    let mut poor = with_problem("smbios", &["S1", "S2"]);
    poor.cpu.count = 8;
    let cleaned = known().ask(Verb::Provide).bmc_did();
    let cleaned = cleaned.event(booted_as(NEXT_BOOT, poor.clone()));
    let again = known().ask(Verb::Inspect).bmc_did();
    let again = again.event(booted_as(NEXT_BOOT, whole("SN1")));
    let status = Status::Done {
        step: again.step_id(),
        outcome: Outcome::Inventory(poor.clone().into()),
    };
    let boot = NEXT_BOOT;
    let event = Event::Beat { boot, status };
    assert!(needs_inventory(&again.node, &event));
    let again = again.event(event);
    for story in [cleaned, again] {
        let inventory = story.inventory.unwrap();
        assert_eq!(inventory.system, whole("SN1").system);
        assert_eq!(inventory.memory.installed_bytes, Some(1 << 30));
        assert_eq!((inventory.cpu.count, inventory.problems.len()), (8, 1));
    }
    // Another mainboard is another machine.
    poor.system.uuid = Some("4c4c4544-0000-0000-0000-000000000002".parse().unwrap());
    let other = known().ask(Verb::Provide).bmc_did();
    let other = other.event(booted_as(NEXT_BOOT, poor.clone()));
    assert_eq!(other.inventory.unwrap().system.serial, None);
}

#[test]
fn an_agent_that_makes_progress_may_take_its_time() {
    let mut story = Story::writing();
    let step = story.step_id();
    for done in 0..12 {
        let at = story.node.wake_at.unwrap();
        let status = Status::Running {
            step,
            progress: Progress {
                phase: "download".into(),
                done,
                total: None,
                trouble: None,
            },
        };
        story = story
            .alarm(Some(LastBeat {
                boot: BOOT,
                at,
                status,
            }))
            .is("wait call-back");
    }
}

#[test]
fn a_silent_agent_is_rebooted_once() {
    let story = Story::writing().alarm(None).is("deploying");
    assert_eq!(story.acting().1, BmcAct::Netboot);
    let story = story
        .bmc_did()
        .boots(NEXT_BOOT, &["S1", "S2"])
        .alarm(None)
        .bmc_did()
        .is("deploy failed");
    assert!(
        story
            .error()
            .contains("the agent has sent no heartbeat since"),
        "{}",
        story.error()
    );
}

#[test]
fn no_matching_disk_and_two_equal_disks_fail_before_anything_is_written() {
    for (hints, disks, expected) in [
        (
            Some("nope"),
            vec!["S1"],
            "no disk matches the root device hints: /dev/sd0: serial is S1, wanted nope",
        ),
        (None, vec![], "the machine has no disk"),
    ] {
        let cleaned = Story::cleaning();
        let mut cleaned = cleaned.boots(BootId::from_bytes([9; 16]), &disks);
        if !disks.is_empty() {
            cleaned = cleaned.agent_did();
        }
        let cleaned = cleaned.bmc_did().is("available");
        let mut wish = instance();
        wish.root_device
            .0
            .extend(hints.map(|serial| ("serial".to_string(), serial.to_string())));
        let story = cleaned
            .ask(Verb::Deploy(wish))
            .bmc_did()
            .boots(BOOT, &disks);
        assert!(story.error().contains(expected), "{}", story.error());
        assert_eq!(story.acting().1, BmcAct::PowerOff);
        story.bmc_did().is("deploy failed");
    }
}

fn with_problem(collector: &str, serials: &[&str]) -> Inventory {
    let what = "still loading after 90 s".into();
    let collector = collector.into();
    Inventory {
        problems: vec![Problem {
            collector,
            what,
            by_path: None,
        }],
        ..inventory(serials)
    }
}

fn booted(inventory: Inventory) -> Event {
    booted_as(BOOT, inventory)
}

fn booted_as(boot: BootId, inventory: Inventory) -> Event {
    Event::Booted {
        boot,
        inventory,
        proof: Proof::NotAsked,
        measured: MeasuredBoot::default(),
    }
}

#[test]
fn a_machine_that_never_had_a_disk_is_clean() {
    let story = Story::cleaning().boots(BOOT, &[]).is("cleaning");
    story.bmc_did().is("available");
}

#[test]
fn a_machine_whose_disks_cannot_be_seen_is_not_clean() {
    for collector in [DRIVERS, DISKS] {
        let story = Story::cleaning().event(booted(with_problem(collector, &[])));
        let error = story.is("clean failed").error();
        let words = format!("not all disks can be seen ({collector}: still loading after 90 s)");
        assert!(error.contains(&words), "{error}");
    }
    let other = Story::cleaning().event(booted(with_problem("bmc", &["S1"])));
    other.agent_did().bmc_did().is("available");
}

#[test]
fn nothing_is_written_while_a_disk_may_be_out_of_sight() {
    let deploying = || Story::available().ask(Verb::Deploy(instance())).bmc_did();
    let story = deploying().event(booted(with_problem(DRIVERS, &["S1"])));
    assert_eq!(story.acting().1, BmcAct::PowerOff);
    assert!(story.error().contains("still loading"), "{}", story.error());
    story.bmc_did().is("deploy failed");
    let story = deploying().boots(BOOT, &["S2"]);
    let words = "serial S1, 10737418240 bytes is missing";
    assert!(story.error().contains(words), "{}", story.error());
    let story = deploying().boots(BOOT, &["S1", "S2"]);
    let story = story.boots(NEXT_BOOT, &["S1"]).bmc_did();
    let story = story.is("deploy failed");
    assert!(
        story.error().contains("serial S2,") && story.error().contains("is missing"),
        "{}",
        story.error()
    );
}

#[test]
fn a_disk_that_is_gone_is_missed_until_an_inspection_has_the_last_word() {
    let mut story = Story::available().ask(Verb::Manage);
    for n in 0..2 {
        story = story.ask(Verb::Provide).bmc_did();
        story = story.boots(BootId::from_bytes([20 + n; 16]), &["S2"]);
        story = story.is("clean failed");
        let words = "/dev/sd0 serial S1, 10737418240 bytes is missing";
        assert!(story.error().contains(words), "{}", story.error());
        story = story.ask(Verb::Manage).is("manageable");
    }
    let inspecting = story.ask(Verb::Inspect).bmc_did().boots(BOOT, &["S2"]);
    let status = Status::Done {
        step: inspecting.step_id(),
        outcome: Outcome::Inventory(inventory(&["S2"]).into()),
    };
    let story = inspecting.event(Event::Beat { boot: BOOT, status });
    let story = story.bmc_did().ask(Verb::Provide).bmc_did();
    let story = story.boots(NEXT_BOOT, &["S2"]).agent_did();
    story.bmc_did().is("available");
}

#[test]
fn an_inspection_that_could_not_see_the_disks_has_no_last_word() {
    let story = Story::available().ask(Verb::Manage).ask(Verb::Inspect);
    let story = story.bmc_did().boots(BOOT, &["S1"]);
    let status = Status::Done {
        step: story.step_id(),
        outcome: Outcome::Inventory(with_problem(DISKS, &[]).into()),
    };
    let story = story.event(Event::Beat { boot: BOOT, status }).bmc_did();
    let story = story.is("inspect failed");
    let words = "the inspection could not see all disks (disks: still";
    assert!(story.error().contains(words), "{}", story.error());
    assert_eq!(story.inventory, Some(inventory(&["S1"])));
}

#[test]
fn only_an_inspection_says_what_the_machine_is_made_of() {
    let story = Story::cleaning().boots(BOOT, &["S1"]);
    let status = Status::Done {
        step: story.step_id(),
        outcome: Outcome::Inventory(inventory(&[]).into()),
    };
    let story = story.event(Event::Beat { boot: BOOT, status });
    assert_eq!(story.inventory, Some(inventory(&["S1"])));
}

/// Other disks are looked at after a write alone, whatever an agent says.
#[test]
fn only_a_write_says_what_other_disks_have() {
    let story = Story::cleaning().boots(BOOT, &["S1"]);
    let event = written(&story, same_label(), Fate::Left);
    let story = story.event(event).is("cleaning");
    assert!(story.node.collisions.is_empty());
    assert_eq!(
        story.because,
        "erase_devices_metadata is done, power_off follows"
    );

    let story = Story::writing();
    let event = written(&story, same_label(), Fate::Left);
    let story = story.event(event);
    let kept = story.node.collisions.clone();
    assert!(!kept.is_empty());
    // The next step, with the answer of a write that found nothing.
    let mut event = written(&story, Vec::new(), Fate::Left);
    if let Event::Beat {
        status:
            Status::Done {
                outcome: Outcome::Written(written),
                ..
            },
        ..
    } = &mut event
    {
        written.collisions.clear();
    }
    let mut story = story;
    story.policy.disk_collisions = OnCollision::Refuse;
    let story = story.event(event);
    assert_eq!(story.node.collisions, kept);
    assert_eq!(story.node.last_error, None);
}

#[test]
fn a_disk_that_appears_while_others_are_erased_is_erased_too() {
    let mut story = Story::cleaning().boots(BOOT, &["S1"]);
    story = story.boots(NEXT_BOOT, &["S1", "S2"]).is("clean wait");
    assert!(
        story.because.contains("with other disks"),
        "{}",
        story.because
    );
    let wanted = wanted(&story.node, NEXT_BOOT, &Status::Idle);
    let Wanted::Step {
        step: AgentStep::EraseMetadata { disks },
        ..
    } = wanted
    else {
        panic!("{wanted:?}")
    };
    assert_eq!(disks.len(), 2);
    story.agent_did().bmc_did().is("available");
    // One that shows more at each boot is not tried for ever.
    let serials = ["S1", "S2", "S3", "S4", "S5", "S6", "S7"];
    let mut story = Story::cleaning().boots(BOOT, &serials[..1]);
    for n in 0..story.policy.max_tries as u8 {
        let more = &serials[..usize::from(n) + 2];
        story = story.boots(BootId::from_bytes([100 + n; 16]), more);
    }
    assert!(
        story.is("clean failed").error().contains("(5 tries)"),
        "it gives up"
    );
}

#[test]
fn a_machine_that_fails_in_a_step_of_cleaning_is_put_aside_with_its_power_as_it_is() {
    let erasing = || Story::cleaning().boots(BOOT, &["S1"]);
    let failed = |story: Story| {
        let error = StepError {
            what: "I/O error".into(),
            retry: Retry::Useless,
        };
        let status = Status::Failed {
            step: story.step_id(),
            error,
        };
        story.event(Event::Beat { boot: BOOT, status })
    };
    let story = failed(erasing()).is("clean failed");
    assert_eq!(story.effects, [], "nothing is switched");
    let aside = story.node.maintenance.clone().unwrap();
    assert_eq!(aside.fault, Some(HardwareFault::Clean));
    assert_eq!(aside.reason, "I/O error");
    let told = explain(&story.node, story.now, &story.policy);
    assert_eq!(told.waiting_for, "an operator");
    let why = told.maintenance.unwrap();
    assert!(
        why.ends_with("for somebody to look at the machine: I/O error"),
        "{why}"
    );
    // The power sync does not end it: it is not about the BMC.
    let result = Ok(BmcReport { power_on: true });
    let at = story.now;
    let troubles = 0;
    let story = story.event(Event::PowerRead {
        at,
        result,
        troubles,
    });
    assert!(story.node.maintenance.is_some());

    let own = erasing().ask(Verb::Maintenance(Some("fan".into())));
    let own = own.ask(Verb::Abort).is("clean failed");
    assert_eq!(own.node.maintenance.unwrap().fault, None);
    let aborted = erasing().ask(Verb::Abort).is("clean failed");
    assert_eq!(aborted.node.maintenance, None, "an abort is no failure");
    let never = Story::cleaning().event(booted(with_problem(DISKS, &[])));
    assert_eq!(
        never.is("clean failed").node.maintenance,
        None,
        "no step ran"
    );
}

#[test]
fn maintenance_holds_a_job_until_it_ends() {
    let fan = || Verb::Maintenance(Some("fan".into()));
    let mut story = Story::writing().ask(fan());
    let (step, boots) = (story.step_id(), story.node.job().unwrap().boots);
    let done = |step| Event::Beat {
        boot: BOOT,
        status: Status::Done {
            step,
            outcome: Outcome::Nothing,
        },
    };
    story = story.event(done(step)).is("wait call-back");
    assert_eq!(story.step_id(), step, "a beat changes nothing");
    assert_eq!(wanted(&story.node, BOOT, &Status::Idle), Wanted::Idle);
    assert!(
        story.try_event(booted(inventory(&["S1"]))).is_ok(),
        "this boot is known"
    );
    let inventory = inventory(&["S1", "S2"]);
    let other = story.try_event(Event::Booted {
        boot: NEXT_BOOT,
        inventory,
        proof: Proof::NotAsked,
        measured: MeasuredBoot::default(),
    });
    let why = other.unwrap_err().to_string();
    assert!(why.ends_with("wait call-back, in maintenance"), "{why}");
    // A day passes, and the agent is unplugged.
    for _ in 0..300 {
        story = story.alarm(None).is("wait call-back");
        assert_eq!(story.effects, []);
    }
    let told = explain(&story.node, story.now, &story.policy);
    assert!(
        told.waiting_for
            .starts_with("an operator to end maintenance")
    );
    let story = story.ask(Verb::Maintenance(None)).event(done(step));
    assert_eq!(story.node.job().unwrap().boots, boots);
    assert_ne!(story.step_id(), step);

    // An act under way ends, and nothing follows it.
    let story = Story::writing().agent_did().agent_did().ask(fan());
    let mut story = story.bmc_did().is("deploying");
    assert_eq!(story.effects, []);
    for _ in 0..10 {
        story = story.alarm(None).is("deploying");
        assert_eq!(story.effects, []);
    }
    let story = story.ask(Verb::Maintenance(None)).alarm(None);
    assert_eq!(story.acting().1, BmcAct::BootDisk);
    story.bmc_did().is("active");

    // Nobody switches a machine that somebody works on.
    let story = Story::writing().ask(fan()).ask(Verb::Abort);
    assert_eq!(story.effects, []);
    story.is("deploy failed");

    // A machine that boots has all of its time afterwards.
    let mut story = Story::cleaning().ask(fan());
    let anew = [Sign::Kernel, Sign::Script, Sign::Kernel, Sign::Script];
    for sign in anew {
        let event = seen(&story, sign);
        story = story.event(event).is("clean wait");
    }
    let story = story.alarm(None).alarm(None).is("clean wait");
    let story = story.ask(Verb::Maintenance(None));
    assert!(story.node.wake_at.unwrap().since(story.now).as_secs() > 800);
    story.boots(BOOT, &["S1"]).is("clean wait");
}

#[test]
fn what_cleaning_leaves_alone_is_named() {
    let mut found = inventory(&["S1", "S2", "S3", "S4"]);
    found.disks[1].read_only = true;
    found.disks[2].transport = Some("usb".into());
    found.disks[3].transport = Some("iscsi".into());
    let story = Story::cleaning().event(booted(found));
    let named = "/dev/sd1 serial S2, 11811160064 bytes (read-only); \
                 /dev/sd2 serial S3, 12884901888 bytes (on USB); \
                 /dev/sd3 serial S4, 13958643712 bytes (shared)";
    assert_eq!(
        story.because,
        format!("await_agent is done, erase_devices_metadata follows; left alone: {named}")
    );
    let story = story.agent_did().bmc_did().is("available");
    assert_eq!(story.node.left_alone.to_string(), named);
    assert!(story.because.ends_with(named), "{}", story.because);
    // It says so until the next cleaning.
    let story = story.ask(Verb::Manage).ask(Verb::Provide);
    assert!(story.node.left_alone.is_empty());
}

/// The image is written, and another disk has this in its second partition.
fn written(story: &Story, what: Vec<Clash>, fate: Fate) -> Event {
    let collision = Collision {
        disk: DiskIdentity::of(&inventory(&["OTHER"]).disks[0]),
        partition: Some(2),
        what,
        fate,
    };
    let written = Written {
        image_bytes: 1,
        millis: 1,
        resumed: 0,
        collisions: vec![collision],
    };
    let status = Status::Done {
        step: story.step_id(),
        outcome: Outcome::Written(written),
    };
    Event::Beat { boot: BOOT, status }
}

fn same_label() -> Vec<Clash> {
    vec![Clash::FileSystemLabel("root".into())]
}

const COLLIDES: &str =
    "/dev/sd0 serial OTHER, 10737418240 bytes, partition 2 has the same label \"root\"";

#[test]
fn an_active_node_says_which_other_disks_may_be_taken_for_its_own() {
    let active = || {
        let story = Story::writing();
        let event = written(&story, same_label(), Fate::Left);
        let story = story.event(event);
        let said = format!("another disk may be taken for the deployed one: {COLLIDES}");
        assert!(story.because.ends_with(&said), "{}", story.because);
        story.agent_did().bmc_did().bmc_did().is("active")
    };
    let story = active();
    assert_eq!(story.node.collisions.to_string(), COLLIDES);
    let explained = explain(&story.node, story.now, &story.policy).to_string();
    assert!(
        explained.contains(&format!("disks     {COLLIDES}\n")),
        "{explained}"
    );
    // Until the next deploy, or the end of the instance.
    let again = story.ask(Verb::Rebuild(None)).is("deploying");
    assert!(again.node.collisions.is_empty());
    let gone = active().ask(Verb::Undeploy).bmc_did().is("cleaning");
    assert!(gone.node.collisions.is_empty());
}

#[test]
fn by_policy_a_deploy_fails_when_another_disk_may_be_taken_for_its_own() {
    let mut story = Story::writing();
    story.policy.disk_collisions = OnCollision::Refuse;
    let event = written(&story, same_label(), Fate::Left);
    let story = story.event(event);
    assert!(
        story.error().ends_with(&format!(": {COLLIDES}")),
        "{}",
        story.error()
    );
    let story = story.bmc_did().is("deploy failed");
    assert_eq!(story.node.collisions.to_string(), COLLIDES);
}

#[test]
fn a_disk_that_nobody_could_read_is_told_and_by_policy_a_failure() {
    for (policy, refuses) in [(OnCollision::Warn, false), (OnCollision::Refuse, true)] {
        let mut story = Story::writing();
        story.policy.disk_collisions = policy;
        let what = vec![Clash::Unread("Input/output error".into())];
        let event = written(&story, what, Fate::Left);
        let story = story.event(event);
        let words = "partition 2 has content that could not be read (Input/output error)";
        assert!(story.because.ends_with(words), "{}", story.because);
        let explained = explain(&story.node, story.now, &story.policy).to_string();
        assert!(explained.contains(words), "{explained}");
        assert_eq!(story.node.last_error.is_some(), refuses);
    }
}

#[test]
fn by_policy_other_disks_are_made_harmless_but_for_those_that_cleaning_leaves_alone() {
    let neutralised = |policy| {
        let mut story = Story::available();
        story.policy.disk_collisions = policy;
        story.node.skip_block_devices = vec![Hints(
            [("serial".to_string(), "SKIPPED".to_string())].into(),
        )];
        let mut found = inventory(&["S1", "OTHER", "SKIPPED", "LOCKED", "SAN", "STICK"]);
        found.disks[3].read_only = true;
        found.disks[4].transport = Some("fc".into());
        found.disks[5].transport = Some("usb".into());
        let mut wanted = instance();
        wanted.root_device = Hints([("serial".to_string(), "S1".to_string())].into());
        let story = story
            .ask(Verb::Deploy(wanted))
            .bmc_did()
            .event(booted(found));
        let Some(Step::Agent(AgentStep::WriteImage(write))) =
            story.node.job().map(|job| job.step())
        else {
            panic!("{:?}", story.node.state);
        };
        let serials = write
            .neutralise
            .iter()
            .map(|disk| disk.serial.clone().unwrap());
        serials.collect::<Vec<_>>()
    };
    assert_eq!(neutralised(OnCollision::Neutralise), ["OTHER"]);
    assert!(neutralised(OnCollision::Warn).is_empty());
    assert!(neutralised(OnCollision::Refuse).is_empty());
    // What was made harmless is told as that.
    let mut story = Story::writing();
    story.policy.disk_collisions = OnCollision::Neutralise;
    let event = written(&story, same_label(), Fate::Neutralised);
    let story = story.event(event);
    let said = format!("other disks were made harmless: {COLLIDES} (neutralised)");
    assert!(story.because.ends_with(&said), "{}", story.because);
}

fn neutralised(story: &Story) -> Vec<&str> {
    let Some(Step::Agent(AgentStep::WriteImage(write))) = story.node.job().map(|job| job.step())
    else {
        panic!("{:?}", story.node.state);
    };
    let names = write.neutralise.iter().map(|disk| disk.name.as_str());
    names.collect()
}

/// Of two disks with nothing but their names, the one behind `slot1` is on the skip list.
#[test]
fn what_is_made_harmless_is_chosen_anew_when_the_machine_reboots_in_the_middle_of_the_write() {
    let found = |slots: [&str; 2]| {
        let mut found = inventory(&["S1", "x", "x"]);
        for (disk, slot) in found.disks[1..].iter_mut().zip(slots) {
            (disk.serial, disk.size_bytes) = (None, 1 << 40);
            disk.by_path = Some(slot.into());
        }
        found
    };
    let mut story = Story::available();
    story.policy.disk_collisions = OnCollision::Neutralise;
    story.node.skip_block_devices =
        vec![Hints([("by_path".to_string(), "slot1".to_string())].into())];
    let mut wanted = instance();
    wanted.root_device = Hints([("serial".to_string(), "S1".to_string())].into());
    let story = story.ask(Verb::Deploy(wanted)).bmc_did();
    let story = story.event(booted(found(["slot0", "slot1"])));
    assert_eq!(neutralised(&story), ["/dev/sd1"]);
    let again = |n: u8, slots| Event::Booted {
        boot: BootId::from_bytes([n; 16]),
        inventory: found(slots),
        proof: Proof::NotAsked,
        measured: MeasuredBoot::default(),
    };
    let story = story.event(again(0xc1, ["slot1", "slot0"]));
    assert_eq!(neutralised(&story), ["/dev/sd2"]);
    let tries = |story: &Story| story.node.job().unwrap().tries;
    assert_eq!(tries(&story), 2);
    // The same once more: nothing is planned, the write begins again.
    let story = story.event(again(0xc2, ["slot1", "slot0"]));
    assert_eq!((neutralised(&story), tries(&story)), (vec!["/dev/sd2"], 3));
    assert!(story.because.ends_with("begun again"), "{}", story.because);
    // After the write nothing is written again.
    let story = story.agent_did();
    let at = story.node.job().unwrap().at;
    let story = story.event(again(0xc3, ["slot0", "slot1"]));
    assert!(story.node.job().unwrap().at >= at);
}

/// A disk with nothing but its name is chosen, and the name is another disk's after a reboot.
#[test]
fn a_deploy_does_not_go_on_with_a_disk_that_the_skip_list_names_now() {
    let found = |slots: [&str; 2]| {
        let mut found = inventory(&["x", "x"]);
        for (disk, slot) in found.disks.iter_mut().zip(slots) {
            (disk.serial, disk.size_bytes) = (None, 1 << 40);
            disk.by_path = Some(slot.into());
        }
        found
    };
    let mut story = Story::available();
    story.inventory = None;
    story.node.skip_block_devices =
        vec![Hints([("by_path".to_string(), "slot1".to_string())].into())];
    let story = story.ask(Verb::Deploy(instance())).bmc_did();
    let story = story.event(booted(found(["slot0", "slot1"])));
    let story = story.event(Event::Booted {
        boot: NEXT_BOOT,
        inventory: found(["slot1", "slot0"]),
        proof: Proof::NotAsked,
        measured: MeasuredBoot::default(),
    });
    let words = "/dev/sd0, 1099511627776 bytes was to be written, and the skip list names it";
    assert!(story.error().contains(words), "{}", story.error());
    story.bmc_did().is("deploy failed");
}

#[test]
fn a_failed_step_carries_the_agents_error() {
    let story = Story::writing();
    let status = Status::Failed {
        step: story.step_id(),
        error: StepError {
            what: "GET http://h/os.zst: 404\u{7f}".into(),
            retry: Retry::Useless,
        },
    };
    let story = story.event(Event::Beat { boot: BOOT, status });
    assert!(
        story
            .error()
            .ends_with("write_image (3 of 6): GET http://h/os.zst: 404\u{fffd}"),
        "{}",
        story.error()
    );
    let story = story.bmc_did().is("deploy failed");
    story.ask(Verb::Deploy(instance())).is("deploying");
}

fn may_pass(story: &Story) -> Event {
    let boot = story.node.boot.unwrap();
    let error = StepError {
        what: "GET http://h/os.zst: connection refused".into(),
        retry: Retry::Useful,
    };
    let step = story.step_id();
    let status = Status::Failed { step, error };
    Event::Beat { boot, status }
}

#[test]
fn a_step_that_may_succeed_later_gets_the_tries_that_were_promised() {
    let mut story = Story::writing();
    let mut pauses = vec![];
    for n in 1..story.policy.max_tries {
        let attempt = explain(&story.node, story.now, &story.policy).attempt;
        assert!(attempt.unwrap().contains(&format!("try {n} of 5")));
        let (first, failed) = (story.step_id(), may_pass(&story));
        story = story.event(failed.clone()).is("deploying");
        assert_eq!(wanted(&story.node, BOOT, &Status::Idle), Wanted::Idle);
        pauses.push(story.node.wake_at.unwrap().since(story.now).as_secs());
        story = story.alarm(None).is("wait call-back");
        assert_eq!(story.effects, [Effect::Nudge]);
        assert!(story.step_id() > first);
        // The report of the last try, once more.
        story = story.event(failed).is("wait call-back");
    }
    assert_eq!(pauses, [2, 4, 8, 16]);
    let failed = may_pass(&story);
    let story = story.event(failed);
    assert_eq!(story.acting().1, BmcAct::PowerOff);
    let story = story.bmc_did().is("deploy failed");
    let words = "connection refused (5 tries)";
    assert!(story.error().ends_with(words), "{}", story.error());
}

#[test]
fn a_short_outage_does_not_end_a_deploy() {
    let story = Story::writing();
    let failed = may_pass(&story);
    let story = story.event(failed).alarm(None).agent_did().agent_did();
    story.bmc_did().bmc_did().is("active");
}

#[test]
fn a_machine_that_reboots_in_the_pause_before_another_try_begins_at_once() {
    let story = Story::writing();
    let failed = may_pass(&story);
    let story = story.event(failed).boots(NEXT_BOOT, &["S1", "S2"]);
    let story = story.is("wait call-back").agent_did().agent_did();
    story.is("deploying");
}

#[test]
fn tidying_up_with_a_dead_bmc_keeps_the_first_error() {
    let story = Story::writing();
    let status = Status::Failed {
        step: story.step_id(),
        error: StepError {
            what: "disk full".into(),
            retry: Retry::Useless,
        },
    };
    let mut story = story.event(Event::Beat { boot: BOOT, status });
    while story.node.job().is_some() {
        story = story.bmc_failed(false);
        if story.node.job().is_some() {
            story = story.alarm(None);
        }
    }
    assert!(story.is("deploy failed").error().ends_with("disk full"));
}

#[test]
fn abort_and_undeploy_work_while_waiting() {
    let story = Story::writing()
        .ask(Verb::Abort)
        .bmc_did()
        .is("deploy failed");
    assert!(story.error().ends_with("aborted by the operator"));
    Story::writing().ask(Verb::Undeploy).is("deleting");
}

#[test]
fn the_same_request_counts_once() {
    let mut story = Story::new();
    let request: RequestId = "same".parse().unwrap();
    let ask = |verb| Event::Asked {
        request: request.clone(),
        verb,
    };
    story.try_event(ask(Verb::Manage)).unwrap();
    let mut story = story.bmc_did().is("manageable");
    story.try_event(ask(Verb::Manage)).unwrap();
    story.is("manageable");
}

#[test]
fn verbs_are_refused_where_they_make_no_sense() {
    let refused = |mut story: Story, verb: Verb| {
        story
            .try_event(Event::Asked {
                request: "x".parse().unwrap(),
                verb,
            })
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refused(Story::new(), Verb::Provide),
        "cannot provide a node that is enroll"
    );
    assert_eq!(
        refused(Story::writing(), Verb::Deploy(instance())),
        "cannot deploy a node that is wait call-back (abort that first)"
    );
    let serviced = Story::available().ask(Verb::Maintenance(Some("fan".into())));
    assert_eq!(
        refused(serviced, Verb::Deploy(instance())),
        "cannot deploy: the node is in maintenance (fan)"
    );
    let mut long = instance();
    long.hostname = Some("a b".into());
    assert_eq!(
        refused(Story::available(), Verb::Deploy(long)),
        "\"a b\" is not a host name"
    );
}

#[test]
fn the_config_drive_says_who_the_machine_is_and_its_secrets_are_not_in_the_record() {
    let story = Story::writing();
    let Wanted::Step {
        step: AgentStep::WriteImage(write),
        ..
    } = wanted(&story.node, BOOT, &Status::Idle)
    else {
        panic!("write_image comes first")
    };
    assert_eq!(write.disk.serial.as_deref(), Some("S1"));
    let (instance, data) = (
        story.node.instance.as_ref().unwrap(),
        story.data.as_ref().unwrap(),
    );
    let files = crate::plan::config_drive(&story.node, instance, data, None);
    assert_eq!(
        files[0].content,
        r#"{"uuid":"01010101-0101-0101-0101-010101010101","name":"web1","hostname":"web1","public_keys":{"key-0":"ssh-ed25519 AAAA"}}"#
    );
    assert_eq!(files[1].content, "#cloud-config\npassword: hush");
    let record = serde_json::to_string(&story.node).unwrap();
    assert!(!record.contains("hush"), "{record}");
}

fn with_token(confirm: Option<bool>, byte: u8) -> NewInstance {
    NewInstance {
        confirm,
        token: Some(ConfirmToken {
            secret: Secret::new(format!("sesame-{byte}")),
            sha256: Digest([byte; 32]),
        }),
        ..instance()
    }
}

fn word(byte: u8) -> Event {
    Event::Confirmed {
        sha256: Digest([byte; 32]),
    }
}

#[test]
fn an_active_node_says_when_its_instance_confirmed_that_it_runs_and_when_it_did_not() {
    let story = Story::available().ask(Verb::Deploy(with_token(Some(true), 1)));
    let mut story = story.bmc_did().boots(BOOT, &["S1", "S2"]);
    // Nobody has the token yet: whoever sends it ran before.
    assert_eq!(story.try_event(word(1)), Err(Rejected::WrongToken));
    let record = serde_json::to_string(&story.node).unwrap();
    assert!(!record.contains("sesame"), "{record}");
    let (instance, data) = (
        story.node.instance.clone().unwrap(),
        story.data.clone().unwrap(),
    );
    let secret = data.token.as_ref().map(Secret::reveal);
    assert_eq!(secret, Some("sesame-1"));
    let files = crate::plan::config_drive(&story.node, &instance, &data, Some("http://w/c/t"));
    assert_eq!(files[1].content, "#cloud-config\npassword: hush");
    assert_eq!(files[2].path, "openstack/latest/vendor_data.json");
    let vendor: std::collections::BTreeMap<String, String> =
        serde_json::from_str(&files[2].content).unwrap();
    assert!(
        vendor["cloud-init"].starts_with("#cloud-config\nphone_home:\n  url: \"http://w/c/t\"\n")
    );
    assert_eq!(vendor["confirm_url"], "http://w/c/t");

    let mut story = story
        .agent_did()
        .agent_did()
        .bmc_did()
        .bmc_did()
        .is("active");
    let explained = |story: &Story| explain(&story.node, story.now, &story.policy).to_string();
    assert!(explained(&story).contains("instance  not confirmed by the instance, "));
    assert!(!explained(&story).contains("look at its console"));
    story.now = story.now.after(Duration::from_secs(600));
    assert!(explained(&story).contains("look at its console"));
    assert_eq!(story.try_event(word(2)), Err(Rejected::WrongToken));
    let story = story.event(word(1)).is("active");
    assert_eq!(story.because, "the instance confirmed that it runs");
    assert!(explained(&story).contains("instance  confirmed by the instance at "));
    let node = story.node.clone();
    let story = story.event(word(1));
    assert_eq!(story.node.instance, node.instance, "the first word counts");
    // The same instance again says so again.
    let story = story.ask(Verb::Rebuild(None));
    assert_eq!(
        story.node.instance.clone().unwrap().confirm.unwrap().at,
        None
    );
    // Another image has another token, and is asked as before.
    let story = story
        .ask(Verb::Abort)
        .bmc_did()
        .bmc_did()
        .is("deploy failed");
    let story = story.ask(Verb::Rebuild(Some(with_token(None, 3))));
    let confirm = story.node.instance.clone().unwrap().confirm.unwrap();
    assert_eq!(confirm.sha256, Digest([3; 32]));
    assert_eq!(
        story.data.clone().unwrap().user_data,
        super::tests::instance().user_data
    );
}

#[test]
fn an_instance_is_asked_to_confirm_by_its_deploy_or_else_by_policy() {
    for (asked, policy, is) in [
        (None, false, false),
        (None, true, true),
        (Some(false), true, false),
        (Some(true), false, true),
    ] {
        let mut story = Story::available();
        story.policy.confirm_instances = policy;
        let story = story.ask(Verb::Deploy(with_token(asked, 1)));
        let instance = story.node.instance.clone().unwrap();
        let token = story.data.clone().unwrap().token;
        assert_eq!(
            (instance.confirm.is_some(), token.is_some()),
            (is, is),
            "{asked:?} {policy}"
        );
        let explained = explain(&story.node, story.now, &story.policy);
        assert_eq!(explained.confirmed, None, "it does not run yet");
    }
}

#[test]
fn an_agent_at_the_wanted_step_gets_no_new_order() {
    let story = Story::writing();
    let running = |step| Status::Running {
        step,
        progress: Progress::default(),
    };
    let id = story.step_id();
    assert_eq!(wanted(&story.node, BOOT, &running(id)), Wanted::Idle);
    let other = running(StepId(id.0 + 1));
    assert!(matches!(
        wanted(&story.node, BOOT, &other),
        Wanted::Step { .. }
    ));
    assert_eq!(wanted(&story.node, NEXT_BOOT, &other), Wanted::LookUp);
}

/// A record that is only read may be that of a leader which was deposed, and the job over.
#[test]
fn whatever_makes_an_agent_begin_writes_the_record_and_a_step_that_goes_on_does_not() {
    let mut story = Story::writing();
    let id = story.step_id();
    let (own, other) = (id, StepId(id.0 + 1));
    let running = |step| Status::Running {
        step,
        progress: Progress::default(),
    };
    let done = Status::Done {
        step: other,
        outcome: Outcome::Nothing,
    };
    for (status, writes) in [
        (Status::Idle, true),
        (running(other), true),
        (done, true),
        (running(own), false),
    ] {
        story.now = story.now.after(Duration::from_secs(1));
        let before = story.node.clone();
        let begins = wanted(&before, BOOT, &status) != Wanted::Idle;
        assert_eq!(begins, writes, "{status:?}");
        story = story.event(Event::Beat { boot: BOOT, status });
        assert_eq!(story.node != before, writes);
        assert_eq!(story.step_id(), id);
    }
}

#[test]
fn user_data_too_large_for_a_config_drive_is_refused_on_arrival() {
    let mut large = instance();
    large.user_data = Some("x".repeat(1 << 20));
    let (request, verb) = ("big".parse().unwrap(), Verb::Deploy(large));
    let refused = Story::available().try_event(Event::Asked { request, verb });
    let why = refused.unwrap_err().to_string();
    assert!(why.contains("the config drive has"), "{why}");
}

#[test]
fn an_instances_data_ends_with_it_and_survives_a_rebuild() {
    let version = |story: &Story| story.node.beside.of(BesideKind::InstanceData).cloned();
    let story = Story::writing().agent_did().agent_did();
    let story = story.bmc_did().bmc_did().is("active");
    let deployed = version(&story);
    assert!(deployed.is_some());
    let story = story.ask(Verb::Rebuild(None)).is("deploying");
    assert_eq!(version(&story), deployed);
    let story = Story::writing().ask(Verb::Undeploy).bmc_did();
    assert_eq!(version(&story), None);
}

#[test]
fn a_record_survives_its_own_json() {
    for story in [Story::new(), Story::writing(), Story::writing().agent_did()] {
        let json = serde_json::to_string(&story.node).unwrap();
        assert_eq!(
            serde_json::from_str::<Node>(&json).unwrap(),
            story.node,
            "{json}"
        );
    }
}

#[test]
fn maintenance_without_a_reason_is_refused() {
    let (request, verb) = ("r".parse().unwrap(), Verb::Maintenance(Some(" ".into())));
    let refused = Story::new().try_event(Event::Asked { request, verb });
    let why = refused.unwrap_err().to_string();
    assert!(why.starts_with("maintenance needs a reason"), "{why}");
}

/// It tried the next NIC, or its kernel hung on the way down and its BMC lied.
#[test]
fn an_active_machine_in_a_ramdisk_is_made_to_boot_its_disk_and_the_node_says_how_often() {
    let story = Story::writing().agent_did().agent_did().bmc_did().bmc_did();
    let lookup = |boot| Event::Booted {
        boot,
        inventory: inventory(&["S1", "S2"]),
        proof: Proof::NotAsked,
        measured: MeasuredBoot::default(),
    };
    let told = |story: &Story| explain(&story.node, story.now, &story.policy);
    for (n, boot) in [BOOT, NEXT_BOOT].into_iter().enumerate() {
        let mut story = Story {
            node: story.node.clone(),
            ..Story::new()
        };
        assert_eq!(told(&story).astray, None);
        // A beat is told to look up.
        let status = Status::Idle;
        let beat = story.try_event(Event::Beat { boot, status });
        assert_eq!(beat, Err(Rejected::UnknownBoot));
        story.now = story.now.after(Duration::from_secs(n as u64 * 5000));
        story = story.event(lookup(boot)).is("active");
        assert_eq!(story.effects, [], "one lookup may be old");
        let early = story.try_event(lookup(boot));
        assert!(early.unwrap_err().to_string().ends_with("is active"));
        for forced in 1..=3 {
            story.now = story.now.after(Duration::from_secs(20));
            story = story.event(lookup(boot)).is("active");
            assert_eq!(story.acting().1, BmcAct::PowerOff, "{forced}");
            story = story.bmc_did();
            assert_eq!(story.acting().1, BmcAct::BootDisk);
            story = story.bmc_did().is("active");
        }
        story.now = story.now.after(Duration::from_secs(20));
        story = story.event(lookup(boot)).is("active");
        assert_eq!(story.effects, []);
        let words = "active: the machine came to the ramdisk once instead of its disk since it was deployed, and still does \
                     after 3 boots from the disk by force";
        assert_eq!(story.error(), words);
        story.now = story.now.after(Duration::from_secs(20));
        assert!(story.try_event(lookup(boot)).is_err(), "it is said once");
        // Much later it gets another chance, unless somebody works on it.
        story.now = story.now.after(Duration::from_secs(4000));
        let other = BootId::from_bytes([77; 16]);
        story = story.event(lookup(other));
        let often = told(&story).astray.unwrap();
        assert!(often.contains("came to the ramdisk 2 times"), "{often}");
        story.now = story.now.after(Duration::from_secs(20));
        story = story.ask(Verb::Maintenance(Some("fan".into())));
        assert!(story.try_event(lookup(other)).is_err());
        let story = story.ask(Verb::Maintenance(None)).event(lookup(other));
        assert_eq!(story.acting().1, BmcAct::PowerOff);
        let story = story.bmc_did().bmc_did().is("active");
        assert_eq!(story.node.last_error, None);
        let story = story.ask(Verb::Rebuild(None));
        assert_eq!(told(&story).astray, None);
    }
}

#[test]
fn a_machine_is_known_by_all_its_marks_once_its_ramdisk_has_called() {
    let mac = |n| Mac::from_bytes([2, 0, 0, 0, 0, n]);
    let uuid = ironbeat_common::id::SystemUuid::from_bytes([5; 16]);
    let marks = Marks {
        macs: vec![mac(9), mac(1), mac(2)],
        uuid: Some(uuid),
        serial: Some("SN-1".into()),
    };
    let of = |boot| Event::Identified {
        boot,
        marks: marks.clone(),
    };
    let mut story = Story::writing();
    assert_eq!(story.try_event(of(NEXT_BOOT)), Err(Rejected::UnknownBoot));
    let story = story.event(of(BOOT)).is("wait call-back");
    assert_eq!(story.node.macs, [mac(1), mac(2), mac(9)]);
    assert_eq!(story.node.system_uuid, Some(uuid));
    assert_eq!(story.node.serial.as_deref(), Some("SN-1"));
    let words =
        "known by its MAC address 02:00:00:00:00:09, MAC address 02:00:00:00:00:02, system UUID";
    assert!(story.because.contains(words), "{}", story.because);
    // What the record says already stays.
    let other = Marks {
        macs: vec![],
        uuid: Some(ironbeat_common::id::SystemUuid::from_bytes([6; 16])),
        serial: Some("SN-2".into()),
    };
    let before = story.node.clone();
    let story = story.event(Event::Identified {
        boot: BOOT,
        marks: other,
    });
    assert_eq!(story.node, before);
}
