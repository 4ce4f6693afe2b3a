//! What a worker does with what comes to it: lookups, beats, requests, alarms and readings, as the conductor's `front/` and
//! `loops/` do, each a task over its `Drive`. What an event means is decided in the core.
use crate::asks::{Answer, Ask, Command, ask};
use crate::ground::SimDrive;
use crate::tally::event_name;
use crate::{OfMachine, Shared, Task, World, lock};
use ironbeat::drive::ReconcileError;
use ironbeat_common::heartbeat::{HeartbeatReply, Status};
use ironbeat_common::id::{BootId, NodeId};
use ironbeat_common::inventory::Inventory;
use ironbeat_common::login::UserKey;
use ironbeat_common::lookup::LookupReply;
use ironbeat_core::decide::{
    BmcFault, BmcReport, Enrolment, Event, Proof, Rejected, Verb, Wanted, is_news, wanted,
};
use ironbeat_core::id::RequestId;
use ironbeat_core::index::Entry;
use ironbeat_core::lookup::{Identity, Match};
use ironbeat_core::node::{Delivery, MeasuredBoot, Node, Sign};
use std::sync::Arc;

#[expect(
    clippy::large_enum_variant,
    reason = "a job lives from one step to the next"
)]
pub(crate) enum Job {
    LookUp {
        machine: usize,
        epoch: u64,
        number: u64,
        boot: BootId,
        inventory: Box<Inventory>,
        proof: Proof,
    },
    /// A machine asks for the boot script of its node, which the worker takes to be one of a ramdisk.
    Script {
        machine: usize,
        epoch: u64,
        node: NodeId,
        ticket: UserKey,
    },
    /// The same of a machine that is not the node's.
    RivalScript {
        machine: usize,
        node: NodeId,
        ticket: UserKey,
    },
    Beat {
        machine: usize,
        epoch: u64,
        number: u64,
        node: NodeId,
        boot: BootId,
        status: Status,
        nudged: bool,
    },
    Enrol(Box<Enrolment>),
    Request {
        node: NodeId,
        request: RequestId,
        verb: Verb,
    },
    Alarm {
        node: NodeId,
        event: Event,
    },
    ReadPower {
        node: Arc<Entry>,
    },
    Seen {
        node: NodeId,
        sign: Sign,
    },
}

impl Job {
    pub fn words(&self) -> String {
        match self {
            Job::LookUp { boot, .. } => format!("looks up, {boot}"),
            Job::Beat { boot, status, .. } => format!("beats, {boot}: {status:?}"),
            Job::Script { ticket, .. } | Job::RivalScript { ticket, .. } => {
                format!("asks for its script, {ticket}")
            }
            Job::Enrol(_) => "enrol".into(),
            Job::Request { request, verb, .. } => format!("{} ({request})", verb.name()),
            Job::Alarm { event, .. } => event_name(event).into(),
            Job::ReadPower { .. } => "read power".into(),
            Job::Seen { sign, .. } => format!("seen: it {}", sign.words()),
        }
    }

    pub fn run(self, world: Shared, worker: usize, drive: Arc<SimDrive>) -> Task {
        match self {
            Job::LookUp {
                machine,
                epoch,
                number,
                boot,
                inventory,
                proof,
            } => Box::pin(async move {
                let reply = look_up(&world, worker, &drive, boot, *inventory, proof).await;
                let what = match reply {
                    Ok(reply) => OfMachine::Welcomed(number, reply),
                    Err(()) => OfMachine::Refused(number),
                };
                answers(&world, machine, epoch, what);
            }),
            Job::Script {
                machine,
                epoch,
                node,
                ticket,
            } => Box::pin(async move {
                let given = script(&world, worker, &drive, node, ticket).await;
                answers(&world, machine, epoch, OfMachine::Script(ticket, given));
            }),
            Job::RivalScript {
                machine,
                node,
                ticket,
            } => Box::pin(async move {
                if script(&world, worker, &drive, node, ticket).await == Some(true) {
                    lock(&world).rival_boots(machine, ticket);
                }
            }),
            Job::Beat {
                machine,
                epoch,
                number,
                node,
                boot,
                status,
                nudged,
            } => Box::pin(async move {
                let goes_on = !nudged && {
                    let inside = lock(&world);
                    let known = inside.workers[worker].index.get(&node);
                    known.is_some_and(|node| node.goes_on(boot, &status))
                };
                let reply = match goes_on {
                    true => Ok(HeartbeatReply::Idle),
                    false => beat(&world, &drive, node, boot, status).await,
                };
                let what = match reply {
                    Ok(reply) => OfMachine::Replied(number, Box::new(reply)),
                    Err(()) => OfMachine::Refused(number),
                };
                answers(&world, machine, epoch, what);
            }),
            Job::Enrol(enrolment) => Box::pin(async move {
                let id = enrolment.id;
                let _ = deliver(&world, &drive, id, &Event::Enrolled(*enrolment)).await;
            }),
            Job::Request {
                node,
                request,
                verb,
            } => Box::pin(async move {
                let event = Event::Asked { request, verb };
                let _ = deliver(&world, &drive, node, &event).await;
            }),
            Job::Alarm { node, event } => Box::pin(async move {
                let kept = alarm(&world, &drive, node, event).await;
                let mut world = lock(&world);
                let until = world.now + AGAIN_MS;
                let it = &mut world.workers[worker];
                it.alarms = it.alarms.saturating_sub(1);
                if !kept {
                    it.quiet.insert(node, until);
                }
            }),
            Job::Seen { node, sign } => Box::pin(async move {
                let at = lock(&world).clock_of(worker);
                let _ = deliver(&world, &drive, node, &Event::Seen { sign, at }).await;
            }),
            Job::ReadPower { node } => Box::pin(read_power(world, worker, drive, node)),
        }
    }
}

/// What a machine that has no work is told.
const RETRY_SECS: u32 = 20;
/// After an alarm that could not be kept.
const AGAIN_MS: u64 = 5_000;

async fn deliver(
    world: &Shared,
    drive: &Arc<SimDrive>,
    node: NodeId,
    event: &Event,
) -> Result<Arc<Node>, ReconcileError> {
    lock(world).begins(event_name(event));
    let result = drive.deliver(node, event).await;
    if let Err(ReconcileError::Broken(..) | ReconcileError::Races(_)) = &result {
        let what = format!("{} of {node}: {result:?}", event_name(event));
        lock(world).judge.violation(what);
    }
    result
}

fn answers(world: &Shared, machine: usize, epoch: u64, what: OfMachine) {
    let mut world = lock(world);
    if world.machines[machine].epoch == epoch {
        let ms = world.rng.between(1, 10);
        world.of_machine(ms, machine, what);
    }
}

async fn look_up(
    world: &Shared,
    worker: usize,
    drive: &Arc<SimDrive>,
    boot: BootId,
    inventory: Inventory,
    proof: Proof,
) -> Result<LookupReply, ()> {
    let identity = Identity::of_machine(&inventory);
    let (found, timeout) = {
        let world = lock(world);
        let found = world.workers[worker].index.find(&identity);
        (found, world.policy.heartbeat_timeout_secs)
    };
    let wait = LookupReply::Wait {
        retry_secs: RETRY_SECS,
    };
    let Match::One { node, .. } = found else {
        return Ok(wait);
    };
    let event = Event::Booted {
        boot,
        inventory,
        proof,
        measured: MeasuredBoot::default(),
    };
    match deliver(world, drive, node, &event).await {
        Ok(node) if node.boot != Some(boot) => Ok(wait),
        Ok(node) => {
            lock(world).judge_welcome(&node, proof);
            Ok(LookupReply::Welcome {
                node: node.id,
                heartbeat_timeout_secs: timeout,
                login: None,
            })
        }
        Err(ReconcileError::Rejected(_)) => Ok(wait),
        Err(_) => Err(()),
    }
}

/// As the conductor's `run.rs`, `give`.
async fn script(
    world: &Shared,
    worker: usize,
    drive: &Arc<SimDrive>,
    node: NodeId,
    ticket: UserKey,
) -> Option<bool> {
    let at = lock(world).clock_of(worker);
    match deliver(world, drive, node, &Event::Script { ticket, at }).await {
        Ok(node) => Some(node.tickets.opens(&ticket)),
        Err(ReconcileError::Rejected(Rejected::AgentNotWanted { .. })) => Some(false),
        Err(_) => None,
    }
}

async fn beat(
    world: &Shared,
    drive: &Arc<SimDrive>,
    node: NodeId,
    boot: BootId,
    status: Status,
) -> Result<HeartbeatReply, ()> {
    let event = Event::Beat {
        boot,
        status: status.clone(),
    };
    match deliver(world, drive, node, &event).await {
        Ok(node) => Ok(match wanted(&node, boot, &status) {
            Wanted::Idle => HeartbeatReply::Idle,
            Wanted::LookUp => HeartbeatReply::LookUp,
            Wanted::Step { id, step } => HeartbeatReply::Step {
                id,
                order: step.order(Delivery::default()),
            },
        }),
        Err(ReconcileError::Rejected(Rejected::UnknownBoot) | ReconcileError::NoNode(_)) => {
            Ok(HeartbeatReply::LookUp)
        }
        Err(_) => Err(()),
    }
}

/// Whether it was kept.
async fn alarm(world: &Shared, drive: &Arc<SimDrive>, node: NodeId, event: Event) -> bool {
    let event = match event {
        Event::Alarm { .. } => match ask(world, Ask::LastBeat(node)).await {
            Answer::LastBeat(last_beat) => Event::Alarm { last_beat },
            _ => return false,
        },
        other => other,
    };
    match deliver(world, drive, node, &event).await {
        Ok(_) | Err(ReconcileError::NoNode(_) | ReconcileError::Rejected(_)) => true,
        Err(_) => false,
    }
}

/// Whoever logs in while a BMC's password is in question finds out which is right, and tells it. Whether it could log in.
async fn settle_password(world: &Shared, drive: &Arc<SimDrive>, node: &Entry) -> bool {
    let Some(version) = node.bmc_secrets.clone() else {
        return true;
    };
    let (machine, candidates) = {
        let inside = lock(world);
        let candidates = inside.store.passwords(node.id, &version);
        (inside.machine_at(&node.bmc), candidates)
    };
    if candidates.len() < 2 {
        return true;
    }
    let mut found = None;
    for (candidate, password) in candidates {
        let look = Ask::Bmc {
            machine,
            node: node.id,
            op: None,
            password: Some(password),
            command: Command::Status,
        };
        match ask(world, look).await {
            Answer::Power(_) => {
                found = Some(candidate);
                break;
            }
            Answer::WrongPassword => {}
            _ => return false,
        }
    }
    let event = Event::PasswordFound { version, found };
    if let Ok(node) = deliver(world, drive, node.id, &event).await
        && node.password_change.is_none()
    {
        lock(world).tally.passwords[1] += 1;
    }
    found.is_some()
}

async fn read_power(world: Shared, worker: usize, drive: Arc<SimDrive>, node: Arc<Entry>) {
    let (at, look) = {
        let inside = lock(&world);
        let look = Ask::Bmc {
            machine: inside.machine_at(&node.bmc),
            node: node.id,
            op: None,
            password: None,
            command: Command::Status,
        };
        (inside.clock_of(worker), look)
    };
    if !settle_password(&world, &drive, &node).await {
        return;
    }
    let fault = |what: &str, permanent| BmcFault {
        what: what.into(),
        permanent,
        accepted: None,
        untold: false,
        let_go: false,
    };
    let result = match ask(&world, look).await {
        Answer::Power(power_on) => Ok(BmcReport { power_on }),
        Answer::WrongPassword => Err(fault("wrong password", true)),
        _ => Err(fault("no answer", false)),
    };
    let (known, troubles, policy) = {
        let mut inside = lock(&world);
        let policy = inside.policy.clone();
        let it = &mut inside.workers[worker];
        let known = it.index.get(&node.id).cloned().unwrap_or(node);
        let power = known.power.as_ref().map(|power| power.on);
        let trouble = match &result {
            Ok(report) => power.is_some_and(|power| power != report.power_on),
            Err(_) => true,
        };
        let watch = it.watches.entry(known.id).or_default();
        watch.troubles = if trouble { watch.troubles + 1 } else { 0 };
        (known, watch.troubles, policy)
    };
    if !is_news(&known, at, &result, troubles, &policy) {
        return;
    }
    let event = Event::PowerRead {
        at,
        result,
        troubles,
    };
    let _ = deliver(&world, &drive, known.id, &event).await;
}

impl World {
    pub(crate) fn comes(&mut self, to: usize, job: Job) {
        self.jobs.push((to, job));
    }
}
