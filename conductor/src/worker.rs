//! What one worker process holds: its identity, its connections, and the tasks it has running.
//! What it does with them is in `front`, `loops` and `drive`.
use crate::bmc::Bmcs;
use crate::records::Store;
use crate::records::events::Events;
use crate::records::lookups::Lookups;
use crate::records::presence::Presence;
use crate::records::seen::Seen;
use crate::records::view::View;
use ironbeat_core::decide::Policy;
use ironbeat_core::id::{OpId, WorkerId};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_util::task::TaskTracker;

pub struct Worker {
    pub id: WorkerId,
    /// Subject prefix, `ib.v1`.
    pub prefix: String,
    pub client: async_nats::Client,
    pub store: Store,
    pub view: View,
    pub presence: Presence,
    pub seen: Seen,
    pub events: Events,
    pub lookups: Lookups,
    pub bmcs: Bmcs,
    pub policy: Policy,
    /// Unknown machines boot the ramdisk and are remembered.
    pub discovery: bool,
    pub ops: AtomicU64,
    /// Distinguishes this process from an earlier one of the same name.
    pub incarnation: u32,
    pub tasks: TaskTracker,
}

impl Worker {
    /// Names one write and the act that follows it; never used twice.
    pub fn fresh_op(&self) -> OpId {
        let count = self.ops.fetch_add(1, Ordering::Relaxed);
        let op = format!("{:.40}-{:x}-{count}", self.id.as_str(), self.incarnation);
        op.parse()
            .expect("a worker id, hex and digits joined by '-' are a token")
    }

    /// Runs in the background; joined at shutdown.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }
}
