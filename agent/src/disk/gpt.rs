//! GUID partition tables (UEFI 2.10 §5.3): read from bytes that may lie, moved to another disk size, written.
//! Where and when to write the bytes is decided in `layout` and `commit`.
use std::ops::Range;
use uuid::{Uuid, uuid};

const SIGNATURE: &[u8; 8] = b"EFI PART";
/// Fields of the header that the specification names, in bytes. Longer headers are written back with this length.
const HEADER_BYTES: usize = 92;
const MIN_ENTRY_BYTES: u32 = 128;
/// Bytes. Every tool writes 128; the specification allows every 128 × 2ⁿ.
const MAX_ENTRY_BYTES: u32 = 4096;
/// Bytes of the entry array. The usual one has 16 KiB; it must lie in the part of the image that is held in memory.
const MAX_TABLE_BYTES: usize = 256 * 1024;
const NAME_UNITS: usize = 36;

pub const ESP: Uuid = uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
/// Where GRUB keeps its core for a BIOS.
pub const BIOS_BOOT: Uuid = uuid!("21686148-6449-6e6f-744e-656564454649");
pub const BASIC_DATA: Uuid = uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7");

/// A checked table. Bytes that are not interpreted here (attributes, unknown types) are kept as they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpt {
    sector: usize,
    disk: Uuid,
    /// This copy, and the other one.
    own: u64,
    other: u64,
    first_usable: u64,
    last_usable: u64,
    entries_at: u64,
    entry_bytes: usize,
    entries: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Partition {
    /// From 1, as in device names.
    pub number: u32,
    pub kind: Uuid,
    pub guid: Uuid,
    /// In logical sectors, the last one included.
    pub first: u64,
    pub last: u64,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadGpt {
    #[error("the checksum of the GPT's {0} is wrong")]
    Checksum(&'static str),
    #[error("the GPT's {0} makes no sense ({1})")]
    Field(&'static str, u64),
    #[error("GPT partition {0} lies outside the usable sectors")]
    Outside(u32),
    #[error("GPT partitions {0} and {1} overlap")]
    Overlap(u32, u32),
    #[error("GPT partition {number} ends at byte {end_bytes}, the disk has {disk_bytes}")]
    DiskTooSmall {
        number: u32,
        end_bytes: u64,
        disk_bytes: u64,
    },
    #[error("the GPT has no free entry")]
    NoFreeEntry,
    #[error(
        "the last {bytes} bytes of the disk are not free: partition {number} ends at byte {end_bytes}"
    )]
    NoRoom {
        bytes: u64,
        number: u32,
        end_bytes: u64,
    },
}

impl Gpt {
    /// Whether something at `header_at` claims to be a GPT header.
    pub fn is_at(bytes: &[u8], header_at: usize) -> bool {
        bytes
            .get(header_at..)
            .is_some_and(|rest| rest.starts_with(SIGNATURE))
    }

    /// Reads the table whose header is logical sector `own`. `window` holds the disk from sector `window_at` on, header and
    /// entries included.
    pub fn parse(window: &[u8], window_at: u64, own: u64, sector: u32) -> Result<Self, BadGpt> {
        let sector = sector as usize;
        let slice = |lba: u64, len: usize| -> Option<&[u8]> {
            let start = usize::try_from(lba.checked_sub(window_at)?)
                .ok()?
                .checked_mul(sector)?;
            window.get(start..start.checked_add(len)?)
        };
        let header = slice(own, sector).ok_or(BadGpt::Field("position", own))?;
        let u32_at =
            |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let u64_at =
            |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
        let guid_at = |at: usize| guid(&header[at..at + 16]);
        let sane = |good: bool, what: &'static str, value: u64| {
            if good {
                Ok(())
            } else {
                Err(BadGpt::Field(what, value))
            }
        };

        sane(header.starts_with(SIGNATURE), "signature", u64_at(0))?;
        let header_bytes = u32_at(12) as usize;
        sane(
            (HEADER_BYTES..=sector).contains(&header_bytes),
            "header size",
            header_bytes as u64,
        )?;
        let mut checked = header[..header_bytes].to_vec();
        checked[16..20].fill(0);
        if crc(&checked) != u32_at(16) {
            return Err(BadGpt::Checksum("header"));
        }
        sane(u64_at(24) == own, "own position", u64_at(24))?;
        let (entry_count, entry_bytes) = (u32_at(80), u32_at(84));
        let entry_bytes_good = (MIN_ENTRY_BYTES..=MAX_ENTRY_BYTES).contains(&entry_bytes)
            && entry_bytes.is_power_of_two();
        sane(entry_bytes_good, "entry size", entry_bytes.into())?;
        let table_bytes = entry_count as usize * entry_bytes as usize;
        sane(
            (1..=MAX_TABLE_BYTES).contains(&table_bytes),
            "number of entries",
            entry_count.into(),
        )?;
        let entries_at = u64_at(72);
        let entries = slice(entries_at, table_bytes)
            .ok_or(BadGpt::Field("position of entries", entries_at))?;
        if crc(entries) != u32_at(88) {
            return Err(BadGpt::Checksum("entries"));
        }
        let gpt = Self {
            sector,
            disk: guid_at(56),
            own,
            other: u64_at(32),
            first_usable: u64_at(40),
            last_usable: u64_at(48),
            entries_at,
            entry_bytes: entry_bytes as usize,
            entries: entries.to_vec(),
        };
        sane(
            gpt.first_usable >= 2 && gpt.first_usable <= gpt.last_usable,
            "first usable sector",
            gpt.first_usable,
        )?;
        // Byte positions are computed from sectors: this keeps all of them within an i64, as the kernel does.
        sane(
            gpt.last_usable < i64::MAX as u64 / sector as u64,
            "last usable sector",
            gpt.last_usable,
        )?;
        if own == 1 {
            let free = 2..=gpt.first_usable.saturating_sub(gpt.table_sectors());
            sane(
                free.contains(&entries_at),
                "position of entries",
                entries_at,
            )?;
        }
        gpt.check_partitions()?;
        Ok(gpt)
    }

    fn check_partitions(&self) -> Result<(), BadGpt> {
        let mut partitions = self.partitions();
        for part in &partitions {
            if part.first < self.first_usable
                || part.last > self.last_usable
                || part.first > part.last
            {
                return Err(BadGpt::Outside(part.number));
            }
        }
        partitions.sort_by_key(|part| part.first);
        match partitions
            .windows(2)
            .find(|pair| pair[1].first <= pair[0].last)
        {
            Some(pair) => Err(BadGpt::Overlap(pair[0].number, pair[1].number)),
            None => Ok(()),
        }
    }

    pub fn disk(&self) -> Uuid {
        self.disk
    }

    pub fn set_disk(&mut self, disk: Uuid) {
        self.disk = disk;
    }

    /// Gives a partition another GUID of its own.
    pub fn set_guid(&mut self, number: u32, guid: Uuid) {
        if let Some(entry) = self.entry_mut(number) {
            entry[16..32].copy_from_slice(&guid.to_bytes_le());
        }
    }

    /// The number of sectors of the disk that this table, a primary one, is for.
    pub fn disk_sectors(&self) -> u64 {
        self.other.saturating_add(1)
    }

    fn entry_mut(&mut self, number: u32) -> Option<&mut [u8]> {
        let at = (number as usize).checked_sub(1)?;
        self.entries.chunks_exact_mut(self.entry_bytes).nth(at)
    }

    pub fn partitions(&self) -> Vec<Partition> {
        let entries = (1..).zip(self.entries.chunks_exact(self.entry_bytes));
        let used = entries.filter(|(_, entry)| entry[..16].iter().any(|byte| *byte != 0));
        used.map(|(number, entry)| {
            let units = entry[56..56 + 2 * NAME_UNITS]
                .chunks_exact(2)
                .map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
            let name = char::decode_utf16(units.take_while(|unit| *unit != 0))
                .map(|c| c.unwrap_or('\u{fffd}'))
                .collect();
            Partition {
                number,
                kind: guid(&entry[..16]),
                guid: guid(&entry[16..32]),
                first: u64::from_le_bytes(entry[32..40].try_into().expect("eight bytes")),
                last: u64::from_le_bytes(entry[40..48].try_into().expect("eight bytes")),
                name,
            }
        })
        .collect()
    }

    /// Where the image had its backup, in bytes, as far as no partition lies there.
    pub fn stale_backup(&self) -> Range<u64> {
        let end = self
            .other
            .saturating_add(1)
            .min(i64::MAX as u64 / self.sector as u64);
        let start = self
            .end_of_partitions()
            .max(end.saturating_sub(self.table_sectors() + 1));
        start * self.sector as u64..end.max(start) * self.sector as u64
    }

    /// Fits the table to a disk: the backup goes to its last sectors and everything before them becomes usable.
    pub fn fit(&mut self, disk_sectors: u64) -> Result<(), BadGpt> {
        let tail = self.table_sectors() + 1;
        let last_usable = disk_sectors.saturating_sub(tail + 1);
        if let Some(part) = self
            .partitions()
            .into_iter()
            .find(|part| part.last > last_usable)
        {
            let bytes = |sectors: u64| sectors.saturating_mul(self.sector as u64);
            let (end_bytes, disk_bytes) = (bytes(part.last + 1 + tail), bytes(disk_sectors));
            return Err(BadGpt::DiskTooSmall {
                number: part.number,
                end_bytes,
                disk_bytes,
            });
        }
        if self.first_usable > last_usable {
            return Err(BadGpt::Field("first usable sector", self.first_usable));
        }
        (self.other, self.last_usable) = (disk_sectors - 1, last_usable);
        Ok(())
    }

    /// Adds a partition of `sectors` at the end of the usable space, its start a multiple of `align` sectors, so that the
    /// partition before it can still grow. Returns its sectors.
    pub fn add_last(
        &mut self,
        kind: Uuid,
        guid: Uuid,
        name: &str,
        sectors: u64,
        align: u64,
    ) -> Result<Range<u64>, BadGpt> {
        let start = (self.last_usable + 1).saturating_sub(sectors) / align * align;
        let end_of_partitions = self.end_of_partitions();
        if start < end_of_partitions.max(self.first_usable)
            || start + sectors > self.last_usable + 1
        {
            let last = self.partitions().into_iter().max_by_key(|part| part.last);
            let (bytes, end_bytes) = (
                sectors * self.sector as u64,
                end_of_partitions * self.sector as u64,
            );
            return Err(BadGpt::NoRoom {
                bytes,
                number: last.map_or(0, |part| part.number),
                end_bytes,
            });
        }
        let mut entries = self.entries.chunks_exact_mut(self.entry_bytes);
        let entry = entries
            .find(|entry| entry[..16].iter().all(|byte| *byte == 0))
            .ok_or(BadGpt::NoFreeEntry)?;
        entry.fill(0);
        entry[..16].copy_from_slice(&kind.to_bytes_le());
        entry[16..32].copy_from_slice(&guid.to_bytes_le());
        entry[32..40].copy_from_slice(&start.to_le_bytes());
        entry[40..48].copy_from_slice(&(start + sectors - 1).to_le_bytes());
        for (unit, place) in name
            .encode_utf16()
            .take(NAME_UNITS)
            .zip(entry[56..].chunks_exact_mut(2))
        {
            place.copy_from_slice(&unit.to_le_bytes());
        }
        Ok(start..start + sectors)
    }

    /// Takes a partition out of the table; the others keep their numbers.
    pub fn remove(&mut self, number: u32) {
        if let Some(entry) = self.entry_mut(number) {
            entry.fill(0);
        }
    }

    /// The primary's parts: first sector and bytes, whole sectors each.
    pub fn primary(&self) -> [(u64, Vec<u8>); 2] {
        [
            (1, self.header(1, self.other, self.entries_at)),
            (self.entries_at, self.padded_entries()),
        ]
    }

    /// The backup's parts: entries, then the header in the last sector of the disk.
    pub fn backup(&self) -> [(u64, Vec<u8>); 2] {
        let entries_at = self.other - self.table_sectors();
        [
            (entries_at, self.padded_entries()),
            (self.other, self.header(self.other, 1, entries_at)),
        ]
    }

    fn header(&self, own: u64, other: u64, entries_at: u64) -> Vec<u8> {
        let mut header = SIGNATURE.to_vec();
        header.extend(0x0001_0000u32.to_le_bytes());
        header.extend((HEADER_BYTES as u32).to_le_bytes());
        header.extend([0; 8]);
        for position in [own, other, self.first_usable, self.last_usable] {
            header.extend(position.to_le_bytes());
        }
        header.extend(self.disk.to_bytes_le());
        header.extend(entries_at.to_le_bytes());
        header.extend(((self.entries.len() / self.entry_bytes) as u32).to_le_bytes());
        header.extend((self.entry_bytes as u32).to_le_bytes());
        header.extend(crc(&self.entries).to_le_bytes());
        let crc = crc(&header);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
        header.resize(self.sector, 0);
        header
    }

    fn padded_entries(&self) -> Vec<u8> {
        let mut entries = self.entries.clone();
        entries.resize(entries.len().next_multiple_of(self.sector), 0);
        entries
    }

    fn table_sectors(&self) -> u64 {
        self.entries.len().div_ceil(self.sector) as u64
    }

    fn end_of_partitions(&self) -> u64 {
        self.partitions()
            .iter()
            .map(|part| part.last + 1)
            .max()
            .unwrap_or(self.first_usable)
    }
}

/// The first three fields are little-endian (UEFI 2.10 appendix A).
fn guid(bytes: &[u8]) -> Uuid {
    Uuid::from_bytes_le(bytes.try_into().expect("sixteen bytes"))
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests;
