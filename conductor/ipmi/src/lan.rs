//! How the BMC is on the network: LAN configuration parameters (IPMI 2.0 §23.1, §23.2, table 23-4).
//! Read only: a BMC that loses its address is lost to us too.
use crate::bmc::Bmc;
use crate::error::{Error, ErrorKind};
use crate::message::{Request, TRANSPORT};
use std::net::{Ipv4Addr, Ipv6Addr};

/// IPv6 addresses read of each kind; table 23-4 allows 255, real BMCs have a handful.
const MAX_IPV6: u8 = 16;

/// Where an IPv4 address comes from (parameter 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressSource {
    Unspecified,
    Static,
    Dhcp,
    Bios,
    Other,
}

/// A BMC's report about one LAN channel; none: it does not report that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LanParameters {
    pub address: Option<Ipv4Addr>,
    pub source: Option<AddressSource>,
    pub netmask: Option<Ipv4Addr>,
    pub gateway: Option<Ipv4Addr>,
    pub mac: Option<[u8; 6]>,
    /// 802.1q id; none: untagged.
    pub vlan: Option<u16>,
    pub ipv6: Vec<LanIpv6>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LanIpv6 {
    pub address: Ipv6Addr,
    pub prefix_len: u8,
    /// Set by hand; otherwise by SLAAC or DHCPv6.
    pub is_static: bool,
}

pub(crate) fn ipv4(data: &[u8]) -> Option<Ipv4Addr> {
    data.first_chunk::<4>().map(|bytes| Ipv4Addr::from(*bytes))
}

pub(crate) fn source(data: &[u8]) -> Option<AddressSource> {
    data.first().map(|byte| match byte & 0x0f {
        0 => AddressSource::Unspecified,
        1 => AddressSource::Static,
        2 => AddressSource::Dhcp,
        3 => AddressSource::Bios,
        _ => AddressSource::Other,
    })
}

pub(crate) fn vlan(data: &[u8]) -> Option<u16> {
    let [low, high, ..] = *data else {
        return None;
    };
    (high & 0x80 != 0).then(|| u16::from_le_bytes([low, high & 0x0f]))
}

/// Set selector, source, address, prefix length, status (0: active).
pub(crate) fn ipv6(data: &[u8], is_static: bool) -> Option<LanIpv6> {
    let [_, source, rest @ ..] = data else {
        return None;
    };
    let (address, [prefix_len, status, ..]) = rest.split_first_chunk::<16>()? else {
        return None;
    };
    let enabled = !is_static || source & 0x80 != 0;
    let address = Ipv6Addr::from(*address);
    (enabled && *status == 0 && !address.is_unspecified()).then_some(LanIpv6 {
        address,
        prefix_len: *prefix_len,
        is_static,
    })
}

impl Bmc {
    /// Get LAN Configuration Parameters. `channel`: usually 1; 0Eh is the one that this session uses.
    ///
    /// # Errors
    /// Whatever prevents an answer. A parameter that the BMC does not have is none, not an error.
    pub async fn lan_parameters(&self, channel: u8) -> Result<LanParameters, Error> {
        let read = async |parameter, set| self.lan_parameter(channel, parameter, set).await;
        let mut lan = LanParameters {
            address: read(3, 0).await?.as_deref().and_then(ipv4),
            source: read(4, 0).await?.as_deref().and_then(source),
            mac: read(5, 0)
                .await?
                .and_then(|data| data.first_chunk().copied()),
            netmask: read(6, 0).await?.as_deref().and_then(ipv4),
            gateway: read(12, 0).await?.as_deref().and_then(ipv4),
            vlan: read(20, 0).await?.as_deref().and_then(vlan),
            ipv6: Vec::new(),
        };
        // Parameter 55: how many static and dynamic addresses there may be; 56 and 59: the addresses.
        let status = read(55, 0).await?.unwrap_or_default();
        for (parameter, count, is_static) in
            [(56, status.first(), true), (59, status.get(1), false)]
        {
            for set in 0..count.copied().unwrap_or(0).min(MAX_IPV6) {
                let data = read(parameter, set).await?;
                lan.ipv6
                    .extend(data.and_then(|data| ipv6(&data, is_static)));
            }
        }
        Ok(lan)
    }

    /// One parameter's bytes, without the revision before them; none when the BMC does not have it.
    ///
    /// # Errors
    /// Whatever prevents an answer; see [`ErrorKind`].
    pub async fn lan_parameter(
        &self,
        channel: u8,
        parameter: u8,
        set: u8,
    ) -> Result<Option<Vec<u8>>, Error> {
        let request = Request::new(TRANSPORT, 0x02, &[channel & 0x0f, parameter, set, 0]);
        match self.command("get LAN parameters", request).await {
            Ok(data) => Ok(data.get(1..).map(<[u8]>::to_vec)),
            Err(Error {
                // 80h: not supported; C9h, CBh, CCh: other BMCs' codes for the same.
                kind: ErrorKind::Completion(crate::CompletionCode(0x80 | 0xc9 | 0xcb | 0xcc)),
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read() {
        assert_eq!(ipv4(&[10, 77, 1, 1]), Some(Ipv4Addr::new(10, 77, 1, 1)));
        assert_eq!(ipv4(&[10, 77, 1]), None);
        assert_eq!(source(&[0x02]), Some(AddressSource::Dhcp));
        assert_eq!(source(&[]), None);
        assert_eq!(vlan(&[0x2a, 0x80]), Some(42));
        assert_eq!(vlan(&[0x2a, 0x00]), None);
        let mut data = vec![0, 0x80];
        data.extend([0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 64, 0]);
        let expected = LanIpv6 {
            address: "fd77::1".parse().unwrap(),
            prefix_len: 64,
            is_static: true,
        };
        assert_eq!(ipv6(&data, true), Some(expected));
        data[1] = 0;
        assert_eq!(ipv6(&data, true), None, "not enabled");
        assert!(ipv6(&data, false).is_some());
        data[19] = 3;
        assert_eq!(ipv6(&data, false), None, "not active yet");
        for short in 0..data.len() {
            assert_eq!(ipv6(&data[..short], false), None);
        }
    }
}
