//! The lookup: a machine introduces itself, and the reply names its node or asks it to wait.
//! Deciding which node it is is the core's job.
use crate::id::{BootId, Mac, NodeId, SystemUuid};
use crate::inventory::{BmcAddress, Inventory};
use crate::login::{Login, LoginRequest};
use crate::measured::Measurements;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// "Here I am, this is what I am made of." Request on `lookup`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lookup {
    pub version: u32,
    pub boot: BootId,
    /// The agent's own version, as `ironbeat-agent --version` prints it.
    pub agent: String,
    pub inventory: Inventory,
    #[serde(default)]
    pub timings: BootTimings,
    /// Of an agent whose boot script had a ticket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<LoginRequest>,
    /// None: the machine has no TPM 2.0, or the agent cannot read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measurements>,
}

/// The same message, read for what a machine is recognised by. Of a whole inventory most is text that nobody looks at when
/// the machine is known and not waited for.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Introduction {
    pub version: u32,
    pub boot: BootId,
    pub inventory: Marks,
    #[serde(default)]
    pub login: Option<LoginRequest>,
}

/// See [`Introduction`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Marks {
    pub system: SystemMarks,
    #[serde(default)]
    pub nics: Vec<NicMark>,
    #[serde(default)]
    pub bmc: Option<BmcAddress>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SystemMarks {
    #[serde(default)]
    pub uuid: Option<SystemUuid>,
    #[serde(default)]
    pub serial: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct NicMark {
    pub mac: Mac,
}

/// Milliseconds since the kernel started, by the machine's own monotonic clock.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BootTimings {
    pub agent_ms: u64,
    pub modules_ms: u64,
    pub network_ms: u64,
    pub inventory_ms: u64,
    pub lookup_ms: u64,
}

/// The answer to a lookup. An unknown, an ambiguous and an unwanted machine get the same `Wait`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum LookupReply {
    Welcome {
        node: NodeId,
        /// After this long without a heartbeat the machine counts as lost; it sends one at 0.3 to 0.6 of it.
        heartbeat_timeout_secs: u32,
        /// With which the agent goes on, under its own key; none where nobody needs a login.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        login: Option<Login>,
    },
    /// Look up again in `retry_secs` × U(0.5, 1.5).
    Wait { retry_secs: u32 },
}
