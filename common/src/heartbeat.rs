//! The heartbeat: a machine reports what it is doing, and the reply names the step that the conductor wants.
//! Deciding what a heartbeat means for a node is the core's job.
use crate::collision::Collision;
use crate::id::{BootId, StepId};
use crate::inventory::Inventory;
use crate::order::Order;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// "This boot lives, and this is what it is doing." Request on `heartbeat.<id>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    pub version: u32,
    pub boot: BootId,
    /// Counts the beats of this boot from 1.
    pub seq: u64,
    pub status: Status,
    /// Why this beat was sent, for the latency figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nudge: Option<NudgeLatency>,
}

/// Sent once, in the first beat after a nudge led to a step: from nudge received to step started, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NudgeLatency {
    pub step: StepId,
    pub micros: u64,
}

/// The whole present state of the agent. It repeats the last finished step until the conductor wants another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Status {
    Idle,
    Running { step: StepId, progress: Progress },
    Done { step: StepId, outcome: Outcome },
    Failed { step: StepId, error: StepError },
}

/// How far a step has come. It counts as alive while `done` or `phase` changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// `download`, `verify`, `commit`: for people, and a change counts as progress.
    pub phase: String,
    /// In bytes where the step moves bytes.
    pub done: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// What has last gone wrong without ending the step, such as a broken transfer; none: nothing, or it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    Nothing,
    Inventory(Box<Inventory>),
    Written(Written),
    Rescued(Rescued),
}

/// People can log in to the ramdisk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rescued {
    /// Where, as its network has it.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// What the rescue system printed of itself: the public keys of its SSH server.
    #[serde(default)]
    pub said: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Written {
    /// Size of the image on the disk.
    pub image_bytes: u64,
    pub millis: u64,
    /// How often a broken transfer was resumed.
    #[serde(default)]
    pub resumed: u32,
    /// Other disks that may be taken for the one that was written; at most [`MAX_COLLISIONS`](crate::collision::MAX_COLLISIONS).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub collisions: Vec<Collision>,
}

/// Why a step failed: what was attempted on what, causes joined by `: `. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepError {
    pub what: String,
    #[serde(default)]
    pub retry: Retry,
}

/// Whether the same step may succeed when it is begun again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Retry {
    /// It would meet the same: a wrong checksum, a disk that is not there.
    #[default]
    Useless,
    /// What was in the way may pass: a server that is away, a disk that is in use.
    Useful,
}

/// The answer to a heartbeat: what the conductor wants now, by id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "a reply lives on the stack of one heartbeat"
)]
pub enum HeartbeatReply {
    /// Nothing new: keep sending heartbeats. A running step goes on.
    Idle,
    /// Run this step, unless it is already running or finished. Cancel any other.
    Step { id: StepId, order: Order },
    /// The conductor does not know this boot: look up again.
    LookUp,
}
