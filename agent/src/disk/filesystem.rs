//! What a file system, swap space or physical volume says of itself in its first bytes: its UUID and its label.
//! What becomes of it is decided in `layout` and `collisions`.
use uuid::Uuid;

/// Bytes from the start of a partition in which all of this is.
pub const LOOK_BYTES: usize = 72 << 10;
/// As cloud-init looks for it, in either case.
const CONFIG_DRIVE: &str = "config-2";
/// The longest label, that of btrfs, in bytes.
const MAX_LABEL_BYTES: usize = 256;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileSystem {
    /// As `blkid` writes it.
    pub uuid: Option<String>,
    pub label: Option<String>,
}

/// `start`: the first [`LOOK_BYTES`] of the partition, or all of a smaller one.
pub fn read(start: &[u8]) -> Option<FileSystem> {
    let has = |at: usize, magic: &[u8]| start.get(at..).is_some_and(|s| s.starts_with(magic));
    let bytes = |at: usize, count: usize| start.get(at..at + count).unwrap_or_default();
    let uuid = |at: usize| {
        let uuid = Uuid::from_slice(bytes(at, 16)).ok();
        uuid.filter(|uuid| !uuid.is_nil())
            .map(|uuid| uuid.to_string())
    };
    let fat = |serial: usize| match *bytes(serial, 4) {
        [a, b, c, d] if (a, b, c, d) != (0, 0, 0, 0) => {
            Some(format!("{d:02X}{c:02X}-{b:02X}{a:02X}"))
        }
        _ => None,
    };
    let (uuid, label) = if has(0, b"XFSB") {
        (uuid(32), bytes(108, 12))
    } else if has(0, b"LUKS\xba\xbe") {
        // Version 1 has no label.
        let label = if has(6, &[0, 2]) { bytes(24, 48) } else { &[] };
        (text(bytes(168, 40)), label)
    } else if has(65536 + 64, b"_BHRfS_M") {
        (uuid(65536 + 32), bytes(65536 + 299, MAX_LABEL_BYTES))
    } else if has(1080, &[0x53, 0xef]) {
        (uuid(1128), bytes(1144, 16))
    } else if has(4086, b"SWAPSPACE2") {
        (uuid(1036), bytes(1052, 16))
    } else if let Some(at) = (0..4)
        .map(|n| n * 512)
        .find(|at| has(*at, b"LABELONE") && has(at + 24, b"LVM2 001"))
    {
        (text(bytes(at + 32, 32)), &[][..])
    } else if has(54, b"FAT") {
        (fat(39), bytes(43, 11))
    } else if has(82, b"FAT32") {
        (fat(67), bytes(71, 11))
    } else if has(32769, b"CD001") {
        (None, bytes(32808, 32))
    } else {
        return None;
    };
    // What FAT says instead of nothing.
    let label = text(label).filter(|label| label != "NO NAME");
    Some(FileSystem { uuid, label })
}

/// Whether a partition of the image is a config drive.
pub fn is_config_drive(start: &[u8]) -> bool {
    let label = read(start).and_then(|found| found.label);
    label.is_some_and(|label| label.eq_ignore_ascii_case(CONFIG_DRIVE))
}

/// Up to the first NUL, without trailing blanks, fit for a terminal; none: it is empty.
pub fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|byte| *byte == 0);
    let bytes = bytes[..end.unwrap_or(bytes.len())].trim_ascii_end();
    let text = String::from_utf8_lossy(bytes);
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    (!text.is_empty()).then(|| text.chars().map(plain).collect())
}

#[cfg(test)]
mod tests;
