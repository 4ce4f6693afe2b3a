//! What driving a node stands on: records, a clock, hands. Three traits, so that the same code runs without sockets.
//! The real ones are in `real`; what is done with them is in `reconcile` and `act`.
use crate::records::{Revision, StoreError};
use ironbeat_common::id::NodeId;
use ironbeat_common::inventory::Inventory;
use ironbeat_core::decide::{BmcFault, BmcReport};
use ironbeat_core::node::{Beside, BmcAct, Node};
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

    /// By compare-and-swap, from the record at its revision (none: there is none) to what it is to be (none: forgotten).
    fn write(
        &self,
        before: Option<(&Node, Revision)>,
        after: Option<&Node>,
        beside: &[Beside],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Time;
    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send;
}

pub trait Hands: Send + Sync + 'static {
    /// Does it within `budget`, unless this worker may not act any more.
    fn drive_bmc(
        &self,
        node: &Node,
        act: BmcAct,
        budget: Duration,
    ) -> impl Future<Output = Result<BmcReport, BmcFault>> + Send;

    /// Has the node's agent beat now. It would anyway, a little later.
    fn nudge(&self, node: NodeId) -> impl Future<Output = ()> + Send;

    /// `write`: names the change, so that the same one counts once, whoever tells it.
    fn tell(&self, happening: &Happening, write: &str);

    /// Goes on in the background, and is waited for when the worker stops.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);
}
