//! One arm per effect: the only place where a decision touches the world.
//! `bmc` drives BMCs; the result of an act is an event, and decided on again.
use super::{Clock, Drive, Hands, ReconcileError, Records};
use ironbeat_common::id::NodeId;
use ironbeat_core::decide::{Effect, Event};
use ironbeat_core::id::OpId;
use ironbeat_core::node::{BmcAct, Ended, Node};
use ironbeat_core::time::Time;
use std::sync::Arc;
use std::time::Duration;

/// A worker stops this long before its budget ends, so that its last command is over when another may begin.
const MARGIN: Duration = Duration::from_secs(5);
/// A result that cannot be saved is offered again this often, doubling up to 16 s: about two minutes in all. After
/// that the alarm in the record takes over.
const REPORTS: u32 = 10;

impl<R: Records, C: Clock, H: Hands> Drive<R, C, H> {
    pub(super) fn act(self: &Arc<Self>, node: &Arc<Node>, effect: Effect) {
        let drive = Arc::clone(self);
        match effect {
            Effect::Bmc { op, act, until } => {
                let node = Arc::clone(node);
                let act = async move { drive.drive_bmc(node, op, act, until).await };
                self.hands.spawn(act);
            }
            Effect::Nudge => {
                let id = node.id;
                self.hands.spawn(async move { drive.hands.nudge(id).await });
            }
            Effect::EndLogins { keys } => {
                let logins = node.tickets.ended.iter();
                let logins = logins.filter(|login| keys.contains(&login.key)).cloned();
                let (id, logins) = (node.id, logins.collect());
                self.hands
                    .spawn(async move { drive.end_logins(id, logins).await });
            }
        }
    }

    /// What fails here is done later: the record lists the logins until they have ended.
    pub async fn end_logins(self: &Arc<Self>, id: NodeId, logins: Vec<Ended>) {
        let keys = logins.iter().map(|login| login.key).collect();
        if let Err(why) = self.hands.end_logins(id, logins).await {
            tracing::warn!(node = %id, "the login of a former ramdisk has not ended yet: {why}");
            return;
        }
        let event = Event::LoginsEnded { keys };
        if let Err(error) = Box::pin(self.deliver(id, &event)).await {
            tracing::warn!(node = %id, "logins have ended, which is not recorded yet: {error}");
        }
    }

    async fn drive_bmc(self: &Arc<Self>, node: Arc<Node>, op: OpId, act: BmcAct, until: Time) {
        let budget = until.since(self.clock.now()).saturating_sub(MARGIN);
        let result = self.hands.drive_bmc(&node, &op, act, budget).await;
        match &result {
            Ok(report) => {
                tracing::debug!(node = %node.id, act = act.name(), power_on = report.power_on, "bmc act done")
            }
            Err(fault) => {
                tracing::warn!(node = %node.id, act = act.name(), permanent = fault.permanent, "{}", fault.what)
            }
        }
        self.report(node.id, &Event::Bmc { op, result }).await;
    }

    async fn report(self: &Arc<Self>, id: NodeId, event: &Event) {
        let mut pause = Duration::from_millis(100);
        for _ in 0..REPORTS {
            match Box::pin(self.deliver(id, event)).await {
                Ok(_) => return,
                Err(
                    ReconcileError::NoNode(_)
                    | ReconcileError::Rejected(_)
                    | ReconcileError::Broken(..),
                ) => {
                    tracing::error!(node = %id, ?event, "the result of a BMC act is dropped: the node does not take it");
                    return;
                }
                Err(
                    error @ (ReconcileError::Store(_)
                    | ReconcileError::Races(_)
                    | ReconcileError::Idle { .. }),
                ) => {
                    tracing::warn!(node = %id, "the result of a BMC act could not be saved yet: {error}");
                }
            }
            self.clock.sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(16));
        }
        tracing::error!(node = %id, "the result of a BMC act was not saved; the node's alarm will have it done again");
    }
}
