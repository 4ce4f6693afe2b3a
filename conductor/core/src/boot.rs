//! What a machine boots, and how: pure functions of its record, shared by DHCP staging, boot scripts and the BMC.
//! Boot scripts are written and served by the conductor.
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

/// A machine boots the ramdisk exactly while some step ahead needs the ramdisk for more than to leave it.
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

/// How the firmware boots: as the operator set it, else as the ramdisk found it, else UEFI (Ironic's
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
    fn firmware_boots_as_it_was_set_then_as_it_was_found_then_by_uefi() {
        let mut node = enrolled();
        assert_eq!(firmware_mode(&node), BootMode::Uefi);
        node.found_boot_mode = Some(BootMode::Bios);
        assert_eq!(firmware_mode(&node), BootMode::Bios);
        node.boot_mode = Some(BootMode::Uefi);
        assert_eq!(firmware_mode(&node), BootMode::Uefi);
    }
}
