//! Lists folders of a FAT12, FAT16 or FAT32 volume (Microsoft's FAT specification 1.03). Every walk is bounded: the volume may
//! hold anything. File contents are not read.
use std::io;

const ENTRY_BYTES: usize = 32;
/// Bytes that one folder may have; 32,768 entries. This also ends a circular chain.
const MAX_FOLDER_BYTES: usize = 1 << 20;
const LONG_NAME: u8 = 0x0f;
const VOLUME_LABEL: u8 = 0x08;
const FOLDER: u8 = 0x10;
/// Entries of a long name: 255 characters, 13 in each.
const MAX_LONG_ENTRIES: u8 = 20;

/// Reads the volume: position and number of bytes.
pub type ReadAt<'a> = &'a dyn Fn(u64, usize) -> io::Result<Vec<u8>>;

pub struct Fat<'a> {
    read: ReadAt<'a>,
    cluster_bytes: usize,
    /// Position of the first table, of the root folder of FAT12 and 16, and of the first cluster.
    table_at: u64,
    root_at: u64,
    data_at: u64,
    root_bytes: usize,
    root_cluster: u32,
    clusters: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub name: String,
    pub is_folder: bool,
    cluster: u32,
}

impl<'a> Fat<'a> {
    pub fn open(read: ReadAt<'a>) -> io::Result<Self> {
        let boot = read(0, 512)?;
        let number = |at: usize, bytes: usize| {
            boot[at..at + bytes]
                .iter()
                .rev()
                .fold(0, |n, byte| n << 8 | u64::from(*byte))
        };
        let either = |short: u64, long: u64| if short != 0 { short } else { long };
        let (sector, cluster_sectors, reserved, tables) =
            (number(11, 2), number(13, 1), number(14, 2), number(16, 1));
        let table_sectors = either(number(22, 2), number(36, 4));
        let root_bytes = number(17, 2) * ENTRY_BYTES as u64;
        let sane = sector.is_power_of_two()
            && (512..=4096).contains(&sector)
            && cluster_sectors.is_power_of_two();
        if !sane
            || reserved == 0
            || tables == 0
            || table_sectors == 0
            || boot[510..512] != [0x55, 0xaa]
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "this is not a FAT volume",
            ));
        }
        let root_at = (reserved + tables * table_sectors) * sector;
        let data_at = root_at + root_bytes.next_multiple_of(sector);
        let bytes = either(number(19, 2), number(32, 4)) * sector;
        let clusters = bytes.saturating_sub(data_at) / (cluster_sectors * sector);
        Ok(Self {
            read,
            cluster_bytes: (cluster_sectors * sector) as usize,
            table_at: reserved * sector,
            root_at,
            data_at,
            root_bytes: root_bytes as usize,
            root_cluster: if root_bytes == 0 {
                number(44, 4) as u32
            } else {
                0
            },
            clusters: clusters.min(0x0fff_fff0) as u32,
        })
    }

    pub fn root(&self) -> io::Result<Vec<Entry>> {
        if self.root_bytes == 0 {
            self.chain(self.root_cluster)
        } else {
            Ok(entries(&(self.read)(self.root_at, self.root_bytes)?))
        }
    }

    /// What is in a folder.
    pub fn folder(&self, folder: &Entry) -> io::Result<Vec<Entry>> {
        self.chain(folder.cluster)
    }

    fn chain(&self, first: u32) -> io::Result<Vec<Entry>> {
        let mut bytes = Vec::new();
        let mut cluster = first;
        while (2..self.clusters.saturating_add(2)).contains(&cluster) {
            if bytes.len() >= MAX_FOLDER_BYTES {
                return Err(io::Error::other("a folder has no end"));
            }
            let at = self.data_at + u64::from(cluster - 2) * self.cluster_bytes as u64;
            bytes.extend((self.read)(at, self.cluster_bytes)?);
            cluster = self.next(cluster)?;
        }
        Ok(entries(&bytes))
    }

    /// The kind of volume, and with it the width of its table, follows from the number of clusters alone.
    fn next(&self, cluster: u32) -> io::Result<u32> {
        let entry = |offset: u32, bytes: usize| -> io::Result<u32> {
            let bytes = (self.read)(self.table_at + u64::from(offset), bytes)?;
            Ok(bytes
                .iter()
                .rev()
                .fold(0, |n, byte| n << 8 | u32::from(*byte)))
        };
        Ok(match self.clusters {
            ..4085 => entry(cluster + cluster / 2, 2)? >> (4 * (cluster % 2)) & 0xfff,
            4085..65525 => entry(cluster * 2, 2)?,
            65525.. => entry(cluster * 4, 4)? & 0x0fff_ffff,
        })
    }
}

/// The entries of a folder, long names put together; deleted ones, labels, `.` and `..` left out.
fn entries(bytes: &[u8]) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut long: Vec<u16> = Vec::new();
    let (mut expected, mut sum) = (0, 0);
    for line in bytes
        .chunks_exact(ENTRY_BYTES)
        .take_while(|line| line[0] != 0)
    {
        let kind = line[11];
        if line[0] != 0xe5 && kind & 0x3f == LONG_NAME {
            let place = line[0] & 0x3f;
            if line[0] & 0x40 != 0 && (1..=MAX_LONG_ENTRIES).contains(&place) {
                (long, expected, sum) = (Vec::new(), place, line[13]);
            }
            if place != expected || line[13] != sum || expected == 0 {
                expected = 0;
                long.clear();
                continue;
            }
            expected -= 1;
            let units = [&line[1..11], &line[14..26], &line[28..32]].concat();
            let mut units: Vec<u16> = units
                .as_chunks::<2>()
                .0
                .iter()
                .map(|pair| u16::from_le_bytes(*pair))
                .collect();
            units.append(&mut long);
            long = units;
            continue;
        }
        let short = line[..11]
            .iter()
            .fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        let units = std::mem::take(&mut long);
        if line[0] == 0xe5 || line[0] == b'.' || kind & VOLUME_LABEL != 0 {
            continue;
        }
        let name = if !units.is_empty() && expected == 0 && sum == short {
            let end = units
                .iter()
                .position(|unit| *unit == 0)
                .unwrap_or(units.len());
            String::from_utf16_lossy(&units[..end])
        } else {
            short_name(line)
        };
        let half = |at: usize| u32::from(u16::from_le_bytes([line[at], line[at + 1]]));
        found.push(Entry {
            name,
            is_folder: kind & FOLDER != 0,
            cluster: half(20) << 16 | half(26),
        });
    }
    found
}

/// `BOOTX64.EFI` from eight and three characters; two bits mark lower case, as Windows does it.
fn short_name(line: &[u8]) -> String {
    let part = |bytes: &[u8], lower: u8| {
        let text = String::from_utf8_lossy(bytes).trim_end().to_owned();
        if line[12] & lower == 0 {
            text
        } else {
            text.to_ascii_lowercase()
        }
    };
    let (name, extension) = (part(&line[..8], 0x08), part(&line[8..11], 0x10));
    if extension.is_empty() {
        name
    } else {
        format!("{name}.{extension}")
    }
}

#[cfg(test)]
mod tests;
