//! The simulated ground of a `Drive`: its three traits, by questions to the world.
//! After a write without an answer it looks what became of it, as the conductor's `records/documents.rs` does.
use crate::asks::{Answer, Ask, ask, sleep};
use crate::{Happens, OfMachine, Shared, lock};
use ironbeat::drive::{Clock, Drive, Hands, Notification, Records};
use ironbeat::records::{KvError, Revision, StoreError};
use ironbeat_common::id::NodeId;
use ironbeat_common::inventory::Inventory;
use ironbeat_core::decide::{BmcFault, BmcReport};
use ironbeat_core::flight::Entry;
use ironbeat_core::id::OpId;
use ironbeat_core::node::{
    Beside, BesideKind, BmcAct, BmcSecrets, Ended, InstanceData, Node, Notes,
};
use ironbeat_core::time::Time;
use ironbeat_ops::happening::Happening;
use std::sync::Arc;
use std::time::Duration;

pub(crate) type SimDrive = Drive<SimRecords, SimClock, SimHands>;

/// How often a write whose acknowledgement does not come is sent.
const WRITES: u32 = 3;
/// Before a store that is away is asked again what became of a write.
const PAUSE_MS: u64 = 500;

pub(crate) struct SimRecords(pub Shared);

fn read_error(node: NodeId) -> StoreError {
    StoreError::Kv(KvError::Read {
        key: format!("node.{node}"),
        source: "no answer".into(),
    })
}

fn unclear(node: NodeId) -> StoreError {
    StoreError::Kv(KvError::Unclear {
        key: format!("node.{node}"),
        source: "no acknowledgement".into(),
    })
}

fn conflict(node: NodeId) -> StoreError {
    StoreError::Conflict {
        what: format!("node {node}"),
    }
}

impl SimRecords {
    async fn beside(&self, node: &Node, kind: BesideKind) -> Result<Option<Beside>, StoreError> {
        let Some(version) = node.beside.of(kind) else {
            return Ok(None);
        };
        match ask(&self.0, Ask::Beside(node.id, kind, version.clone())).await {
            Answer::Beside(Some(document)) => Ok(Some(*document)),
            Answer::Beside(None) => Err(StoreError::Missing {
                key: format!("{}.{}.{version}", kind.name(), node.id),
                node: node.id,
            }),
            _ => Err(read_error(node.id)),
        }
    }
}

impl Records for SimRecords {
    async fn load(&self, id: NodeId) -> Result<Option<(Node, Revision)>, StoreError> {
        match ask(&self.0, Ask::Load(id)).await {
            Answer::Loaded(found) => Ok(found.map(|found| *found)),
            _ => Err(read_error(id)),
        }
    }

    async fn inventory(&self, node: &Node) -> Result<Option<Inventory>, StoreError> {
        Ok(match self.beside(node, BesideKind::Inventory).await? {
            Some(Beside::Inventory(inventory)) => Some(*inventory),
            Some(_) | None => None,
        })
    }

    async fn secrets(&self, node: &Node) -> Result<Option<BmcSecrets>, StoreError> {
        Ok(match self.beside(node, BesideKind::BmcSecrets).await? {
            Some(Beside::BmcSecrets(secrets)) => Some(secrets),
            Some(_) | None => None,
        })
    }

    async fn instance_data(&self, node: &Node) -> Result<Option<InstanceData>, StoreError> {
        Ok(match self.beside(node, BesideKind::InstanceData).await? {
            Some(Beside::InstanceData(data)) => Some(data),
            Some(_) | None => None,
        })
    }

    async fn notes(&self, node: &Node) -> Result<Option<Notes>, StoreError> {
        Ok(match self.beside(node, BesideKind::Notes).await? {
            Some(Beside::Notes(notes)) => Some(notes),
            Some(_) | None => None,
        })
    }

    async fn write(
        &self,
        before: Option<(&Node, Revision)>,
        after: Option<&Node>,
        beside: &[Beside],
    ) -> Result<Revision, StoreError> {
        let Some(id) = after.or(before.map(|(node, _)| node)).map(|node| node.id) else {
            return Ok(0);
        };
        let at = match before {
            Some((_, at)) => at,
            None => match ask(&self.0, Ask::Vacancy(id)).await {
                Answer::Vacant(at) => at,
                Answer::Conflict => return Err(conflict(id)),
                _ => return Err(read_error(id)),
            },
        };
        if let Some(after) = after {
            for document in beside {
                let document = Box::new(document.clone());
                let put = Ask::Put(id, after.op.clone(), document);
                let Answer::Put = ask(&self.0, put).await else {
                    return Err(unclear(id));
                };
            }
        }
        for _ in 0..WRITES {
            let save = Ask::Save {
                node: id,
                expected: at,
                before: before.map(|(node, _)| Box::new(node.clone())),
                after: after.map(|node| Box::new(node.clone())),
            };
            let certain = match ask(&self.0, save).await {
                Answer::Saved(at) => return Ok(at),
                Answer::Claimed { what, by } => return Err(StoreError::Claimed { what, by }),
                Answer::Conflict => true,
                _ => false,
            };
            // A conflict may be with ourselves, when an earlier send came through after all.
            let present = loop {
                match self.load(id).await {
                    Ok(present) => break present,
                    Err(_) => sleep(&self.0, PAUSE_MS).await,
                }
            };
            match (present, after) {
                (None, None) => return Ok(at),
                (Some((present, at)), Some(after)) if present.op == after.op => return Ok(at),
                (present, _) => {
                    let same = present.map_or(before.is_none(), |(_, present)| present == at);
                    if certain || !same {
                        return Err(conflict(id));
                    }
                }
            }
        }
        Err(unclear(id))
    }
}

pub(crate) struct SimClock {
    pub world: Shared,
    pub worker: usize,
}

impl Clock for SimClock {
    fn now(&self) -> Time {
        lock(&self.world).clock_of(self.worker)
    }

    async fn sleep(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        sleep(&self.world, ms).await;
    }
}

pub(crate) struct SimHands {
    pub world: Shared,
    pub worker: usize,
}

impl Hands for SimHands {
    fn may_act(&self) -> Result<(), String> {
        match lock(&self.world).may_act(self.worker) {
            true => Ok(()),
            false => Err("it is cut off, or its clock is wrong".into()),
        }
    }

    fn heard(&self, node: NodeId) -> Option<Revision> {
        lock(&self.world).followed_at(self.worker, node)
    }

    fn followed(&self, node: NodeId) -> Option<(Node, Revision)> {
        lock(&self.world).followed(self.worker, node)
    }

    async fn drive_bmc(
        &self,
        node: &Node,
        op: &OpId,
        act: BmcAct,
        budget: Duration,
    ) -> Result<BmcReport, BmcFault> {
        let result = crate::acts::perform(&self.world, self.worker, node, op, act, budget).await;
        let mut world = lock(&self.world);
        world.begins(match &result {
            Ok(_) => "bmc-ok",
            Err(_) => "bmc-fault",
        });
        result
    }

    async fn nudge(&self, node: NodeId) {
        let mut world = lock(&self.world);
        if let Some(machine) = world.machine_of(node) {
            let ms = world.rng.between(1, 5);
            world.of_machine(ms, machine, OfMachine::Nudged);
        }
    }

    /// Sometimes it is left for later, and a sweep would do it.
    async fn end_logins(&self, _: NodeId, logins: Vec<Ended>) -> Result<(), String> {
        let mut world = lock(&self.world);
        let taken = !world.store.away;
        for login in logins.iter().filter(|_| taken) {
            world.judge.ended.insert(login.key);
        }
        taken.then_some(()).ok_or_else(|| "no answer".into())
    }

    fn report(&self, _: &Happening, _: &str, _: Option<&Entry>) {}

    fn keeps_flight(&self) -> bool {
        false
    }

    fn tells_as_ironic(&self) -> bool {
        false
    }

    fn notify(&self, _: NodeId, _: &Notification) {}

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut world = lock(&self.world);
        world.spawned.push((self.worker, Box::pin(task)));
    }
}

impl crate::World {
    /// The task that runs carries an event to a node from now on.
    pub(crate) fn begins(&mut self, event: &'static str) {
        self.tally.events += 1;
        self.in_hand.insert(self.current, event);
    }

    pub(crate) fn wake_now(&mut self, task: crate::TaskId) {
        self.after(0, Happens::Wake(task));
    }
}

/// A drive as a worker's process has it.
pub(crate) fn drive(world: &Shared, worker: usize) -> Arc<SimDrive> {
    let (id, incarnation, policy) = {
        let inside = lock(world);
        let it = &inside.workers[worker];
        (
            it.info.id.clone(),
            it.info.incarnation,
            inside.policy.clone(),
        )
    };
    Arc::new(Drive::new(
        SimRecords(Arc::clone(world)),
        SimClock {
            world: Arc::clone(world),
            worker,
        },
        SimHands {
            world: Arc::clone(world),
            worker,
        },
        id,
        incarnation,
        policy,
    ))
}
