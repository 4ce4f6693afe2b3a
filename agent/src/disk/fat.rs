//! Makes a FAT12 volume (Microsoft's FAT specification 1.03) from small files; the same files give the same bytes.
//! Which files go in is decided in `config_drive`.
use std::collections::{BTreeMap, BTreeSet};

/// Every cluster number of a FAT12 volume is below this; one more and readers would take it for FAT16.
const MAX_CLUSTERS: usize = 4084;
/// Bytes; any smaller, and the largest drive would have too many clusters.
const MIN_CLUSTER_BYTES: usize = 2048;
const MIN_ROOT_ENTRIES: usize = 512;
const ENTRY_BYTES: usize = 32;
const FATS: usize = 2;
const MEDIA: u8 = 0xf8;
/// UTF-16 units of a name, and how many of them one entry holds.
const MAX_NAME_UNITS: usize = 255;
const UNITS_PER_ENTRY: usize = 13;
const VOLUME_LABEL: u8 = 0x08;
const FOLDER: u8 = 0x10;
const FILE: u8 = 0x20;
const LONG_NAME: u8 = 0x0f;
/// 1 January 1980, the earliest there is: the real date would make every volume different.
const DATE: u16 = 1 << 5 | 1;

pub struct Volume<'a> {
    pub label: &'a [u8; 11],
    pub id: u32,
    /// Logical sector of the disk, in bytes.
    pub sector: u32,
    /// Path and content. Folders are made as they are needed.
    pub files: Vec<(&'a str, &'a [u8])>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTree {
    #[error("{0:?} is not a relative path of names that FAT allows")]
    Path(String),
    #[error("{0:?} occurs twice (FAT ignores case)")]
    Twice(String),
    #[error("more files and folders than the volume can have")]
    TooMany,
}

/// One line of a folder.
struct Child<'a> {
    name: &'a str,
    path: &'a str,
    content: Option<&'a [u8]>,
}

impl Volume<'_> {
    /// The bytes of the volume, whole sectors.
    pub fn bytes(&self) -> Result<Vec<u8>, BadTree> {
        let sector = self.sector as usize;
        let cluster = sector.max(MIN_CLUSTER_BYTES);
        let folders = self.folders()?;

        // Every folder and file gets its clusters, one after the other, in the order of the paths.
        let mut first_cluster = BTreeMap::new();
        let mut fat = vec![0xf00 | u16::from(MEDIA), 0xfff];
        let mut place = |path, bytes: usize| {
            let count = bytes.div_ceil(cluster);
            first_cluster.insert(path, if count == 0 { 0 } else { fat.len() as u16 });
            for left in (0..count).rev() {
                fat.push(if left == 0 {
                    0xfff
                } else {
                    fat.len() as u16 + 1
                });
            }
            if fat.len() > MAX_CLUSTERS {
                Err(BadTree::TooMany)
            } else {
                Ok(())
            }
        };
        for (path, children) in &folders {
            if !path.is_empty() {
                place(*path, folder_bytes(children) + 2 * ENTRY_BYTES)?;
            }
            for child in children {
                child
                    .content
                    .map_or(Ok(()), |content| place(child.path, content.len()))?;
            }
        }
        let root_entries = (folder_bytes(&folders[""]) / ENTRY_BYTES + 1).max(MIN_ROOT_ENTRIES);
        let root_entries = root_entries.next_multiple_of(sector / ENTRY_BYTES);

        let mut data = Vec::new();
        for (path, children) in &folders {
            if !path.is_empty() {
                let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                let mut lines = entry(b".          ", FOLDER, first_cluster[path], 0).to_vec();
                lines.extend(entry(
                    b"..         ",
                    FOLDER,
                    first_cluster.get(parent).copied().unwrap_or(0),
                    0,
                ));
                lines.extend(folder(children, &first_cluster));
                append(&mut data, &lines, cluster);
            }
            children
                .iter()
                .filter_map(|child| child.content)
                .for_each(|content| append(&mut data, content, cluster));
        }
        let mut root = entry(self.label, VOLUME_LABEL, 0, 0).to_vec();
        root.extend(folder(&folders[""], &first_cluster));
        root.resize(root_entries * ENTRY_BYTES, 0);

        let table = pack(&fat, sector);
        let mut volume = self.boot_sector(
            table.len() / sector,
            root_entries,
            fat.len() - 2,
            cluster / sector,
        );
        (0..FATS).for_each(|_| volume.extend(&table));
        volume.extend(root);
        volume.extend(data);
        Ok(volume)
    }

    /// Folder by folder what is in it; the root is the one without a name.
    fn folders(&self) -> Result<BTreeMap<&str, Vec<Child<'_>>>, BadTree> {
        let mut folders: BTreeMap<&str, Vec<Child<'_>>> = BTreeMap::from([("", Vec::new())]);
        let mut taken = BTreeSet::new();
        for (path, content) in &self.files {
            let ends = path
                .match_indices('/')
                .map(|(at, _)| at)
                .chain([path.len()]);
            let mut start = 0;
            for end in ends {
                let (name, here) = (&path[start..end], &path[..end]);
                let parent = &path[..start.saturating_sub(1)];
                let is_file = end == path.len();
                if !is_name(name) {
                    return Err(BadTree::Path((*path).to_owned()));
                }
                start = end + 1;
                if !is_file && folders.contains_key(here) {
                    continue;
                }
                if !taken.insert(here.to_lowercase()) {
                    return Err(BadTree::Twice(here.to_owned()));
                }
                let child = Child {
                    name,
                    path: here,
                    content: is_file.then_some(*content),
                };
                folders.entry(parent).or_default().push(child);
                if !is_file {
                    folders.insert(here, Vec::new());
                }
            }
        }
        Ok(folders)
    }

    fn boot_sector(
        &self,
        fat_sectors: usize,
        root_entries: usize,
        clusters: usize,
        cluster_sectors: usize,
    ) -> Vec<u8> {
        let sector = self.sector as usize;
        let sectors = 1
            + FATS * fat_sectors
            + root_entries * ENTRY_BYTES / sector
            + clusters * cluster_sectors;
        let mut boot = b"\xeb\x3c\x90IRONBEAT".to_vec();
        boot.extend((sector as u16).to_le_bytes());
        boot.extend([cluster_sectors as u8, 1, 0, FATS as u8]);
        boot.extend((root_entries as u16).to_le_bytes());
        boot.extend([0, 0, MEDIA]);
        boot.extend((fat_sectors as u16).to_le_bytes());
        boot.extend([63, 0, 255, 0, 0, 0, 0, 0]);
        boot.extend((sectors as u32).to_le_bytes());
        boot.extend([0x80, 0, 0x29]);
        boot.extend(self.id.to_le_bytes());
        boot.extend(self.label);
        boot.extend(b"FAT12   ");
        boot.resize(sector, 0);
        boot[510..512].copy_from_slice(&[0x55, 0xaa]);
        boot
    }
}

fn is_name(name: &str) -> bool {
    let forbidden = |c: char| c.is_control() || "\\/:*?\"<>|".contains(c);
    !name.is_empty()
        && !name.ends_with(['.', ' '])
        && !name.contains(forbidden)
        && units(name).len() <= MAX_NAME_UNITS
}

fn units(name: &str) -> Vec<u16> {
    name.encode_utf16().collect()
}

fn folder_bytes(children: &[Child<'_>]) -> usize {
    children
        .iter()
        .map(|child| (units(child.name).len().div_ceil(UNITS_PER_ENTRY) + 1) * ENTRY_BYTES)
        .sum()
}

/// The lines of a folder: each long name before a short one, which only has to be unique.
fn folder(children: &[Child<'_>], first_cluster: &BTreeMap<&str, u16>) -> Vec<u8> {
    let mut lines = Vec::new();
    for (number, child) in children.iter().enumerate() {
        let short: [u8; 11] = format!("{number:08}   ")
            .into_bytes()
            .try_into()
            .expect("fewer than 10⁸ lines");
        let sum = short
            .iter()
            .fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        let mut units = units(child.name);
        if !units.len().is_multiple_of(UNITS_PER_ENTRY) {
            units.push(0);
            units.resize(units.len().next_multiple_of(UNITS_PER_ENTRY), 0xffff);
        }
        let pieces = units.chunks(UNITS_PER_ENTRY);
        let last = pieces.len();
        for (at, piece) in pieces.enumerate().map(|(at, piece)| (at + 1, piece)).rev() {
            let bytes: Vec<u8> = piece.iter().flat_map(|unit| unit.to_le_bytes()).collect();
            lines.push(if at == last {
                0x40 | at as u8
            } else {
                at as u8
            });
            lines.extend(&bytes[..10]);
            lines.extend([LONG_NAME, 0, sum]);
            lines.extend(&bytes[10..22]);
            lines.extend([0, 0]);
            lines.extend(&bytes[22..]);
        }
        let (kind, bytes) = child
            .content
            .map_or((FOLDER, 0), |content| (FILE, content.len() as u32));
        lines.extend(entry(&short, kind, first_cluster[child.path], bytes));
    }
    lines
}

fn entry(name: &[u8; 11], kind: u8, cluster: u16, bytes: u32) -> [u8; ENTRY_BYTES] {
    let mut entry = [0; ENTRY_BYTES];
    entry[..11].copy_from_slice(name);
    entry[11] = kind;
    for date_at in [16, 18, 24] {
        entry[date_at..date_at + 2].copy_from_slice(&DATE.to_le_bytes());
    }
    entry[26..28].copy_from_slice(&cluster.to_le_bytes());
    entry[28..].copy_from_slice(&bytes.to_le_bytes());
    entry
}

fn append(data: &mut Vec<u8>, bytes: &[u8], cluster: usize) {
    data.extend(bytes);
    data.resize(data.len().next_multiple_of(cluster), 0);
}

/// Twelve bits for each cluster, two of them in three bytes.
fn pack(fat: &[u16], sector: usize) -> Vec<u8> {
    let mut table = Vec::new();
    for pair in fat.chunks(2) {
        let (low, high) = (pair[0], pair.get(1).copied().unwrap_or(0));
        table.extend([
            low as u8,
            (low >> 8) as u8 | (high << 4) as u8,
            (high >> 4) as u8,
        ]);
    }
    table.resize(table.len().next_multiple_of(sector), 0);
    table
}
