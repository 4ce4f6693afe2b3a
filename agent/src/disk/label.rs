//! Whether a partition of the image is a config drive, by the label of its file system: FAT, ISO 9660 or ext.
//! What becomes of it is planned in `layout`.

/// Bytes from the start of a partition in which all of the labels are.
pub const LOOK_BYTES: usize = 64 << 10;
/// As cloud-init looks for it, in either case.
const CONFIG_DRIVE: &[u8] = b"config-2";

/// `start`: the first [`LOOK_BYTES`] of the partition, or all of a smaller one.
pub fn is_config_drive(start: &[u8]) -> bool {
    let has = |at: usize, magic: &[u8]| start.get(at..).is_some_and(|s| s.starts_with(magic));
    let label = if has(54, b"FAT") {
        43..54
    } else if has(82, b"FAT32") {
        71..82
    } else if has(32769, b"CD001") {
        32808..32840
    } else if has(1080, &[0x53, 0xef]) {
        1144..1160
    } else {
        return false;
    };
    let label = start.get(label).unwrap_or_default();
    let end = label.iter().position(|byte| *byte == 0);
    let label = label[..end.unwrap_or(label.len())].trim_ascii_end();
    label.eq_ignore_ascii_case(CONFIG_DRIVE)
}

#[cfg(test)]
mod tests {
    use super::*;
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
        fs::read(&file).unwrap()
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
            let volume = made_by(command);
            assert_eq!(is_config_drive(&volume[..LOOK_BYTES]), is, "{command}");
        }
        // As mkisofs lays it out: the primary volume descriptor is sector 16 (ECMA-119 section 8.4).
        let mut iso = vec![0; LOOK_BYTES];
        iso[32768..32774].copy_from_slice(b"\x01CD001");
        iso[32808..32840].copy_from_slice(b"config-2                        ");
        assert!(is_config_drive(&iso));
        assert!(!is_config_drive(&iso[..32770]) && !is_config_drive(&[]));
    }
}
