//! What the last deploy found on other disks that may be taken for the deployed one: a node that is active says so.
//! What follows from it is decided in `decide`, by policy.
use crate::text::said;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use ironbeat_common::collision::{Clash, Collision, Fate};
use serde::{Deserialize, Serialize};

/// Places named in the record; a machine full of copies of one image counts the rest.
pub const MAX_PLACES: usize = 16;
/// Clashes of one place: there are no more kinds.
const MAX_CLASHES: usize = 7;
/// Characters of a text that comes from a disk; the longest label has 256.
const MAX_TEXT: usize = 256;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collisions {
    /// At most [`MAX_PLACES`].
    pub places: Vec<Collision>,
    /// How many more there are, at least.
    #[serde(default)]
    pub more: u32,
}

impl Collisions {
    /// An agent may say anything: what is kept of it is bounded, and plain.
    pub fn of(all: &[Collision]) -> Self {
        let places = all.iter().take(MAX_PLACES).map(bounded).collect();
        let more = all.len().saturating_sub(MAX_PLACES);
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        Self { places, more }
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether anything is as dangerous as it was found.
    pub fn are_harmless(&self) -> bool {
        self.more == 0 && self.places.iter().all(|it| it.fate == Fate::Neutralised)
    }
}

fn bounded(collision: &Collision) -> Collision {
    let cut = |text: &String| said(text, MAX_TEXT);
    let clash = |clash: &Clash| match clash {
        Clash::BootCode => Clash::BootCode,
        Clash::BootLoader(file) => Clash::BootLoader(cut(file)),
        Clash::DiskId(id) => Clash::DiskId(cut(id)),
        Clash::PartitionId(id) => Clash::PartitionId(cut(id)),
        Clash::FileSystemUuid(uuid) => Clash::FileSystemUuid(cut(uuid)),
        Clash::FileSystemLabel(label) => Clash::FileSystemLabel(cut(label)),
        Clash::Unread(why) => Clash::Unread(cut(why)),
    };
    let mut disk = collision.disk.clone();
    disk.name = cut(&disk.name);
    disk.serial = disk.serial.as_ref().map(cut);
    disk.wwn = disk.wwn.as_ref().map(cut);
    Collision {
        disk,
        partition: collision.partition,
        what: collision.what.iter().take(MAX_CLASHES).map(clash).collect(),
        fate: match &collision.fate {
            Fate::Left => Fate::Left,
            Fate::Neutralised => Fate::Neutralised,
            Fate::Failed(why) => Fate::Failed(cut(why)),
        },
    }
}

impl fmt::Display for Collisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words: Vec<String> = self.places.iter().map(ToString::to_string).collect();
        if self.more > 0 {
            words.push(format!("{} more", self.more));
        }
        f.write_str(&words.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_common::disk::DiskIdentity;

    #[test]
    fn what_an_agent_says_of_other_disks_is_bounded() {
        let long = "x".repeat(9000);
        let place = |n| Collision {
            disk: DiskIdentity {
                serial: Some(long.clone()),
                wwn: None,
                size_bytes: 5,
                name: format!("/dev/sd{n}"),
            },
            partition: Some(1),
            what: alloc::vec![Clash::FileSystemLabel(long.clone()); 99],
            fate: Fate::Failed(long.clone()),
        };
        let all: Vec<Collision> = (0..200).map(place).collect();
        let kept = Collisions::of(&all);
        assert_eq!((kept.places.len(), kept.more), (MAX_PLACES, 184));
        assert!(serde_json::to_string(&kept).unwrap().len() < 45_000);
        let words = kept.to_string();
        assert!(words.starts_with("/dev/sd0 serial xxx") && words.ends_with("; 184 more"));
        assert!(!kept.are_harmless());
    }

    #[test]
    fn what_other_disks_and_agents_say_does_not_reach_a_terminal_as_it_is() {
        let evil = || String::from("\u{1b}]0;\u{9b}2J\n");
        let place = Collision {
            disk: DiskIdentity {
                serial: Some(evil()),
                wwn: Some(evil()),
                size_bytes: 5,
                name: evil(),
            },
            partition: None,
            what: alloc::vec![
                Clash::BootLoader(evil()),
                Clash::DiskId(evil()),
                Clash::PartitionId(evil()),
                Clash::FileSystemUuid(evil()),
                Clash::FileSystemLabel(evil()),
                Clash::Unread(evil()),
            ],
            fate: Fate::Failed(evil()),
        };
        let words = Collisions::of(&[place]).to_string();
        assert!(!words.chars().any(char::is_control), "{words:?}");
        assert_eq!(words.matches("]0;").count(), 10);
    }
}
