//! Checksums put right again in damaged bytes.
//! Whether a mutant is mended is chance; see `mutant`.
use ironbeat_mutate::good::image::crc32;

const SECTOR: usize = 512;

/// The checksums of a GUID partition table: of its entries, then of its header.
pub fn gpt(bytes: &mut [u8]) {
    let number = |bytes: &[u8], at: usize| {
        let four = bytes.get(SECTOR + at..)?.first_chunk()?;
        usize::try_from(u32::from_le_bytes(*four)).ok()
    };
    let entries = || {
        let from = number(bytes, 72)?.checked_mul(SECTOR)?;
        let length = number(bytes, 80)?.checked_mul(number(bytes, 84)?)?;
        bytes.get(from..from.checked_add(length)?)
    };
    if let Some(crc) = entries().map(crc32)
        && let Some(place) = bytes.get_mut(SECTOR + 88..SECTOR + 92)
    {
        place.copy_from_slice(&crc.to_le_bytes());
    }
    let length = number(bytes, 12).unwrap_or_default().clamp(92, SECTOR);
    if let Some(header) = bytes.get_mut(SECTOR..SECTOR + length) {
        header[16..20].fill(0);
        let crc = crc32(header);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
    }
}

/// The two checksums of an IPMI message.
pub fn ipmi(bytes: &mut [u8]) {
    if let [head @ .., _] = bytes
        && head.len() >= 6
    {
        head[2] = sum(&head[..2]);
        let last = sum(&head[3..]);
        let end = bytes.len() - 1;
        bytes[end] = last;
    }
}

/// The checksum of an inventory's head, and those of its areas.
pub fn fru(bytes: &mut [u8]) {
    if bytes.len() < 8 {
        return;
    }
    bytes[7] = sum(&bytes[..7]);
    for offset in [bytes[2], bytes[3], bytes[4]] {
        let from = usize::from(offset) * 8;
        let length = bytes
            .get(from + 1)
            .map_or(0, |units| usize::from(*units) * 8);
        if offset != 0
            && length > 0
            && let Some(area) = bytes.get_mut(from..from + length)
        {
            let end = area.len() - 1;
            area[end] = sum(&area[..end]);
        }
    }
}

/// What makes the sum of all bytes zero.
fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte))
}
