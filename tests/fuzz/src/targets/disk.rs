//! What lies on disks, and what comes in images.
//! Volumes that are made to be walked for ever are tested in the agent.
use super::{Target, mend};
use ironbeat_agent::fuzz::disk;
use ironbeat_mutate::good::image;
use std::io::Write;

const MIB: u64 = 1 << 20;

/// The tables of a GPT image, and a boot sector before them.
fn gpt() -> Vec<u8> {
    image::gpt(16 * MIB, 512)[..34 * 512].to_vec()
}

/// The same for sectors of 4096 bytes, and a disk with an MBR.
fn heads() -> [Vec<u8>; 6] {
    let mut qcow2 = b"QFI\xfb\0\0\0\x03".to_vec();
    qcow2.resize(512, 0);
    let mut vmdk = b"KDMV".to_vec();
    vmdk.resize(512, 0);
    [
        gpt(),
        image::gpt(16 * MIB, 4096)[..6 * 4096].to_vec(),
        mbr(),
        qcow2,
        vmdk,
        b"vhdxfile".repeat(64),
    ]
}

fn mbr() -> Vec<u8> {
    image::mbr(8 * MIB)[..512].to_vec()
}

/// FAT12, FAT16 or FAT32 by the number of its clusters, with `EFI/BOOT` in it; the tables of large ones end early.
fn fat(sectors: u32, fat32: bool) -> Vec<u8> {
    let mut bytes = vec![0; 8 * 512];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    // Sectors of 512 bytes, clusters of one, one table of one sector behind the boot sector.
    put(11, &[0, 2, 1, 1, 0, 1]);
    put(32, &sectors.to_le_bytes());
    put(510, &[0x55, 0xaa]);
    if fat32 {
        put(36, &1u32.to_le_bytes());
        put(44, &2u32.to_le_bytes());
        (2..6).for_each(|cluster| put(512 + 4 * cluster, &[0xff, 0xff, 0xff, 0x0f]));
    } else {
        put(17, &[16, 0]);
        put(22, &[1, 0]);
        put(512, &[0xff; 16]);
    }
    // The root is the first cluster of FAT32, and lies before the first of the others.
    let folder = |name: &[u8; 11], kind: u8, cluster: u8| {
        let mut line = name.to_vec();
        line.push(kind);
        line.resize(32, 0);
        line[26] = cluster;
        line
    };
    let long = {
        let mut line = vec![0x41];
        line.extend(b"e\0f\0i\0\0\0\xff\xff");
        line.extend([0x0f, 0, sum(b"EFI        ")]);
        line.resize(32, 0xff);
        line[26..28].fill(0);
        line
    };
    put(2 * 512, &[long, folder(b"EFI        ", 0x10, 3)].concat());
    let below = if fat32 { 3 * 512 } else { 4 * 512 };
    put(below, &folder(b"BOOT       ", 0x10, 4));
    put(below + 512, &folder(b"BOOTX64 EFI", 0, 0));
    bytes
}

/// The checksum of a short name, which a long one repeats.
fn sum(name: &[u8; 11]) -> u8 {
    name.iter()
        .fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

/// File systems by their magic numbers, UUIDs and labels, each as short as it may be.
fn filesystems() -> Vec<Vec<u8>> {
    let laid = |parts: &[(usize, &[u8])]| {
        let end = parts.iter().map(|(at, bytes)| at + bytes.len()).max();
        let mut volume = vec![0; end.unwrap_or_default()];
        parts
            .iter()
            .for_each(|(at, bytes)| volume[*at..at + bytes.len()].copy_from_slice(bytes));
        volume
    };
    let id = &[
        0x6b, 0xa7, 0xb8, 0x10, 0x9d, 0xad, 0x41, 0xd1, 0x80, 0xb4, 0, 0xc0, 0x4f, 0xd4, 0x30, 0xc8,
    ];
    vec![
        laid(&[(0, b"XFSB"), (32, id), (108, b"root        ")]),
        laid(&[
            (0, b"LUKS\xba\xbe\0\x02"),
            (24, b"label"),
            (168, b"6ba7b810-9dad-41d1-80b4-00c04fd430c8\0\0\0\0"),
        ]),
        laid(&[
            (65536 + 32, id),
            (65536 + 64, b"_BHRfS_M"),
            (65536 + 299, b"label"),
            (65536 + 554, b"\0"),
        ]),
        laid(&[
            (1080, &[0x53, 0xef]),
            (1128, id),
            (1144, b"root\0\0\0\0\0\0\0\0\0\0\0\0"),
        ]),
        laid(&[
            (1036, id),
            (1052, b"swap\0\0\0\0\0\0\0\0\0\0\0\0"),
            (4086, b"SWAPSPACE2"),
        ]),
        laid(&[
            (512, b"LABELONE"),
            (536, b"LVM2 001"),
            (544, b"abcdefghijklmnopqrstuvwxyz012345"),
        ]),
        laid(&[
            (39, &[0x10, 0xe1, 0x0d, 0x1b]),
            (43, b"CONFIG-2   "),
            (54, b"FAT16   "),
        ]),
        laid(&[
            (67, &[0x10, 0xe1, 0x0d, 0x1b]),
            (71, b"NO NAME    "),
            (82, b"FAT32   "),
        ]),
        laid(&[
            (32768, b"\x01CD001"),
            (32808, b"config-2                        "),
        ]),
    ]
}

/// A boot option for a file on a partition (UEFI 2.10 §3.1.3).
fn load_option() -> Vec<u8> {
    let mut option = vec![1, 0, 0, 0, 0x5e, 0];
    option.extend(b"I\0r\0o\0n\0\0\0");
    option.extend([
        4, 1, 0x2a, 0, 1, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0,
    ]);
    option.extend([7; 16]);
    option.extend([2, 2, 4, 4, 10, 0]);
    option.extend(b"\\\0E\0\0\0");
    option.extend([0x7f, 0xff, 4, 0]);
    option
}

fn content() -> Vec<u8> {
    [
        vec![0; 2000],
        image::noise(300, 1),
        b"again and again and again".repeat(20),
    ]
    .concat()
}

fn gzip() -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let written = out.write_all(&content());
    written
        .and_then(|()| out.finish())
        .expect("a Vec takes any bytes")
}

fn zstd() -> Vec<u8> {
    // pzstd begins with a frame that decoders skip.
    let mut out = vec![0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4];
    out.extend(zstd::bulk::compress(&content(), 3).expect("a Vec takes any bytes"));
    out
}

pub fn targets() -> Vec<Target> {
    vec![
        Target::new(
            "gpt",
            "GUID partition tables",
            "agent/src/disk/gpt.rs",
            disk::gpt,
        )
        .seeds([gpt()])
        .words(&["EFI PART"])
        .mend(mend::gpt),
        Target::new(
            "mbr",
            "boot sectors with partition tables",
            "agent/src/disk/mbr.rs",
            disk::mbr,
        )
        .seeds([mbr()]),
        Target::new(
            "image-layout",
            "heads of images: GPT, MBR, qcow2, VMDK, VHDX and what they are packed with",
            "agent/src/disk/layout.rs",
            disk::layout,
        )
        .seeds(heads())
        .words(&["EFI PART", "QFI\u{fb}", "KDMV", "vhdxfile", "config-2"])
        .mend(mend::gpt)
        .max_bytes(8 << 20),
        Target::new(
            "fat",
            "FAT volumes and their folders",
            "agent/src/disk/fat_read.rs",
            disk::fat,
        )
        .seeds([fat(1000, false), fat(30_000, false), fat(70_000, true)])
        .max_bytes(16 << 20),
        Target::new(
            "filesystem",
            "first bytes of file systems, swap and volumes",
            "agent/src/disk/filesystem.rs",
            disk::filesystem,
        )
        .seeds(filesystems())
        .words(&["config-2", "NO NAME", "FAT32", "LVM2 001"]),
        Target::new(
            "efi-boot-option",
            "boot options in UEFI variables",
            "agent/src/disk/load_option.rs",
            disk::load_option,
        )
        .seeds([load_option()]),
        Target::new(
            "gzip",
            "images packed with gzip",
            "agent/src/disk/decode.rs",
            disk::gzip,
        )
        .seeds([gzip(), gzip().repeat(2)])
        .max_bytes(16 << 20),
        Target::new(
            "zstd",
            "images packed with zstd",
            "agent/src/disk/decode.rs",
            disk::zstd,
        )
        .seeds([zstd()])
        .max_bytes(16 << 20),
    ]
}
