//! What a machine boots, and how: pure functions of its record, shared by DHCP staging, boot scripts and the BMC.
//! The conductor writes and serves boot scripts.
use crate::node::{Node, Step};
use ironbeat_common::inventory::BootMode;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Boot {
    /// Our ramdisk, from the network.
    Ramdisk,
    /// The disk: a network boot falls through to it.
    Disk,
}

/// The ramdisk exactly while some step ahead needs it for more than leaving it.
pub fn boot_for(node: &Node) -> Boot {
    let needed = node.job().is_some_and(|job| {
        job.steps[job.at..].iter().any(|step| match step {
            Step::AwaitAgent => true,
            Step::Agent(step) => !step.ends_agent(),
            Step::Bmc(_) => false,
        })
    });
    if needed { Boot::Ramdisk } else { Boot::Disk }
}

/// The operator's choice, else the mode in which the ramdisk found the firmware, else UEFI (Ironic's
/// `default_boot_mode`).
pub fn firmware_mode(node: &Node) -> BootMode {
    let mode = node.boot_mode.or(node.found_boot_mode);
    mode.unwrap_or(BootMode::Uefi)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tests::enrolled;

    #[test]
    fn the_operators_firmware_mode_wins_then_the_ramdisks_then_uefi() {
        let mut node = enrolled();
        assert_eq!(firmware_mode(&node), BootMode::Uefi);
        node.found_boot_mode = Some(BootMode::Bios);
        assert_eq!(firmware_mode(&node), BootMode::Bios);
        node.boot_mode = Some(BootMode::Uefi);
        assert_eq!(firmware_mode(&node), BootMode::Uefi);
    }
}
