//! Only the right disk is opened, and only when it is free.
//! What is then done with it is tested in `write`, `erase` and `efi`.
use super::super::testing::{MIB, TestDisk};
use super::{open, users};
use ironbeat_common::disk::DiskIdentity;
use ironbeat_common::inventory::Disk;
use std::fs::{self, create_dir_all};

fn check(wanted: &DiskIdentity, disks: &[Disk], words: &[&str]) {
    let error = open(wanted, disks)
        .map(|device| device.path().to_owned())
        .expect_err("this must be refused");
    let error = format!("{error:#}");
    for word in words {
        assert!(error.contains(word), "{word:?} is not in {error:?}");
    }
}

#[test]
fn one_disk_that_fits_is_opened() {
    let (disk, other) = (TestDisk::dirty(4 * MIB, 512), TestDisk::dirty(4 * MIB, 512));
    let device =
        open(&disk.identity(), &[other.inventory(), disk.inventory()]).expect("nothing is wrong");
    assert_eq!(
        (device.path(), device.bytes(), device.sector()),
        (disk.path(), 4 * MIB, 512)
    );
}

#[test]
fn one_of_two_paths_is_opened() {
    let disk = TestDisk::dirty(4 * MIB, 512);
    let path = |name: &str| Disk {
        name: name.to_owned(),
        wwn: Some("naa.5000c500a1b2c3d4".to_owned()),
        transport: Some("sas".to_owned()),
        ..disk.inventory()
    };
    let (dead, good) = (path("/dev/elsewhere"), path(disk.path()));
    let wanted = DiskIdentity::of(&good);
    for paths in [[dead.clone(), good.clone()], [good.clone(), dead.clone()]] {
        let device = open(&wanted, &paths).expect("one path is good");
        assert_eq!(device.path(), disk.path());
    }
    check(&wanted, &[dead.clone(), dead], &["opening /dev/elsewhere"]);
    let locked = Disk {
        read_only: true,
        ..good.clone()
    };
    check(&wanted, &[locked.clone(), locked], &["read-only"]);
}

#[test]
fn refusals_name_the_reason() {
    let disk = TestDisk::dirty(4 * MIB, 512);
    let (inventory, identity) = (disk.inventory(), disk.identity());
    let serial = inventory.serial.clone().expect("test disks have one");
    check(&identity, &[], &["no disk is", &serial, "there are: none"]);
    let twin = Disk {
        name: "/dev/elsewhere".to_owned(),
        ..inventory.clone()
    };
    check(
        &identity,
        &[inventory.clone(), twin],
        &["2 disks are", "/dev/elsewhere", "refusing to choose"],
    );
    let swapped = Disk {
        serial: Some("OTHER".to_owned()),
        ..inventory.clone()
    };
    check(
        &identity,
        &[swapped],
        &["no disk is", &serial, "serial OTHER"],
    );
    let grown = Disk {
        size_bytes: 5 * MIB,
        ..inventory.clone()
    };
    check(
        &identity,
        std::slice::from_ref(&grown),
        &["no disk is", "5242880 bytes"],
    );
    check(
        &DiskIdentity::of(&grown),
        &[grown],
        &["changed", "5242880", "4194304"],
    );
    let locked = Disk {
        read_only: true,
        ..inventory.clone()
    };
    check(&identity, &[locked], &["read-only"]);
    let odd = Disk {
        logical_sector_bytes: 4096,
        ..inventory.clone()
    };
    if disk.is_block_device() {
        check(
            &identity,
            &[odd],
            &["changed", "sectors of 4096", "sectors of 512"],
        );
        let held = open(&identity, std::slice::from_ref(&inventory)).expect("it is free");
        check(&identity, std::slice::from_ref(&inventory), &["is in use"]);
        drop(held);
    }
    let gone = Disk {
        name: "/dev/not-there".to_owned(),
        ..inventory
    };
    check(
        &DiskIdentity::of(&gone),
        &[gone],
        &["opening /dev/not-there", "No such file"],
    );
    assert!(disk.is_untouched());
}

#[test]
fn users_of_a_disk_are_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (sysfs, proc) = (folder.path().join("block"), folder.path().join("proc"));
    for place in [
        "sda/holders/dm-3",
        "sda/sda1/holders",
        "sda/sda2/holders/md0",
        "sda/sda3/holders",
        "sda/queue",
    ] {
        create_dir_all(sysfs.join(place)).expect("room");
    }
    for part in ["sda1", "sda2", "sda3"] {
        fs::write(sysfs.join("sda").join(part).join("partition"), "1").expect("room");
    }
    create_dir_all(proc.join("self")).expect("room");
    fs::write(
        proc.join("self/mounts"),
        "/dev/sdb1 /mnt ext4 rw 0 0\n/dev/sda1 /boot\\040x vfat rw 0 0\n",
    )
    .expect("room");
    fs::write(
        proc.join("swaps"),
        "Filename Type Size\n/dev/sda3 partition 1\n",
    )
    .expect("room");
    assert_eq!(
        users("/dev/sda", &sysfs, &proc),
        [
            "sda is part of dm-3",
            "sda1 is mounted on /boot\\040x",
            "sda2 is part of md0",
            "sda3 is swap space"
        ]
    );
    assert!(users("/dev/sdz", &sysfs, &proc).is_empty());
}
