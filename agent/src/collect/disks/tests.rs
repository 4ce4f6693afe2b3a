//! Disks of every kind in a sysfs laid out as the kernel lays it out.
//! The code is in `disks`.
use super::*;
use std::os::unix::fs::symlink;

/// A sysfs as the kernel lays it out: real directories under `devices`, links under `block`.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(tree.sys().join("block")).unwrap();
        tree
    }
    fn sys(&self) -> PathBuf {
        self.0.path().join("sys")
    }
    fn write(&self, path: &str, content: &[u8]) {
        let path = self.sys().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    /// `device` is the parent's directory under `devices`, `block` what lies between it and the disk.
    fn disk(&self, name: &str, device: &str, block: &str, files: &[(&str, &str)]) {
        let dir = format!("devices/{device}/{block}{name}");
        self.write(&format!("{dir}/size"), b"2097152\n");
        for (file, content) in files {
            self.write(&format!("{dir}/{file}"), format!("{content}\n").as_bytes());
        }
        symlink(
            self.sys().join(format!("devices/{device}")),
            self.sys().join(&dir).join("device"),
        )
        .unwrap();
        symlink(self.sys().join(&dir), self.sys().join("block").join(name)).unwrap();
    }
    fn list(&self) -> Vec<Disk> {
        let (disks, unread) = list(&self.sys()).unwrap();
        assert_eq!(unread, Vec::<String>::new());
        disks
    }
}

#[test]
fn a_virtio_disk_is_read() {
    let tree = Tree::new();
    let device = "pci0000:00/0000:00:03.0/virtio1";
    let files = [
        ("serial", "VD-0001"),
        ("queue/logical_block_size", "512"),
        ("queue/physical_block_size", "4096"),
        ("queue/rotational", "1"),
        ("ro", "0"),
        ("removable", "0"),
    ];
    tree.disk("vda", device, "block/", &files);
    tree.write(&format!("devices/{device}/vendor"), b"0x1af4\n");
    let expected = Disk {
        name: "/dev/vda".into(),
        size_bytes: 1 << 30,
        logical_sector_bytes: 512,
        physical_sector_bytes: 4096,
        serial: Some("VD-0001".into()),
        rotational: true,
        transport: Some("virtio".into()),
        by_path: Some("pci-0000:00:03.0".into()),
        ..Disk::default()
    };
    assert_eq!(tree.list(), [expected]);
}

#[test]
fn an_nvme_disk_is_read() {
    let tree = Tree::new();
    let device = "pci0000:00/0000:01:00.0/nvme/nvme0";
    tree.disk(
        "nvme0n1",
        device,
        "",
        &[
            ("wwid", "nvme.1b36-4e56-51"),
            ("nsid", "1"),
            ("queue/rotational", "0"),
        ],
    );
    tree.write(
        &format!("devices/{device}/model"),
        b"QEMU NVMe Ctrl                          \n",
    );
    tree.write(
        &format!("devices/{device}/serial"),
        b"NV-0001             \n",
    );
    let disk = tree.list().remove(0);
    assert_eq!(disk.model.as_deref(), Some("QEMU NVMe Ctrl"));
    assert_eq!(
        (disk.serial.as_deref(), disk.wwn.as_deref()),
        (Some("NV-0001"), Some("nvme.1b36-4e56-51"))
    );
    assert_eq!(disk.by_path.as_deref(), Some("pci-0000:01:00.0-nvme-1"));
    assert_eq!(
        (disk.transport.as_deref(), disk.rotational),
        (Some("nvme"), false)
    );
}

#[test]
fn a_sata_disk_has_its_whole_model() {
    let mut page = [&[0, 0x89, 2, 0x38][..], &[0; 568]].concat();
    // As a disk sends it: words, high byte first, from word 27 on, padded with blanks.
    let model = b"ASSMNU GZML71H9TMHTL0-0050              ";
    page[60 + 54..][..model.len()].copy_from_slice(model);
    let whole = parse_ata_model(&page);
    assert_eq!(whole.as_deref(), Some("SAMSUNG MZ7LH1T9HMLT-00005"));
    for cut in [0, 2, 60, 140] {
        assert_eq!(parse_ata_model(&page[..cut]), None);
    }

    let tree = Tree::new();
    let device = "pci0000:00/0000:00:1f.2/ata3/host2/target2:0:0/2:0:0:0";
    tree.disk("sda", device, "block/", &[]);
    tree.write(&format!("devices/{device}/model"), b"SAMSUNG MZ7LH1T9\n");
    assert_eq!(tree.list()[0].model.as_deref(), Some("SAMSUNG MZ7LH1T9"));
    tree.write(&format!("devices/{device}/vpd_pg89"), &page);
    assert_eq!(tree.list()[0].model, whole);
}

#[test]
fn a_sata_disk_has_its_serial_in_a_vpd_page() {
    let tree = Tree::new();
    let device = "pci0000:00/0000:00:1f.2/ata3/host2/target2:0:0/2:0:0:0";
    tree.disk("sda", device, "block/", &[]);
    tree.write(
        &format!("devices/{device}/vpd_pg80"),
        b"\0\x80\0\x14SA-0001             ",
    );
    tree.write(&format!("devices/{device}/wwid"), b"naa.5000c50000000001\n");
    tree.write(&format!("devices/{device}/vendor"), b"ATA     \n");
    tree.write(
        "devices/pci0000:00/0000:00:1f.2/ata3/ata_port/ata3/port_no",
        b"1\n",
    );
    let disk = tree.list().remove(0);
    assert_eq!(
        (disk.serial.as_deref(), disk.wwn.as_deref()),
        (Some("SA-0001"), Some("naa.5000c50000000001"))
    );
    assert_eq!(
        (disk.transport.as_deref(), disk.hctl.as_deref()),
        (Some("sata"), Some("2:0:0:0"))
    );
    assert_eq!(
        (disk.by_path.as_deref(), disk.vendor.as_deref()),
        (Some("pci-0000:00:1f.2-ata-1"), Some("ATA"))
    );
}

#[test]
fn scsi_sas_and_usb_disks_are_read() {
    let tree = Tree::new();
    let scsi = "pci0000:00/0000:00:05.0/virtio2/host3/target3:0:1/3:0:1:0";
    let sas = "pci0000:00/0000:02:00.0/host0/port-0:0/end_device-0:0/target0:0:0/0:0:0:0";
    let usb = "pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0/host7/target7:0:0/7:0:0:0";
    for (name, device) in [("sda", scsi), ("sdb", sas), ("sdc", usb)] {
        tree.disk(name, device, "block/", &[]);
    }
    tree.write(
        &format!("devices/{scsi}/wwid"),
        b"t10.QEMU    QEMU HARDDISK   drive-scsi0\n",
    );
    for (hub_or_stick, serial) in [("usb1", "0000:00:14.0"), ("usb1/1-2", "4C530001")] {
        let usb = format!("devices/pci0000:00/0000:00:14.0/{hub_or_stick}");
        tree.write(&format!("{usb}/idVendor"), b"0781\n");
        tree.write(&format!("{usb}/serial"), format!("{serial}\n").as_bytes());
    }
    let disks = tree.list();
    let facts: Vec<_> = disks
        .iter()
        .map(|d| (d.transport.as_deref(), d.by_path.as_deref()))
        .collect();
    let expected = [
        (Some("scsi"), Some("pci-0000:00:05.0-scsi-0:0:1:0")),
        (Some("sas"), Some("pci-0000:02:00.0-scsi-0:0:0:0")),
        (
            Some("usb"),
            Some("pci-0000:00:14.0-usb-0:2:1.0-scsi-0:0:0:0"),
        ),
    ];
    assert_eq!(facts, expected);
    assert_eq!(disks[0].wwn, None, "a t10 name is not a WWN");
    let serials: Vec<_> = disks.iter().map(|d| d.serial.as_deref()).collect();
    assert_eq!(serials, [None, None, Some("4C530001")]);
}

#[test]
fn disks_behind_a_network_are_told_from_the_machines_own() {
    let tree = Tree::new();
    let fc = "pci0000:00/0000:03:00.0/host1/rport-1:0-2/target1:0:0/1:0:0:0";
    let iscsi = "platform/host4/session1/target4:0:0/4:0:0:1";
    for (name, device) in [("sda", fc), ("sdb", iscsi)] {
        tree.disk(name, device, "block/", &[]);
    }
    let disks = tree.list();
    let transports: Vec<_> = disks.iter().map(|d| d.transport.as_deref()).collect();
    assert_eq!(transports, [Some("fc"), Some("iscsi")]);
}

#[test]
fn a_card_is_told_from_a_disk() {
    let tree = Tree::new();
    let card = "pci0000:00/0000:00:1a.0/mmc_host/mmc0/mmc0:0001";
    tree.disk("mmcblk0", card, "block/", &[("removable", "1")]);
    let card = tree.list().remove(0);
    assert_eq!(card.transport.as_deref(), Some("mmc"));
    assert!(card.is_removable());
}

#[test]
fn what_is_not_a_disk_is_left_out() {
    let tree = Tree::new();
    for name in [
        "loop0", "ram1", "zram0", "sr0", "fd0", "md127", "dm-3", "nbd0",
    ] {
        tree.disk(name, "virtual/block", "", &[]);
    }
    tree.disk(
        "sda",
        "pci0000:00/0000:00:05.0/virtio2/host3/target3:0:1/3:0:1:0",
        "block/",
        &[("size", "0")],
    );
    tree.disk(
        "vdb",
        "pci0000:00/0000:00:06.0/virtio3",
        "block/",
        &[("holders/md0", "")],
    );
    assert_eq!(tree.list(), []);
}

#[test]
fn one_dead_disk_is_reported_and_the_others_are_listed() {
    let tree = Tree::new();
    tree.disk(
        "vda",
        "pci0000:00/0000:00:03.0/virtio1",
        "block/",
        &[("size", "")],
    );
    tree.disk("vdb", "pci0000:00/0000:00:04.0/virtio2", "block/", &[]);
    let (disks, unread) = list(&tree.sys()).unwrap();
    assert_eq!(
        (disks.len(), disks[0].name.as_str(), unread.len()),
        (1, "/dev/vdb", 1)
    );
    assert!(unread[0].contains("block/vda/size"), "{unread:?}");
}

#[test]
fn vpd_pages_are_cut_where_they_end() {
    assert_eq!(
        parse_vpd_serial(b"\0\x80\0\x04ABCDEFGH").as_deref(),
        Some("ABCD")
    );
    for nothing in [
        &b""[..],
        b"\0\x80\0",
        b"\0\x83\0\x01A",
        b"\0\x80\0\x04    ",
        b"\0\x80\xff\xff",
    ] {
        assert_eq!(parse_vpd_serial(nothing), None, "{nothing:?}");
    }
    ironbeat_mutate::mutants(b"\0\x80\0\x14SA-0001             ", 5_000, |bytes| {
        drop(parse_vpd_serial(bytes))
    });
}

#[test]
fn pci_addresses_are_known() {
    for (name, is) in [
        ("0000:00:03.0", true),
        ("10000:e1:00.0", true),
        ("3:0:1:0", false),
        ("pci0000:00", false),
    ] {
        assert_eq!(is_pci_address(name), is, "{name}");
    }
}
