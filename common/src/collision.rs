//! What another disk has that firmware, or the system just written, may take for its own, or what nobody could read of it.
//! The agent looks for it; what follows is the core's to decide.
use crate::disk::DiskIdentity;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

/// The most that an agent reports: a message is bounded, and with so many nobody reads on.
pub const MAX_COLLISIONS: usize = 64;

/// One place on another disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Collision {
    pub disk: DiskIdentity,
    /// Counted from 1; none: the disk as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<u32>,
    pub what: Vec<Clash>,
    pub fate: Fate,
}

/// Text from a disk is without control characters, and short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Clash {
    /// In the first sector, with something to boot: a BIOS starts it.
    BootCode,
    /// In an EFI system partition: UEFI firmware may start it.
    BootLoader(String),
    /// The GUID of a GPT, or the signature of an MBR.
    DiskId(String),
    /// The GUID of a GPT partition.
    PartitionId(String),
    /// Also of swap space and of physical volumes.
    FileSystemUuid(String),
    FileSystemLabel(String),
    /// Nobody can say what is there, and this is why: the disk or a part of it could not be read.
    Unread(String),
}

/// What the agent did about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It was not told to do anything to this disk.
    Left,
    Neutralised,
    /// It was told to, and this is why it could not.
    Failed(String),
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Clash::BootCode => f.write_str("boot code"),
            Clash::BootLoader(file) => write!(f, "the boot loader {file}"),
            Clash::DiskId(id) => write!(f, "the same disk GUID or signature {id}"),
            Clash::PartitionId(id) => write!(f, "the same partition GUID {id}"),
            Clash::FileSystemUuid(uuid) => write!(f, "the same file-system UUID {uuid}"),
            Clash::Unread(why) => write!(f, "content that could not be read ({why})"),
            Clash::FileSystemLabel(label) => write!(f, "the same label {label:?}"),
        }
    }
}

impl fmt::Display for Collision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.disk)?;
        if let Some(number) = self.partition {
            write!(f, ", partition {number}")?;
        }
        let what: Vec<String> = self.what.iter().map(ToString::to_string).collect();
        let fate = match &self.fate {
            Fate::Left => String::new(),
            Fate::Neutralised => " (neutralised)".into(),
            Fate::Failed(why) => format!(" (it could not be neutralised: {why})"),
        };
        write!(f, " has {}{fate}", what.join(", "))
    }
}
