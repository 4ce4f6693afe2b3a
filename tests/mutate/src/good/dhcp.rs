//! What a DHCP server answers (RFC 2131, RFC 2132).
//! Odd answers are left to the tests of their reader.

/// Whom it is for.
pub const MAC: [u8; 6] = [0x52, 0x54, 0, 0x77, 1, 1];
pub const XID: u32 = 0x1234_5678;

/// Bytes before the options, the magic cookie included.
const HEADER: usize = 240;

/// An answer of 10.77.0.11 with these options, each with its code and length.
pub fn answer(options: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![0u8; HEADER];
    out[..4].copy_from_slice(&[2, 1, 6, 0]);
    out[4..8].copy_from_slice(&XID.to_be_bytes());
    out[16..20].copy_from_slice(&[10, 77, 0, 11]);
    out[28..34].copy_from_slice(&MAC);
    out[236..240].copy_from_slice(&[99, 130, 83, 99]);
    options.iter().for_each(|option| out.extend(*option));
    out.push(255);
    out
}

pub fn offer() -> Vec<u8> {
    answer(&[
        &[53, 1, 2],
        &[0, 0],
        &[54, 4, 10, 77, 0, 1],
        &[51, 4, 0, 0, 0x0e, 0x10],
        &[58, 4, 0, 0, 7, 8],
        &[1, 4, 255, 255, 255, 0],
        &[3, 8, 10, 77, 0, 1, 10, 77, 0, 2],
        &[6, 8, 10, 77, 0, 1, 1, 1, 1, 1],
        &[15, 3, b'l', b'a', b'b'],
        &[42, 8, 10, 77, 0, 3, 10, 77, 0, 4],
    ])
}
