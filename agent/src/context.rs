//! What a running step may use: how it reports progress, learns that it is cancelled, and sees the disks.
//! `heart::steps` builds it; the work is done in `disk` and `collect`.
use ironbeat_common::heartbeat::Progress;
use ironbeat_common::inventory::Disk;
use std::fmt;
use std::sync::atomic::AtomicBool;

/// Handed to the code that carries out one step.
pub struct StepContext<'a> {
    /// Call it as often as is convenient: it costs a lock, and only the newest value is kept.
    pub progress: &'a (dyn Fn(Progress) + Sync),
    /// Set when the conductor wants something else: return soon, with an error.
    pub cancelled: &'a AtomicBool,
    /// Lists the disks that are there now.
    pub disks: &'a (dyn Fn() -> Vec<Disk> + Sync),
    /// For sockets: the step's own thread may `block_on` with it.
    pub runtime: tokio::runtime::Handle,
}

/// What was in the way may pass: the same step is worth another try. A message or a context of an error.
#[derive(Debug)]
pub struct MayPass(pub String);

impl fmt::Display for MayPass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
