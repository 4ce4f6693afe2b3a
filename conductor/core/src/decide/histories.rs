//! Random histories: 10,000 nodes live through 80 events each, and every record is judged after every event.
//! A failing history is cut down and kept as a file in `histories/`, which `kept_histories` replays for ever.
use super::tests::{access, enrolled, instance, inventory};
use super::{
    Accepted, BmcFault, BmcReport, Clear, Ctx, Decision, Effect, Event, LastBeat, Marks, Patch,
    Policy, PowerVerb, Proof, Rejected, Verb, decide, is_news, needs_inventory,
};
use crate::allocation::Wanted;
use crate::explain::explain;
use crate::id::{Actor, Incarnation, OpId, RequestId, WorkerId};
use crate::index::Entry;
use crate::invariant;
use crate::manual::Wish;
use crate::named::{Bounds, DeployStep, ManualStep, NamedStep, OnStepFailure};
use crate::node::{
    AgentStep, Beside, BmcAct, BmcSecrets, BootDevice, Candidate, Job, JobKind, MeasuredBoot,
    NewInstance, Node, Phase, RescueLogin, Rest, Secret, Sign, State, Step,
};
use crate::time::Time;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use ironbeat_common::collision::{Clash, Collision, Fate};
use ironbeat_common::disk::DiskIdentity;
use ironbeat_common::heartbeat::{Outcome, Progress, Rescued, Retry, Status, StepError, Written};
use ironbeat_common::id::{AllocationId, BootId, Mac, NodeId, StepId};
use ironbeat_common::inventory::{DISKS, DRIVERS, Inventory, Problem};
use ironbeat_common::login::UserKey;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::string::ToString;

const HISTORIES: u64 = 10_000;
const EVENTS: usize = 80;
/// A node that nobody helps comes to rest within this many alarms: tries × steps × boots, with room.
const MAX_ALARMS_TO_REST: usize = 200;

/// One moment of a history. `op` and `worker` belong to the worker that decides.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Moment {
    now: Time,
    op: OpId,
    worker: WorkerId,
    event: Event,
    /// Just before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metal: Option<Metal>,
}

/// What happens to the BMC's password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Metal {
    /// A command that sets it arrives, from whichever worker.
    Sets,
    /// The same, and the BMC keeps 16 bytes of it.
    SetsCut,
    /// Somebody else sets it.
    Foreign,
}

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }
    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }
}

pub(crate) fn policy() -> Policy {
    Policy {
        rescue_image: "rescue.cpio.zst".into(),
        rescue_checksum: "0".repeat(64),
        ..Policy::default()
    }
}

fn worker(n: u64) -> WorkerId {
    format!("w{n}")
        .parse()
        .expect("a letter and digits are a token")
}

fn boot_id(n: u64) -> BootId {
    BootId::from_bytes([n as u8; 16])
}

/// Another disk, of which nobody can say what it has.
fn unread() -> Collision {
    Collision {
        disk: DiskIdentity::of(&inventory(&["OTHER"]).disks[0]),
        partition: None,
        what: vec![Clash::Unread("no answer".to_string())],
        fate: Fate::Left,
    }
}

/// Mostly what would come next in a good life, sometimes anything at all.
fn invent(node: &Node, now: Time, rng: &mut Rng, count: usize) -> Event {
    let present = node.boot.unwrap_or_else(|| boot_id(1 + rng.below(200)));
    let any_boot = boot_id(1 + rng.below(200));
    let request: RequestId = format!("r{}", if rng.below(8) == 0 { 1 } else { count + 2 })
        .parse()
        .expect("a token");
    let step = match node.job().map(|job| &job.phase) {
        Some(Phase::AgentStep { id, .. }) if rng.below(6) > 0 => *id,
        Some(_) | None => StepId(rng.below(node.counter + 2)),
    };
    let status = match rng.below(8) {
        0 => Status::Idle,
        1 => Status::Failed {
            step,
            error: StepError {
                what: "no space".to_string(),
                retry: rng.pick(&[Retry::Useless, Retry::Useful]),
            },
        },
        2 => Status::Done {
            step,
            outcome: Outcome::Inventory(inventory(&["S1", "S2"]).into()),
        },
        3 => Status::Done {
            step,
            outcome: Outcome::Nothing,
        },
        4 => Status::Done {
            step,
            outcome: Outcome::Written(Written {
                image_bytes: 1,
                millis: 1,
                resumed: 0,
                collisions: vec![unread(); rng.below(3) as usize],
            }),
        },
        5 => Status::Done {
            step,
            outcome: Outcome::Rescued(Rescued::default()),
        },
        _ => Status::Running {
            step,
            progress: Progress {
                phase: "download".to_string(),
                done: rng.below(4),
                total: None,
                trouble: None,
            },
        },
    };
    let act = match node.job() {
        Some(job) => match (&job.phase, job.step()) {
            (Phase::Acting { op, .. }, Step::Bmc(act)) => Some((op.clone(), *act)),
            (_, _) => None,
        },
        None => None,
    };
    if rng.below(12) == 0 {
        return invent_reading(node, now, rng);
    }
    if rng.below(12) == 0 {
        let at = Time::from_unix_ms(now.unix_ms().saturating_sub(rng.below(4_000)));
        let sign = rng.pick(&[Sign::Lease, Sign::Script, Sign::Kernel]);
        return Event::Seen { sign, at };
    }
    // One that is fetched again voids the ticket of a machine that is on its way.
    let again = node.boot.is_some() || node.tickets.open.is_some();
    if rng.below(if again { 60 } else { 12 }) == 0 {
        let at = Time::from_unix_ms(now.unix_ms().saturating_sub(rng.below(4_000)));
        let ticket = key(rng.below(6));
        return Event::Script { ticket, at };
    }
    if rng.below(30) == 0 {
        let ended = node.tickets.ended.iter().map(|login| login.key);
        let keys = ended.take(1 + rng.below(2) as usize).collect();
        return Event::LoginsEnded { keys };
    }
    if rng.below(24) == 0 {
        let marks = Marks {
            macs: vec![Mac::from_bytes([2, 0, 0, 0, 0, rng.below(40) as u8])],
            uuid: None,
            serial: Some("SN".to_string()),
        };
        let boot = present;
        return Event::Identified { boot, marks };
    }
    match (rng.below(10), act) {
        (0..=5, Some((op, act))) => {
            let on = !matches!(
                act,
                BmcAct::PowerOff | BmcAct::SoftOff { .. } | BmcAct::LeaveRamdisk { .. }
            );
            Event::Bmc {
                op,
                result: match rng.below(9) {
                    0 => Err(BmcFault {
                        what: "no answer".to_string(),
                        permanent: false,
                        accepted: rng.pick(&[
                            None,
                            Some(if on {
                                Accepted::PowerOn
                            } else {
                                Accepted::PowerOff
                            }),
                        ]),
                        untold: act == BmcAct::SetPassword && rng.below(2) == 0,
                        let_go: rng.below(3) == 0,
                    }),
                    1 => Err(BmcFault {
                        what: "wrong password".to_string(),
                        permanent: true,
                        accepted: None,
                        untold: act == BmcAct::SetPassword && rng.below(2) == 0,
                        let_go: false,
                    }),
                    2 => Ok(BmcReport { power_on: !on }),
                    _ => Ok(BmcReport { power_on: on }),
                },
            }
        }
        (0..=2, None) => Event::Beat {
            boot: present,
            status,
        },
        (3 | 4, None) => Event::Booted {
            boot: any_boot,
            inventory: invent_inventory(rng),
            proof: invent_proof(node, rng),
            measured: MeasuredBoot::default(),
        },
        (6, _) => Event::Beat {
            boot: any_boot,
            status,
        },
        (7, _) => {
            let at = Time::from_unix_ms(now.unix_ms().saturating_sub(rng.below(900_000)));
            let boot = if rng.below(4) == 0 { any_boot } else { present };
            Event::Alarm {
                last_beat: (rng.below(3) > 0).then_some(LastBeat { boot, at, status }),
            }
        }
        (8, Some((op, _))) if rng.below(2) == 0 => Event::Bmc {
            op,
            result: Ok(BmcReport {
                power_on: rng.below(2) == 0,
            }),
        },
        (8, _) if rng.below(3) == 0 => Event::WorkerLost {
            actor: Actor {
                worker: worker(rng.below(3)),
                incarnation: Incarnation::default(),
            },
            until: node.wake_at.unwrap_or(now),
            replaced: rng.below(2) == 0,
        },
        (8, _) => Event::Bmc {
            op: format!("op{}", rng.below(count as u64 + 1))
                .parse()
                .expect("a token"),
            result: Ok(BmcReport { power_on: true }),
        },
        (_, _) => Event::Asked {
            request,
            verb: invent_verb(node, rng),
        },
    }
}

fn next_moment(world: &World, now: &mut Time, rng: &mut Rng, count: usize) -> Moment {
    let step = if rng.below(12) == 0 {
        rng.below(2_000_000)
    } else {
        rng.below(5_000)
    };
    *now = Time::from_unix_ms(now.unix_ms() + step);
    let event = invent_found(world, rng);
    let event = event.unwrap_or_else(|| invent(&world.node, *now, rng, count));
    let op = format!("op{count}").parse().expect("a token");
    Moment {
        now: *now,
        op,
        worker: worker(rng.below(3)),
        event,
        metal: invent_metal(world, rng),
    }
}

/// One random history, and every decision of it.
pub(crate) fn history(seed: u64, ear: &mut Ear<'_>) {
    let mut rng = Rng(seed | 1);
    let (mut world, mut now) = (World::new(), Time::from_unix_ms(1_800_000_000_000));
    for count in 0..EVENTS {
        let moment = next_moment(&world, &mut now, &mut rng, count);
        let after = live_heard(&world, &moment, ear);
        world = after.expect("`ten_thousand_random_histories` looks for what breaks");
    }
}

fn key(n: u64) -> UserKey {
    UserKey::from_bytes([n as u8; 32])
}

/// Mostly that of the present boot script.
fn invent_proof(node: &Node, rng: &mut Rng) -> Proof {
    let open = node.tickets.open.as_ref().map(|open| open.key);
    let ticket = open.filter(|_| rng.below(4) > 0);
    match rng.below(6) {
        0 => Proof::Missing,
        1 | 2 => Proof::NotAsked,
        _ => Proof::Ticket {
            ticket: ticket.unwrap_or(key(rng.below(6))),
            key: key(100 + rng.below(3)),
        },
    }
}

/// Where tickets are asked for, a new boot has the present one, and its login begins with it; the one before it ends.
fn has_the_ticket(before: &Node, after: &Node, event: &Event) -> Result<(), String> {
    let used = |node: &Node| node.tickets.used.clone();
    let ended = |key| after.tickets.ended.iter().any(|login| login.key == key);
    if let Some(was) = used(before)
        && (after.boot != before.boot || used(after) != used(before))
        && !ended(was.key)
    {
        return Err("a boot is over, and its login is not".into());
    }
    let Event::Booted { boot, proof, .. } = event else {
        return match used(after) == used(before) || used(after).is_none() {
            true => Ok(()),
            false => Err("a login without a lookup".into()),
        };
    };
    if after.boot == before.boot || after.boot != Some(*boot) {
        return Ok(());
    }
    let (open, used) = (before.tickets.open.as_ref(), used(after));
    let (open, used) = (open.map(|it| it.key), used.map(|it| (it.ticket, it.key)));
    match proof {
        Proof::NotAsked => Ok(()),
        Proof::Ticket { ticket, key } if open == Some(*ticket) && used == Some((*ticket, *key)) => {
            Ok(())
        }
        Proof::Missing | Proof::Ticket { .. } => Err("welcome without the present ticket".into()),
    }
}

/// Mostly all there is; sometimes a disk comes late, or more than that is in the way.
fn invent_inventory(rng: &mut Rng) -> Inventory {
    let disks: &[&str] = match rng.below(12) {
        0 => &[],
        1 | 2 => &["S1"],
        3 => &["S1", "S2", "S3"],
        _ => &["S1", "S2"],
    };
    let mut found = inventory(disks);
    if rng.below(4) == 0 {
        let mut stick = inventory(&["STICK"]).disks.remove(0);
        stick.transport = Some("usb".to_string());
        found.disks.push(stick);
    }
    if rng.below(8) == 0 {
        let collector = rng.pick(&[DISKS, DRIVERS, "bmc"]).to_string();
        let what = "late".to_string();
        found.problems.push(Problem {
            collector,
            what,
            by_path: None,
        });
    }
    found
}

/// While a change of the password is open, somebody logs in.
fn invent_found(world: &World, rng: &mut Rng) -> Option<Event> {
    if world.node.password_change.is_none() || rng.below(6) > 0 {
        return None;
    }
    let version = world.node.beside.bmc_secrets.clone();
    let version = version.filter(|_| rng.below(8) > 0);
    Some(Event::PasswordFound {
        version: version.unwrap_or_else(|| "op1".parse().expect("a token")),
        found: world.right(),
    })
}

fn invent_metal(world: &World, rng: &mut Rng) -> Option<Metal> {
    match world.bmc.told.is_empty() {
        false if rng.below(4) == 0 => Some(rng.pick(&[Metal::Sets, Metal::Sets, Metal::SetsCut])),
        true | false => (rng.below(200) == 0).then_some(Metal::Foreign),
    }
}

/// The change is over, and it is the new one.
fn is_new(world: &World) -> bool {
    let has = world.secrets.password.reveal();
    world.secrets.next.is_none() && (has.starts_with("new") || has.starts_with("sixteen"))
}

/// Of the power, mostly as it is known.
fn invent_reading(node: &Node, now: Time, rng: &mut Rng) -> Event {
    let known = node.power.as_ref().is_some_and(|power| power.on);
    let fault = BmcFault {
        what: "no answer".to_string(),
        permanent: false,
        accepted: None,
        untold: false,
        let_go: false,
    };
    Event::PowerRead {
        at: Time::from_unix_ms(now.unix_ms().saturating_sub(rng.below(4_000))),
        result: match rng.below(4) {
            0 => Err(fault),
            1 => Ok(BmcReport { power_on: !known }),
            _ => Ok(BmcReport { power_on: known }),
        },
        troubles: rng.below(6) as u32,
    }
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

/// Half of them with steps beside the deploy's own.
fn some_instance(rng: &mut Rng) -> NewInstance {
    let steps = [
        (ManualStep::Hold, [90, 70, 50, 30, 21]),
        (ManualStep::Wait { seconds: 60 }, [90, 70, 50, 30, 21]),
        (ManualStep::EraseDevicesMetadata, [90, 85, 81, 0, 100]),
        (ManualStep::Inspect, [90, 70, 50, 0, 100]),
        (ManualStep::ResetBmc, [30, 25, 0, 39, 21]),
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

/// Now and then a step is short of time or of tries, or is not relied on.
fn bounded(step: ManualStep, rng: &mut Rng) -> NamedStep {
    let bounds = Bounds {
        timeout_secs: rng.pick(&[None, None, Some(60)]),
        tries: rng.pick(&[None, Some(1), Some(2)]),
        on_failure: rng.pick(&[OnStepFailure::Fail, OnStepFailure::Continue]),
    };
    let bounds = match bounds.check(&step) {
        Ok(()) => bounds,
        Err(_) => Bounds::NONE,
    };
    NamedStep { step, bounds }
}

fn invent_verb(node: &Node, rng: &mut Rng) -> Verb {
    let deploy = Verb::Deploy(some_instance(rng));
    let renamed = rename(rng);
    let cleaning = Verb::Clean(wish(rng, true));
    let service = Verb::Service(wish(rng, false));
    let rescue = Verb::Rescue(RescueLogin {
        password_hash: Some(Secret::new("$6$salt$hash")),
        ssh_keys: vec![],
    });
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
        State::Resting(Rest::Rescue | Rest::RescueFailed | Rest::UnrescueFailed) => rng.pick(&[
            Verb::Unrescue,
            Verb::Unrescue,
            rescue.clone(),
            Verb::Undeploy,
        ]),
        State::Resting(Rest::ServiceFailed) => {
            rng.pick(&[service.clone(), Verb::Abort, Verb::Undeploy])
        }
        State::Resting(
            Rest::InspectFailed
            | Rest::DeployFailed
            | Rest::CleanFailed
            | Rest::ManualCleanFailed
            | Rest::Error,
        ) => rng.pick(&[Verb::Manage, Verb::Undeploy, deploy.clone(), Verb::Inspect]),
        State::Busy(job) if job.hold => rng.pick(&[Verb::Unhold, Verb::Unhold, Verb::Abort]),
        // Most jobs come far: what ends a deploy just before its end proves most.
        State::Busy(_) if rng.below(3) > 0 => renamed.clone(),
        State::Busy(_) => rng.pick(&[
            Verb::Undeploy,
            Verb::Abort,
            Verb::Hold,
            Verb::Power(PowerVerb::Off),
        ]),
    };
    if rng.below(4) > 0 {
        return likely;
    }
    let power = Verb::Power(rng.pick(&[
        PowerVerb::On,
        PowerVerb::Off,
        PowerVerb::Reboot,
        PowerVerb::SoftReboot {
            timeout_secs: Some(60),
            then_hard: true,
        },
        PowerVerb::Cycle,
    ]));
    let new = Secret::new(format!("new-{}", rng.below(5)));
    let given = Verb::Allocate {
        allocation: AllocationId::from_bytes([rng.below(2) as u8; 16]),
        wanted: anything(rng),
    };
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
        Verb::Maintenance(Some("fan".to_string())),
        Verb::Maintenance(None),
        Verb::Maintenance(None),
        Verb::set(Patch {
            macs: Some(vec![]),
            ..Patch::default()
        }),
        Verb::set(Patch {
            bmc: Some(access().into()),
            clear: vec![Clear::Kg],
            ..Patch::default()
        }),
        given,
        Verb::Deallocate(AllocationId::from_bytes([0; 16])),
        flagged(r#"{ "resource_class": "large" }"#),
        flagged(r#"{ "protected": "payroll" }"#),
        flagged(r#"{ "retired": "old" }"#),
        flagged(r#"{ "clear": ["protected", "retired"] }"#),
        flagged(r#"{ "disable_power_off": true }"#),
        flagged(r#"{ "disable_power_off": false }"#),
        flagged(r#"{ "disable_power_off": false, "automated_clean": false }"#),
        flagged(r#"{ "clear": ["automated_clean"], "add_traits": ["A"] }"#),
        renamed,
        power,
        Verb::Power(PowerVerb::Off),
        Verb::BootDevice {
            device: BootDevice::Pxe,
            persistent: false,
        },
        Verb::ResetBmc,
        Verb::SetPassword(new),
        Verb::SetPassword(Secret::new("sixteen-bytes-and-3")),
    ])
}

fn anything(rng: &mut Rng) -> Box<Wanted> {
    Box::new(Wanted {
        resource_class: "large".to_string(),
        traits: vec![],
        candidates: vec![],
        owner: None,
        backfill: rng.below(2) == 0,
    })
}

fn flagged(said: &str) -> Verb {
    Verb::set(serde_json::from_str(said).expect("a patch"))
}

fn rename(rng: &mut Rng) -> Verb {
    Verb::set(Patch {
        name: format!("n{}", rng.below(3)).parse().ok(),
        ..Patch::default()
    })
}

/// A node, what lies beside its record, and its BMC.
#[derive(Clone)]
struct World {
    node: Node,
    inventory: Option<Inventory>,
    secrets: BmcSecrets,
    bmc: Password,
}

/// The password that a BMC has.
#[derive(Clone)]
struct Password {
    has: Secret,
    /// Commands that set these may arrive until then.
    told: Vec<(Secret, Time)>,
    /// Nobody here can know it.
    foreign: bool,
}

impl Password {
    fn happens(&mut self, metal: Metal, now: Time) {
        let mut told = self.told.iter().filter(|(_, until)| now < *until);
        let told = told.next().map(|(password, _)| password.clone());
        match (metal, told) {
            (Metal::Foreign, _) => {
                (self.has, self.foreign) = (Secret::new("foreign"), true);
            }
            (Metal::Sets, Some(password)) => (self.has, self.foreign) = (password, false),
            (Metal::SetsCut, Some(password)) => {
                let cut: String = password.reveal().chars().take(16).collect();
                (self.has, self.foreign) = (Secret::new(cut), false);
            }
            (Metal::Sets | Metal::SetsCut, None) => {}
        }
    }
}

impl World {
    fn new() -> Self {
        Self {
            node: enrolled(),
            inventory: None,
            secrets: access().split().1,
            bmc: Password {
                has: access().split().1.password,
                told: Vec::new(),
                foreign: false,
            },
        }
    }

    /// Which of the passwords on record lets one in.
    fn right(&self) -> Option<Candidate> {
        let all = self.secrets.candidates().into_iter();
        let mut right = all.filter(|(_, password)| *password == self.bmc.has);
        right.next().map(|(candidate, _)| candidate)
    }

    fn secrets_after(&self, decision: &Decision) -> BmcSecrets {
        let mut put = decision
            .beside
            .iter()
            .filter_map(|document| match document {
                Beside::BmcSecrets(secrets) => Some(secrets.clone()),
                Beside::InstanceData(_)
                | Beside::Inventory(_)
                | Beside::RescueLogin(_)
                | Beside::Notes(_) => None,
            });
        put.next().unwrap_or_else(|| self.secrets.clone())
    }
}

/// The longest time after the end of an act in which a command of it may still arrive.
const LATE: core::time::Duration = core::time::Duration::from_secs(180);

/// What became of the BMC's password with this event.
fn password_after(
    world: &World,
    moment: &Moment,
    decision: &Decision,
    secrets: &BmcSecrets,
) -> Password {
    let mut bmc = world.bmc.clone();
    let acting = match world.node.job() {
        Some(job) => match (&job.phase, job.step()) {
            (Phase::Acting { op, .. }, Step::Bmc(BmcAct::SetPassword)) => Some((op, job.tries)),
            (_, _) => None,
        },
        None => None,
    };
    match (&moment.event, acting) {
        (Event::Bmc { op, result }, Some((acting, tries))) if op == acting => match result {
            Err(fault) if fault.untold => {
                bmc.told.pop();
            }
            Err(fault) if !fault.permanent => {}
            // Whoever says so sends nothing any more, and in the one case has logged in with it.
            ended => {
                if ended.is_ok() {
                    bmc.has = world.secrets.next.clone().expect("it is being set");
                    bmc.foreign = false;
                }
                if tries == 1 {
                    bmc.told.clear();
                }
            }
        },
        // An operator is believed.
        (
            Event::Asked {
                verb: Verb::Set(_), ..
            },
            _,
        ) if secrets.password != world.secrets.password || secrets.next != world.secrets.next => {
            bmc = Password {
                has: secrets.password.clone(),
                told: Vec::new(),
                foreign: false,
            };
        }
        (_, _) => {}
    }
    for effect in &decision.effects {
        if let Effect::Bmc {
            act: BmcAct::SetPassword,
            until,
            ..
        } = effect
            && let Some(next) = &secrets.next
        {
            bmc.told.push((next.clone(), until.after(LATE)));
        }
    }
    bmc
}

/// Whoever is allowed to can always log in: one of the passwords on record is the BMC's, and there are two only while it
/// is not known which.
fn lets_us_in(world: &World) -> Result<(), String> {
    let open = world.node.password_change.is_some();
    if open != world.secrets.next.is_some() {
        return Err(format!("a change is open: {open}; the passwords say other"));
    }
    match world.right() {
        Some(_) => Ok(()),
        None if world.bmc.foreign => Ok(()),
        None => Err("nobody can log in to the BMC any more".into()),
    }
}

/// What lies beside the record after a decision.
fn inventory_after(world: &World, decision: &Decision) -> Option<Inventory> {
    let put = decision.beside.iter().find_map(|document| match document {
        Beside::Inventory(inventory) => Some((**inventory).clone()),
        Beside::InstanceData(_)
        | Beside::BmcSecrets(_)
        | Beside::RescueLogin(_)
        | Beside::Notes(_) => None,
    });
    put.or_else(|| world.inventory.clone())
}

/// The instance of a protected node is there, and the same, until an operator has ended its protection.
fn keeps_what_is_protected(before: &Node, after: &Node, event: &Event) -> Result<(), String> {
    let image = |node: &Node| node.instance.as_ref().map(|it| it.image.clone());
    let ends = matches!(
        event,
        Event::Asked {
            verb: Verb::Set(_),
            ..
        }
    );
    match before.protected.is_some() && (image(before) != image(after) || after.protected.is_none())
    {
        true if !ends => Err("a protected instance was taken away".into()),
        _ => Ok(()),
    }
}

/// A node that cleaning made available had every disk erased that it is known to have, or says which not.
fn is_truly_clean(
    before: &Node,
    after: &Node,
    inventory: Option<&Inventory>,
) -> Result<(), String> {
    let cleaned = before.job().filter(|job| job.kind == JobKind::Clean);
    let (Some(job), State::Resting(Rest::Available)) = (cleaned, &after.state) else {
        return Ok(());
    };
    let inventory = inventory.ok_or("clean, and nobody knows what the machine is made of")?;
    if let Some(problem) = inventory.disk_problems().next() {
        return Err(format!("clean in spite of {problem:?}"));
    }
    let erased = job.steps[..job.at].iter().flat_map(|step| match step {
        Step::Agent(AgentStep::EraseMetadata { disks }) => disks.as_slice(),
        Step::Agent(_) | Step::Bmc(_) | Step::AwaitAgent | Step::Hold | Step::Wait { .. } => &[],
    });
    let erased: Vec<&DiskIdentity> = erased.collect();
    let named = |disk: &DiskIdentity| {
        let mut left = after.left_alone.disks.iter();
        left.any(|left| left.disk == disk.to_string())
    };
    for disk in &inventory.disks {
        let identity = DiskIdentity::of(disk);
        if !erased.iter().any(|erased| erased.is(disk)) && !named(&identity) {
            return Err(format!("clean with {identity} neither erased nor named"));
        }
    }
    Ok(())
}

/// A lookup never takes away a disk that the machine is known to have: that is an inspection's word.
fn misses_no_disk(before: Option<&Inventory>, after: Option<&Inventory>) -> Result<(), String> {
    let serials = |inventory: Option<&Inventory>| -> Vec<String> {
        let disks = inventory.iter().flat_map(|inventory| &inventory.disks);
        let own = disks.filter(|disk| disk.transport.is_none());
        own.filter_map(|disk| disk.serial.clone()).collect()
    };
    let now = serials(after);
    match serials(before).iter().find(|serial| !now.contains(serial)) {
        None => Ok(()),
        Some(serial) => Err(format!("disk {serial} was forgotten")),
    }
}

/// Hears of every decision: the event, what it was decided on, and what was decided.
type Ear<'a> = dyn FnMut(&Node, &Event, Ctx<'_>, &Result<Decision, Rejected>) + 'a;

/// Applies one moment and judges the result.
fn live(world: &World, moment: &Moment) -> Result<World, String> {
    live_heard(world, moment, &mut |_, _, _, _| {})
}

fn live_heard(world: &World, moment: &Moment, ear: &mut Ear<'_>) -> Result<World, String> {
    let policy = policy();
    let node = &world.node;
    let known = world.inventory.as_ref();
    let known = known.filter(|_| needs_inventory(node, &moment.event));
    let mut before = world.clone();
    if let Some(metal) = moment.metal {
        before.bmc.happens(metal, moment.now);
    }
    if let Event::PasswordFound { version, found } = &moment.event
        && world.node.beside.bmc_secrets.as_ref() == Some(version)
        && *found != before.right()
    {
        // In this history it would be untrue.
        return Ok(before);
    }
    if let Event::WorkerLost { actor, .. } = &moment.event
        && actor.worker == moment.worker
    {
        // Nobody says so of itself, but another incarnation, of which there is one here.
        return Ok(before);
    }
    if let Event::Bmc {
        result: Err(fault), ..
    } = &moment.event
        && fault.untold
        && Some(&before.bmc.has) != before.secrets.candidate(Candidate::Present).as_ref()
    {
        // Nor can this be: it was told, or somebody else is at work.
        return Ok(before);
    }
    let secrets = Some(&world.secrets).filter(|_| moment.event.needs_secrets(node));
    let ctx = |op| Ctx {
        now: moment.now,
        op,
        worker: &moment.worker,
        incarnation: Incarnation::default(),
        policy: &policy,
        inventory: known,
        secrets,
        instance_data: None,
        notes: None,
        rules: None,
    };
    let decided = decide(Some(node), &moment.event, ctx(&moment.op));
    ear(node, &moment.event, ctx(&moment.op), &decided);
    let Ok(decision) = decided else {
        return Ok(before);
    };
    let inventory = inventory_after(world, &decision);
    let after = decision.node.as_ref();
    let after = after.ok_or("a node was forgotten though nobody asked for it")?;
    invariant::check(after).map_err(|broken| broken.to_string())?;
    is_truly_clean(node, after, inventory.as_ref())?;
    keeps_what_is_protected(node, after, &moment.event)?;
    has_the_ticket(node, after, &moment.event)?;
    if let Event::Booted { .. } = moment.event {
        misses_no_disk(world.inventory.as_ref(), inventory.as_ref())?;
    }

    if let Event::PowerRead {
        at,
        result,
        troubles,
    } = &moment.event
        && !is_news(&Entry::of(node), *at, result, *troubles, &policy)
        && after != node
    {
        return Err(format!("no news, and yet: {}", decision.because));
    }

    let secrets = world.secrets_after(&decision);
    let after_it = World {
        node: after.clone(),
        inventory,
        bmc: password_after(&before, moment, &decision, &secrets),
        secrets,
    };
    lets_us_in(&after_it)?;

    let twice: OpId = "twice".parse().expect("a token");
    let ctx = Ctx {
        secrets: Some(&after_it.secrets).filter(|_| moment.event.needs_secrets(after)),
        ..ctx(&twice)
    };
    if let Ok(again) = decide(Some(after), &moment.event, ctx) {
        let acts = again
            .effects
            .iter()
            .any(|effect| matches!(effect, Effect::Bmc { .. }));
        if again.node.as_ref() != Some(after) || acts {
            return Err(format!(
                "twice is not once: {} / {}",
                decision.because, again.because
            ));
        }
    }
    let acted = |node: &Node| node.job().and_then(|job| job.bmc_act()).is_some();
    if let Event::Asked { .. } = &moment.event
        && acted(node)
        && !decision.effects.is_empty()
    {
        return Err("an act was begun before the one under way was over".into());
    }
    let acts: Vec<&Effect> = decision
        .effects
        .iter()
        .filter(|e| matches!(e, Effect::Bmc { .. }))
        .collect();
    match (acts.as_slice(), after.job().map(|job| &job.phase)) {
        ([], _) => {}
        ([Effect::Bmc { op, .. }], Some(Phase::Acting { op: recorded, .. })) if op == recorded => {}
        (_, _) => return Err(format!("an act without a record of it: {acts:?}")),
    }
    let began = matches!(acts.as_slice(), [Effect::Bmc { .. }]);
    if node.is_held() && after.is_held() && began {
        return Err("an act of a job that maintenance holds".to_string());
    }
    // The return from a power change is not news.
    let was_active = node.state.provision_state() == "active";
    // One that is adopted is as it was found.
    let adopted = node.job().is_some_and(|job| job.kind == JobKind::Adopt);
    // So is one whose service has not booted the ramdisk.
    let booted = |job: &Job| job.steps[..job.at].contains(&Step::Bmc(BmcAct::Netboot));
    let in_ramdisk = |job: &Job| job.kind != JobKind::Service || booted(job);
    let in_ramdisk = node.job().is_some_and(in_ramdisk);
    let became_active =
        after.state == State::Resting(Rest::Active) && !was_active && !adopted && in_ramdisk;
    if became_active
        && !matches!(
            &moment.event,
            Event::Bmc {
                result: Ok(BmcReport { power_on: true }),
                ..
            }
        )
    {
        return Err("active, though no BMC said that the machine is on".to_string());
    }
    let left = |job: &Job| {
        // An agent in a rescue is not asked to go: the machine is switched off.
        let rescued = job.kind == JobKind::Unrescue;
        let left = |step: &Step| match step {
            Step::Bmc(BmcAct::LeaveRamdisk { .. }) => true,
            Step::Bmc(BmcAct::PowerOff) => rescued,
            Step::Bmc(_) | Step::AwaitAgent | Step::Agent(_) | Step::Hold | Step::Wait { .. } => {
                false
            }
        };
        job.steps[..job.at].iter().any(left)
    };
    if became_active && !node.job().is_some_and(left) {
        return Err("active, though no BMC saw the machine leave the ramdisk".to_string());
    }
    // Other events may come before a due alarm is delivered; once delivered, it must have been dealt with.
    if matches!(moment.event, Event::Alarm { .. })
        && after.wake_at.is_some_and(|at| at <= moment.now)
    {
        return Err(format!("the alarm is still due: {}", decision.because));
    }
    let _ = explain(after, moment.now, &policy).to_string();
    Ok(after_it)
}

/// Left alone, with every alarm kept, a node comes to rest, once nobody has its job held.
fn rests(world: &World) -> Result<(), String> {
    let mut world = world.clone();
    for n in 0..MAX_ALARMS_TO_REST {
        // Also a job that took the place of one that maintenance does not hold.
        if world.node.is_held() {
            world.node.maintenance = None;
        }
        let Some(now) = world.node.wake_at else {
            return Ok(());
        };
        let op = format!("rest{n}").parse().expect("a token");
        world = live(
            &world,
            &Moment {
                now,
                op,
                worker: worker(1),
                event: Event::Alarm { last_beat: None },
                metal: None,
            },
        )?;
    }
    Err(format!(
        "still {} after {MAX_ALARMS_TO_REST} alarms",
        world.node.state.provision_state()
    ))
}

fn replay(history: &[Moment]) -> Result<World, String> {
    let mut world = World::new();
    for moment in history {
        world = live(&world, moment)?;
    }
    rests(&world)?;
    Ok(world)
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("histories")
}

/// Leaves out every moment that the failure does not need, and keeps the rest as a file.
fn keep(seed: u64, mut history: Vec<Moment>, why: &str) -> String {
    let mut index = 0;
    while index < history.len() {
        let mut shorter = history.clone();
        shorter.remove(index);
        if replay(&shorter).is_err() {
            history = shorter;
        } else {
            index += 1;
        }
    }
    let path = folder().join(format!("seed-{seed}.json"));
    let json = serde_json::to_string_pretty(&history).expect("moments are JSON");
    std::fs::create_dir_all(folder())
        .and_then(|()| std::fs::write(&path, json))
        .expect("the history can be kept");
    format!(
        "{why}\nseed {seed}; {} moments kept in {}",
        history.len(),
        path.display()
    )
}

#[test]
fn ten_thousand_random_histories() {
    let base = std::env::var("IRONBEAT_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| {
            u64::from(std::process::id()) << 32
                | std::time::UNIX_EPOCH
                    .elapsed()
                    .expect("after 1970")
                    .subsec_nanos() as u64
        });
    println!("IRONBEAT_SEED={base}");
    let mut seen = std::collections::BTreeMap::<&str, u64>::new();
    let mut active_jobs = 0u64;
    for n in 0..HISTORIES {
        let seed = base.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1;
        let mut rng = Rng(seed);
        let mut world = World::new();
        let mut history = Vec::new();
        let mut now = Time::from_unix_ms(1_800_000_000_000);
        for count in 0..EVENTS {
            history.push(next_moment(&world, &mut now, &mut rng, count));
            let outcome = live(&world, &history[count]).and_then(|after| {
                if count % 10 == 9 {
                    rests(&after)?;
                }
                Ok(after)
            });
            match outcome {
                Ok(after) => world = after,
                Err(why) => panic!("{}", keep(seed, history, &why)),
            }
            let node = &world.node;
            *seen.entry(node.state.provision_state()).or_default() += 1;
            for (what, is) in [
                ("a login", node.tickets.used.is_some()),
                ("a rival", node.tickets.rival.is_some()),
                ("a void ticket", !node.tickets.void.is_empty()),
                ("an open password", node.password_change.is_some()),
                ("a new password", is_new(&world)),
            ] {
                *seen.entry(what).or_default() += u64::from(is);
            }
        }
        active_jobs += u64::from(
            world
                .node
                .job()
                .is_some_and(|job| job.kind == JobKind::Deploy),
        );
    }
    println!("states seen: {seen:?}; deploys in flight at the end: {active_jobs}");
    // A generator that never gets anywhere would prove nothing.
    for state in [
        "enroll",
        "verifying",
        "manageable",
        "inspecting",
        "inspect wait",
        "inspect failed",
        "available",
        "deploying",
        "wait call-back",
        "deploy failed",
        "active",
        "deleting",
        "error",
        "cleaning",
        "clean wait",
        "clean failed",
        "a login",
        "a rival",
        "a void ticket",
        "an open password",
        "a new password",
    ] {
        assert!(
            seen.get(state).is_some_and(|times| *times > 100),
            "{state} was hardly ever reached: {seen:?}"
        );
    }
}

#[test]
fn kept_histories() {
    let Ok(files) = std::fs::read_dir(folder()) else {
        return;
    };
    for file in files {
        let path = file.expect("the folder can be listed").path();
        let history: Vec<Moment> = serde_json::from_slice(&std::fs::read(&path).expect("readable"))
            .expect("a history as `keep` writes it");
        replay(&history).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    }
}

/// A decision must not depend on the node's id.
#[test]
fn the_node_id_is_only_a_name() {
    let mut other = enrolled();
    other.id = NodeId::from_bytes([0xee; 16]);
    let (op, worker, policy) = ("op".parse().expect("a token"), worker(1), policy());
    let ctx = Ctx {
        now: Time::from_unix_ms(5),
        op: &op,
        worker: &worker,
        incarnation: Incarnation::default(),
        policy: &policy,
        inventory: None,
        secrets: None,
        instance_data: None,
        notes: None,
        rules: None,
    };
    let event = Event::Asked {
        request: "r".parse().expect("a token"),
        verb: Verb::Manage,
    };
    let mut decided = decide(Some(&other), &event, ctx)
        .expect("manage is possible")
        .node
        .expect("it is still there");
    decided.id = enrolled().id;
    assert_eq!(
        Some(decided),
        decide(Some(&enrolled()), &event, ctx)
            .expect("manage is possible")
            .node
    );
}
