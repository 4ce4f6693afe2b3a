//! What the last cleaning did not erase, and why: a node that is available says so.
//! Which disks are left alone is decided in `disks`.
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

/// Disks named in the record; one with a whole SAN behind it counts the rest.
pub const MAX_LEFT_DISKS: usize = 16;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftAlone {
    /// At most [`MAX_LEFT_DISKS`].
    pub disks: Vec<LeftDisk>,
    /// How many more there are.
    #[serde(default)]
    pub more: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftDisk {
    /// Its device name and what identifies it, for people.
    pub disk: String,
    pub why: WhyLeft,
}

/// Why cleaning does not erase a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhyLeft {
    ReadOnly,
    Empty,
    /// Its medium comes and goes with whoever plugs it in.
    Removable,
    Usb,
    /// It is reached over a network, where other machines may use it too.
    Shared,
    /// The node's skip list names it.
    Skipped,
}

impl LeftAlone {
    pub fn of(all: Vec<LeftDisk>) -> Self {
        let mut disks = all;
        let more = disks.len().saturating_sub(MAX_LEFT_DISKS);
        disks.truncate(MAX_LEFT_DISKS);
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        Self { disks, more }
    }

    pub fn is_empty(&self) -> bool {
        self.disks.is_empty()
    }
}

impl fmt::Display for WhyLeft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WhyLeft::ReadOnly => "read-only",
            WhyLeft::Empty => "empty",
            WhyLeft::Removable => "removable",
            WhyLeft::Usb => "on USB",
            WhyLeft::Shared => "shared",
            WhyLeft::Skipped => "on the skip list",
        })
    }
}

impl fmt::Display for LeftAlone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.disks.iter();
        let mut words: Vec<String> = named
            .map(|left| format!("{} ({})", left.disk, left.why))
            .collect();
        if self.more > 0 {
            words.push(format!("{} more", self.more));
        }
        f.write_str(&words.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_whole_san_is_counted_and_not_listed() {
        let disk = |n| LeftDisk {
            disk: format!("/dev/sd{n}"),
            why: WhyLeft::Shared,
        };
        let left = LeftAlone::of((0..200).map(disk).collect());
        assert_eq!((left.disks.len(), left.more), (MAX_LEFT_DISKS, 184));
        let words = left.to_string();
        assert!(words.starts_with("/dev/sd0 (shared); "), "{words}");
        assert!(words.ends_with("; 184 more"), "{words}");
    }
}
