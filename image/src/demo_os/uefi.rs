//! The demo image's UEFI loaders, where firmware finds them without a boot entry: a GRUB made here, or Debian's signed ones.
//! The partition that they are put into is made in `system`.
use super::grub::{GRUB, grub_config};
use crate::error::{Result, file};
use crate::flavour::Flavour;
use crate::run::run;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub const FOLDERS: [&str; 3] = ["::/EFI", "::/EFI/BOOT", "::/EFI/debian"];

const FIRST: &str = "::/EFI/BOOT/BOOTX64.EFI";
/// Of packages shim-signed and grub-efi-amd64-signed; shim starts GRUB by this name, beside itself.
pub const SIGNED: [(&str, &str); 2] = [
    ("/usr/lib/shim/shimx64.efi.signed", FIRST),
    (
        "/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
        "::/EFI/BOOT/grubx64.efi",
    ),
];
/// Where Debian's signed GRUB looks for its configuration.
const SIGNED_CONFIG: &str = "::/EFI/debian/grub.cfg";

/// Files, and where they go.
pub fn loaders(flavour: Flavour, work: &Path) -> Result<Vec<(PathBuf, &'static str)>> {
    let config = work.join("uefi.cfg");
    fs::write(&config, grub_config("")).map_err(file("write", &config))?;
    if flavour.is_signed() {
        let signed = SIGNED.map(|(from, to)| (PathBuf::from(from), to));
        return Ok(signed
            .into_iter()
            .chain([(config, SIGNED_CONFIG)])
            .collect());
    }
    let out = work.join("BOOTX64.EFI");
    // A prefix without a device is taken to be on the partition that the loader came from.
    run(Command::new("grub-mkimage")
        .args(["-O", "x86_64-efi", "-p", "/boot/grub", "-c"])
        .arg(&config)
        .arg("-o")
        .arg(&out)
        .arg("-d")
        .arg(Path::new(GRUB).join("x86_64-efi"))
        .args(["part_gpt", "fat", "linux", "boot"]))?;
    Ok(vec![(out, FIRST)])
}
