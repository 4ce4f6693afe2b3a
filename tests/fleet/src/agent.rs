//! A simulated agent: looks up, beats, does what the replies name, ends. As the agent's `heart/beat.rs`, without a disk.
//! Leaves what the machine does afterwards to `machine`.
use crate::entry::Entry;
use crate::hardware;
use crate::link::{Link, Unanswered};
use crate::machine::{Act, Machine, Runs, Seat};
use ironbeat_agent::heart::login::Access;
use ironbeat_common::codec;
use ironbeat_common::heartbeat::{
    Heartbeat, HeartbeatReply, Outcome, Progress, Rescued, Status, Written,
};
use ironbeat_common::id::{BootId, NodeId, StepId};
use ironbeat_common::login::Login;
use ironbeat_common::lookup::{Lookup, LookupReply};
use ironbeat_common::order::Order;
use ironbeat_common::subject;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// As the agent's.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LIMIT: Duration = Duration::from_secs(30);
const FINAL_BEAT: Duration = Duration::from_secs(60);
const EXPECTANT: Duration = Duration::from_secs(20);
const RECONNECT_SPREAD: Duration = Duration::from_secs(3);
/// A beat at least this often while a step runs.
const RUNNING_BEAT: Duration = Duration::from_secs(5);

/// What all agents of a fleet have in common.
#[derive(Clone, Debug)]
pub struct Pace {
    /// From power-on to the first lookup.
    pub boot: Duration,
    /// How long an image takes to write. Every other step is done at once.
    pub write: Duration,
}

pub(crate) struct Agent {
    pub machine: Arc<Machine>,
    pub entry: Entry,
    pub bmc: IpAddr,
    pub pace: Pace,
    /// Where nudges come from, for all agents that share connections.
    pub nudges_by: Option<Link>,
    /// Rings at each nudge.
    pub nudge: Arc<Notify>,
    /// While this is true no image comes to its end.
    pub held: watch::Receiver<bool>,
}

enum Ending {
    Reboot,
    PowerOff,
}

/// For as long as the fleet lives: an agent whenever the machine runs the ramdisk.
pub(crate) async fn live(agent: Agent) {
    let mut life = agent.machine.life();
    loop {
        let runs = *life.borrow_and_update();
        if let Runs::Ramdisk(boot) = runs {
            let ending = tokio::select! {
                _ = life.changed() => continue,
                ending = agent.run(boot) => ending,
            };
            match ending {
                Ending::Reboot => agent.machine.start(),
                Ending::PowerOff => agent.machine.stop(),
            }
        } else if life.changed().await.is_err() {
            return;
        }
    }
}

impl Agent {
    async fn run(&self, boot: BootId) -> Ending {
        sleep(self.pace.boot).await;
        let mut seq = 0;
        let access = Arc::new(self.entry.access(self.machine.number).await);
        loop {
            let Ok(door) = self.entry.door(&access, boot).await else {
                sleep(RETRY_FIRST).await;
                continue;
            };
            let (node, pause, login) = self.look_up(&door, &access, boot).await;
            let own = self
                .entry
                .own(&access, (boot, node), login.as_ref(), &self.nudge);
            let Ok(own) = own.await else {
                sleep(RETRY_FIRST).await;
                continue;
            };
            drop(door);
            self.machine.sits(Seat {
                access: Arc::clone(&access),
                own: own.link.clone(),
            });
            if let Some(ending) = self.beat(&own.link, node, pause, boot, &mut seq).await {
                return ending;
            }
        }
    }

    /// Until it is welcome.
    async fn look_up(
        &self,
        link: &Link,
        access: &Access,
        boot: BootId,
    ) -> (NodeId, Duration, Option<Login>) {
        let mut failures = 0;
        let lookup = Lookup {
            login: access.request(&boot),
            ..hardware::lookup(self.machine.number, self.bmc, boot)
        };
        loop {
            let subject = subject::lookup(&link.prefix);
            let wait = match link.ask(subject, &lookup).await {
                Ok(LookupReply::Welcome {
                    node,
                    heartbeat_timeout_secs,
                    login,
                }) => {
                    self.machine.note(|ledger| {
                        ledger.lookups += 1;
                        ledger.welcomes += 1;
                    });
                    let timeout = Duration::from_secs(heartbeat_timeout_secs.into());
                    return (node, timeout, login);
                }
                Ok(LookupReply::Wait { retry_secs }) => {
                    self.machine.note(|ledger| ledger.lookups += 1);
                    failures = 0;
                    Duration::from_secs(retry_secs.into()).mul_f64(0.5 + random())
                }
                Err(error) => self.failed(&error, &mut failures),
            };
            sleep(wait).await;
        }
    }

    fn failed(&self, _error: &Unanswered, failures: &mut u32) -> Duration {
        self.machine.note(|ledger| ledger.unanswered += 1);
        let limit = (RETRY_FIRST * 2u32.pow((*failures).min(10))).min(RETRY_LIMIT);
        *failures += 1;
        limit.mul_f64(random())
    }

    /// Until the agent has to look up again (none) or to end.
    async fn beat(
        &self,
        link: &Link,
        node: NodeId,
        silence: Duration,
        boot: BootId,
        seq: &mut u64,
    ) -> Option<Ending> {
        let subject = subject::heartbeat(&link.prefix, &node);
        let mut status = Status::Idle;
        let mut ends: Option<(Ending, Instant)> = None;
        // The step that runs, and when it is over.
        let mut running: Option<(StepId, Order, Instant)> = None;
        let (mut due, mut failures) = (Instant::now(), 0);
        let mut held = self.held.clone();
        let mut connects = link.connects.clone();
        connects.mark_unchanged();
        let mut nudges = self.nudges_by.as_ref().unwrap_or(link).connects.clone();
        nudges.mark_unchanged();
        // Answers without an order since the last step.
        let mut idles = 0;
        loop {
            let is_held = *held.borrow_and_update();
            let may_end = |order: &Order| !(is_held && matches!(order, Order::WriteImage(_)));
            let ending = running.as_ref().filter(|(_, order, _)| may_end(order));
            let over = ending.map_or(due, |(_, _, over)| *over);
            tokio::select! {
                () = self.nudge.notified() => self.machine.note(|ledger| ledger.nudges += 1),
                Ok(()) = held.changed() => continue,
                Ok(()) = nudges.changed() => {
                    due = due.min(Instant::now() + RECONNECT_SPREAD.mul_f64(random()));
                    continue;
                }
                Ok(()) = connects.changed() => {
                    due = due.min(Instant::now() + RECONNECT_SPREAD.mul_f64(random()));
                    continue;
                }
                () = sleep_until(over.min(due)) => {}
            }
            let is_over =
                |it: &mut (StepId, Order, Instant)| may_end(&it.1) && it.2 <= Instant::now();
            if let Some((step, order, _)) = running.take_if(is_over) {
                idles = 0;
                self.machine.note(|ledger| {
                    if let Some(act) = ledger.acts.iter_mut().rfind(|act| act.step == step) {
                        act.done = true;
                    }
                });
                ends = match order {
                    Order::Reboot => Some((Ending::Reboot, Instant::now() + FINAL_BEAT)),
                    Order::PowerOff => Some((Ending::PowerOff, Instant::now() + FINAL_BEAT)),
                    _ => None,
                };
                status = Status::Done {
                    step,
                    outcome: self.outcome(&order),
                };
            }
            *seq += 1;
            let beat = Heartbeat {
                version: codec::VERSION,
                boot,
                seq: *seq,
                status: status.clone(),
                nudge: None,
            };
            let asked = link.ask(subject.clone(), &beat);
            let reply = match &ends {
                Some((_, until)) => timeout(until.saturating_duration_since(Instant::now()), asked)
                    .await
                    .unwrap_or(Err(Unanswered::TimedOut)),
                None => asked.await,
            };
            if let Some((ending, until)) = ends.take() {
                if reply.is_ok() || Instant::now() >= until {
                    return Some(ending);
                }
                ends = Some((ending, until));
            }
            match reply {
                Ok(reply) => {
                    failures = 0;
                    self.machine.note(|ledger| ledger.beats += 1);
                    let expectant = EXPECTANT.saturating_mul(2u32.saturating_pow(idles));
                    let regular = silence.mul_f64(0.3 + 0.3 * random());
                    due = Instant::now() + regular.min(expectant.mul_f64(0.5 + 0.5 * random()));
                    match reply {
                        HeartbeatReply::Idle => idles = idles.saturating_add(1),
                        HeartbeatReply::LookUp => return None,
                        HeartbeatReply::Step { id, order } => {
                            let known = match &status {
                                Status::Running { step, .. }
                                | Status::Done { step, .. }
                                | Status::Failed { step, .. } => *step == id,
                                Status::Idle => false,
                            };
                            if !known {
                                status = self.begin(boot, id, &order);
                                let takes = match order {
                                    Order::WriteImage(_) => self.pace.write,
                                    _ => Duration::ZERO,
                                };
                                running = Some((id, order, Instant::now() + takes));
                            }
                        }
                    }
                    if running.is_some() {
                        due = Instant::now() + RUNNING_BEAT;
                    }
                }
                Err(error) => due = Instant::now() + self.failed(&error, &mut failures),
            }
        }
    }

    fn begin(&self, boot: BootId, step: StepId, order: &Order) -> Status {
        let act = Act {
            boot,
            step,
            order: order.name(),
            done: false,
        };
        self.machine.note(|ledger| ledger.acts.push(act));
        Status::Running {
            step,
            progress: Progress::default(),
        }
    }

    fn outcome(&self, order: &Order) -> Outcome {
        match order {
            Order::Inspect { .. } => {
                let found = hardware::inventory(self.machine.number, self.bmc);
                Outcome::Inventory(Box::new(found))
            }
            Order::WriteImage(_) => Outcome::Written(Written {
                image_bytes: 2 << 30,
                millis: u64::try_from(self.pace.write.as_millis()).unwrap_or(u64::MAX),
                resumed: 0,
                collisions: Vec::new(),
            }),
            Order::Rescue(_) => Outcome::Rescued(Rescued::default()),
            _ => Outcome::Nothing,
        }
    }
}

/// From 0 to 1.
fn random() -> f64 {
    let (bits, _) = uuid::Uuid::new_v4().as_u64_pair();
    (bits >> 32) as f64 / f64::from(u32::MAX)
}
