//! Reads the first MiB of an image and plans its partition table for this disk, before anything is written.
//! Carrying out the plan is left to `writer` and `commit`.
use super::buffer::BUFFER_BYTES;
use super::gpt::{self, Gpt, Partition};
use super::hash;
use super::mbr::{self, Entry, Mbr};
use super::stage::Stop;
use anyhow::anyhow;
use std::ops::Range;
use uuid::{Builder, Uuid, Variant, Version};

/// Bytes at the start of a disk that are written last. MBR, GPT and the usual boot code before the first partition.
pub const HEAD_BYTES: usize = BUFFER_BYTES;
/// Bytes. Partitions begin at multiples of it, as every tool has them.
const ALIGN_BYTES: u64 = 1 << 20;

pub struct Disk {
    pub bytes: u64,
    pub sector: u32,
}

/// What to write besides the image's own bytes. Positions in bytes.
#[derive(Debug, PartialEq)]
pub struct Layout {
    /// Laid over the head of the image.
    pub head: Vec<(u64, Vec<u8>)>,
    /// At the end of the disk, in this order.
    pub backup: Vec<(u64, Vec<u8>)>,
    /// Where the config drive goes.
    pub drive_at: Option<u64>,
    /// The image's own backup table, which lies in the middle of a larger disk, where some tool would find it.
    pub stale: Range<u64>,
    /// Where the image's last partition ends. An image may stop before that; what follows must not be old data.
    pub covered_bytes: u64,
    /// The image's own partitions.
    pub partitions: Vec<Range<u64>>,
}

/// `labelled`: where a partition of the image begins whose file system is labelled as a config drive. That one, and one that
/// the GPT names so, become the config drive, or lose their entry where they are too small.
///
/// # Errors
/// `Damaged` when this is not a whole-disk image (a wrong checksum would explain it); `Failed` when it cannot go onto this disk.
pub fn plan(
    head: &[u8],
    disk: &Disk,
    drive: Option<&[u8]>,
    labelled: Option<u64>,
) -> Result<Layout, Stop> {
    let other = if disk.sector == 512 { 4096 } else { 512 };
    if Gpt::is_at(head, disk.sector as usize) {
        plan_gpt(head, disk, drive, labelled)
    } else if Gpt::is_at(head, other) {
        Err(Stop::Failed(anyhow!(
            "the image is made for sectors of {other} bytes, the disk has {}",
            disk.sector
        )))
    } else if let Some(mbr) = Mbr::parse(head) {
        plan_mbr(mbr, disk, drive, labelled)
    } else if let Some(format) = other_format(head) {
        Err(Stop::Failed(anyhow!(
            "the image is {format}: a raw image, packed with zstd or gzip or not at all, can be written"
        )))
    } else {
        Err(Stop::Damaged(anyhow!(
            "the image has no partition table: it is not an image of a whole disk"
        )))
    }
}

/// What an image that begins like this is instead of one of a whole disk.
fn other_format(head: &[u8]) -> Option<String> {
    let name = match head {
        [b'Q', b'F', b'I', 0xfb, ..] => {
            let bytes = head.get(24..32)?.try_into().ok()?;
            return Some(format!(
                "qcow2, of a disk of {} bytes",
                u64::from_be_bytes(bytes)
            ));
        }
        [b'K', b'D', b'M', b'V', ..] => "VMDK",
        [b'v', b'h', b'd', b'x', b'f', b'i', b'l', b'e', ..] => "VHDX",
        [0x1f, 0x8b, ..] => "gzip",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => "xz",
        [b'B', b'Z', b'h', ..] => "bzip2",
        _ => return None,
    };
    Some(name.to_owned())
}

/// Whether a config drive of `drive` can take the place of a partition of the image.
fn takes(place: &Range<u64>, drive: &[u8]) -> bool {
    // The head of the disk is written after it.
    place.start >= HEAD_BYTES as u64 && place.end - place.start >= drive.len() as u64
}

fn plan_gpt(
    head: &[u8],
    disk: &Disk,
    drive: Option<&[u8]>,
    labelled: Option<u64>,
) -> Result<Layout, Stop> {
    let sector = u64::from(disk.sector);
    let mut gpt = Gpt::parse(head, 0, 1, disk.sector).map_err(|e| Stop::Damaged(e.into()))?;
    let stale = gpt.stale_backup();
    gpt.fit(disk.bytes / sector)
        .map_err(|e| Stop::Failed(anyhow!(e).context("the image does not fit onto the disk")))?;
    let in_bytes = |part: &Partition| part.first * sector..(part.last + 1) * sector;
    let partitions: Vec<Range<u64>> = gpt.partitions().iter().map(in_bytes).collect();
    let covered_bytes = partitions.iter().map(|part| part.end).max().unwrap_or(0);
    let mut own = None;
    if let Some(drive) = drive {
        for part in gpt.partitions() {
            let place = in_bytes(&part);
            let is_drive = part.name.eq_ignore_ascii_case("config-2");
            if !is_drive && labelled != Some(place.start) {
                continue;
            }
            if own.is_none() && takes(&place, drive) {
                own = Some(place.start);
            } else {
                gpt.remove(part.number);
            }
        }
    }
    let drive_at = match drive {
        None => None,
        Some(_) if own.is_some() => own,
        Some(drive) => {
            let guid = guid_from_hash(&hash::sha256(&[&gpt.disk().to_bytes_le(), drive]));
            let (sectors, align) = ((drive.len() as u64).div_ceil(sector), ALIGN_BYTES / sector);
            let place = gpt
                .add_last(gpt::BASIC_DATA, guid, "config-2", sectors, align)
                .map_err(no_config_drive)?;
            Some(place.start * sector)
        }
    };
    let of_bytes =
        |parts: [(u64, Vec<u8>); 2]| parts.into_iter().map(|(lba, bytes)| (lba * sector, bytes));
    let mut new_head: Vec<(u64, Vec<u8>)> = of_bytes(gpt.primary()).collect();
    if let Some(mut mbr) = Mbr::parse(head) {
        mbr.protect(disk.bytes / sector);
        new_head.push((0, mbr.bytes().to_vec()));
    }
    Ok(Layout {
        head: new_head,
        backup: of_bytes(gpt.backup()).collect(),
        drive_at,
        stale,
        covered_bytes,
        partitions,
    })
}

fn plan_mbr(
    mut mbr: Mbr,
    disk: &Disk,
    drive: Option<&[u8]>,
    labelled: Option<u64>,
) -> Result<Layout, Stop> {
    let sector = u64::from(disk.sector);
    if mbr
        .entries()
        .iter()
        .any(|entry| entry.kind == mbr::PROTECTIVE)
    {
        return Err(Stop::Damaged(anyhow!(
            "the image's MBR protects a GPT that is not there"
        )));
    }
    if sector != 512 {
        // Its entries count sectors but not their size, and all tools mean 512 bytes.
        return Err(Stop::Failed(anyhow!(
            "the image has an MBR, which counts sectors of 512 bytes; the disk has {sector}"
        )));
    }
    let covered_bytes = mbr.end_of_partitions() * sector;
    if covered_bytes > disk.bytes {
        let why = anyhow!(
            "its last MBR partition ends at byte {covered_bytes}, the disk has {}",
            disk.bytes
        );
        return Err(Stop::Failed(
            why.context("the image does not fit onto the disk"),
        ));
    }
    let in_bytes = |entry: &Entry| u64::from(entry.first) * sector..entry.end() * sector;
    let partitions: Vec<Range<u64>> = mbr.entries().iter().map(in_bytes).collect();
    let mut own = None;
    if let Some(drive) = drive {
        for entry in mbr.entries() {
            let place = in_bytes(&entry);
            if labelled == Some(place.start) && takes(&place, drive) {
                own = labelled;
            } else if labelled == Some(place.start) {
                mbr.remove(entry.number);
            }
        }
    }
    let drive_at = match drive {
        None => None,
        Some(_) if own.is_some() => own,
        Some(drive) => {
            let (sectors, align) = ((drive.len() as u64).div_ceil(sector), ALIGN_BYTES / sector);
            let place = mbr
                .add_last(mbr::FAT_LBA, sectors, disk.bytes / sector, sector, align)
                .map_err(no_config_drive)?;
            Some(place.start * sector)
        }
    };
    let head = vec![(0, mbr.bytes().to_vec())];
    Ok(Layout {
        head,
        backup: Vec::new(),
        drive_at,
        stale: 0..0,
        covered_bytes,
        partitions,
    })
}

/// Version 8 (RFC 9562 §5.8): the same disk and config drive give the same GUID.
fn guid_from_hash(hash: &[u8; 32]) -> Uuid {
    let bytes = hash[..16].try_into().expect("sixteen of thirty-two bytes");
    Builder::from_bytes_le(bytes)
        .with_version(Version::Custom)
        .with_variant(Variant::RFC4122)
        .into_uuid()
}

fn no_config_drive(e: impl std::error::Error + Send + Sync + 'static) -> Stop {
    Stop::Failed(anyhow!(e).context("the config drive has no place on the disk"))
}

#[cfg(test)]
mod tests;
