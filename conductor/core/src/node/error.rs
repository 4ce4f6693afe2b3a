//! The last failure, and what was under way when it happened.
//! `decide` says whether another try is worth it.
use crate::time::Time;
use alloc::string::String;
use core::fmt;
use serde::{Deserialize, Serialize};

/// A failure: what was attempted, and why it did not work. Cleared by the next success of the same sort.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LastError {
    pub at: Time,
    pub during: During,
    pub what: String,
}

impl fmt::Display for LastError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}: {}", self.at, self.during, self.what)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum During {
    /// A power reading. The next one that succeeds clears the error too.
    PowerSync,
    /// A ramdisk runs on the machine of an active node.
    Astray,
    /// A step of a job, in the operator's words.
    Step {
        provision_state: String,
        name: String,
        /// Counted from 1.
        number: usize,
        of: usize,
    },
}

impl fmt::Display for During {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            During::PowerSync => f.write_str("power sync"),
            During::Astray => f.write_str("active"),
            During::Step {
                provision_state,
                name,
                number,
                of,
            } => write!(f, "{provision_state}, step {name} ({number} of {of})"),
        }
    }
}
