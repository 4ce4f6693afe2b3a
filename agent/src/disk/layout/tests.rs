//! Plans for images on disks, made from bytes alone.
//! Carrying them out is tested in `commit` and `write`.
use super::super::testing::MIB;
use super::super::testing::image;
use super::{Disk, HEAD_BYTES, guid_from_hash, plan};
use crate::disk::stage::Stop;
use ironbeat_mutate::mutants;

const DISK: Disk = Disk {
    bytes: 32 * MIB,
    sector: 512,
};

#[test]
fn a_gpt_image_is_fitted_to_a_larger_disk() {
    let image = image::gpt(16 * MIB, 512);
    let layout = plan(&image[..HEAD_BYTES], &DISK, Some(&[0; 3 << 20]), None).expect("it fits");
    assert_eq!(layout.drive_at, Some(28 * MIB));
    assert_eq!(layout.covered_bytes, 16 * MIB - 33 * 512);
    assert_eq!(layout.stale, 16 * MIB - 33 * 512..16 * MIB);
    let places = |parts: &[(u64, Vec<u8>)]| -> Vec<_> {
        parts.iter().map(|(at, bytes)| (*at, bytes.len())).collect()
    };
    assert_eq!(
        places(&layout.head),
        [(512, 512), (1024, 128 * 128), (0, 512)]
    );
    assert_eq!(
        places(&layout.backup),
        [(32 * MIB - 33 * 512, 128 * 128), (32 * MIB - 512, 512)]
    );
    // The same order twice gives the same disk, byte for byte.
    let again = plan(&image[..HEAD_BYTES], &DISK, Some(&[0; 3 << 20]), None);
    assert_eq!(again.expect("as before"), layout);
}

#[test]
fn a_config_drive_without_a_place_is_refused() {
    for image in [image::gpt(32 * MIB, 512), image::mbr(32 * MIB)] {
        assert!(plan(&image[..HEAD_BYTES], &DISK, None, None).is_ok());
        match plan(&image[..HEAD_BYTES], &DISK, Some(&[0; 1 << 20]), None) {
            Err(Stop::Failed(e)) => assert!(
                format!("{e:#}").contains("config drive has no place"),
                "{e:#}"
            ),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_partition_that_is_a_config_drive_is_used_or_gives_way() {
    // Labelled: the partitions of the images have their own names.
    for (image, drive_bytes, at, left) in [
        (image::gpt(16 * MIB, 512), 2 << 20, MIB, 2),
        (image::gpt(16 * MIB, 512), 3 << 20, 28 * MIB, 2),
        (image::mbr(16 * MIB), 3 << 20, MIB, 1),
        (image::mbr(16 * MIB), 16 << 20, 16 * MIB, 1),
    ] {
        let drive = vec![0; drive_bytes];
        let layout = plan(&image[..HEAD_BYTES], &DISK, Some(&drive), Some(MIB)).expect("it fits");
        assert_eq!(layout.drive_at, Some(at));
        let mut head = image[..HEAD_BYTES].to_vec();
        for (at, bytes) in &layout.head {
            head[*at as usize..][..bytes.len()].copy_from_slice(bytes);
        }
        let after = plan(&head, &DISK, None, None).expect("it was made here");
        assert_eq!(after.partitions.len(), left, "{:?}", after.partitions);
        assert!(after.partitions.iter().any(|part| part.start == at));
    }
}

#[test]
fn an_image_of_another_format_is_named() {
    let mut qcow2 = vec![0; 512];
    qcow2[..4].copy_from_slice(b"QFI\xfb");
    qcow2[24..32].copy_from_slice(&(10u64 << 30).to_be_bytes());
    for (head, words) in [
        (qcow2.as_slice(), "qcow2, of a disk of 10737418240 bytes"),
        (&[0x1f, 0x8b, 8, 0], "is gzip"),
        (&[0x28, 0xb5, 0x2f, 0xfd], "is zstd"),
        (b"\xfd7zXZ\0", "is xz"),
    ] {
        match plan(head, &DISK, None, None) {
            Err(Stop::Failed(e)) => assert!(e.to_string().contains(words), "{e}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn mutated_heads_do_not_panic() {
    for image in [image::gpt(16 * MIB, 512), image::mbr(16 * MIB)] {
        mutants(&image[..40 * 512], 2_000, |head| {
            drop(plan(head, &DISK, Some(&[0; 1 << 20]), Some(MIB)))
        });
    }
}

#[test]
fn a_guid_from_a_hash_has_version_8_and_the_variant_in_their_places_on_disk() {
    let hash: [u8; 32] = std::array::from_fn(|at| 0xf0 | at as u8);
    let guid = guid_from_hash(&hash);
    assert_eq!(
        guid.to_bytes_le(),
        [
            0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0x87, 0xb8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd,
            0xfe, 0xff
        ]
    );
    assert_eq!(guid.to_string(), "f3f2f1f0-f5f4-87f6-b8f9-fafbfcfdfeff");
}
