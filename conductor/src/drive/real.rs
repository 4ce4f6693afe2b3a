//! The real ground: records in NATS, the time of its servers, BMCs over the network.
//! `ground` says what is asked of them.
use super::ground::{Clock, Hands, Records};
use super::ironic::Notification;
use crate::bmc::{Bmcs, BootWish, Halt};
use crate::clock::{self, Moment};
use crate::records::events::Events;
use crate::records::logins::{BmcLogin, Logins};
use crate::records::presence::Presence;
use crate::records::view::View;
use crate::records::{Revision, Store, StoreError};
use crate::secrets::Broken;
use crate::tickets::Tickets;
use ironbeat_common::id::NodeId;
use ironbeat_common::inventory::Inventory;
use ironbeat_common::subject;
use ironbeat_core::boot::firmware_mode;
use ironbeat_core::decide::{BmcFault, BmcReport};
use ironbeat_core::flight::Entry;
use ironbeat_core::id::OpId;
use ironbeat_core::node::{Beside, BmcAct, BmcSecrets, Ended, InstanceData, Node, Notes};
use ironbeat_core::rules::Rules;
use ironbeat_core::time::Time;
use ironbeat_ops::happening::Happening;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

impl Records for Store {
    async fn load(&self, id: NodeId) -> Result<Option<(Node, Revision)>, StoreError> {
        self.nodes.load(id).await
    }

    async fn inventory(&self, node: &Node) -> Result<Option<Inventory>, StoreError> {
        self.beside.inventory(node).await
    }

    async fn secrets(&self, node: &Node) -> Result<Option<BmcSecrets>, StoreError> {
        match self.beside.bmc_secrets(node).await {
            Err(error) if is_lost(&error) => {
                tracing::warn!(node = %node.id, "the BMC's secrets count as none: {error}");
                Ok(None)
            }
            read => read,
        }
    }

    async fn instance_data(&self, node: &Node) -> Result<Option<InstanceData>, StoreError> {
        self.beside.instance_data(node).await
    }

    async fn notes(&self, node: &Node) -> Result<Option<Notes>, StoreError> {
        self.beside.notes(node).await
    }

    async fn rules(&self) -> Result<Rules, StoreError> {
        self.rules_to_apply().await
    }

    async fn write(
        &self,
        before: Option<(&Node, Revision)>,
        after: Option<&Node>,
        beside: &[Beside],
    ) -> Result<Revision, StoreError> {
        Store::write(self, before, after, beside).await
    }
}

/// Whether nobody can read it any more. A worker with the wrong master key says nothing about that.
fn is_lost(error: &StoreError) -> bool {
    match error {
        StoreError::Missing { .. } | StoreError::Corrupt { .. } => true,
        StoreError::Sealed { why, .. } => match why {
            Broken::Document | Broken::Shape | Broken::NoKey(_) => true,
            Broken::Key(_) | Broken::OtherMaster { .. } => false,
        },
        StoreError::Conflict { .. }
        | StoreError::Claimed { .. }
        | StoreError::Races { .. }
        | StoreError::Full { .. }
        | StoreError::Config { .. }
        | StoreError::Carries { .. }
        | StoreError::Emptied { .. }
        | StoreError::NoMasterKey
        | StoreError::Kv(_)
        | StoreError::Stream { .. } => false,
    }
}

pub struct ServersClock;

impl Clock for ServersClock {
    fn now(&self) -> Time {
        clock::now()
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

pub struct RealHands {
    /// Subject prefix, `ib.v1`.
    pub prefix: String,
    pub client: async_nats::Client,
    pub presence: Presence,
    /// Shows what an operator has stopped, through whichever worker.
    pub view: View,
    pub events: Events,
    pub logins: Logins,
    pub bmcs: Arc<Bmcs>,
    /// None: nobody needs a login.
    pub tickets: Option<Arc<Tickets>>,
    pub tasks: TaskTracker,
    /// Whether flight records are kept.
    pub flight: bool,
    /// Whether changes are told as Ironic would tell of them.
    pub ironic: bool,
}

/// A store that is away is waited for with this part of an act's budget: the BMC needs the rest, and the node another try.
const FOR_THE_STORE: u32 = 4;
/// Before the store is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// A store that is away for a moment is no failure of the BMC: it is asked again. Whether this worker may still act is
/// asked when there is something to do.
async fn wait_for_the_store<T, F: Future<Output = Result<T, StoreError>>>(
    until: Instant,
    read: impl Fn() -> F,
) -> Result<T, StoreError> {
    loop {
        match read().await {
            Err(StoreError::Kv(_)) if Instant::now() < until => tokio::time::sleep(PAUSE).await,
            result => return result,
        }
    }
}

impl RealHands {
    async fn login(&self, node: &Node, until: Instant) -> Result<BmcLogin, BmcFault> {
        let access = wait_for_the_store(until, || self.logins.of(node)).await;
        access.map_err(|error| BmcFault {
            what: format!(
                "read the credentials of BMC {}: {error}",
                node.bmc.address()
            ),
            permanent: !matches!(error, StoreError::Kv(_)),
            accepted: None,
            untold: true,
            let_go: matches!(error, StoreError::Kv(_)),
        })
    }
}

impl Hands for RealHands {
    fn may_act(&self) -> Result<(), String> {
        self.presence.idle_because().map_or(Ok(()), Err)
    }

    fn heard(&self, node: NodeId) -> Option<Revision> {
        self.view.revision(&node)
    }

    fn followed(&self, node: NodeId) -> Option<(Node, Revision)> {
        self.view.record(&node)
    }

    async fn drive_bmc(
        &self,
        node: &Node,
        op: &OpId,
        act: BmcAct,
        budget: Duration,
    ) -> Result<BmcReport, BmcFault> {
        let begin = Instant::now();
        // The right to act must have held since it was decided to: this task may begin long after that.
        let age = node.job().map(|job| clock::now().since(job.phase.since()));
        let decided = Moment::now().earlier(age.unwrap_or_default());
        let login = self.login(node, begin + budget / FOR_THE_STORE).await?;
        let wish = BootWish {
            mode: firmware_mode(node),
        };
        let unwanted = || {
            let seen = self.view.get(&node.id);
            seen.is_some_and(|seen| seen.stopped.as_ref() == Some(op))
        };
        let fence = || match self.presence.may_act_since(decided) {
            false => Some(Halt::MayNotAct),
            true => unwanted().then_some(Halt::Unwanted),
        };
        self.bmcs
            .perform(&login, act, wish, begin + budget, &fence)
            .await
    }

    async fn nudge(&self, node: NodeId) {
        let subject = subject::nudge(&self.prefix, &node);
        if let Err(error) = self.client.publish(subject, bytes::Bytes::new()).await {
            // The agent gets its step at its next heartbeat.
            tracing::warn!(%node, "nudge: {error}");
        }
    }

    async fn end_logins(&self, _: NodeId, logins: Vec<Ended>) -> Result<(), String> {
        let Some(tickets) = &self.tickets else {
            // From before logins were given up: no server asks for one now.
            return Ok(());
        };
        let ended = tickets.end(logins).await;
        ended.map_err(|error| format!("{error:#}"))
    }

    fn report(&self, happening: &Happening, write: &str, entry: Option<&Entry>) {
        self.events.publish_with(happening, write, entry);
    }

    fn keeps_flight(&self) -> bool {
        self.flight
    }

    fn tells_as_ironic(&self) -> bool {
        self.ironic
    }

    fn notify(&self, node: NodeId, notification: &Notification) {
        let Notification { event_type, body } = notification;
        self.events.notify(node, event_type, body);
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::presence::roster::Timing;
    use crate::records::tests::{
        DEADLINE, PATIENCE, connect, enrolment, eventually, masters, node, server,
    };
    use crate::records::{KvError, Names};
    use ironbeat_core::id::Incarnation;
    use ironbeat_ops::reply::WorkerInfo;
    use std::cell::Cell;
    use std::collections::BTreeMap;
    use tokio::sync::mpsc;

    fn away() -> StoreError {
        StoreError::Kv(KvError::Read {
            key: "bmc_secrets".into(),
            source: "no responders".into(),
        })
    }

    /// How often the store is asked within so many seconds, and whether it answered: it is away for the first `absent`
    /// times.
    async fn asked(secs: u64, absent: u32) -> (u32, bool) {
        let count = Cell::new(0);
        let read = async || {
            count.set(count.get() + 1);
            if count.get() <= absent {
                Err(away())
            } else {
                Ok(())
            }
        };
        let until = Instant::now() + Duration::from_secs(secs);
        let read = wait_for_the_store(until, read).await;
        (count.get(), read.is_ok())
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_away_for_a_moment_is_asked_again() {
        assert_eq!(asked(15, 9).await, (10, true));
        assert_eq!(asked(5, 9).await, (6, false), "the act needs its time");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_missing_is_not_waited_for() {
        let missing = || StoreError::Missing {
            key: "bmc_secrets".into(),
            node: NodeId::from_bytes([1; 16]),
        };
        let count = Cell::new(0);
        let read = || {
            count.set(count.get() + 1);
            std::future::ready(Err::<(), _>(missing()))
        };
        let until = Instant::now() + Duration::from_secs(60);
        let read = wait_for_the_store(until, read).await;
        assert!(matches!(read, Err(StoreError::Missing { .. })));
        assert_eq!(count.get(), 1);
    }

    /// As [`Timing::DEFAULT`], a fifth of it.
    const QUICK: Timing = Timing {
        renew: Duration::from_millis(600),
        may_act: Duration::from_millis(1400),
        lapse: Duration::from_millis(2000),
    };

    async fn hands(client: async_nats::Client, store: &Store) -> RealHands {
        let info = WorkerInfo {
            id: "w1".parse().unwrap(),
            incarnation: Incarnation(1),
            url: String::new(),
            https: None,
            version: String::new(),
            started: clock::now(),
            lacks: vec![],
            serves: vec![],
            loaders: vec![],
            host: String::new(),
            stands_by: None,
            lacks_images: None,
            refused: vec![],
            records: vec![],
            policy: BTreeMap::new(),
            master_keys: vec![],
            mints_with: None,
            dnsmasq: None,
        };
        RealHands {
            prefix: "ib.v1".into(),
            client,
            presence: Presence::start_timed(store, info, QUICK).await.unwrap(),
            view: View::start(store),
            events: Events::open(store).await.unwrap(),
            logins: Logins::new(store),
            bmcs: Arc::new(Bmcs::new(Duration::ZERO, mpsc::channel(1).0)),
            tickets: None,
            tasks: TaskTracker::new(),
            flight: true,
            ironic: false,
        }
    }

    /// Nothing was done at the BMC yet, so nothing is lost by waiting.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_login_is_found_although_the_fence_closed_while_the_store_was_away() {
        let mut server = server();
        let client = connect(&server.url()).await;
        let names = Names::default();
        let store = Store::open_patiently(client.clone(), &names, masters(), PATIENCE);
        let store = store.await.unwrap();
        let (made, (_, secrets)) = (node(1), enrolment(1).bmc.split());
        let put = [Beside::BmcSecrets(secrets)];
        store.write(None, Some(&made), &put).await.unwrap();
        let hands = hands(client, &store).await;
        eventually("it may act", || hands.presence.may_act()).await;
        server.freeze().unwrap();
        let mut login = std::pin::pin!(hands.login(&made, Instant::now() + DEADLINE));
        let closed = eventually("the fence closes", || !hands.presence.may_act());
        tokio::select! {
            early = &mut login => panic!("nobody can know yet: {early:?}"),
            () = closed => {}
        }
        let early = tokio::time::timeout(PATIENCE * 2, &mut login).await;
        assert!(early.is_err(), "nobody can know yet: {early:?}");
        server.thaw().unwrap();
        assert_eq!(login.await.unwrap().present(), enrolment(1).bmc);
    }
}
