//! The EFI system partition of a disk and the boot loader in it, read from the disk itself: nothing is mounted.
//! What to do with them is decided in `efi`.
use super::device::Device;
use super::fat_read::Fat;
use super::gpt::{self, Gpt};
use super::load_option::{HardDrive, Signature};
use super::mbr::{self, Mbr};
use anyhow::{Context, bail};
use std::cell::RefCell;
use std::io;
use std::ops::Range;

/// Bytes at the start of the disk that hold any table we read.
const TABLE_BYTES: u64 = 1 << 20;
/// Bytes read at once: a folder and a stretch of the table come with few requests.
const BLOCK_BYTES: u64 = 64 * 1024;
/// Vendors' folders below `\EFI`; usually one or two.
const MAX_FOLDERS: usize = 64;

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

pub fn find(device: &Device) -> anyhow::Result<Loader> {
    let partition = find_partition(device)?;
    let sector = u64::from(device.sector());
    let start = partition.first * sector;
    let bytes = start..start + partition.sectors * sector;
    let files = files(device, bytes).with_context(|| {
        format!(
            "reading the EFI system partition (number {}) of {}",
            partition.number,
            device.path()
        )
    })?;
    let (best, has_fallback) = best(&files);
    let Some(file) = best else {
        bail!(
            "no boot loader is known in the EFI system partition of {} (it has: {})",
            device.path(),
            files.join(", ")
        );
    };
    Ok(Loader {
        partition,
        file,
        has_fallback,
    })
}

/// The boot loader in an EFI system partition, given in bytes.
pub fn loader(device: &Device, partition: Range<u64>) -> io::Result<Option<String>> {
    Ok(best(&files(device, partition)?).0)
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

/// All `FOLDER\FILE.EFI` below `\EFI`, sorted.
fn files(device: &Device, partition: Range<u64>) -> io::Result<Vec<String>> {
    let window = Window::new(device, partition);
    let read = |at, count| window.read(at, count);
    let fat = Fat::open(&read)?;
    let is_efi = |name: &str| {
        name.get(name.len().saturating_sub(4)..)
            .is_some_and(|end| end.eq_ignore_ascii_case(".efi"))
    };
    let mut files = Vec::new();
    for efi in fat
        .root()?
        .iter()
        .filter(|entry| entry.is_folder && entry.name.eq_ignore_ascii_case("EFI"))
    {
        for folder in fat
            .folder(efi)?
            .iter()
            .filter(|entry| entry.is_folder)
            .take(MAX_FOLDERS)
        {
            let here = fat
                .folder(folder)?
                .into_iter()
                .filter(|entry| !entry.is_folder && is_efi(&entry.name));
            files.extend(here.map(|entry| format!("{}\\{}", folder.name, entry.name)));
        }
    }
    files.sort();
    Ok(files)
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
}

impl<'a> Window<'a> {
    fn new(device: &'a Device, partition: Range<u64>) -> Self {
        Self {
            device,
            start: partition.start,
            bytes: partition.end - partition.start,
            block: RefCell::default(),
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
