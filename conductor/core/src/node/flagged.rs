//! Protected and retired: what an operator says of a node that keeps verbs from it, and why.
//! `decide` says which verbs, and when it can be said.
use crate::time::Time;
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// Since when, and the reason for whoever finds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Flagged {
    pub since: Time,
    pub reason: String,
}
