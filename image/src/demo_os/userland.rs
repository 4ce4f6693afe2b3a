//! The demo operating system's ramdisk: busybox, the drivers of disks, and the script that is all of its userland.
//! Where the ramdisk is put is in `system`.
use crate::cpio::Archive;
use crate::error::{Error, Result, file};
use crate::flavour::Flavour;
use crate::kernel::Kernel;
use crate::modules::{closure, unsigned};
use std::fs;
use std::path::Path;

pub const INIT: &str = include_str!("init.sh");
pub const POWER: &str = include_str!("power.sh");

/// Disks it may be written to, its config drive, the power button. What a kernel does not have is left out.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "virtio_scsi",
    "nvme",
    "ahci",
    "sd_mod",
    "megaraid_sas",
    "mpt3sas",
    "vfat",      // the config drive …
    "nls_cp437", // … and the names in it
    "nls_ascii",
    "isofs",  // the same from other tools
    "button", // ACPI power button …
    "evdev",  // … as acpid reads it
];

/// What the scripts call.
const APPLETS: &[&str] = &[
    "acpid", "basename", "cat", "cut", "dirname", "findfs", "grep", "head", "hostname", "ls",
    "modprobe", "mount", "poweroff", "readlink", "sed", "sh", "sleep", "sort", "sync", "umount",
    "xargs",
];

/// Level of its compression: 19 saves 5 % more and takes ten times as long.
const ZSTD_LEVEL: i32 = 9;

/// Debian's static busybox.
pub fn busybox() -> Result<Vec<u8>> {
    let path = Path::new("/bin/busybox");
    fs::read(path).map_err(file("read busybox-static's", path))
}

pub fn initrd(kernel: &Kernel, flavour: Flavour, busybox: &[u8]) -> Result<Vec<u8>> {
    let mut archive = Archive::new();
    for dir in ["dev", "proc", "sys", "mnt", "tmp"] {
        archive.dir(dir);
    }
    archive.char_device("dev/console", 0o600, 5, 1);
    archive.char_device("dev/null", 0o666, 1, 3);
    archive.file("bin/busybox", 0o755, busybox.to_vec());
    for applet in APPLETS {
        archive.symlink(&format!("bin/{applet}"), "busybox");
    }
    archive.file("init", 0o755, INIT.into());
    archive.file("etc/acpi/PWRF/00000080", 0o755, POWER.into());

    let closure = closure(kernel, MODULES)?;
    let base = format!("lib/modules/{}", kernel.version);
    for path in closure.files.values() {
        let from = kernel.modules.join(path);
        let mut content = fs::read(&from).map_err(file("read", &from))?;
        if !flavour.is_signed() {
            content.truncate(unsigned(&content).len());
        }
        archive.file(&format!("{base}/{path}"), 0o644, content);
    }
    for (name, text) in closure.index {
        archive.file(&format!("{base}/{name}"), 0o644, text.into_bytes());
    }
    zstd::bulk::compress(&archive.finish(), ZSTD_LEVEL).map_err(|source| Error::Compress {
        what: "the demo's initrd",
        source,
    })
}
