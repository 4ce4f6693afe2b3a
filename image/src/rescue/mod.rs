//! The rescue system: what the agent unpacks beside itself, so that people can log in to a ramdisk.
//! Debian's busybox and dropbear, what the site wants beside them, and drivers for file systems. Starting it is `start.sh`'s job.
mod debs;

use crate::cpio::Archive;
use crate::error::{Error, Result, file};
use crate::flavour::Flavour;
use crate::kernel::Kernel;
use crate::modules::{closure, unsigned};
use crate::run::text;
use sha2::{Digest, Sha256};
use std::fs::{self, Metadata};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The agent starts it when all is unpacked.
const START: &str = "etc/ironbeat/rescue";
const BUSYBOX: &str = "bin/busybox";
/// A shell and its tools; an SSH server; the checker of the most usual file system.
const PACKAGES: &[&str] = &["busybox-static", "dropbear-bin", "e2fsprogs"];
/// Nobody reads them there.
const LEFT_OUT: &[&str] = &[
    "usr/share",
    "usr/lib/systemd",
    "lib/systemd",
    // Of every encoding there is, 8 MB.
    "usr/lib/x86_64-linux-gnu/gconv",
];

/// To mount what an owner's disk may have.
const MODULES: &[&str] = &[
    "ext4",
    "xfs",
    "btrfs",
    "vfat",
    "nls_cp437",
    "nls_iso8859_1",
    "nls_ascii",
    "nls_utf8",
    "iso9660",
    "loop",
    "dm_mod",
    "dm_crypt",
    "dm_mirror",
    "dm_snapshot",
    "md_mod",
    "raid0",
    "raid1",
    "raid10",
    "raid456",
];

pub struct Spec<'a> {
    /// That of the ramdisk: its drivers fit no other.
    pub kernel: &'a Kernel,
    pub flavour: Flavour,
    /// Debian packages beside the usual ones.
    pub packages: &'a [String],
    /// zstd level.
    pub level: i32,
    pub cache_dir: &'a Path,
    pub out_dir: &'a Path,
}

#[derive(Clone, Debug)]
pub struct Built {
    pub path: PathBuf,
    pub bytes: u64,
    /// Before compression.
    pub unpacked_bytes: u64,
    /// Of the file, in hex.
    pub sha256: String,
    /// All Debian packages in it.
    pub packages: Vec<String>,
}

/// Writes `rescue.cpio.zst` into the output directory.
///
/// # Errors
/// When a package cannot be had, or something cannot be read or written.
pub fn build(spec: &Spec<'_>) -> anyhow::Result<Built> {
    let mut wanted = PACKAGES.to_vec();
    wanted.extend(spec.packages.iter().map(String::as_str));
    let debs = debs::fetch(&wanted, spec.cache_dir)?;
    let mut archive = Archive::new();
    add(&mut archive, &debs.dir, &debs.dir)?;
    for applet in applets(&debs.dir.join(BUSYBOX))? {
        archive.symlink_unless_there(&applet, &format!("/{BUSYBOX}"));
    }
    drivers(&mut archive, spec)?;
    archive.file(START, 0o755, include_bytes!("start.sh").to_vec());
    let unpacked = archive.finish();
    let compress = |source| Error::Compress {
        what: "the rescue system",
        source,
    };
    let packed = zstd::bulk::compress(&unpacked, spec.level).map_err(compress)?;
    fs::create_dir_all(spec.out_dir).map_err(file("make", spec.out_dir))?;
    let path = spec.out_dir.join("rescue.cpio.zst");
    // A worker may be serving the old one.
    let part = spec
        .out_dir
        .join(format!("rescue.{}.part", std::process::id()));
    fs::write(&part, &packed).map_err(file("write", &part))?;
    fs::rename(&part, &path).map_err(file("write", &path))?;
    let digest = Sha256::digest(&packed);
    Ok(Built {
        path,
        bytes: packed.len() as u64,
        unpacked_bytes: unpacked.len() as u64,
        sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        packages: debs.packages,
    })
}

/// All below `dir`, by its path below `root`.
fn add(archive: &mut Archive, root: &Path, dir: &Path) -> Result<()> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir).map_err(file("list", dir))? {
        entries.push(entry.map_err(file("list", dir))?.path());
    }
    entries.sort();
    for path in entries {
        let within = path.strip_prefix(root).unwrap_or(&path);
        if LEFT_OUT.iter().any(|left| within == Path::new(left)) {
            continue;
        }
        let name = within.to_string_lossy().into_owned();
        let meta = fs::symlink_metadata(&path).map_err(file("look at", &path))?;
        if meta.is_dir() {
            add(archive, root, &path)?;
        } else if meta.is_symlink() {
            let target = fs::read_link(&path).map_err(file("read", &path))?;
            archive.symlink(&name, &target.to_string_lossy());
        } else {
            let content = fs::read(&path).map_err(file("read", &path))?;
            archive.file(&name, permissions(&meta), content);
        }
    }
    Ok(())
}

/// Nobody is root there but root.
fn permissions(meta: &Metadata) -> u32 {
    meta.permissions().mode() & 0o777
}

/// Where busybox wants to be found: `usr/bin/awk`.
fn applets(busybox: &Path) -> Result<Vec<String>> {
    let list = text(Command::new(busybox).arg("--list-full"))?;
    Ok(list.lines().map(str::to_string).collect())
}

/// Those that the ramdisk has not, and an index of both: this one takes the place of the ramdisk's.
fn drivers(archive: &mut Archive, spec: &Spec<'_>) -> Result<()> {
    let there = closure(spec.kernel, spec.flavour.modules())?;
    let names: Vec<&str> = spec
        .flavour
        .modules()
        .iter()
        .chain(MODULES)
        .copied()
        .collect();
    let all = closure(spec.kernel, &names)?;
    let base = format!("lib/modules/{}", spec.kernel.version);
    for (name, path) in &all.files {
        if there.files.contains_key(name) {
            continue;
        }
        let from = spec.kernel.modules.join(path);
        let mut content = fs::read(&from).map_err(file("read", &from))?;
        if !spec.flavour.is_signed() {
            content.truncate(unsigned(&content).len());
        }
        archive.file(&format!("{base}/{path}"), 0o644, content);
    }
    for (name, text) in all.index {
        archive.file(&format!("{base}/{name}"), 0o644, text.into_bytes());
    }
    Ok(())
}
