//! EFI system partitions that are made to be walked for ever: FAT32 volumes, written byte by byte.
//! Ordinary ones are tested in `efi` and `fat_read`.
use super::super::device::Device;
use super::super::testing::{MIB, TestDisk};
use super::{Files, MAX_FILES, MAX_FOLDERS, Patience, files, loader};
use ironbeat_mutate::Mutator;
use std::io;
use std::sync::atomic::AtomicBool;

const CLUSTER: usize = 512;
const TABLE_AT: usize = 512;
/// Sectors of the table: as many as name the clusters that fit into the volume.
const TABLE_SECTORS: usize = 32;
const ROOT: u32 = 2;

struct Volume(Vec<u8>);

impl Volume {
    /// A volume that says that it is larger than its 2 MiB, for only the number of clusters makes it FAT32.
    fn new() -> Self {
        let mut bytes = vec![0; 2 * MIB as usize];
        for (at, field) in [
            (11, &512u16.to_le_bytes()[..]),
            (13, &[1, 1, 0, 1]),
            (32, &70_000u32.to_le_bytes()),
            (36, &(TABLE_SECTORS as u32).to_le_bytes()),
            (44, &ROOT.to_le_bytes()),
            (510, &[0x55, 0xaa]),
        ] {
            bytes[at..at + field.len()].copy_from_slice(field);
        }
        Self(bytes).chain(&[ROOT])
    }

    /// These clusters follow each other, and nothing follows the last.
    fn chain(self, clusters: &[u32]) -> Self {
        let ends = clusters[1..].iter().chain(&[0x0fff_ffff]);
        clusters.iter().zip(ends).fold(self, Self::link)
    }

    fn link(mut self, (cluster, next): (&u32, &u32)) -> Self {
        let at = TABLE_AT + *cluster as usize * 4;
        self.0[at..at + 4].copy_from_slice(&next.to_le_bytes());
        self
    }

    /// Entries (short name, is it a folder, cluster), from the start of this cluster on.
    fn list<'a>(
        mut self,
        cluster: u32,
        entries: impl IntoIterator<Item = (&'a str, bool, u32)>,
    ) -> Self {
        let at = TABLE_AT + TABLE_SECTORS * 512 + (cluster as usize - 2) * CLUSTER;
        for (n, (name, is_folder, cluster)) in entries.into_iter().enumerate() {
            let line = &mut self.0[at + n * 32..][..32];
            line[..11].fill(b' ');
            let (base, extension) = name.split_once('.').unwrap_or((name, ""));
            line[..base.len()].copy_from_slice(base.as_bytes());
            line[8..8 + extension.len()].copy_from_slice(extension.as_bytes());
            line[11] = if is_folder { 0x10 } else { 0 };
            line[26..28].copy_from_slice(&(cluster as u16).to_le_bytes());
        }
        self
    }

    fn look<T>(&self, look: impl Fn(&Device, &AtomicBool) -> T) -> T {
        let disk = TestDisk::sparse(self.0.len() as u64, 512);
        disk.put(&self.0, 0);
        let device = Device::open_to_read(disk.path(), 512).expect("it is there");
        look(&device, &AtomicBool::new(false))
    }

    fn files(&self) -> io::Result<Files> {
        self.look(|device, cancelled| files(device, 0..device.bytes(), &Patience::new(cancelled)))
    }

    fn loader(&self) -> io::Result<Option<String>> {
        self.look(|device, cancelled| loader(device, 0..device.bytes(), &Patience::new(cancelled)))
    }
}

const NAMES: [&str; 16] = [
    "A.EFI", "B.EFI", "C.EFI", "D.EFI", "E.EFI", "F.EFI", "G.EFI", "H.EFI", "I.EFI", "J.EFI",
    "K.EFI", "L.EFI", "M.EFI", "N.EFI", "O.EFI", "P.EFI",
];

/// Sixteen programs in each folder below `EFI`, which are all one.
fn many_folders(count: usize) -> Volume {
    let clusters: Vec<u32> = (3..40).collect();
    let folders = std::iter::repeat_n(("VENDOR", true, 50), count);
    let volume = Volume::new().list(ROOT, [("EFI", true, 3)]);
    let volume = volume.chain(&clusters).list(3, folders);
    volume.list(50, NAMES.map(|name| (name, false, 0)))
}

#[test]
fn the_first_efi_folder_is_the_only_one() {
    let volume = Volume::new()
        .list(ROOT, [("EFI", true, 3), ("EFI", true, 4)])
        .list(3, [("BOOT", true, 5)])
        .list(4, [("BOOT", true, 6)])
        .list(5, [("FIRST.EFI", false, 0)])
        .list(6, [("SECOND.EFI", false, 0)]);
    let files = volume.files().expect("it can be read");
    assert_eq!(files.names, ["BOOT\\FIRST.EFI"]);
    assert!(files.are_all);
}

#[test]
fn folders_and_programs_are_bounded_and_what_is_left_out_is_told() {
    for (count, kept, are_all) in [
        (MAX_FOLDERS, MAX_FILES, true),
        (MAX_FOLDERS + 1, MAX_FILES, false),
        (7 * MAX_FOLDERS, MAX_FILES, false),
    ] {
        let found = many_folders(count).files().expect("it can be read");
        let got = (found.names.len(), found.are_all);
        assert_eq!(got, (kept, are_all), "{count}");
    }
    // Twice as many in each folder: no folder is left out, but programs are.
    let twice = many_folders(MAX_FOLDERS).chain(&[50, 51]);
    let twice = twice.list(51, NAMES.map(|name| (name, false, 0)));
    let found = twice.files().expect("it can be read");
    assert_eq!((found.names.len(), found.are_all), (MAX_FILES, false));
    let error = twice.loader().expect_err("it may be among the rest");
    assert!(error.to_string().contains("1024 programs"), "{error}");
    let none = many_folders(1).loader().expect("all was seen");
    assert_eq!(none, None);
}

/// The first in which each `EFI` is an empty folder; the second in which each is the root, with itself in it.
#[test]
fn a_folder_without_an_end_is_an_error() {
    for efi in [3, ROOT] {
        let volume = Volume::new().list(ROOT, [("EFI", true, efi); 16]);
        let error = volume.link((&ROOT, &ROOT)).loader();
        let error = error.expect_err("it has no end");
        assert!(error.to_string().contains("no end"), "{error}");
    }
}

#[test]
fn a_folder_whose_name_commands_a_terminal_is_named_without_that() {
    let arch = if cfg!(target_arch = "x86_64") {
        "X64"
    } else {
        "AA64"
    };
    let volume = Volume::new()
        .list(ROOT, [("EFI", true, 3)])
        .list(3, [("\x1b[2J", true, 4)])
        .list(4, [(format!("GRUB{arch}.EFI").as_str(), false, 0)]);
    let loader = volume.loader().expect("it can be read");
    let named = format!("\\EFI\\\u{fffd}[2J\\GRUB{arch}.EFI");
    assert_eq!(loader, Some(named));
}

#[test]
fn a_scattered_volume_is_given_up() {
    // Between two of these clusters lies the way back to the table.
    let clusters: Vec<u32> = (1000..1600).collect();
    let volume = Volume::new().list(ROOT, [("EFI", true, 1000)]);
    let error = volume.chain(&clusters).loader();
    let error = error.expect_err("it takes too long");
    assert!(error.to_string().contains("scattered"), "{error}");
}

#[test]
fn all_volumes_of_a_disk_share_what_may_be_read_of_it() {
    let error = many_folders(1).look(|device, cancelled| {
        let patience = Patience::new(cancelled);
        let mut looks = (0..2000).map(|_| loader(device, 0..device.bytes(), &patience));
        looks.find_map(Result::err)
    });
    assert!(error.is_some());
}

#[test]
fn a_cancelled_look_ends() {
    let error = many_folders(1).look(|device, _| {
        let cancelled = AtomicBool::new(true);
        loader(device, 0..device.bytes(), &Patience::new(&cancelled))
    });
    assert_eq!(error.expect_err("nobody waits").to_string(), "cancelled");
}

/// Boot sector, table, and the folders: whatever they say, the walk ends, and keeps what it may.
#[test]
fn mutated_partitions_end() {
    let good = many_folders(3).0;
    let disk = TestDisk::sparse(good.len() as u64, 512);
    disk.put(&good, 0);
    let device = Device::open_to_read(disk.path(), 512).expect("it is there");
    let folder = |cluster: usize| TABLE_AT + TABLE_SECTORS * 512 + (cluster - 2) * CLUSTER;
    let places = [0, TABLE_AT, folder(2), folder(3), folder(50)];
    let mut mutator = Mutator::seeded("partitions");
    let (mut ends, mut kept) = (0, 0);
    for _ in 0..1000 {
        let at = places[mutator.below(places.len())];
        let mut damaged = mutator.mutate(&good[at..at + 256]);
        damaged.resize(256, 0);
        disk.overwrite(&damaged, at as u64);
        let cancelled = AtomicBool::new(false);
        let found = files(&device, 0..device.bytes(), &Patience::new(&cancelled));
        disk.overwrite(&good[at..at + 256], at as u64);
        ends += usize::from(found.is_err());
        let count = found.map_or(0, |files| files.names.len());
        assert!(count <= MAX_FILES, "{count}");
        kept += usize::from(count > 0);
    }
    println!("{ends} errors, {kept} with programs");
    assert!(ends > 0 && kept > 100, "{ends} {kept}");
}
