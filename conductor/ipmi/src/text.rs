//! Strings of SDR and FRU records: plain, BCD plus, and 6-bit ASCII (IPMI 2.0 §43.15, FRU 1.3 §13).
//! `sdr` and `fru` find where a string begins and how long it is.

const BCD_PLUS: &[u8; 16] = b"0123456789 -.???";

/// `encoding`: the two upper bits of a type/length byte.
pub(crate) fn decode(encoding: u8, bytes: &[u8]) -> String {
    let text = match encoding & 3 {
        1 => bytes
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 0x0f])
            .map(|digit| char::from(BCD_PLUS[usize::from(digit)]))
            .collect(),
        2 => six_bit(bytes),
        // Latin-1; what a vendor calls binary or Unicode is usually the same.
        _ => bytes
            .iter()
            .map(|byte| char::from(*byte))
            .collect::<String>(),
    };
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect::<String>()
        .trim()
        .to_string()
}

/// Four characters in three bytes, lowest bits first, from a blank on.
fn six_bit(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 4 / 3);
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .rev()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        for at in 0..group.len() * 8 / 6 {
            out.push(char::from(b' ' + (bits >> (6 * at) & 0x3f) as u8));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_is_read() {
        // "IPMI" in 6-bit ASCII is the specification's own example (FRU 1.3 §13.2).
        for (encoding, bytes, expected) in [
            (3, &b"Fan 1"[..], "Fan 1"),
            (3, b"  padded\0\0 ", "padded"),
            (0, b"as it is", "as it is"),
            (1, &[0x12, 0x3b, 0x4c], "123-4."),
            (2, &[0x29, 0xdc, 0xa6], "IPMI"),
            (2, &[0x29], "I"),
            (2, &[], ""),
        ] {
            assert_eq!(decode(encoding, bytes), expected);
        }
    }
}
