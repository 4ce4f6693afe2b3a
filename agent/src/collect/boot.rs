//! How this machine was booted: firmware, boot NIC, kernel.
//! The boot NIC comes from the command line, read in `init::cmdline`.
use super::{Fill, Roots};
use ironbeat_common::id::Mac;
use ironbeat_common::inventory::{BootFacts, BootMode};

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
        interface: booted,
        kernel,
    };
    Box::new(move |inventory| inventory.boot = facts)
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
}
