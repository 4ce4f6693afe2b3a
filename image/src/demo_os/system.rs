//! The demo image's EFI system partition: kernel, ramdisk, UEFI loaders, and modules until there is enough data.
//! Where it lies on the disk, and the BIOS loader, are in `disk`; the UEFI loaders are in `uefi`.
use super::{uefi, userland};
use crate::error::{Result, file};
use crate::flavour::Flavour;
use crate::kernel::Kernel;
use crate::run::run;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files named to one mcopy; far below the kernel's limit for arguments.
const AT_ONCE: usize = 200;

/// A FAT file system of `bytes`, of which about `filled` are files.
pub fn partition(
    kernel: &Kernel,
    flavour: Flavour,
    bytes: u64,
    filled: u64,
    work: &Path,
) -> Result<Vec<u8>> {
    let image = work.join("system");
    let made = File::create(&image).and_then(|image| image.set_len(bytes));
    made.map_err(file("make", &image))?;
    // 1 KiB clusters: the fewest with which a volume of this size is still FAT32, which UEFI prescribes.
    run(Command::new("mkfs.vfat")
        .args(["-F", "32", "-s", "2", "-n", "DEMO", "-i", "1B0DE110"])
        .arg("--invariant")
        .arg(&image))?;
    let initrd = work.join("initrd");
    let content = userland::initrd(kernel, flavour, &userland::busybox()?)?;
    fs::write(&initrd, content).map_err(file("write", &initrd))?;
    let mut folders = vec![Path::new("::/ballast")];
    folders.extend(uefi::FOLDERS.map(Path::new));
    mtools("mmd", &image, &folders)?;
    let mut files = vec![
        (kernel.vmlinuz.clone(), "::/vmlinuz"),
        (initrd, "::/initrd"),
    ];
    files.extend(uefi::loaders(flavour, work)?);
    let mut used = 0;
    for (from, to) in &files {
        mtools("mcopy", &image, &[from, Path::new(to)])?;
        used += fs::metadata(from).map_err(file("look at", from))?.len();
    }
    for some in ballast(kernel, filled.saturating_sub(used))?.chunks(AT_ONCE) {
        let mut arguments: Vec<&Path> = some.iter().map(PathBuf::as_path).collect();
        arguments.push(Path::new("::/ballast/"));
        mtools("mcopy", &image, &arguments)?;
    }
    fs::read(&image).map_err(file("read", &image))
}

fn mtools(program: &str, image: &Path, arguments: &[&Path]) -> Result<()> {
    let mut command = Command::new(program);
    command.arg("-i").arg(image);
    if program == "mcopy" {
        // Two modules of one name: the first one stays.
        command.args(["-D", "s"]);
    }
    command
        .args(arguments)
        // The time of every file, so that the same files are the same bytes: FAT's first day.
        .env("SOURCE_DATE_EPOCH", "315532800")
        .env("TZ", "UTC")
        .env("MTOOLS_SKIP_CHECK", "1");
    run(&mut command).map(drop)
}

/// Module files of about so many bytes, the same ones every time.
fn ballast(kernel: &Kernel, bytes: u64) -> Result<Vec<PathBuf>> {
    let mut dirs = vec![kernel.modules.join("kernel")];
    let mut files = Vec::new();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).map_err(file("list", &dir))? {
            let path = entry.map_err(file("list", &dir))?.path();
            let about = fs::symlink_metadata(&path).map_err(file("look at", &path))?;
            if about.is_dir() {
                dirs.push(path);
            } else {
                files.push((path, about.len()));
            }
        }
    }
    files.sort();
    let mut sum = 0;
    let some = files.into_iter().take_while(|(_, len)| {
        sum += len;
        sum <= bytes
    });
    Ok(some.map(|(path, _)| path).collect())
}
