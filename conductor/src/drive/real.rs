//! The real ground: records in NATS, the time of its servers, BMCs over the network.
//! `ground` says what is asked of them.
use super::ground::{Clock, Hands, Records};
use crate::bmc::{Bmcs, BootWish, MAY_NOT_ACT, UNWANTED};
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
    ) -> Result<Revision, StoreError> {
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

/// A store that is away for a moment is no failure of the BMC: it is asked again while the act still has time and this
/// worker may do it.
async fn while_there_is_time<T, F: Future<Output = Result<T, StoreError>>>(
    deadline: Instant,
    may_act: impl Fn() -> bool,
    read: impl Fn() -> F,
) -> Result<T, StoreError> {
    loop {
        match read().await {
            Err(StoreError::Kv(_)) if Instant::now() + FOR_THE_ACT < deadline && may_act() => {
                tokio::time::sleep(PAUSE).await;
            }
            result => return result,
        }
    }
}

impl RealHands {
    async fn login(&self, node: &Node, deadline: Instant) -> Result<BmcAccess, BmcFault> {
        let may_act = || self.presence.may_act();
        let read = || self.logins.of(node);
        let access = while_there_is_time(deadline, may_act, read).await;
        access.map_err(|error| BmcFault {
            what: format!(
                "read the credentials of BMC {}: {error}",
                node.bmc.address()
            ),
            permanent: !matches!(error, StoreError::Kv(_)),
            accepted: None,
        })
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
            false => Some(MAY_NOT_ACT),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::KvError;
    use std::cell::Cell;

    fn away() -> StoreError {
        StoreError::Kv(KvError::Read {
            key: "bmc_secrets".into(),
            source: "no responders".into(),
        })
    }

    /// How often the store is asked, and whether it answered: it is away for the first `absent` times.
    async fn asked(budget_secs: u64, may_act: bool, absent: u32) -> (u32, bool) {
        let count = Cell::new(0);
        let read = async || {
            count.set(count.get() + 1);
            if count.get() <= absent {
                Err(away())
            } else {
                Ok(())
            }
        };
        let deadline = Instant::now() + Duration::from_secs(budget_secs);
        let read = while_there_is_time(deadline, || may_act, read).await;
        (count.get(), read.is_ok())
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_away_for_a_moment_is_asked_again() {
        assert_eq!(asked(60, true, 9).await, (10, true));
        assert_eq!(
            asked(20, true, 9).await,
            (6, false),
            "the act needs its time"
        );
        assert_eq!(asked(60, false, 9).await, (1, false), "others take over");
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
        let deadline = Instant::now() + Duration::from_secs(60);
        let read = while_there_is_time(deadline, || true, read).await;
        assert!(matches!(read, Err(StoreError::Missing { .. })));
        assert_eq!(count.get(), 1);
    }
}
