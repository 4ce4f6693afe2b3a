//! From an event to its effects: `reconcile` (load, decide, save), then `act` (one arm per effect).
//! Nothing else changes a node's record; `front` and `loops` bring events, `ground` is what all stands on.
mod act;
mod announce;
mod ground;
mod ironic;
mod real;
mod recent;
mod reconcile;
#[cfg(test)]
mod tests;

pub use ground::{Clock, Hands, Records};
pub use ironic::Notification;
pub use real::{RealHands, ServersClock};
pub use reconcile::ReconcileError;

use crate::records::Store;
use ironbeat_common::id::NodeId;
use ironbeat_core::decide::{Event, Policy};
use ironbeat_core::flight::Decider;
use ironbeat_core::id::{Incarnation, OpId, WorkerId};
use ironbeat_core::node::Node;
use ironbeat_ops::happening::Asker;
use ironbeat_ops::policy::changed;
use recent::Recent;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The drive that works on real nodes.
pub type RealDrive = Drive<Store, ServersClock, RealHands>;

pub struct Drive<R, C, H> {
    records: R,
    clock: C,
    hands: H,
    worker: WorkerId,
    policy: Policy,
    /// Distinguishes this process from an earlier one of the same name.
    incarnation: Incarnation,
    /// Writes named so far.
    ops: AtomicU64,
    recent: Recent,
    /// What each entry of a flight record says of this worker.
    decider: Decider,
}

impl<R: Records, C: Clock, H: Hands> Drive<R, C, H> {
    pub fn new(
        records: R,
        clock: C,
        hands: H,
        worker: WorkerId,
        incarnation: Incarnation,
        policy: Policy,
    ) -> Self {
        let decider = Decider {
            version: env!("CARGO_PKG_VERSION"),
            policy: changed(&policy).into_iter().collect(),
        };
        Self {
            records,
            clock,
            hands,
            worker,
            policy,
            incarnation,
            ops: AtomicU64::new(0),
            recent: Recent::default(),
            decider,
        }
    }

    /// Delivers one event to one node, and has the effects carried out. Returns the record afterwards; of a forgotten
    /// node, its last record.
    ///
    /// # Errors
    /// When the event is not possible now, or the record could not be read or written.
    pub async fn deliver(
        self: &Arc<Self>,
        id: NodeId,
        event: &Event,
    ) -> Result<Arc<Node>, ReconcileError> {
        self.deliver_for(None, id, event).await
    }

    /// As [`Self::deliver`], for somebody whose name is kept with what follows.
    ///
    /// # Errors
    /// As of [`Self::deliver`].
    pub async fn deliver_for(
        self: &Arc<Self>,
        asker: Option<&Asker>,
        id: NodeId,
        event: &Event,
    ) -> Result<Arc<Node>, ReconcileError> {
        let (node, effects) = self.reconcile(id, event, asker).await?;
        for effect in effects {
            self.act(&node, effect);
        }
        Ok(node)
    }

    /// Names one write and the act that follows it; never used twice.
    fn fresh_op(&self) -> OpId {
        let count = self.ops.fetch_add(1, Ordering::Relaxed);
        let op = format!("{:.40}-{}-{count}", self.worker.as_str(), self.incarnation);
        op.parse()
            .expect("a worker id, hex and digits joined by '-' are a token")
    }
}
