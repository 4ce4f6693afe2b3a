//! MBRs: real ones, sectors that only look like one, and mutated ones.
//! MBR images on disks are tested in `layout` and `write`.
use super::super::testing::MIB;
use super::super::testing::image;
use super::{BadMbr, FAT_LBA, Mbr, PROTECTIVE};
use ironbeat_mutate::mutants;

fn good() -> Vec<u8> {
    image::mbr(8 * MIB)[..512].to_vec()
}

#[test]
fn entries_are_read_and_added() {
    let mut mbr = Mbr::parse(&good()).expect("it is good");
    assert_eq!(mbr.end_of_partitions(), 8 * 2048);
    let place = mbr
        .add_last(FAT_LBA, 2048, 16 * 2048, 512, 2048)
        .expect("there is room");
    assert_eq!(place, 15 * 2048..16 * 2048);
    assert_eq!(
        mbr.bytes()[462..478],
        [
            0, 0xfe, 0xff, 0xff, 0x0e, 0xfe, 0xff, 0xff, 0, 0x78, 0, 0, 0, 8, 0, 0
        ]
    );
    assert_eq!(
        mbr.add_last(FAT_LBA, 2048, 16 * 2048, 512, 2048),
        Err(BadMbr::NoRoom { bytes: 1 << 20 })
    );
    // Beyond 2 TiB there is nothing for 32 bits: the place is before that.
    assert_eq!(
        mbr.add_last(FAT_LBA, 2048, 1 << 40, 512, 2048),
        Ok(0xffff_f000..0xffff_f800)
    );
    mbr.add_last(FAT_LBA, 1, 1 << 30, 512, 1)
        .expect_err("what is behind the last one is not free");
}

#[test]
fn four_entries_are_all_there_are() {
    let mut mbr = Mbr::parse(&good()).expect("it is good");
    for number in 2..=4 {
        mbr.add_last(FAT_LBA, 2048, 16 * 2048 * number, 512, 2048)
            .expect("there is room");
    }
    assert_eq!(
        mbr.add_last(FAT_LBA, 2048, 1 << 30, 512, 2048),
        Err(BadMbr::NoFreeEntry)
    );
}

#[test]
fn a_signature_alone_does_not_make_an_mbr() {
    let change = |at: usize, byte: u8| {
        let mut bytes = good();
        bytes[at] = byte;
        bytes
    };
    assert!(Mbr::parse(&change(511, 0)).is_none(), "no signature");
    assert!(
        Mbr::parse(&change(446, 0x41)).is_none(),
        "a status that is none"
    );
    assert!(
        Mbr::parse(&change(450, 0)).is_none(),
        "an entry without a kind"
    );
    assert!(
        Mbr::parse(&change(478, 1)).is_none(),
        "text in an unused entry"
    );
    assert!(Mbr::parse(&good()[..511]).is_none(), "too short");
}

#[test]
fn the_protective_entry_covers_the_disk() {
    let image = image::gpt(8 * MIB, 512);
    let mut mbr = Mbr::parse(&image).expect("it is good");
    mbr.protect(1 << 20);
    let [entry] = mbr.entries()[..] else {
        panic!("one entry")
    };
    assert_eq!(
        (entry.kind, entry.first, entry.sectors),
        (PROTECTIVE, 1, (1 << 20) - 1)
    );
    mbr.protect(1 << 40);
    assert_eq!(mbr.entries()[0].sectors, u32::MAX);
    let mut hybrid = mbr.clone();
    hybrid
        .add_last(FAT_LBA, 1, u64::MAX, 512, 1)
        .expect_err("all is taken");
}

#[test]
fn mutated_boot_sectors_do_not_panic() {
    mutants(&good(), 20_000, |bytes| {
        if let Some(mut mbr) = Mbr::parse(bytes) {
            let _ = mbr.add_last(FAT_LBA, 2048, 1 << 33, 512, 2048);
            mbr.protect(1 << 33);
        }
    });
}
