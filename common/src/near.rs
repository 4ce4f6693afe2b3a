//! Which addresses lead a host to itself or to its own wire, where nobody else may send it, such as by a redirect.
//! Whoever follows one (the agent, a worker that looks at an image) asks here; what to do about it is theirs.
use core::net::{IpAddr, Ipv6Addr};

/// Where Amazon serves credentials over IPv6; no site has this network as its own.
const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Loopback, where a host's own services are; "any", which Linux takes for loopback; link-local, where clouds serve credentials and
/// BMCs their hosts.
pub fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local() || ip.octets()[0] == 0,
        IpAddr::V6(ip) => {
            let local = ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified();
            local || ip == METADATA
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_is_known_in_every_form() {
        for (address, near) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("0.0.0.0", true),
            ("0.1.2.3", true),
            ("169.254.169.254", true),
            ("::1", true),
            ("::", true),
            ("fe80::1", true),
            ("febf::1", true),
            ("fd00:ec2::254", true),
            ("::ffff:127.0.0.1", true),
            ("::ffff:169.254.169.254", true),
            ("10.0.0.1", false),
            ("192.0.2.1", false),
            ("fd00::1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_near(address.parse().unwrap()), near, "{address}");
        }
    }
}
