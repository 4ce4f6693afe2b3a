//! Nothing is left of old metadata, and all of the data beside it.
//! Finding and opening the disk is tested in `target`.
use super::super::testing::image::{self, noise};
use super::super::testing::{Bench, MIB, TestDisk};
use super::{erase_metadata, positions, wipe};
use ironbeat_common::disk::DiskIdentity;
use ironbeat_common::inventory::Disk;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::atomic::AtomicBool;

#[test]
fn positions_are_whole_sectors_within_the_disk() {
    let partition = 3 * MIB + 512..5 * MIB;
    let all = positions(600 << 30, 4096, std::slice::from_ref(&partition));
    assert!(
        all.iter().all(|range| range.start % 4096 == 0
            && range.end % 4096 == 0
            && range.start < range.end)
    );
    let has = |start: u64, bytes: u64| {
        assert!(
            all.iter()
                .any(|r| r.start <= start && start + bytes <= r.end),
            "{start}"
        )
    };
    has(0, MIB);
    has(4 << 20, 4096);
    has(64 << 20, 4096);
    has(256 << 30, 4096);
    has((600 << 30) - MIB, MIB);
    // Within the partition, and nothing of what is before or behind it.
    has(3 * MIB + 4096, MIB - 4096);
    has(4 * MIB, MIB);
    assert!(!all.iter().any(|range| range.contains(&(3 * MIB))));
    assert_eq!(positions(MIB / 2, 512, &[]), [0..MIB / 2, 0..MIB / 2]);
    assert_eq!(
        positions(
            MIB,
            512,
            &[u64::MAX - 5..u64::MAX, Range { start: 5, end: 3 }]
        ),
        [0..MIB, 0..MIB]
    );
}

/// A disk with a table and signatures at its ends, in its partitions and at their ends.
fn old_disk() -> TestDisk {
    let disk = TestDisk::dirty(32 * MIB, 512);
    disk.put(&image::gpt(32 * MIB, 512), 0);
    // LVM, as blkid wants to see it, in the second partition; a FAT volume in the first; an md 0.90 label at the end.
    let label = [
        b"LABELONE".as_slice(),
        &1u64.to_le_bytes(),
        &[0x76, 0x57, 0x34, 0x12, 0x20, 0, 0, 0],
        b"LVM2 001",
    ]
    .concat();
    disk.put(&label, 4 * MIB as usize + 512);
    disk.put(
        &[0xfc, 0x4e, 0x2b, 0xa9, 0, 0, 0, 0, 90, 0, 0, 0],
        32 * MIB as usize - 65536,
    );
    disk
}

fn assert_erased(disk: &TestDisk, before: &[u8]) {
    let content = disk.content();
    disk.assert_does_not_boot();
    for (offset, bytes) in [(0, 32 * MIB), (MIB, 2 * MIB), (4 * MIB, 28 * MIB)] {
        let probe = [
            "-p",
            "-O",
            &offset.to_string(),
            "-S",
            &bytes.to_string(),
            disk.path(),
        ];
        let output = Command::new("blkid")
            .args(probe)
            .output()
            .expect("util-linux is installed");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "",
            "blkid sees something at {offset}"
        );
    }
    let kept = 9 * MIB as usize..20 * MIB as usize;
    assert!(
        content[kept.clone()] == before[kept],
        "data between the signatures"
    );
}

#[test]
fn after_an_erase_nothing_is_recognised() {
    let (one, two) = (old_disk(), old_disk());
    let before = one.content();
    let bench = Bench::new(&[&one, &two]);
    let both = [one.identity(), two.identity()];
    bench
        .run(|ctx| erase_metadata(&both, ctx))
        .expect("nothing is wrong");
    assert_erased(&one, &before);
    assert_erased(&two, &before);
    // Twice is once.
    bench
        .run(|ctx| erase_metadata(&both, ctx))
        .expect("nothing is wrong");
    let reports = bench.reports.into_inner().expect("nobody panicked");
    assert_eq!((reports[1].done, reports[1].total), (1, Some(2)));
}

#[test]
fn zeros_are_written_where_the_device_does_not_make_them() {
    let disk = old_disk();
    let before = disk.content();
    let device = disk.open().without_tricks();
    wipe(&device, &AtomicBool::new(false)).expect("nothing is wrong");
    drop(device);
    assert_erased(&disk, &before);
}

#[test]
fn one_wrong_disk_keeps_all_from_being_touched() {
    let (one, two) = (TestDisk::dirty(4 * MIB, 512), TestDisk::dirty(4 * MIB, 512));
    let bench = Bench::new(&[&one, &two]);
    let mut other = two.identity();
    other.serial = Some("another".to_owned());
    let error = bench
        .run(|ctx| erase_metadata(&[one.identity(), other], ctx))
        .expect_err("one is not there");
    assert!(format!("{error:#}").contains("serial another"), "{error:#}");
    assert!(one.is_untouched() && two.is_untouched());
}

/// Behind LVM's own first MiB too, where ceph-volume puts its OSDs.
#[test]
fn copies_of_a_ceph_label_go() {
    let label = b"bluestore block device\n";
    let places = |bytes: u64| -> Vec<u64> {
        let labels = [0, 1, 10, 100, 1000].map(|gib: u64| gib << 30);
        let places = labels.iter().flat_map(|at| [*at, at + MIB]);
        places.filter(|at| at + 4096 < bytes).collect()
    };
    let disk = TestDisk::sparse(101 << 30, 512);
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(disk.path())
        .expect("it is there");
    let places = places(101 << 30);
    assert_eq!(places.len(), 8);
    for at in &places {
        file.write_all_at(label, *at).expect("room");
    }
    file.sync_all().expect("room");
    Bench::new(&[&disk])
        .run(|ctx| erase_metadata(&[disk.identity()], ctx))
        .expect("nothing is wrong");
    for at in places {
        let mut there = [1; 23];
        file.read_exact_at(&mut there, at).expect("it was written");
        assert_eq!(there, [0; 23], "at {at}");
    }
}

#[test]
fn garbage_is_no_obstacle() {
    let disk = TestDisk::dirty(4 * MIB, 512);
    disk.put(&noise(4 * MIB as usize, 8), 0);
    disk.put(b"EFI PART", 512);
    disk.put(&[0x55, 0xaa], 510);
    Bench::new(&[&disk])
        .run(|ctx| erase_metadata(&[disk.identity()], ctx))
        .expect("nothing is wrong");
    disk.assert_does_not_boot();
}

#[test]
fn cancelling_leaves_a_disk_that_does_not_boot() {
    let disk = old_disk();
    let device = disk.open();
    let error = wipe(&device, &AtomicBool::new(true)).expect_err("it was cancelled");
    assert!(format!("{error:#}").contains("cancelled"), "{error:#}");
    drop(device);
    disk.assert_does_not_boot();
}

#[test]
fn by_a_serial_number_alone_every_path_is_erased() {
    let (one, other) = (old_disk(), old_disk());
    let before = one.content();
    let path = |disk: &TestDisk, hctl: &str| Disk {
        serial: Some("S1".to_owned()),
        hctl: Some(hctl.to_owned()),
        transport: Some("scsi".to_owned()),
        ..disk.inventory()
    };
    let mut bench = Bench::new(&[]);
    bench.disks = vec![path(&one, "0:0:0:0"), path(&other, "1:0:0:0")];
    let wanted = [DiskIdentity::of(&bench.disks[0])];
    bench
        .run(|ctx| erase_metadata(&wanted, ctx))
        .expect("both can be opened");
    for disk in [&one, &other] {
        assert_erased(disk, &before);
    }
}
