//! GUIDs as firmware stores them: the first three fields little-endian (UEFI 2.10 appendix A).
//! What they stand for is known where they are used.
use std::fmt;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// From the fields as they are printed; `node` is the last two of them.
    pub const fn new(a: u32, b: u16, c: u16, node: u64) -> Self {
        let (a, b, c, d) = (
            a.to_le_bytes(),
            b.to_le_bytes(),
            c.to_le_bytes(),
            node.to_be_bytes(),
        );
        Self([
            a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5],
            d[6], d[7],
        ])
    }

    /// A GUID of our own making (RFC 9562 §5.8, version 8) from a hash: the same input gives the same GUID.
    pub fn from_hash(hash: &[u8; 32]) -> Self {
        let mut bytes: [u8; 16] = hash[..16].try_into().expect("sixteen of thirty-two bytes");
        bytes[7] = bytes[7] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let b = &self.0;
        let (a, c) = (
            u32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            u16::from_le_bytes([b[6], b[7]]),
        );
        write!(
            f,
            "{a:08x}-{:04x}-{c:04x}-{:02x}{:02x}-",
            u16::from_le_bytes([b[4], b[5]]),
            b[8],
            b[9]
        )?;
        b[10..].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
