//! The EFI system partition of a disk and the boot loader in it, read from the disk itself: nothing is mounted.
//! What is done with them is `efi`'s affair.
use super::device::Device;
use super::gpt::{self, Gpt};
use super::load_option::{HardDrive, Signature};
use super::mbr::{self, Mbr};
use anyhow::{Context, bail};
use std::io::{self, Read, Seek, SeekFrom, Write};

/// Bytes at the start of the disk that hold any table we read.
const TABLE_BYTES: u64 = 1 << 20;
/// Bytes read at once; a FAT directory and a stretch of its table.
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
    /// There is `\EFI\BOOT\BOOT….EFI` too, which firmware finds without a boot entry.
    pub has_fallback: bool,
}

pub fn find(device: &Device) -> anyhow::Result<Loader> {
    let partition = find_partition(device)?;
    let sector = u64::from(device.sector());
    let window = Window {
        device,
        start: partition.first * sector,
        bytes: partition.sectors * sector,
        at: 0,
        block: None,
    };
    let what = || {
        format!(
            "reading the EFI system partition (number {}) of {}",
            partition.number,
            device.path()
        )
    };
    let fs = fatfs::FileSystem::new(window, fatfs::FsOptions::new()).with_context(what)?;
    let root = fs.root_dir();
    let has = |path: &str| root.open_file(path).is_ok();
    let mut folders = Vec::new();
    for entry in root
        .open_dir("EFI")
        .with_context(what)?
        .iter()
        .take(MAX_FOLDERS)
    {
        let name = entry.with_context(what)?.file_name();
        if !name.starts_with('.') && !name.eq_ignore_ascii_case("BOOT") {
            folders.push(name);
        }
    }
    folders.sort();
    let fallback = format!("EFI/BOOT/BOOT{}.EFI", ARCH.to_uppercase());
    let has_fallback = has(&fallback);
    let own = LOADERS.iter().flat_map(|loader| {
        folders
            .iter()
            .map(move |folder| format!("EFI/{folder}/{loader}{ARCH}.efi"))
    });
    let file = own
        .into_iter()
        .find(|path| has(path))
        .or_else(|| has_fallback.then_some(fallback));
    let Some(file) = file else {
        bail!(
            "no boot loader is known in the EFI system partition of {} (folders: {folders:?})",
            device.path()
        );
    };
    Ok(Loader {
        partition,
        file: format!("\\{}", file.replace('/', "\\")),
        has_fallback,
    })
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

/// A partition as a file that can only be read.
struct Window<'a> {
    device: &'a Device,
    start: u64,
    bytes: u64,
    at: u64,
    /// Where the block in hand begins, within the partition.
    block: Option<(u64, Vec<u8>)>,
}

impl Read for Window<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.bytes {
            return Ok(0);
        }
        let block_at = self.at / BLOCK_BYTES * BLOCK_BYTES;
        let block = match self.block.take() {
            Some((at, block)) if at == block_at => block,
            _ => {
                let count = BLOCK_BYTES.min(self.bytes - block_at) as usize;
                self.device
                    .read(self.start + block_at, count)
                    .map_err(io::Error::other)?
            }
        };
        let (_, block) = self.block.insert((block_at, block));
        let rest = &block[(self.at - block_at) as usize..];
        let count = rest.len().min(out.len());
        out[..count].copy_from_slice(&rest[..count]);
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.bytes.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

impl Write for Window<'_> {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
