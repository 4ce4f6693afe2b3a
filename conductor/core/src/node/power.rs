//! What is known of a node's power, and the maintenance that trouble with it leads to.
//! How power is read, and what a reading changes, is in `decide`.
use crate::time::Time;
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// What is known of the power, and how it is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Power {
    pub on: bool,
    pub at: Time,
    pub source: PowerSource,
}

impl Power {
    /// Whether somebody saw it; else it is what was commanded last.
    pub fn confirmed(&self) -> bool {
        match self.source {
            PowerSource::Bmc | PowerSource::Agent => true,
            PowerSource::Command => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerSource {
    /// The BMC was asked and said so.
    Bmc,
    /// An agent that lives needs power.
    Agent,
    /// The BMC accepted a command, and then nobody could see what came of it.
    Command,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Maintenance {
    pub since: Time,
    pub reason: String,
    /// None: an operator's wish, and an operator ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<HardwareFault>,
}

/// Why a node went into maintenance by itself, and comes out of it by itself (Ironic's `fault`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum HardwareFault {
    /// The power state could not be read, or not be kept as it should be.
    #[serde(rename = "power failure")]
    Power,
}
