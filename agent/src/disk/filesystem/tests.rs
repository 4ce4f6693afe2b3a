//! Volumes that a system's own tools made, volumes laid out by hand where there is no such tool here, and damaged ones.
use super::*;
use ironbeat_mutate::Mutator;
use std::fs;
use std::process::Command;

/// The bytes that a system's own tool gives a volume; `{}` is the file.
fn made_by(command: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("volume");
    fs::write(&file, vec![0; 40 << 20]).unwrap();
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap())
        .args(words.map(|word| match word {
            "{}" => file.to_str().unwrap(),
            word => word,
        }))
        .output()
        .unwrap_or_else(|error| panic!("{command}: {error}"));
    assert!(output.status.success(), "{command}: {output:?}");
    let mut volume = fs::read(&file).unwrap();
    volume.truncate(LOOK_BYTES);
    volume
}

/// Zeros, but for these bytes at these places.
fn laid_out(parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut volume = vec![0; LOOK_BYTES];
    for (at, bytes) in parts {
        volume[*at..at + bytes.len()].copy_from_slice(bytes);
    }
    volume
}

const ID: &str = "6ba7b810-9dad-41d1-80b4-00c04fd430c8";

/// Kind, bytes, UUID and label.
type Volume = (
    &'static str,
    Vec<u8>,
    Option<&'static str>,
    Option<&'static str>,
);

/// As their formats have it.
fn volumes() -> Vec<Volume> {
    let id = ID.parse::<Uuid>().unwrap();
    let id = id.as_bytes();
    vec![
        (
            "ext4",
            made_by(&format!("mke2fs -q -F -t ext4 -L root -U {ID} {{}}")),
            Some(ID),
            Some("root"),
        ),
        (
            "FAT16",
            made_by("mkfs.vfat -F 16 -i 1B0DE110 -n EFI {}"),
            Some("1B0D-E110"),
            Some("EFI"),
        ),
        (
            "FAT32",
            made_by("mkfs.vfat -F 32 -i 1B0DE110 {}"),
            Some("1B0D-E110"),
            None,
        ),
        (
            "swap",
            made_by(&format!("mkswap -q -L swap -U {ID} {{}}")),
            Some(ID),
            Some("swap"),
        ),
        // On-disk format of XFS, `struct xfs_dsb`.
        (
            "XFS",
            laid_out(&[(0, b"XFSB"), (32, id), (108, b"root")]),
            Some(ID),
            Some("root"),
        ),
        // `struct btrfs_super_block`.
        (
            "btrfs",
            laid_out(&[
                (65536 + 32, id),
                (65536 + 64, b"_BHRfS_M"),
                (65536 + 299, b"data"),
            ]),
            Some(ID),
            Some("data"),
        ),
        // LUKS2 on-disk format, section 2.1.
        (
            "LUKS2",
            laid_out(&[
                (0, b"LUKS\xba\xbe\0\x02"),
                (24, b"secret"),
                (168, ID.as_bytes()),
            ]),
            Some(ID),
            Some("secret"),
        ),
        // `struct label_header` and `struct pv_header` of LVM.
        (
            "LVM",
            laid_out(&[
                (512, b"LABELONE"),
                (536, b"LVM2 001"),
                (544, b"abcdefghijklmnopqrstuvwxyz012345"),
            ]),
            Some("abcdefghijklmnopqrstuvwxyz012345"),
            None,
        ),
        // ECMA-119 section 8.4: the primary volume descriptor is sector 16.
        (
            "ISO",
            laid_out(&[(32768, b"\x01CD001"), (32808, b"config-2        ")]),
            None,
            Some("config-2"),
        ),
    ]
}

#[test]
fn ids_and_labels_of_all_kinds_are_read() {
    for (kind, volume, uuid, label) in volumes() {
        let found = read(&volume).unwrap_or_else(|| panic!("{kind} is not recognised"));
        assert_eq!(found.uuid.as_deref(), uuid, "{kind}");
        assert_eq!(found.label.as_deref(), label, "{kind}");
    }
    assert_eq!(read(&vec![0; LOOK_BYTES]), None);
    assert_eq!(read(&vec![0xff; LOOK_BYTES]), None);
    assert_eq!(read(&[]), None);
}

#[test]
fn a_label_cannot_steer_a_terminal() {
    let volume = laid_out(&[(0, b"XFSB"), (108, b"\x1b[2Jroot\xff")]);
    let label = read(&volume).unwrap().label.unwrap();
    assert_eq!(label, "\u{fffd}[2Jroot\u{fffd}");
}

#[test]
fn config_drives_of_other_tools_are_recognised() {
    for (command, is) in [
        ("mkfs.vfat -F 16 -n CONFIG-2 {}", true),
        ("mkfs.vfat -F 32 -n config-2 {}", true),
        ("mkfs.vfat -n EFI {}", false),
        ("mke2fs -q -F -L config-2 {}", true),
        ("mke2fs -q -F -L config-22 {}", false),
    ] {
        assert_eq!(is_config_drive(&made_by(command)), is, "{command}");
    }
    let iso = laid_out(&[
        (32768, b"\x01CD001"),
        (32808, b"config-2                        "),
    ]);
    assert!(is_config_drive(&iso));
    assert!(!is_config_drive(&iso[..32770]) && !is_config_drive(&[]));
}

/// Damage where there is something, not among the zeros; and volumes that end early.
#[test]
fn mutated_volumes_do_not_panic() {
    let mut mutator = Mutator::seeded("volumes");
    for (kind, volume, _, _) in volumes() {
        let is_used = |at: &usize| volume[*at..at + 512].iter().any(|byte| *byte != 0);
        let blocks: Vec<usize> = (0..LOOK_BYTES).step_by(512).filter(is_used).collect();
        let mut known = 0;
        for _ in 0..3_000 {
            let mut mutant = volume.clone();
            let at = blocks[mutator.below(blocks.len())];
            let mut block = mutator.mutate(&volume[at..at + 512]);
            block.resize(512, 0);
            mutant[at..at + 512].copy_from_slice(&block);
            if mutator.below(4) == 0 {
                mutant.truncate(mutator.below(LOOK_BYTES));
            }
            if let Some(found) = read(&mutant) {
                known += 1;
                let is_short = |text: &String| text.chars().count() <= MAX_LABEL_BYTES;
                let texts = [found.uuid, found.label];
                assert!(texts.iter().flatten().all(is_short), "{kind}: {texts:?}");
            }
            is_config_drive(&mutant);
        }
        assert!(
            known > 100,
            "{kind}: what is still read reaches deeper: {known}"
        );
    }
}
