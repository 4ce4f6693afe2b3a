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

/// A token of a subject: the last one, but where who asks comes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A watcher's request, and its renewal: [`Attach`]. The answer is the last output, so that there is a screen.
    Attach,
    /// The same, and to take the console from whoever else has it: [`Attach`].
    Take,
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
    pub const TO_WORKER: [Part; 5] = [
        Part::Attach,
        Part::Take,
        Part::In,
        Part::Break,
        Part::Detach,
    ];

    /// The subject ends with the public key of whoever asks, under which servers let nobody else publish. So a watcher is its
    /// asker's, though everybody hears its name.
    pub fn has_asker(self) -> bool {
        match self {
            Part::Attach | Part::Take | Part::Detach => true,
            Part::Out | Part::In | Part::Break => false,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Part::Attach => "attach",
            Part::Take => "take",
            Part::Out => "out",
            Part::In => "in",
            Part::Break => "break",
            Part::Detach => "detach",
        }
    }
}

/// Of output and input.
pub fn subject(prefix: &str, node: &NodeId, part: Part) -> String {
    format!("{prefix}.console.{node}.{}", part.name())
}

/// Of a part that has an asker. Without logins that is any token.
pub fn subject_by(prefix: &str, node: &NodeId, part: Part, asker: &str) -> String {
    format!("{}.{asker}", subject(prefix, node, part))
}

/// The same of all nodes.
pub fn subject_of_all(prefix: &str, part: Part) -> String {
    let asker = if part.has_asker() { ".*" } else { "" };
    format!("{prefix}.console.*.{}{asker}", part.name())
}

/// Node and asker, of a subject of this part; an empty asker where there is none.
pub fn read_subject(subject: &str, part: Part) -> Option<(NodeId, &str)> {
    let (rest, asker) = match part.has_asker() {
        true => subject.rsplit_once('.')?,
        false => (subject, ""),
    };
    let (rest, _) = rest.rsplit_once('.')?;
    let (_, node) = rest.rsplit_once('.')?;
    Some((node.parse().ok()?, asker))
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attach {
    /// The watcher's name, of its asker's choice.
    pub watcher: String,
    /// With [`Part::Take`]: the worker that served this watcher before; the console is taken if that one is dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<WorkerId>,
}
