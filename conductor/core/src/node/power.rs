//! A node's power as far as it is known, and the maintenance that power trouble leads to.
//! The conductor reads the power; `decide` says what a reading changes.
use crate::time::Time;
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// The power as last known, and how it is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Power {
    pub on: bool,
    pub at: Time,
    pub source: PowerSource,
}

impl Power {
    /// Whether somebody saw it; otherwise it is the last command.
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
    /// An agent was alive, which takes power.
    Agent,
    /// It was ordered, and since `at` nobody could see the result.
    Command,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Maintenance {
    pub since: Time,
    pub reason: String,
    /// None: an operator set it, and an operator ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<HardwareFault>,
}

/// Why a node entered maintenance by itself (Ironic's `fault`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum HardwareFault {
    /// The power state could not be read, or did not stay as ordered.
    /// Maintenance ends by itself when the BMC answers.
    #[serde(rename = "power failure")]
    Power,
    /// A step of cleaning failed. Somebody has to look at the machine, and ends maintenance.
    #[serde(rename = "clean failure")]
    Clean,
    /// The same of a service.
    #[serde(rename = "service failure")]
    Service,
}
