//! Carries out one order at a time on a thread of its own, with its progress shared and a flag to give it up.
//! When a step starts and what is said of it is decided in `beat`; the bytes on disks are `disk`'s.
use ironbeat_common::inventory::Disk;
use ironbeat_common::wire::Progress;
use std::sync::atomic::AtomicBool;

/// What a running step is given: where to tell its progress, when to give up, what disks there are now.
pub struct StepContext<'a> {
    /// Call it as often as is convenient: only the newest value is kept, and it costs a lock.
    pub progress: &'a (dyn Fn(Progress) + Sync),
    /// Set when the conductor wants something else: return soon, with an error.
    pub cancelled: &'a AtomicBool,
    /// Reads the disks anew.
    pub disks: &'a (dyn Fn() -> Vec<Disk> + Sync),
    /// For sockets: the step's own thread may `block_on` with it.
    pub runtime: tokio::runtime::Handle,
}
