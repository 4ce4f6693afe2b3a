//! Machines that looked up, as operators see them.
//! The conductor's records remember them.
use ironbeat_common::id::BootId;
use ironbeat_common::inventory::Inventory;
use ironbeat_core::lookup::Match;
use ironbeat_core::time::Time;
use serde::{Deserialize, Serialize};

/// The last lookup of one machine, and the answer to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LookupRecord {
    pub at: Time,
    pub boot: BootId,
    #[serde(rename = "match")]
    pub matched: Match,
    pub outcome: String,
    pub inventory: Inventory,
    /// How often it has looked up since it was first remembered; the last half minute may be missing.
    #[serde(default)]
    pub count: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LookupEntry {
    pub key: String,
    /// Keys of others, 8 at most, that claim its UUID; or, where it has none, its first MAC address, or its serial number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<String>,
    #[serde(flatten)]
    pub lookup: LookupRecord,
}
