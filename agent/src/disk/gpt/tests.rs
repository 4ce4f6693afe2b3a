//! GUID partition tables, hand-made and hostile.
//! GPT images on disks are tested in `layout` and `write`.
use super::super::testing::MIB;
use super::super::testing::TestDisk;
use super::super::testing::image::{self, crc32};
use super::{BASIC_DATA, BadGpt, ESP, Gpt};
use ironbeat_mutate::mutants;
use uuid::Uuid;

const SECTORS: u64 = 16 * MIB / 512;

fn good() -> Vec<u8> {
    image::gpt(16 * MIB, 512)
}

fn parse(bytes: &[u8]) -> Result<Gpt, BadGpt> {
    Gpt::parse(bytes, 0, 1, 512)
}

/// The table with some header bytes changed, its checksum right again.
fn forged(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut image = good();
    image[512 + at..512 + at + bytes.len()].copy_from_slice(bytes);
    sign(&mut image);
    image
}

fn sign(image: &mut [u8]) {
    let size = u32::from_le_bytes(image[512 + 12..512 + 16].try_into().expect("four")) as usize;
    if let Some(header) = image.get_mut(512..512 + size.clamp(92, 512)) {
        header[16..20].fill(0);
        let crc = crc32(header);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
    }
}

#[test]
fn both_copies_are_read() {
    for sector in [512, 4096] {
        let image = image::gpt(16 * MIB, sector);
        let gpt = Gpt::parse(&image, 0, 1, sector as u32).expect("it is good");
        let parts = gpt.partitions();
        let seen: Vec<_> = parts
            .iter()
            .map(|part| (part.number, part.kind, part.name.as_str()))
            .collect();
        assert_eq!(
            seen,
            [
                (1, ESP, "EFI"),
                (2, Uuid::from_bytes_le(image::LINUX_KIND), "root")
            ]
        );
        assert_eq!(
            (parts[0].first, parts[0].last),
            (MIB / sector as u64, 3 * MIB / sector as u64 - 1)
        );
        assert_eq!(
            parts[1].guid.to_string(),
            "a2a2a2a2-a2a2-a2a2-a2a2-a2a2a2a2a2a2"
        );
        let last = 16 * MIB / sector as u64 - 1;
        let from = last - 100;
        let backup = Gpt::parse(&image[from as usize * sector..], from, last, sector as u32)
            .expect("it is good");
        assert_eq!(backup.partitions(), parts);
    }
    assert_eq!(ESP.to_string(), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    assert_eq!(ESP.to_bytes_le(), image::ESP_KIND);
    assert_eq!(
        BASIC_DATA.to_string(),
        "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"
    );
}

/// Read, fitted to the same disk, and written: the same bytes.
#[test]
fn what_is_not_changed_stays() {
    let image = good();
    let mut gpt = parse(&image).expect("it is good");
    gpt.fit(SECTORS).expect("it fits where it is");
    for (at, bytes) in gpt.primary().into_iter().chain(gpt.backup()) {
        assert!(
            image[at as usize * 512..].starts_with(&bytes),
            "sector {at}"
        );
    }
}

#[test]
fn a_partition_is_added_at_the_end() {
    let mut gpt = parse(&good()).expect("it is good");
    assert_eq!(gpt.stale_backup(), 16 * MIB - 33 * 512..16 * MIB);
    gpt.fit(2 * SECTORS).expect("it fits");
    let place = gpt
        .add_last(
            BASIC_DATA,
            Uuid::from_bytes([9; 16]),
            "config-2",
            2048,
            2048,
        )
        .expect("there is room");
    // 32 MiB less 33 sectors, less 1 MiB, down to a multiple of 1 MiB.
    assert_eq!(place, 30 * 2048..31 * 2048);
    let added = gpt.partitions().pop().expect("three partitions");
    assert_eq!(
        (added.number, added.first, added.last, added.name.as_str()),
        (3, 30 * 2048, 31 * 2048 - 1, "config-2")
    );
    let overlapping = gpt.add_last(BASIC_DATA, Uuid::from_bytes([8; 16]), "x", 16 * 2048, 2048);
    assert!(
        matches!(overlapping, Err(BadGpt::NoRoom { number: 3, .. })),
        "{overlapping:?}"
    );
    assert!(matches!(
        gpt.add_last(
            BASIC_DATA,
            Uuid::from_bytes([8; 16]),
            "x",
            u64::MAX / 512,
            1
        ),
        Err(BadGpt::NoRoom { .. })
    ));
}

#[test]
fn a_full_table_says_so() {
    let mut image = good();
    let sector = 512;
    for (number, entry) in image[2 * sector..34 * sector]
        .chunks_exact_mut(128)
        .enumerate()
    {
        entry[..32].fill(7);
        entry[32..40].copy_from_slice(&(2048 + number as u64).to_le_bytes());
        entry[40..48].copy_from_slice(&(2048 + number as u64).to_le_bytes());
    }
    let crc = crc32(&image[2 * sector..34 * sector]);
    image[512 + 88..512 + 92].copy_from_slice(&crc.to_le_bytes());
    sign(&mut image);
    let mut gpt = parse(&image).expect("it is good");
    assert_eq!(
        gpt.add_last(
            BASIC_DATA,
            Uuid::from_bytes([9; 16]),
            "config-2",
            2048,
            2048
        ),
        Err(BadGpt::NoFreeEntry)
    );
}

#[test]
fn a_disk_too_small_is_named() {
    let mut gpt = parse(&good()).expect("it is good");
    let wanted = BadGpt::DiskTooSmall {
        number: 2,
        end_bytes: 16 * MIB,
        disk_bytes: 16 * MIB - 512,
    };
    assert_eq!(gpt.fit(SECTORS - 1), Err(wanted));
    for sectors in [0, 1, 33, 34, 67] {
        assert!(gpt.fit(sectors).is_err());
    }
}

#[test]
fn tables_that_lie_are_refused() {
    let check = |image: &[u8], wanted: BadGpt| assert_eq!(parse(image).expect_err("a lie"), wanted);
    let field = |what: &'static str, value: u64| BadGpt::Field(what, value);
    let mut image = good();
    image[512 + 60] ^= 1;
    check(&image, BadGpt::Checksum("header"));
    let mut image = good();
    image[1024 + 60] ^= 1;
    check(&image, BadGpt::Checksum("entries"));
    check(
        &forged(12, &513u32.to_le_bytes()),
        field("header size", 513),
    );
    check(&forged(12, &0u32.to_le_bytes()), field("header size", 0));
    check(&forged(24, &2u64.to_le_bytes()), field("own position", 2));
    check(
        &forged(72, &1u64.to_le_bytes()),
        BadGpt::Checksum("entries"),
    );
    check(
        &forged(72, &u64::MAX.to_le_bytes()),
        field("position of entries", u64::MAX),
    );
    check(
        &forged(80, &u32::MAX.to_le_bytes()),
        field("number of entries", u32::MAX.into()),
    );
    check(
        &forged(80, &0u32.to_le_bytes()),
        field("number of entries", 0),
    );
    check(&forged(84, &64u32.to_le_bytes()), field("entry size", 64));
    check(&forged(84, &129u32.to_le_bytes()), field("entry size", 129));
    check(
        &forged(40, &u64::MAX.to_le_bytes()),
        field("first usable sector", u64::MAX),
    );
    check(
        &forged(40, &33u64.to_le_bytes()),
        field("position of entries", 2),
    );
    check(&forged(40, &2049u64.to_le_bytes()), BadGpt::Outside(1));
    check(
        &forged(48, &u64::MAX.to_le_bytes()),
        field("last usable sector", u64::MAX),
    );
    check(&forged(48, &9000u64.to_le_bytes()), BadGpt::Outside(2));
    let overlap = |first: u64, last: u64| {
        let mut image = good();
        image[1024 + 128 + 32..][..8].copy_from_slice(&first.to_le_bytes());
        image[1024 + 128 + 40..][..8].copy_from_slice(&last.to_le_bytes());
        let crc = crc32(&image[1024..34 * 512]);
        image[512 + 88..512 + 92].copy_from_slice(&crc.to_le_bytes());
        sign(&mut image);
        image
    };
    check(&overlap(6143, 9000), BadGpt::Overlap(1, 2));
    check(&overlap(9000, 8999), BadGpt::Outside(2));
}

#[test]
fn mutated_tables_do_not_panic() {
    let good = &good()[..64 * 512];
    let try_all = |bytes: &[u8]| {
        if let Ok(mut gpt) = parse(bytes) {
            let stale = gpt.stale_backup();
            assert!(stale.start <= stale.end);
            if gpt.fit(2 * SECTORS).is_ok() {
                let _ = gpt.add_last(
                    BASIC_DATA,
                    Uuid::from_bytes([1; 16]),
                    "config-2",
                    2048,
                    2048,
                );
                let again = [gpt.primary(), gpt.backup()];
                assert!(
                    again
                        .iter()
                        .flatten()
                        .all(|(_, bytes)| bytes.len() % 512 == 0)
                );
            }
        }
    };
    mutants(good, 1_000, try_all);
    // With the header's checksum put right again the later checks are reached.
    mutants(&good[512..512 + 92], 5_000, |header| {
        let mut bytes = good.to_vec();
        let count = header.len().min(92);
        bytes[512..512 + count].copy_from_slice(&header[..count]);
        sign(&mut bytes);
        try_all(&bytes);
    });
    mutants(&good[1024..1024 + 256], 1_000, |entries| {
        let mut bytes = good.to_vec();
        let count = entries.len().min(256);
        bytes[1024..1024 + count].copy_from_slice(&entries[..count]);
        let crc = crc32(&bytes[1024..34 * 512]);
        bytes[512 + 88..512 + 92].copy_from_slice(&crc.to_le_bytes());
        sign(&mut bytes);
        try_all(&bytes);
    });
}

/// The tables of these tests must satisfy another program too.
#[test]
fn sgdisk_agrees_with_the_test_images() {
    let disk = TestDisk::dirty(16 * MIB, 512);
    disk.put(&good(), 0);
    disk.assert_sgdisk_agrees();
}
