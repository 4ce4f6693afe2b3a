//! What a machine boots, and how: pure functions of its record, shared by DHCP staging, boot scripts and the BMC.
//! The conductor writes and serves boot scripts.
use crate::node::{Node, Step};
use crate::policy::Policy;
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
            Step::Bmc(_) | Step::Hold | Step::Wait { .. } => false,
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

/// What UEFI firmware starts to get to the ramdisk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loader {
    /// Firmware with Secure Boot refuses it: nobody whom it believes has signed it.
    Ipxe,
    /// Debian's shim, which Microsoft has signed, and then GRUB and the kernel, which Debian has.
    Shim,
}

/// The operator's choice for the node, else for the site.
pub fn loader_of(secure_boot: Option<bool>, policy: &Policy) -> Loader {
    match secure_boot.unwrap_or(policy.secure_boot) {
        true => Loader::Shim,
        false => Loader::Ipxe,
    }
}

/// Why firmware that got an address may ask for no boot script; none: nothing is known of it.
pub fn refused_loader(node: &Node, policy: &Policy) -> Option<&'static str> {
    match (firmware_mode(node), loader_of(node.secure_boot, policy)) {
        (BootMode::Bios, _) => None,
        (BootMode::Uefi, Loader::Ipxe) => Some(
            "its firmware may have Secure Boot on and refuse iPXE (its console says Access Denied or Security Violation): node set --secure-boot on",
        ),
        (BootMode::Uefi, Loader::Shim) => Some(
            "shim or GRUB may not have got what they load by TFTP, or refuse it (its console says which)",
        ),
    }
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

    #[test]
    fn the_operators_word_on_secure_boot_wins_then_the_sites() {
        for (site, node, expected) in [
            (false, None, Loader::Ipxe),
            (false, Some(true), Loader::Shim),
            (true, None, Loader::Shim),
            (true, Some(false), Loader::Ipxe),
        ] {
            let policy = Policy {
                secure_boot: site,
                ..Policy::default()
            };
            assert_eq!(loader_of(node, &policy), expected);
        }
    }
}
