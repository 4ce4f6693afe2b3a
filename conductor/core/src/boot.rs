//! What a machine shall boot: a pure function of its record, shared by DHCP staging, boot scripts and the BMC.
//! How a boot script is written and served is the conductor's affair.
use crate::node::{Node, Step};
use ironbeat_common::order::Order;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Boot {
    /// Our ramdisk, from the network.
    Ramdisk,
    /// The disk: a network boot falls through to it.
    Disk,
}

/// A machine boots the ramdisk exactly while some step ahead needs the ramdisk for more than to leave it.
pub fn boot_for(node: &Node) -> Boot {
    let needed = node.job().is_some_and(|job| {
        job.steps[job.at..].iter().any(|step| match step {
            Step::AwaitAgent => true,
            Step::Agent(Order::Reboot | Order::PowerOff) | Step::Bmc(_) => false,
            Step::Agent(_) => true,
        })
    });
    if needed { Boot::Ramdisk } else { Boot::Disk }
}
