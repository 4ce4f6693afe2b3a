//! A small operating system to deploy: one disk image that boots under BIOS and UEFI and says who it is on its console.
//! It reads its name from the config drive, as a cloud image would; the agent adds that drive when it writes the image.
//!
//! The line it says, once, on the first serial port:
//! `DEPLOYED-OK hostname=<name> uuid=<uuid> root=<disk> firmware=<bios|uefi>`, with `-` for what its config drive does not
//! say; with user data, the next line is `USER-DATA <first line>`. Then it stays up until its power button is pressed.
mod disk;
mod grub;
mod system;
mod uefi;
mod userland;

use crate::cache;
use crate::error::{Error, Result, file};
use crate::flavour::Flavour;
use crate::kernel::Kernel;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug)]
pub struct DemoOs {
    pub raw: PathBuf,
    pub zst: PathBuf,
    pub gz: PathBuf,
    pub raw_bytes: u64,
    pub raw_sha256: String,
    pub zst_sha256: String,
    pub gz_sha256: String,
}

/// What it is published as: beside each file is one with `.sha256` appended, as sha256sum writes it.
const FILES: [&str; 3] = ["demo.raw", "demo.raw.zst", "demo.raw.gz"];

/// Builds the image, or returns the one that was built of the same parts before. With Debian's cloud kernel it boots from
/// virtio, NVMe and SCSI disks, with the generic one from SATA and RAID controllers too, and with Secure Boot.
///
/// # Errors
/// When a program is missing (grub-common, grub-pc-bin, grub-efi-amd64-bin, shim-signed, grub-efi-amd64-signed,
/// busybox-static, mtools, dosfstools, gdisk) or fails.
pub fn build(kernel: &Kernel, flavour: Flavour, cache_dir: &Path) -> anyhow::Result<DemoOs> {
    let name = format!("demo-{}-{}", kernel.version, key(kernel, flavour)?);
    let dir = cache::entry(cache_dir, &name, |dir| {
        eprintln!("demo image: build {name}");
        fill(kernel, flavour, dir)
    })?;
    let [raw, zst, gz] = FILES.map(|name| dir.join(name));
    Ok(DemoOs {
        raw_bytes: fs::metadata(&raw).map_err(file("look at", &raw))?.len(),
        raw_sha256: digest(&raw)?,
        zst_sha256: digest(&zst)?,
        gz_sha256: digest(&gz)?,
        raw,
        zst,
        gz,
    })
}

/// Of all that the image is made of: this code, busybox, GRUB, the kernel.
fn key(kernel: &Kernel, flavour: Flavour) -> Result<String> {
    let mut key = Sha256::new();
    for part in [
        include_str!("mod.rs"),
        include_str!("disk.rs"),
        include_str!("grub.rs"),
        include_str!("system.rs"),
        include_str!("uefi.rs"),
        include_str!("userland.rs"),
        include_str!("../cpio.rs"),
        include_str!("../modules.rs"),
        userland::INIT,
        userland::POWER,
    ] {
        key.update(part);
    }
    key.update(userland::busybox()?);
    let grub = [
        "i386-pc/boot.img",
        "i386-pc/kernel.img",
        "x86_64-efi/kernel.img",
    ]
    .map(|part| Path::new(grub::GRUB).join(part));
    let signed = uefi::SIGNED.map(|(from, _)| PathBuf::from(from));
    let signed = signed.iter().filter(|_| flavour.is_signed());
    for path in grub.iter().chain([&kernel.vmlinuz]).chain(signed) {
        key.update(fs::read(path).map_err(file("read", path))?);
    }
    Ok(hex(&key.finalize()[..6]))
}

fn fill(kernel: &Kernel, flavour: Flavour, dir: &Path) -> Result<()> {
    let work = dir.join("work");
    fs::create_dir(&work).map_err(file("make", &work))?;
    let image = disk::image(kernel, flavour, &work)?;
    fs::remove_dir_all(&work).map_err(file("remove", &work))?;
    let compress = |source| Error::Compress {
        what: "the demo image",
        source,
    };
    // 9 and 6: higher levels save 2 % and take ten times as long.
    let zst = zstd::bulk::compress(&image, 9).map_err(compress)?;
    let mut gz = GzEncoder::new(Vec::new(), Compression::new(6));
    let gz = gz
        .write_all(&image)
        .and_then(|()| gz.finish())
        .map_err(compress)?;
    for (name, content) in FILES.into_iter().zip([image, zst, gz]) {
        let path = dir.join(name);
        fs::write(&path, &content).map_err(file("write", &path))?;
        let line = format!("{}  {name}\n", hex(&Sha256::digest(&content)));
        let path = dir.join(format!("{name}.sha256"));
        fs::write(&path, line).map_err(file("write", &path))?;
    }
    Ok(())
}

/// As written down when the file was.
fn digest(path: &Path) -> Result<String> {
    let mut list = path.as_os_str().to_owned();
    list.push(".sha256");
    let list = Path::new(&list);
    let line = fs::read_to_string(list).map_err(file("read", list))?;
    let digest = line.split_whitespace().next();
    digest
        .map(str::to_string)
        .ok_or_else(|| Error::Unfit(format!("{} is empty", list.display())))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
