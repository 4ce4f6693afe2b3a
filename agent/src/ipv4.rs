//! An IPv4 address as an interface has it, and netmasks as prefix lengths.
//! Where addresses come from is read in `init::cmdline` and `net::dhcp`.
use std::net::Ipv4Addr;

/// An address with what an interface needs to use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    pub ip: Ipv4Addr,
    pub prefix_len: u8,
    pub gateway: Option<Ipv4Addr>,
}

/// The prefix length of a netmask; `None` for a mask with holes.
pub fn mask_len(mask: Ipv4Addr) -> Option<u8> {
    let bits = u32::from(mask);
    let length = bits.leading_ones();
    (bits.checked_shl(length).unwrap_or(0) == 0).then_some(length as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn netmasks_are_lengths() {
        for (mask, length) in [
            ("0.0.0.0", 0),
            ("128.0.0.0", 1),
            ("255.255.254.0", 23),
            ("255.255.255.255", 32),
        ] {
            assert_eq!(mask_len(mask.parse().unwrap()), Some(length), "{mask}");
        }
        assert_eq!(mask_len("0.255.255.255".parse().unwrap()), None);
    }
}
