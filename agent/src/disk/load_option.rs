//! The bytes of a `Boot####` variable (UEFI 2.10 §3.1.3, §10.3): reads what `efi` needs, writes one for a file on a partition.
//! Storing variables is left to `efivars`; which to write is decided in `efi`.
use uuid::Uuid;

const ACTIVE: u32 = 1;
/// Characters of a description: firmware menus show about as many.
const MAX_LABEL_UNITS: usize = 64;

/// A partition as a device path names it: valid on any port of the machine.
#[derive(Clone, Debug, PartialEq)]
pub struct HardDrive {
    pub number: u32,
    /// In logical sectors.
    pub first: u64,
    pub sectors: u64,
    pub signature: Signature,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Signature {
    /// The disk's, and the partition's number.
    Mbr([u8; 4]),
    /// The partition's.
    Gpt(Uuid),
}

/// What is understood of an existing option.
#[derive(Debug, PartialEq)]
pub struct Known {
    pub label: String,
    pub partition: Option<Uuid>,
}

/// An active option that loads `file` (`\EFI\BOOT\BOOTX64.EFI`) from a partition.
pub fn write(label: &str, drive: &HardDrive, file: &str) -> Vec<u8> {
    let (signature, format, signature_kind) = match drive.signature {
        Signature::Mbr(id) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&id);
            (bytes, 1, 1)
        }
        Signature::Gpt(guid) => (guid.to_bytes_le(), 2, 2),
    };
    let mut path = vec![4, 1, 42, 0];
    path.extend(drive.number.to_le_bytes());
    path.extend(drive.first.to_le_bytes());
    path.extend(drive.sectors.to_le_bytes());
    path.extend(signature);
    path.extend([format, signature_kind]);
    let name = utf16(file);
    path.extend([4, 4]);
    path.extend((4 + name.len() as u16).to_le_bytes());
    path.extend(name);
    path.extend([0x7f, 0xff, 4, 0]);

    let mut option = ACTIVE.to_le_bytes().to_vec();
    option.extend((path.len() as u16).to_le_bytes());
    option.extend(utf16(label));
    option.extend(path);
    option
}

/// Reads any bytes: firmware and other systems write what they like.
pub fn read(option: &[u8]) -> Option<Known> {
    let path_bytes = usize::from(u16::from_le_bytes(option.get(4..6)?.try_into().ok()?));
    let units: Vec<u16> = option[6..]
        .as_chunks::<2>()
        .0
        .iter()
        .map(|pair| u16::from_le_bytes(*pair))
        .collect();
    let end = units.iter().position(|unit| *unit == 0)?;
    let label = String::from_utf16_lossy(&units[..end]);
    let mut path = option.get(6 + 2 * (end + 1)..)?;
    path = &path[..path_bytes.min(path.len())];
    let mut partition = None;
    while let [kind, sub, low, high, ..] = *path {
        let length = usize::from(u16::from_le_bytes([low, high]));
        if length < 4 || length > path.len() || (kind, sub) == (0x7f, 0xff) {
            break;
        }
        if (kind, sub, length) == (4, 1, 42) && path[41] == 2 {
            let guid = path[24..40].try_into().expect("sixteen bytes");
            partition = Some(Uuid::from_bytes_le(guid));
        }
        path = &path[length..];
    }
    Some(Known { label, partition })
}

/// The label as it is written and read back: bounded, without NUL.
pub fn cut_label(label: &str) -> String {
    let units: Vec<u16> = label
        .encode_utf16()
        .filter(|unit| *unit != 0)
        .take(MAX_LABEL_UNITS)
        .collect();
    String::from_utf16_lossy(&units)
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect()
}

#[cfg(test)]
mod tests;
