//! The traffic between watchers of a serial console and the worker that serves it: subjects, headers, one request.
//! Output and input are bytes as they are, so that `nats sub` and `nats pub` do for a console too.
use ironbeat_common::id::NodeId;
use ironbeat_core::id::WorkerId;
use serde::{Deserialize, Serialize};

/// A watcher that has not renewed its lease for this long is gone; it renews every [`RENEW_SECS`].
pub const LEASE_SECS: u64 = 10;
pub const RENEW_SECS: u64 = 3;
/// One message of input, at most: more than anybody types, and a paste is many.
pub const MAX_INPUT_BYTES: usize = 4096;

/// Headers of output, and of the answer to [`Attach`].
pub mod header {
    /// Names what one worker has served without a break. The next one begins at offset 0.
    pub const SESSION: &str = "Ironbeat-Session";
    /// How many bytes of this session came before this message.
    pub const OFFSET: &str = "Ironbeat-Offset";
    pub const WORKER: &str = "Ironbeat-Worker";
    pub const WATCHERS: &str = "Ironbeat-Watchers";
    /// Absent while the BMC's console is attached; otherwise why it is not.
    pub const TROUBLE: &str = "Ironbeat-Trouble";
}

/// The last token of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A watcher's request, and its renewal: [`Attach`]. The answer is the last output, so that there is a screen.
    Attach,
    /// Bytes from the machine.
    Out,
    /// Bytes to the machine.
    In,
    /// A break, without a body.
    Break,
    /// A watcher leaves; the body is its name.
    Detach,
}

impl Part {
    pub const TO_WORKER: [Part; 4] = [Part::Attach, Part::In, Part::Break, Part::Detach];

    fn name(self) -> &'static str {
        match self {
            Part::Attach => "attach",
            Part::Out => "out",
            Part::In => "in",
            Part::Break => "break",
            Part::Detach => "detach",
        }
    }
}

pub fn subject(prefix: &str, node: &NodeId, part: Part) -> String {
    format!("{prefix}.console.{node}.{}", part.name())
}

/// The same of all nodes.
pub fn subject_of_all(prefix: &str, part: Part) -> String {
    format!("{prefix}.console.*.{}", part.name())
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attach {
    /// The watcher's name, of its own choice.
    pub watcher: String,
    /// Take the console from whoever else has it.
    #[serde(default)]
    pub take_over: bool,
    /// The worker that served this watcher before: what it left attached when it died is taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<WorkerId>,
}
