//! What a machine with Secure Boot loads by TFTP: shim, then GRUB, its configuration, kernel and ramdisk.
//! Shim and GRUB are the operator's to put there, as iPXE is; `script` says what the configuration says.
use super::{DnsmasqError, TftpFiles, put, replace};
use crate::netboot::script::{KERNEL, RAMDISK};
use std::fs::File;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Of package shim-signed, `/usr/lib/shim/shimx64.efi.signed`; and by the name that shim asks for, the one of
/// grub-efi-amd64-signed that boots from the network, `/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed`.
const LOADERS: [&str; 2] = ["shimx64.efi", "grubx64.efi"];
/// GRUB's prefix, when it was loaded by TFTP.
pub(crate) const FOLDER: &str = "grub";

/// Configuration, and links to kernel and ramdisk: what is put in their place counts at once.
pub(super) fn write(tftp_dir: &Path, files: &TftpFiles) -> Result<(), DnsmasqError> {
    let folder = tftp_dir.join(FOLDER);
    let failed = |path: &Path| {
        let path = path.into();
        move |source| DnsmasqError::Write { path, source }
    };
    match std::fs::create_dir(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed(&folder)(error));
        }
        Ok(()) | Err(_) => {}
    }
    put(&folder.join("grub.cfg"), &files.grub_config)?;
    let boot_dir = std::path::absolute(&files.boot_dir).map_err(failed(&files.boot_dir))?;
    for name in [KERNEL, RAMDISK] {
        let (to, link) = (boot_dir.join(name), folder.join(name));
        if std::fs::read_link(&link).is_ok_and(|present| present == to) {
            continue;
        }
        replace(&link, |staged| {
            // One of this process's number may have been left there.
            let _ = std::fs::remove_file(staged);
            symlink(&to, staged)
        })
        .map_err(failed(&link))?;
    }
    Ok(())
}

/// # Errors
/// The first loader that cannot be read.
pub(super) fn check(tftp_dir: &Path) -> Result<(), DnsmasqError> {
    for name in LOADERS {
        let path = tftp_dir.join(name);
        File::open(&path).map_err(|source| DnsmasqError::Lacks { path, source })?;
    }
    Ok(())
}
