//! The real ground: records in NATS, the time of its servers, BMCs over the network.
//! `ground` says what is asked of them.
use super::ground::{Clock, Hands, Records};
use crate::bmc::{Bmcs, BootWish, LOST, UNWANTED};
use crate::clock::{self, Moment};
use crate::records::events::Events;
use crate::records::logins::Logins;
use crate::records::presence::Presence;
use crate::records::view::View;
use crate::records::{Revision, Store, StoreError};
use ironbeat_common::id::NodeId;
use ironbeat_common::inventory::Inventory;
use ironbeat_common::subject;
use ironbeat_core::boot::firmware_mode;
use ironbeat_core::decide::{BmcFault, BmcReport};
use ironbeat_core::id::OpId;
use ironbeat_core::node::{Beside, BmcAccess, BmcAct, BmcSecrets, InstanceData, Node};
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
            Err(error @ (StoreError::Missing { .. } | StoreError::Corrupt { .. })) => {
                tracing::warn!(node = %node.id, "the BMC's secrets count as none: {error}");
                Ok(None)
            }
            read => read,
        }
    }

    async fn instance_data(&self, node: &Node) -> Result<Option<InstanceData>, StoreError> {
        self.beside.instance_data(node).await
    }

    async fn write(
        &self,
        before: Option<(&Node, Revision)>,
        after: Option<&Node>,
        beside: &[Beside],
    ) -> Result<(), StoreError> {
        Store::write(self, before, after, beside).await
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
    pub tasks: TaskTracker,
}

/// An act needs this long at the least: the BMC is not waited for with less.
const FOR_THE_ACT: Duration = Duration::from_secs(15);
/// Before the store is asked again.
const PAUSE: Duration = Duration::from_secs(1);

impl RealHands {
    /// A store that is away for a moment is no failure of the BMC: it is asked again while there is time.
    async fn login(&self, node: &Node, deadline: Instant) -> Result<BmcAccess, BmcFault> {
        loop {
            let error = match self.logins.of(node).await {
                Ok(access) => return Ok(access),
                Err(error) => error,
            };
            let away = matches!(error, StoreError::Kv(_));
            if !away || Instant::now() + FOR_THE_ACT >= deadline || !self.presence.may_act() {
                let address = node.bmc.address();
                return Err(BmcFault {
                    what: format!("read the credentials of BMC {address}: {error}"),
                    permanent: !away,
                    accepted: None,
                });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Hands for RealHands {
    fn may_act(&self) -> Result<(), String> {
        self.presence.idle_because().map_or(Ok(()), Err)
    }

    async fn drive_bmc(
        &self,
        node: &Node,
        op: &OpId,
        act: BmcAct,
        budget: Duration,
    ) -> Result<BmcReport, BmcFault> {
        let deadline = Instant::now() + budget;
        // The right to act must have held since it was decided to: this task may begin long after that.
        let age = node.job().map(|job| clock::now().since(job.phase.since()));
        let decided = Moment::now().earlier(age.unwrap_or_default());
        let access = self.login(node, deadline).await?;
        let wish = BootWish {
            mode: firmware_mode(node),
        };
        let unwanted = || {
            let seen = self.view.get(&node.id);
            seen.is_some_and(|seen| seen.stopped.as_ref() == Some(op))
        };
        let fence = || match self.presence.may_act_since(decided) {
            false => Some(LOST),
            true => unwanted().then_some(UNWANTED),
        };
        self.bmcs
            .perform(&access, act, wish, deadline, &fence)
            .await
    }

    async fn nudge(&self, node: NodeId) {
        let subject = subject::nudge(&self.prefix, &node);
        if let Err(error) = self.client.publish(subject, bytes::Bytes::new()).await {
            // The agent gets its step at its next heartbeat.
            tracing::warn!(%node, "nudge: {error}");
        }
    }

    fn report(&self, happening: &Happening, write: &str) {
        self.events.publish(happening, write);
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }
}
