//! A password or a key, and what is shown instead of it.
use alloc::string::String;
use core::fmt;
use serde::{Deserialize, Serialize};

/// A password or key. Serialises as it is, for the record alone; shows itself nowhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// What replaces a secret in every reply.
pub const REDACTED: &str = "******";

impl Secret {
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }
    pub fn reveal(&self) -> &str {
        &self.0
    }
    pub fn redacted() -> Self {
        Self(REDACTED.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}
