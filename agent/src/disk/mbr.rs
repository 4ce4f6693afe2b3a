//! The table in the first sector of a disk: its four entries read, one added, the GPT's protective one resized.
//! Logical partitions are not read: they lie within the extended one.
use std::ops::Range;

/// Where the code ends and the disk's signature begins.
const CODE_BYTES: usize = 440;
const ACTIVE: u8 = 0x80;
const TABLE: usize = 446;
const ENTRY_BYTES: usize = 16;
pub const PROTECTIVE: u8 = 0xee;
pub const ESP: u8 = 0xef;
/// FAT by LBA, as `config-2` volumes of 1 to 32 MiB are FAT12 or FAT16.
pub const FAT_LBA: u8 = 0x0e;
/// "Use the LBA": cylinder, head and sector of what lies beyond them (UEFI 2.10 §5.2.3).
const CHS_BEYOND: [u8; 3] = [0xfe, 0xff, 0xff];

#[derive(Clone, Debug, PartialEq)]
pub struct Mbr {
    boot: [u8; 512],
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    pub number: u32,
    pub kind: u8,
    pub first: u32,
    pub sectors: u32,
}

impl Entry {
    /// The sector after the last.
    pub fn end(&self) -> u64 {
        u64::from(self.first) + u64::from(self.sectors)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMbr {
    #[error("all four entries of the MBR are taken: no room for a config drive")]
    NoFreeEntry,
    #[error(
        "there are no {bytes} bytes between the last MBR partition and the end of the disk (or 2 TiB)"
    )]
    NoRoom { bytes: u64 },
}

impl Mbr {
    /// A boot sector whose four entries can be partitions. A FAT volume without a table has the signature too, and text
    /// where the entries would be.
    pub fn parse(head: &[u8]) -> Option<Self> {
        let boot: [u8; 512] = head.get(..512)?.try_into().ok()?;
        let mbr = Self { boot };
        let sane = |entry: &[u8]| {
            matches!(entry[0], 0 | ACTIVE) && (entry[4] != 0 || entry.iter().all(|byte| *byte == 0))
        };
        let table = mbr.boot[TABLE..510].chunks_exact(ENTRY_BYTES);
        (mbr.boot[510..] == [0x55, 0xaa] && table.clone().all(sane) && !mbr.entries().is_empty())
            .then_some(mbr)
    }

    pub fn bytes(&self) -> &[u8; 512] {
        &self.boot
    }

    /// The disk's signature, as boot entries name it.
    pub fn signature(&self) -> [u8; 4] {
        self.boot[440..444].try_into().expect("four bytes")
    }

    pub fn set_signature(&mut self, signature: [u8; 4]) {
        self.boot[CODE_BYTES..CODE_BYTES + 4].copy_from_slice(&signature);
    }

    pub fn has_boot_code(&self) -> bool {
        self.boot[..CODE_BYTES].iter().any(|byte| *byte != 0)
    }

    /// Whether a partition is marked as the one to boot.
    pub fn is_active(&self) -> bool {
        let mut entries = self.boot[TABLE..510].chunks_exact(ENTRY_BYTES);
        entries.any(|entry| entry[0] == ACTIVE)
    }

    pub fn entries(&self) -> Vec<Entry> {
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
        let entries = (1..)
            .zip(self.boot[TABLE..510].chunks_exact(ENTRY_BYTES))
            .filter(|(_, entry)| entry[4] != 0);
        entries
            .map(|(at, entry)| Entry {
                number: at,
                kind: entry[4],
                first: number(&entry[8..12]),
                sectors: number(&entry[12..]),
            })
            .collect()
    }

    /// Whether it says that the disk has a GPT. Without that a GPT is what an earlier table left (UEFI 2.10 §5.2.3).
    pub fn is_protective(&self) -> bool {
        let mut entries = self.entries().into_iter();
        entries.any(|entry| entry.kind == PROTECTIVE)
    }

    pub fn end_of_partitions(&self) -> u64 {
        self.entries().iter().map(Entry::end).max().unwrap_or(0)
    }

    /// Adds a partition at the end of the disk, or of what 32 bits reach. Returns its sectors.
    pub fn add_last(
        &mut self,
        kind: u8,
        sectors: u64,
        disk_sectors: u64,
        sector: u64,
        align: u64,
    ) -> Result<Range<u64>, BadMbr> {
        let end = disk_sectors.min(u32::MAX.into());
        let start = end.saturating_sub(sectors) / align * align;
        if start < self.end_of_partitions().max(1) || start + sectors > end {
            return Err(BadMbr::NoRoom {
                bytes: sectors * sector,
            });
        }
        let mut entries = self.boot[TABLE..510].chunks_exact_mut(ENTRY_BYTES);
        let entry = entries
            .find(|entry| entry[4] == 0)
            .ok_or(BadMbr::NoFreeEntry)?;
        entry.fill(0);
        entry[1..4].copy_from_slice(&CHS_BEYOND);
        entry[4] = kind;
        entry[5..8].copy_from_slice(&CHS_BEYOND);
        entry[8..12].copy_from_slice(&(start as u32).to_le_bytes());
        entry[12..].copy_from_slice(&(sectors as u32).to_le_bytes());
        Ok(start..start + sectors)
    }

    /// Takes a partition out of the table; the others keep their numbers.
    pub fn remove(&mut self, number: u32) {
        let mut entries = self.boot[TABLE..510].chunks_exact_mut(ENTRY_BYTES);
        if let Some(entry) = (number as usize)
            .checked_sub(1)
            .and_then(|at| entries.nth(at))
        {
            entry.fill(0);
        }
    }

    /// Lets the entry that protects a GPT cover the whole disk (UEFI 2.10 §5.2.3). A hybrid table is left as it is.
    pub fn protect(&mut self, disk_sectors: u64) {
        let [only] = self.entries()[..] else { return };
        if only.kind == PROTECTIVE && only.first == 1 {
            let at = TABLE + (only.number as usize - 1) * ENTRY_BYTES;
            let sectors = u32::try_from(disk_sectors - 1).unwrap_or(u32::MAX);
            self.boot[at + 12..at + 16].copy_from_slice(&sectors.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
