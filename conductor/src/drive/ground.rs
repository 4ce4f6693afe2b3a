//! The ground on which a node is driven: records, a clock, hands. Three traits, so that the same code runs without sockets.
//! `real` has the real ones; `reconcile` and `act` use them.
use super::ironic::Notification;
use crate::records::{Revision, StoreError};
use ironbeat_common::id::NodeId;
use ironbeat_common::inventory::Inventory;
use ironbeat_core::decide::{BmcFault, BmcReport};
use ironbeat_core::flight::Entry;
use ironbeat_core::id::OpId;
use ironbeat_core::node::{Beside, BmcAct, BmcSecrets, Ended, InstanceData, Node, Notes};
use ironbeat_core::rules::Rules;
use ironbeat_core::time::Time;
use ironbeat_ops::happening::Happening;
use std::time::Duration;

pub trait Records: Send + Sync + 'static {
    /// The record as the leader has it.
    fn load(
        &self,
        id: NodeId,
    ) -> impl Future<Output = Result<Option<(Node, Revision)>, StoreError>> + Send;

    /// The inventory beside a record.
    fn inventory(
        &self,
        node: &Node,
    ) -> impl Future<Output = Result<Option<Inventory>, StoreError>> + Send;

    /// The BMC's secrets beside a record; what cannot be read any more counts as none, and can be given anew.
    fn secrets(
        &self,
        node: &Node,
    ) -> impl Future<Output = Result<Option<BmcSecrets>, StoreError>> + Send;

    /// The instance's data beside a record.
    fn instance_data(
        &self,
        node: &Node,
    ) -> impl Future<Output = Result<Option<InstanceData>, StoreError>> + Send;

    /// The operator's notes beside a record; what cannot be read counts as none.
    fn notes(&self, node: &Node) -> impl Future<Output = Result<Option<Notes>, StoreError>> + Send;

    /// The inspection rules, all of them. Where there can be none: none.
    fn rules(&self) -> impl Future<Output = Result<Rules, StoreError>> + Send {
        std::future::ready(Ok(Rules::default()))
    }

    /// Compare-and-swap, from the record at its revision (none: it is new) to the next one (none: it is forgotten). Returns
    /// the revision of that.
    fn write(
        &self,
        before: Option<(&Node, Revision)>,
        after: Option<&Node>,
        beside: &[Beside],
    ) -> impl Future<Output = Result<Revision, StoreError>> + Send;
}

pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Time;
    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send;
}

pub trait Hands: Send + Sync + 'static {
    /// Whether this worker may begin an act.
    ///
    /// # Errors
    /// Why it may not.
    fn may_act(&self) -> Result<(), String>;

    /// The revision of the node's record that this worker has heard of, perhaps a moment ago. None: it has heard of none.
    fn heard(&self, node: NodeId) -> Option<Revision>;

    /// The record of that revision, if it has come with it: that of a node in the middle of a job.
    fn followed(&self, node: NodeId) -> Option<(Node, Revision)>;

    /// Does it within `budget`, unless this worker may no longer act, or the record says that it shall let go of `op`.
    fn drive_bmc(
        &self,
        node: &Node,
        op: &OpId,
        act: BmcAct,
        budget: Duration,
    ) -> impl Future<Output = Result<BmcReport, BmcFault>> + Send;

    /// Has the node's agent beat now. It would anyway, a little later.
    fn nudge(&self, node: NodeId) -> impl Future<Output = ()> + Send;

    /// Has the NATS servers end these logins of a node's former ramdisks.
    ///
    /// # Errors
    /// When they did not take it; they end by themselves when their time is over.
    fn end_logins(
        &self,
        node: NodeId,
        logins: Vec<Ended>,
    ) -> impl Future<Output = Result<(), String>> + Send;

    /// `write` names the change: however often it is reported, it counts once. `entry`: what was decided, on what, where that
    /// is kept.
    fn report(&self, happening: &Happening, write: &str, entry: Option<&Entry>);

    /// Whether flight records are kept.
    fn keeps_flight(&self) -> bool;

    /// Whether somebody is to hear of changes as Ironic would tell of them.
    fn tells_as_ironic(&self) -> bool;

    /// Tells whoever listens now.
    fn notify(&self, node: NodeId, notification: &Notification);

    /// Goes on in the background, and is waited for when the worker stops.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);
}
