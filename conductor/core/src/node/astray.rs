//! A machine that runs a ramdisk though its node is active: how often, and what was done about it.
//! `decide` says what follows from it.
use crate::time::Time;
use alloc::format;
use alloc::string::String;
use ironbeat_common::id::BootId;
use serde::{Deserialize, Serialize};

/// Since the node was deployed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Astray {
    /// Ramdisks seen.
    pub times: u32,
    /// The last one, and when it was first seen or last ended by force.
    pub boot: BootId,
    pub at: Time,
    /// How often in a row it took force to boot the disk.
    pub forced: u32,
}

impl Astray {
    pub fn words(&self) -> String {
        let times = match self.times {
            1 => "once".into(),
            times => format!("{times} times"),
        };
        format!("the machine came to the ramdisk {times} instead of its disk since it was deployed")
    }
}
