//! Owns every number and name of the rack's network, in one place.
//! Leaves making the links to `netns` and `rack`.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The machines' network: where DHCP, NATS, HTTP and the conductor are reached.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The same on IPv6; router advertisements of this prefix save iPXE its 13 s wait for one.
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
/// Addresses that dnsmasq hands out.
pub const DHCP_FIRST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 10);
/// Last address that dnsmasq hands out.
pub const DHCP_LAST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 250);
/// BMCs: node I's is 10.77.1.I. The whole network is local to the namespace (AnyIP), so no address is ever added.
pub const BMC_NET: &str = "10.77.1.0/24";

/// Bridge of every node's first NIC.
pub const BRIDGE: &str = "br0";
/// Bridge of every node's second NIC.
pub const BRIDGE_TWO: &str = "br1";

/// NATS clients' port at [`GATEWAY`].
pub const NATS_PORT: u16 = 4222;
/// HTTP server of OS images at [`GATEWAY`].
pub const IMAGE_PORT: u16 = 8080;
/// HTTP port the rack leaves free at [`GATEWAY`] for a conductor's boot scripts, kernel and ramdisk.
pub const BOOT_PORT: u16 = 8081;
/// Of a worker's images over TLS: the first worker's; the others count up.
pub const HTTPS_PORT: u16 = 8443;
/// IPMI over LAN (RMCP, IPMI 2.0 §13.1.2).
pub const IPMI_PORT: u16 = 623;
/// Loopback port in the namespace where a BMC's chassis script reaches the machines' supervisor.
pub const CHASSIS_PORT: u16 = 20_000;
/// The switch that LLDP frames speak of.
pub const SWITCH: &str = "tor1";

/// Node numbers go from 1 to this; the last byte of addresses holds them.
pub const MAX_NODES: u8 = 200;
/// NICs per node: one per bridge.
pub const MAX_NICS: u8 = 2;

/// Number of a node in its rack, 1 to [`MAX_NODES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeNumber(u8);

impl NodeNumber {
    /// `None` outside 1 to [`MAX_NODES`].
    pub fn new(number: usize) -> Option<Self> {
        u8::try_from(number)
            .ok()
            .filter(|n| (1..=MAX_NODES).contains(n))
            .map(Self)
    }

    /// The number.
    pub fn get(self) -> u8 {
        self.0
    }

    /// Its place in a list of all nodes.
    pub fn index(self) -> usize {
        usize::from(self.0) - 1
    }

    /// Where its BMC listens.
    pub fn bmc_address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 1, self.0)
    }

    /// The address of its NIC: 52:54:00:77:0K:II.
    pub fn mac(self, nic: u8) -> Mac {
        Mac([0x52, 0x54, 0x00, 0x77, nic, self.0])
    }

    /// The host's end of its NIC's cable.
    pub fn tap(self, nic: u8) -> String {
        format!("tap{}.{nic}", self.0)
    }

    /// The switch port its NIC is plugged into: Ethernet`1`/I for the first NIC, Ethernet`2`/I for the second.
    pub fn switch_port(self, nic: u8) -> String {
        format!("Ethernet{}/{}", nic + 1, self.0)
    }

    /// SMBIOS system UUID, unless the node's identity says another.
    pub fn uuid(self) -> String {
        format!("1b000000-0000-4000-8000-0000000000{:02x}", self.0)
    }

    /// SMBIOS serial number, unless the node's identity says another.
    pub fn serial(self) -> String {
        format!("IBRACK{:04}", self.0)
    }

    /// Loopback port in the namespace where its BMC speaks the VM protocol with the machine (in-band KCS).
    pub fn kcs_port(self) -> u16 {
        CHASSIS_PORT + u16::from(self.0)
    }
}

impl fmt::Display for NodeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_of_a_node_agree() {
        let node = NodeNumber::new(17).unwrap();
        assert_eq!(node.mac(1).to_string(), "52:54:00:77:01:11");
        assert_eq!(node.bmc_address().to_string(), "10.77.1.17");
        assert_eq!(node.uuid(), "1b000000-0000-4000-8000-000000000011");
        assert_eq!(
            (node.tap(0).as_str(), node.switch_port(0).as_str()),
            ("tap17.0", "Ethernet1/17")
        );
        assert_eq!((node.index(), node.kcs_port()), (16, 20_017));
        assert_eq!([0, 201, 256, 100_000].map(NodeNumber::new), [None; 4]);
    }
}
