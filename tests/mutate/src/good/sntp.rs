//! A time server's answer (RFC 4330).
//! Other answers are left to the tests of its reader.

/// What the question had in the place of its time.
pub const NONCE: u64 = 0x0123_4567_89ab_cdef;
/// Seconds from 1900, where its count begins, to 1970.
const UNTIL_1970: u64 = 2_208_988_800;

/// 2026-11-30 03:35:53.5 by a server of stratum 2.
pub fn answer() -> Vec<u8> {
    let mut out = vec![0; 48];
    out[..4].copy_from_slice(&[0x24, 2, 6, 0xe9]);
    out[24..32].copy_from_slice(&NONCE.to_be_bytes());
    let secs = (1_796_009_753 + UNTIL_1970) as u32;
    out[40..44].copy_from_slice(&secs.to_be_bytes());
    out[44..48].copy_from_slice(&0x8000_0000u32.to_be_bytes());
    out
}
