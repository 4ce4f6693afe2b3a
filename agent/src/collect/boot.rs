//! How this machine was booted: firmware, Secure Boot, boot NIC, kernel.
//! The boot NIC comes from the command line, read in `init::cmdline`.
use super::{Fill, Roots};
use ironbeat_common::id::Mac;
use ironbeat_common::inventory::{BootFacts, BootMode};

/// Where the kernel's EFI stub writes what it found of Secure Boot: `secure_boot` of `struct boot_params`
/// (Documentation/arch/x86/zero-page.rst), which needs no variables of the firmware.
const SECURE_BOOT: usize = 0x1ec;
/// `enum efi_secureboot_mode` of `include/linux/efi.h`.
const DISABLED: u8 = 2;
const ENABLED: u8 = 3;

pub fn read(roots: &Roots, booted: Option<Mac>) -> Fill {
    let mode = if roots.sys.join("firmware/efi").is_dir() {
        BootMode::Uefi
    } else {
        BootMode::Bios
    };
    let kernel = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let facts = BootFacts {
        mode,
        secure_boot: secure_boot(roots),
        interface: booted,
        kernel,
    };
    Box::new(move |inventory| inventory.boot = facts)
}

fn secure_boot(roots: &Roots) -> Option<bool> {
    let parameters = std::fs::read(roots.sys.join("kernel/boot_params/data")).ok()?;
    match *parameters.get(SECURE_BOOT)? {
        ENABLED => Some(true),
        DISABLED => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_common::inventory::Inventory;

    #[test]
    fn the_firmware_shows_in_sysfs() {
        let root = tempfile::tempdir().unwrap();
        let roots = Roots::at(root.path().to_str().unwrap());
        let mac = "52:54:00:77:01:0a".parse().unwrap();
        let mode = |roots: &Roots| {
            let mut inventory = Inventory::default();
            read(roots, Some(mac))(&mut inventory);
            assert_eq!(inventory.boot.interface, Some(mac));
            assert!(!inventory.boot.kernel.is_empty());
            inventory.boot.mode
        };
        assert_eq!(mode(&roots), BootMode::Bios);
        std::fs::create_dir_all(roots.sys.join("firmware/efi")).unwrap();
        assert_eq!(mode(&roots), BootMode::Uefi);
    }

    #[test]
    fn secure_boot_is_what_the_efi_stub_found() {
        let root = tempfile::tempdir().unwrap();
        let roots = Roots::at(root.path().to_str().unwrap());
        assert_eq!(secure_boot(&roots), None);
        let folder = roots.sys.join("kernel/boot_params");
        std::fs::create_dir_all(&folder).unwrap();
        let mut parameters = vec![0xff; 4096];
        for (said, expected) in [(0, None), (1, None), (2, Some(false)), (3, Some(true))] {
            parameters[SECURE_BOOT] = said;
            std::fs::write(folder.join("data"), &parameters).unwrap();
            assert_eq!(secure_boot(&roots), expected);
        }
        std::fs::write(folder.join("data"), &parameters[..SECURE_BOOT]).unwrap();
        assert_eq!(secure_boot(&roots), None);
    }
}
