//! A disk's identity, which outlives device names, and the test whether a disk has it.
//! Choosing the disk is the core's job (`hints`).
use crate::inventory::Disk;
use alloc::string::String;
use core::fmt;
use serde::{Deserialize, Serialize};

/// A disk as the plan chose it. The agent looks for it again before the first write and refuses unless exactly one fits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DiskIdentity {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
    pub size_bytes: u64,
    /// Counts only if the disk has neither serial nor WWN.
    pub name: String,
}

impl DiskIdentity {
    pub fn of(disk: &Disk) -> Self {
        Self {
            serial: disk.serial.clone(),
            wwn: disk.wwn.clone(),
            size_bytes: disk.size_bytes,
            name: disk.name.clone(),
        }
    }

    /// Serial and WWN must both agree where the plan had them; a disk with neither is identified by name alone.
    pub fn is(&self, disk: &Disk) -> bool {
        let named_only = self.serial.is_none() && self.wwn.is_none();
        self.size_bytes == disk.size_bytes
            && self.serial == disk.serial
            && self.wwn == disk.wwn
            && (!named_only || self.name == disk.name)
    }
}

impl fmt::Display for DiskIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        if let Some(serial) = &self.serial {
            write!(f, " serial {serial}")?;
        }
        if let Some(wwn) = &self.wwn {
            write!(f, " wwn {wwn}")?;
        }
        write!(f, ", {} bytes", self.size_bytes)
    }
}
