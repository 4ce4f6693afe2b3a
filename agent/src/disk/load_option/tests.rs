//! Boot options, byte for byte.
//! Choosing and storing them is tested in `efi`.
use super::{HardDrive, Known, Signature, cut_label, read, write};
use ironbeat_mutate::mutants;
use uuid::{Uuid, uuid};

const GUID: Uuid = uuid!("11223344-5566-7788-99aa-bbccddeeff00");

fn drive() -> HardDrive {
    HardDrive {
        number: 1,
        first: 0x800,
        sectors: 0x2000,
        signature: Signature::Gpt(GUID),
    }
}

/// The golden bytes are what efibootmgr 17 wrote for the same partition, label and file.
#[test]
fn an_option_for_a_gpt_partition_has_its_golden_bytes() {
    let mut golden = vec![1, 0, 0, 0, 0x5e, 0];
    golden.extend(b"I\0r\0o\0n\0b\0e\0a\0t\0 \0n\x001\0\0\0");
    golden.extend([
        4, 1, 0x2a, 0, 1, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0,
    ]);
    golden.extend([
        0x44, 0x33, 0x22, 0x11, 0x66, 0x55, 0x88, 0x77, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0,
    ]);
    golden.extend([2, 2, 4, 4, 0x30, 0]);
    golden.extend(b"\\\0E\0F\0I\0\\\0B\0O\0O\0T\0\\\0B\0O\0O\0T\0X\x006\x004\0.\0E\0F\0I\0\0\0");
    golden.extend([0x7f, 0xff, 4, 0]);
    let option = write("Ironbeat n1", &drive(), "\\EFI\\BOOT\\BOOTX64.EFI");
    assert_eq!(option, golden);
    assert_eq!(
        read(&option),
        Some(Known {
            label: "Ironbeat n1".to_owned(),
            partition: Some(GUID)
        })
    );
}

#[test]
fn an_option_for_an_mbr_partition_has_its_golden_bytes() {
    let drive = HardDrive {
        signature: Signature::Mbr([1, 2, 3, 4]),
        ..drive()
    };
    let option = write("x", &drive, "\\y");
    assert_eq!(option[10..14], [4, 1, 42, 0]);
    assert_eq!(
        option[34..52],
        [1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]
    );
    assert_eq!(
        read(&option),
        Some(Known {
            label: "x".to_owned(),
            partition: None
        })
    );
}

#[test]
fn mutated_options_do_not_panic() {
    let good = write("Ironbeat n1", &drive(), "\\EFI\\BOOT\\BOOTX64.EFI");
    mutants(&good, 20_000, |bytes| drop(read(bytes)));
    assert_eq!(read(&[]), None);
    assert_eq!(read(&[1, 0, 0, 0, 0, 0]), None, "no label");
}

#[test]
fn labels_are_cut() {
    assert_eq!(cut_label(&"ä".repeat(100)), "ä".repeat(64));
    assert_eq!(cut_label("a\0b"), "ab");
}
