//! The EFI system partition of a disk and the boot loader in it, read from the disk itself: nothing is mounted.
//! What to do with them is decided in `efi` and `collisions`. The volume may hold anything: every walk in it is bounded.
use super::device::Device;
use super::fat_read::{Entry, Fat};
use super::filesystem;
use super::gpt::{self, Gpt};
use super::load_option::{HardDrive, Signature};
use super::mbr::{self, Mbr};
use anyhow::{Context, bail};
use std::cell::{Cell, RefCell};
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes at the start of the disk that hold any table we read.
const TABLE_BYTES: u64 = 1 << 20;
/// Bytes read at once: a folder and a stretch of the table come with few requests.
const BLOCK_BYTES: u64 = 64 * 1024;
/// Blocks read of all such partitions of one disk: 64 MiB, ten seconds of a slow disk's seeks. The usual one takes three.
const MAX_BLOCKS: usize = 1024;
/// Vendors' folders below `\EFI`; usually one or two.
const MAX_FOLDERS: usize = 64;
/// Programs in all of these folders; usually some ten.
const MAX_FILES: usize = 1024;
/// Programs named in an error.
const MAX_NAMED: usize = 16;

#[cfg(target_arch = "x86_64")]
const ARCH: &str = "x64";
#[cfg(target_arch = "aarch64")]
const ARCH: &str = "aa64";

/// In an operating system's own folder, best first: shim is what secure boot accepts.
const LOADERS: [&str; 3] = ["shim", "grub", "systemd-boot"];

pub struct Loader {
    pub partition: HardDrive,
    /// `\EFI\debian\shimx64.efi`.
    pub file: String,
    /// Whether there is also a `\EFI\BOOT\BOOT….EFI`, which firmware finds without a boot entry.
    pub has_fallback: bool,
}

/// What may still be read of one disk.
pub struct Patience<'a> {
    cancelled: &'a AtomicBool,
    blocks: Cell<usize>,
}

impl<'a> Patience<'a> {
    pub fn new(cancelled: &'a AtomicBool) -> Self {
        let blocks = Cell::new(MAX_BLOCKS);
        Self { cancelled, blocks }
    }

    fn spend(&self) -> io::Result<()> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(io::Error::other("cancelled"));
        }
        let left = self.blocks.get().checked_sub(1);
        self.blocks.set(left.ok_or_else(|| {
            io::Error::other("its folders are scattered over more than any loader needs")
        })?);
        Ok(())
    }
}

/// The programs below `\EFI`, and whether there are more.
struct Files {
    names: Vec<String>,
    are_all: bool,
}

pub fn find(device: &Device, cancelled: &AtomicBool) -> anyhow::Result<Loader> {
    let partition = find_partition(device)?;
    let sector = u64::from(device.sector());
    let start = partition.first * sector;
    let bytes = start..start + partition.sectors * sector;
    let files = files(device, bytes, &Patience::new(cancelled)).with_context(|| {
        format!(
            "reading the EFI system partition (number {}) of {}",
            partition.number,
            device.path()
        )
    })?;
    let (best, has_fallback) = best(&files.names);
    let Some(file) = best else {
        let some = files.names[..files.names.len().min(MAX_NAMED)].join(", ");
        bail!(
            "no boot loader is known in the EFI system partition of {} (it has: {})",
            device.path(),
            filesystem::text(some.as_bytes()).unwrap_or_default()
        );
    };
    Ok(Loader {
        partition,
        file,
        has_fallback,
    })
}

/// The boot loader in an EFI system partition, given in bytes, as people may read it; none: there is none, or no FAT volume.
///
/// # Errors
/// Nobody can say.
pub fn loader(
    device: &Device,
    partition: Range<u64>,
    patience: &Patience<'_>,
) -> io::Result<Option<String>> {
    let files = match files(device, partition, patience) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(None),
        other => other?,
    };
    match best(&files.names).0 {
        None if !files.are_all => Err(io::Error::other(format!(
            "it has more than {MAX_FOLDERS} folders or {MAX_FILES} programs"
        ))),
        best => Ok(best.and_then(|file| filesystem::text(file.as_bytes()))),
    }
}

/// The loader to boot, and whether firmware finds one by itself.
fn best(files: &[String]) -> (Option<String>, bool) {
    let is = |path: &str, wanted: &str| path.eq_ignore_ascii_case(wanted);
    let fallback = format!("BOOT\\BOOT{ARCH}.EFI");
    let fallback = files.iter().find(|path| is(path, &fallback));
    let of_system = |path: &&String| !path.to_ascii_uppercase().starts_with("BOOT\\");
    let named = |loader: &str| {
        let name = format!("{loader}{ARCH}.efi");
        files
            .iter()
            .filter(of_system)
            .find(|path| path.rsplit('\\').next().is_some_and(|file| is(file, &name)))
    };
    let best = LOADERS.iter().find_map(|loader| named(loader)).or(fallback);
    (
        best.map(|file| format!("\\EFI\\{file}")),
        fallback.is_some(),
    )
}

/// `FOLDER\FILE.EFI` below the first `\EFI`, sorted: firmware opens no other of that name.
fn files(device: &Device, partition: Range<u64>, patience: &Patience<'_>) -> io::Result<Files> {
    let window = Window::new(device, partition, patience);
    let read = |at, count| window.read(at, count);
    let fat = Fat::open(&read)?;
    let root = fat.root()?;
    let is_efi = |entry: &&Entry| entry.is_folder && entry.name.eq_ignore_ascii_case("EFI");
    let efi = match root.iter().find(is_efi) {
        Some(efi) => fat.folder(efi)?,
        None => Vec::new(),
    };
    let mut folders = efi.iter().filter(|entry| entry.is_folder);
    let mut names = Vec::new();
    for folder in folders.by_ref().take(MAX_FOLDERS) {
        let here = fat.folder(folder)?;
        let programs = here.iter().filter(|entry| is_program(entry));
        // One more than may be kept tells that there are more.
        let room = MAX_FILES + 1 - names.len();
        names.extend(
            programs
                .take(room)
                .map(|entry| format!("{}\\{}", folder.name, entry.name)),
        );
        if names.len() > MAX_FILES {
            break;
        }
    }
    let are_all = names.len() <= MAX_FILES && folders.next().is_none();
    names.truncate(MAX_FILES);
    names.sort();
    Ok(Files { names, are_all })
}

fn is_program(entry: &Entry) -> bool {
    let end = entry.name.len().saturating_sub(4);
    let end = entry.name.get(end..);
    !entry.is_folder && end.is_some_and(|end| end.eq_ignore_ascii_case(".efi"))
}

fn find_partition(device: &Device) -> anyhow::Result<HardDrive> {
    let head = device.read(0, TABLE_BYTES.min(device.bytes()) as usize)?;
    if Gpt::is_at(&head, device.sector() as usize) {
        let gpt = Gpt::parse(&head, 0, 1, device.sector())
            .with_context(|| format!("partition table of {}", device.path()))?;
        let esp = gpt
            .partitions()
            .into_iter()
            .find(|part| part.kind == gpt::ESP);
        let esp = esp.with_context(|| format!("{} has no EFI system partition", device.path()))?;
        let sectors = esp.last - esp.first + 1;
        return Ok(HardDrive {
            number: esp.number,
            first: esp.first,
            sectors,
            signature: Signature::Gpt(esp.guid),
        });
    }
    let mbr =
        Mbr::parse(&head).with_context(|| format!("{} has no partition table", device.path()))?;
    let esp = mbr
        .entries()
        .into_iter()
        .find(|entry| entry.kind == mbr::ESP);
    let esp =
        esp.with_context(|| format!("{} has no EFI system partition in its MBR", device.path()))?;
    let signature = Signature::Mbr(mbr.signature());
    Ok(HardDrive {
        number: esp.number,
        first: esp.first.into(),
        sectors: esp.sectors.into(),
        signature,
    })
}

/// A partition, read at any position; the device wants whole sectors.
struct Window<'a> {
    device: &'a Device,
    start: u64,
    bytes: u64,
    /// The block read last, and where it begins within the partition.
    block: RefCell<(u64, Vec<u8>)>,
    patience: &'a Patience<'a>,
}

impl<'a> Window<'a> {
    fn new(device: &'a Device, partition: Range<u64>, patience: &'a Patience<'a>) -> Self {
        Self {
            device,
            start: partition.start,
            bytes: partition.end - partition.start,
            block: RefCell::default(),
            patience,
        }
    }

    fn read(&self, at: u64, count: usize) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(count);
        let mut block = self.block.borrow_mut();
        while out.len() < count {
            let at = at.saturating_add(out.len() as u64);
            if at >= self.bytes {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let block_at = at / BLOCK_BYTES * BLOCK_BYTES;
            if block.0 != block_at || block.1.is_empty() {
                self.patience.spend()?;
                let here = BLOCK_BYTES.min(self.bytes - block_at) as usize;
                *block = (
                    block_at,
                    self.device
                        .read(self.start + block_at, here)
                        .map_err(io::Error::other)?,
                );
            }
            let rest = &block.1[(at - block_at) as usize..];
            out.extend_from_slice(&rest[..rest.len().min(count - out.len())]);
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests;
