//! Driving without sockets: records in memory that can be in trouble, a clock that is set, hands that take notes.
//! The core tests decisions; `records` tests how NATS takes them.
use super::{Clock, Drive, Hands, Notification, ReconcileError, Records};
use crate::records::tests::{enrolment, id};
use crate::records::{Revision, StoreError};
use ironbeat_common::id::NodeId;
use ironbeat_common::inventory::Inventory;
use ironbeat_core::decide::{BmcFault, BmcReport, Event, Policy, PowerVerb, Verb};
use ironbeat_core::flight::Entry;
use ironbeat_core::id::{Incarnation, OpId};
use ironbeat_core::node::{Beside, BmcAct, BmcSecrets, Ended, InstanceData, Node, Rest, State};
use ironbeat_core::time::Time;
use ironbeat_ops::happening::Happening;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The fate of a write.
enum Trouble {
    /// Another worker was first, and changed nothing that matters.
    Conflict,
    /// The store is away.
    Away,
    /// It was saved, nobody heard of it, and another worker saved something else on top.
    Overwritten,
}

#[derive(Default)]
struct Memory {
    nodes: Mutex<BTreeMap<NodeId, (Node, Revision)>>,
    /// Of the next writes.
    troubles: Mutex<VecDeque<Trouble>>,
    loads: Mutex<u32>,
    writes: Mutex<u32>,
}

impl Records for Memory {
    async fn load(&self, id: NodeId) -> Result<Option<(Node, Revision)>, StoreError> {
        *self.loads.lock().unwrap() += 1;
        Ok(self.nodes.lock().unwrap().get(&id).cloned())
    }

    async fn inventory(&self, _: &Node) -> Result<Option<Inventory>, StoreError> {
        Ok(None)
    }

    async fn secrets(&self, _: &Node) -> Result<Option<BmcSecrets>, StoreError> {
        Ok(None)
    }

    async fn notes(&self, _: &Node) -> Result<Option<ironbeat_core::node::Notes>, StoreError> {
        Ok(None)
    }

    async fn instance_data(&self, _: &Node) -> Result<Option<InstanceData>, StoreError> {
        Ok(None)
    }

    async fn write(
        &self,
        before: Option<(&Node, Revision)>,
        after: Option<&Node>,
        _: &[Beside],
    ) -> Result<Revision, StoreError> {
        *self.writes.lock().unwrap() += 1;
        let what = "node".to_string();
        let trouble = self.troubles.lock().unwrap().pop_front();
        match trouble {
            Some(Trouble::Conflict) => return Err(StoreError::Conflict { what }),
            Some(Trouble::Overwritten) => {
                let mut on_top = after.unwrap().clone();
                on_top.counter += 1;
                on_top.op = "other-worker".parse().unwrap();
                let at = before.map_or(0, |(_, at)| at);
                let mut nodes = self.nodes.lock().unwrap();
                nodes.insert(on_top.id, (on_top, at + 2));
                return Err(StoreError::Conflict { what });
            }
            Some(Trouble::Away) => {
                let source = "away".into();
                return Err(StoreError::Stream { what, source });
            }
            None => {}
        }
        let mut nodes = self.nodes.lock().unwrap();
        let id = after.or(before.map(|(node, _)| node)).unwrap().id;
        let at = before.map_or(0, |(_, at)| at);
        if nodes.get(&id).map_or(0, |(_, at)| *at) != at {
            return Err(StoreError::Conflict { what });
        }
        match after {
            Some(after) => drop(nodes.insert(id, (after.clone(), at + 1))),
            None => drop(nodes.remove(&id)),
        }
        Ok(at + 1)
    }
}

/// Stands still except for those who sleep.
#[derive(Default)]
struct SetClock(Mutex<Duration>);

impl Clock for SetClock {
    fn now(&self) -> Time {
        Time::from_unix_ms(1_800_000_000_000).after(*self.0.lock().unwrap())
    }

    async fn sleep(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }
}

#[derive(Default)]
struct Notes {
    told: Mutex<Vec<&'static str>>,
    acts: Mutex<Vec<BmcAct>>,
    tasks: Mutex<Vec<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>>>,
    tied: Mutex<bool>,
    heard: Mutex<Option<Revision>>,
    followed: Mutex<Option<(Node, Revision)>>,
}

impl Hands for Notes {
    fn may_act(&self) -> Result<(), String> {
        match *self.tied.lock().unwrap() {
            true => Err("its clock is wrong".into()),
            false => Ok(()),
        }
    }

    fn heard(&self, _: NodeId) -> Option<Revision> {
        *self.heard.lock().unwrap()
    }

    fn followed(&self, _: NodeId) -> Option<(Node, Revision)> {
        self.followed.lock().unwrap().clone()
    }

    async fn drive_bmc(
        &self,
        _: &Node,
        _: &OpId,
        act: BmcAct,
        _: Duration,
    ) -> Result<BmcReport, BmcFault> {
        self.acts.lock().unwrap().push(act);
        Ok(BmcReport { power_on: true })
    }

    async fn nudge(&self, _: NodeId) {}

    async fn end_logins(&self, _: NodeId, _: Vec<Ended>) -> Result<(), String> {
        Ok(())
    }

    fn report(&self, happening: &Happening, _: &str, _: Option<&Entry>) {
        self.told.lock().unwrap().push(happening.kind());
    }

    fn keeps_flight(&self) -> bool {
        false
    }

    fn tells_as_ironic(&self) -> bool {
        false
    }

    fn notify(&self, _: NodeId, _: &Notification) {}

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.lock().unwrap().push(Box::pin(task));
    }
}

type Quiet = Arc<Drive<Memory, SetClock, Notes>>;

fn drive() -> Quiet {
    let worker = "w1".parse().unwrap();
    let (records, clock, hands) = (Memory::default(), SetClock::default(), Notes::default());
    Arc::new(Drive::new(
        records,
        clock,
        hands,
        worker,
        Incarnation(1),
        Policy::default(),
    ))
}

fn ask(request: &str, verb: Verb) -> Event {
    let request = request.parse().unwrap();
    Event::Asked { request, verb }
}

fn troubles(drive: &Quiet, troubles: impl IntoIterator<Item = Trouble>) {
    drive.records.troubles.lock().unwrap().extend(troubles);
}

async fn enrolled(drive: &Quiet) {
    let event = Event::Enrolled(enrolment(1));
    drive.deliver(id(1), &event).await.unwrap();
}

/// Does the work that was put off, and whatever follows from it.
async fn work_off(drive: &Quiet) {
    loop {
        let task = drive.hands.tasks.lock().unwrap().pop();
        let Some(task) = task else { return };
        task.await;
    }
}

#[tokio::test]
async fn a_node_begins_and_ends_with_an_event_and_both_are_reported() {
    let drive = drive();
    enrolled(&drive).await;
    let last = drive
        .deliver(id(1), &ask("r1", Verb::Delete))
        .await
        .unwrap();
    assert_eq!(last.state, State::Resting(Rest::Enroll));
    assert_eq!(*drive.hands.told.lock().unwrap(), ["enrolled", "deleted"]);
    let again = drive.deliver(id(1), &ask("r2", Verb::Delete)).await;
    assert!(matches!(again, Err(ReconcileError::NoNode(_))), "{again:?}");
}

#[tokio::test]
async fn a_lost_race_is_decided_again_and_reported_once() {
    let drive = drive();
    enrolled(&drive).await;
    troubles(&drive, [Trouble::Conflict, Trouble::Conflict]);
    let reason = Some("broken".into());
    let event = ask("r1", Verb::Maintenance(reason));
    let node = drive.deliver(id(1), &event).await.unwrap();
    assert!(node.maintenance.is_some());
    assert_eq!(*drive.hands.told.lock().unwrap(), ["enrolled", "step"]);
}

/// Nobody else does the act: the worker that the record names is this one, and it lives.
#[tokio::test]
async fn an_act_follows_from_a_save_that_landed_unheard_and_was_saved_on_top_of() {
    let drive = drive();
    enrolled(&drive).await;
    troubles(&drive, [Trouble::Overwritten]);
    drive
        .deliver(id(1), &ask("r1", Verb::Manage))
        .await
        .unwrap();
    work_off(&drive).await;
    assert_eq!(*drive.hands.acts.lock().unwrap(), [BmcAct::Check]);
    let (node, _) = drive.records.load(id(1)).await.unwrap().unwrap();
    assert_eq!(node.state, State::Resting(Rest::Manageable));
    let told = drive.hands.told.lock().unwrap();
    assert_eq!(*told, ["enrolled", "state", "state"]);
}

#[tokio::test]
async fn a_worker_that_loses_every_race_says_so() {
    let drive = drive();
    enrolled(&drive).await;
    troubles(&drive, (0..32).map(|_| Trouble::Conflict));
    let lost = drive.deliver(id(1), &ask("r1", Verb::Manage)).await;
    assert!(matches!(lost, Err(ReconcileError::Races(_))), "{lost:?}");
    assert!(drive.hands.tasks.lock().unwrap().is_empty(), "nothing acts");
}

#[tokio::test]
async fn the_result_of_an_act_outlives_a_store_that_is_away() {
    let drive = drive();
    enrolled(&drive).await;
    drive
        .deliver(id(1), &ask("r1", Verb::Manage))
        .await
        .unwrap();
    troubles(&drive, (0..9).map(|_| Trouble::Away));
    work_off(&drive).await;
    assert_eq!(*drive.hands.acts.lock().unwrap(), [BmcAct::Check]);
    let (node, _) = drive.records.load(id(1)).await.unwrap().unwrap();
    assert_eq!(node.state, State::Resting(Rest::Manageable));
    let waited = *drive.clock.0.lock().unwrap();
    assert!(waited > Duration::from_secs(30), "{waited:?}");
}

/// Whoever asks can ask another worker; what happened has happened, and is recorded.
#[tokio::test]
async fn a_worker_that_may_not_act_begins_nothing_and_still_records_what_it_is_told() {
    let drive = drive();
    enrolled(&drive).await;
    let tie = |tied| *drive.hands.tied.lock().unwrap() = tied;
    tie(true);
    let refused = drive.deliver(id(1), &ask("r1", Verb::Manage)).await;
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("w1") && refused.contains("its clock is wrong"),
        "{refused}"
    );
    let (node, _) = drive.records.load(id(1)).await.unwrap().unwrap();
    assert_eq!(node.state, State::Resting(Rest::Enroll));
    let no_act = Verb::Maintenance(None);
    drive.deliver(id(1), &ask("r2", no_act)).await.unwrap();

    tie(false);
    drive
        .deliver(id(1), &ask("r3", Verb::Manage))
        .await
        .unwrap();
    tie(true);
    work_off(&drive).await;
    let (node, _) = drive.records.load(id(1)).await.unwrap().unwrap();
    assert_eq!(node.state, State::Resting(Rest::Manageable));
}

#[tokio::test]
async fn a_job_goes_on_from_what_was_saved_last_unless_another_worker_has_saved_since() {
    let drive = drive();
    enrolled(&drive).await;
    let manage = ask("r1", Verb::Manage);
    drive.deliver(id(1), &manage).await.unwrap();
    let loads = || *drive.records.loads.lock().unwrap();
    let before = loads();
    work_off(&drive).await;
    assert_eq!(loads(), before, "the end of the check needed no read");

    let on = |request| ask(request, Verb::Power(PowerVerb::On));
    drive.deliver(id(1), &on("r2")).await.unwrap();
    let by_another = |change: fn(&mut Node)| {
        let mut nodes = drive.records.nodes.lock().unwrap();
        let (node, at) = nodes.get_mut(&id(1)).unwrap();
        *at += 1;
        change(node);
    };
    by_another(|node| node.serial = Some("S1".into()));
    work_off(&drive).await;
    let (node, _) = drive.records.load(id(1)).await.unwrap().unwrap();
    assert_eq!(node.serial.as_deref(), Some("S1"), "its change is kept");
    assert_eq!(node.state, State::Resting(Rest::Manageable));

    // A refusal is about the record as it is.
    drive.deliver(id(1), &on("r3")).await.unwrap();
    by_another(|node| {
        node.state = State::Resting(Rest::Enroll);
        node.wake_at = None;
    });
    let manage = ask("r4", Verb::Manage);
    drive.deliver(id(1), &manage).await.unwrap();
}

/// Were it tried, the store would refuse it, and all would have to be read after all.
#[tokio::test]
async fn what_is_known_to_be_old_is_not_decided_on() {
    let drive = drive();
    enrolled(&drive).await;
    drive
        .deliver(id(1), &ask("r1", Verb::Manage))
        .await
        .unwrap();
    let at = {
        let mut nodes = drive.records.nodes.lock().unwrap();
        let (node, at) = nodes.get_mut(&id(1)).unwrap();
        node.serial = Some("S1".into());
        *at += 1;
        *at
    };
    *drive.hands.heard.lock().unwrap() = Some(at);
    let writes = || *drive.records.writes.lock().unwrap();
    let before = writes();
    work_off(&drive).await;
    assert_eq!(writes(), before + 1, "no write is in vain");
    let (node, _) = drive.records.load(id(1)).await.unwrap().unwrap();
    assert_eq!(node.serial.as_deref(), Some("S1"));
    assert_eq!(node.state, State::Resting(Rest::Manageable));
}

#[tokio::test]
async fn a_job_goes_on_from_what_another_worker_saved_without_a_read() {
    let drive = drive();
    enrolled(&drive).await;
    drive
        .deliver(id(1), &ask("r1", Verb::Manage))
        .await
        .unwrap();
    let by_another = |serial: &str| {
        let mut nodes = drive.records.nodes.lock().unwrap();
        let (node, at) = nodes.get_mut(&id(1)).unwrap();
        node.serial = Some(serial.into());
        *at += 1;
        (node.clone(), *at)
    };
    let (node, at) = by_another("S1");
    *drive.hands.heard.lock().unwrap() = Some(at);
    *drive.hands.followed.lock().unwrap() = Some((node, at));
    let counts = || {
        let (loads, writes) = (&drive.records.loads, &drive.records.writes);
        (*loads.lock().unwrap(), *writes.lock().unwrap())
    };
    let (loads, writes) = counts();
    work_off(&drive).await;
    assert_eq!(counts(), (loads, writes + 1));
    let (node, _) = drive.records.load(id(1)).await.unwrap().unwrap();
    assert_eq!(node.serial.as_deref(), Some("S1"));
    assert_eq!(node.state, State::Resting(Rest::Manageable));

    // What was followed may be behind.
    drive
        .deliver(id(1), &ask("r2", Verb::Power(PowerVerb::On)))
        .await
        .unwrap();
    let followed = by_another("S2");
    by_another("S3");
    *drive.hands.heard.lock().unwrap() = Some(followed.1);
    *drive.hands.followed.lock().unwrap() = Some(followed);
    work_off(&drive).await;
    let (node, _) = drive.records.load(id(1)).await.unwrap().unwrap();
    assert_eq!(node.serial.as_deref(), Some("S3"), "its change is kept");
    assert_eq!(node.state, State::Resting(Rest::Manageable));
}

#[tokio::test]
async fn an_event_that_changes_nothing_leaves_what_was_read_to_the_next() {
    let drive = drive();
    enrolled(&drive).await;
    let manage = ask("r1", Verb::Manage);
    drive.deliver(id(1), &manage).await.unwrap();
    let loads = || *drive.records.loads.lock().unwrap();
    let before = loads();
    drive.deliver(id(1), &manage).await.unwrap();
    assert_eq!(loads(), before + 1, "the answer is about the record");
    work_off(&drive).await;
    assert_eq!(loads(), before + 1, "and the check ends without a read");
}
