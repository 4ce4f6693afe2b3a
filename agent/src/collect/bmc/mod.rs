//! The BMC's own network address, asked for over the system interface (IPMI 2.0 sections 22.24 and 23.2).
//! Talking to the BMC over that address is the conductor's job.
mod device;

use super::{Fill, Roots};
use anyhow::Context;
use device::Device;
use ironbeat_common::id::Mac;
use ironbeat_common::inventory::BmcAddress;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const NETFN_APP: u8 = 0x06;
const GET_CHANNEL_INFO: u8 = 0x42;
const NETFN_TRANSPORT: u8 = 0x0c;
const GET_LAN_PARAMETERS: u8 = 0x02;
/// LAN parameters (table 23-4, and 23-4b for IPv6).
const IP_ADDRESS: u8 = 3;
const MAC_ADDRESS: u8 = 5;
const ADDRESSING_ENABLES: u8 = 51;
const STATIC_IPV6: u8 = 56;
const DYNAMIC_IPV6: u8 = 59;
/// Channels that may be a LAN: 0 is the IPMB, Ch to Fh are not LANs.
const CHANNELS: std::ops::RangeInclusive<u8> = 1..=0x0b;
/// Static or dynamic IPv6 addresses looked at.
const IPV6_SETS: u8 = 4;
/// For all requests together; a slow BMC is asked again at the next inventory.
const BOUND: Duration = Duration::from_secs(20);
/// An address read lately is still the address: reading it may take seconds.
const FRESH: Duration = Duration::from_secs(60);

/// Remembers the last answer.
#[derive(Default)]
pub struct Reader {
    last: Mutex<Option<(Instant, Option<BmcAddress>)>>,
}

impl Reader {
    /// # Errors
    /// When there is a BMC that cannot be asked. No BMC is not an error.
    pub fn read(&self, roots: &Roots) -> anyhow::Result<Fill> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let address = match &*last {
            Some((when, address)) if when.elapsed() < FRESH => address.clone(),
            _ => {
                let address = read(roots)?;
                *last = Some((Instant::now(), address.clone()));
                address
            }
        };
        Ok(Box::new(move |inventory| inventory.bmc = address))
    }
}

fn read(roots: &Roots) -> anyhow::Result<Option<BmcAddress>> {
    let path = roots.dev.join("ipmi0");
    let mut device = match Device::open(&path) {
        Ok(device) => device,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("opening {}", path.display())),
    };
    let deadline = Instant::now() + BOUND;
    let ask = |netfn, command, data: &[u8]| {
        if Instant::now() >= deadline {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "asking the BMC takes too long",
            ));
        }
        device.ask(netfn, command, data)
    };
    address(ask).with_context(|| format!("asking the BMC at {}", path.display()))
}

/// The first LAN channel with an address; with none, the MAC of the first LAN channel.
pub(crate) fn address(
    mut ask: impl FnMut(u8, u8, &[u8]) -> io::Result<Vec<u8>>,
) -> io::Result<Option<BmcAddress>> {
    let mut without_ip = None;
    for channel in CHANNELS {
        let info = ask(NETFN_APP, GET_CHANNEL_INFO, &[channel])?;
        match info[..] {
            // Medium type 4 is an 802.3 LAN (table 6-3).
            [0, _, medium, ..] if medium & 0x7f == 4 => {}
            [0, ..] => continue,
            // No such channel, or the BMC does not know the command: the LAN parameters decide.
            _ => {}
        }
        let mut parameter = |number: u8, set: u8| -> io::Result<Option<Vec<u8>>> {
            let response = ask(
                NETFN_TRANSPORT,
                GET_LAN_PARAMETERS,
                &[channel, number, set, 0],
            )?;
            // Completion code, revision, value.
            Ok(match response[..] {
                [0, _, ref value @ ..] => Some(value.to_vec()),
                _ => None,
            })
        };
        let Some(ip) = parameter(IP_ADDRESS, 0)? else {
            continue;
        };
        let ipv4 = <[u8; 4]>::try_from(&ip[..])
            .ok()
            .map(Ipv4Addr::from)
            .filter(|ip| !ip.is_unspecified());
        let mac = parameter(MAC_ADDRESS, 0)?.and_then(|mac| <[u8; 6]>::try_from(&mac[..]).ok());
        let mac = mac
            .filter(|mac| *mac != [0; 6] && *mac != [0xff; 6])
            .map(Mac::from_bytes);
        let ipv6_enabled = matches!(
            parameter(ADDRESSING_ENABLES, 0)?.as_deref(),
            Some([1 | 2, ..])
        );
        let ipv6 = if ipv6_enabled {
            ipv6(&mut parameter)?
        } else {
            None
        };
        let found = BmcAddress {
            ipv4: ipv4.map(|ip| ip.to_string()),
            ipv6: ipv6.map(|ip| ip.to_string()),
            mac,
        };
        if found.ipv4.is_some() || found.ipv6.is_some() {
            return Ok(Some(found));
        }
        if found.mac.is_some() {
            without_ip = without_ip.or(Some(found));
        }
    }
    Ok(without_ip)
}

fn ipv6(
    parameter: &mut dyn FnMut(u8, u8) -> io::Result<Option<Vec<u8>>>,
) -> io::Result<Option<Ipv6Addr>> {
    for (number, is_static) in [(STATIC_IPV6, true), (DYNAMIC_IPV6, false)] {
        for set in 0..IPV6_SETS {
            let Some(value) = parameter(number, set)? else {
                break;
            };
            // Set, source (bit 7 of a static one: enabled), address, prefix length, status.
            let Some((&[_, source], rest)) = value
                .split_at_checked(2)
                .and_then(|(a, b)| Some((<&[u8; 2]>::try_from(a).ok()?, b)))
            else {
                break;
            };
            let Some(bytes) = rest
                .get(..16)
                .and_then(|bytes| <[u8; 16]>::try_from(bytes).ok())
            else {
                break;
            };
            let ip = Ipv6Addr::from(bytes);
            let enabled = !is_static || source & 0x80 != 0;
            if enabled && !ip.is_unspecified() && !ip.is_unicast_link_local() {
                return Ok(Some(ip));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_mutate::Mutator;

    const NOT_THERE: &[u8] = &[0xcc];

    /// A BMC with a serial channel 1 and a LAN channel 2.
    fn bmc(ip: [u8; 4], v6: bool) -> impl FnMut(u8, u8, &[u8]) -> io::Result<Vec<u8>> {
        move |netfn, command, data| {
            let mut v6_address = vec![0, 0x11, 0, 0x80];
            v6_address.extend("fd77::1:2".parse::<Ipv6Addr>().unwrap().octets());
            v6_address.extend([64, 0]);
            Ok(match (netfn, command, data) {
                (NETFN_APP, GET_CHANNEL_INFO, [1]) => vec![0, 1, 5, 1, 0, 0, 0, 0, 0, 0],
                (NETFN_APP, GET_CHANNEL_INFO, [2]) => vec![0, 2, 4, 1, 0x80, 0, 0, 0, 0, 0],
                (NETFN_TRANSPORT, GET_LAN_PARAMETERS, [2, IP_ADDRESS, 0, 0]) => {
                    [&[0, 0x11][..], &ip].concat()
                }
                (NETFN_TRANSPORT, GET_LAN_PARAMETERS, [2, MAC_ADDRESS, 0, 0]) => {
                    vec![0, 0x11, 2, 0, 0, 0, 0, 9]
                }
                (NETFN_TRANSPORT, GET_LAN_PARAMETERS, [2, ADDRESSING_ENABLES, 0, 0]) if v6 => {
                    vec![0, 0x11, 2]
                }
                (NETFN_TRANSPORT, GET_LAN_PARAMETERS, [2, STATIC_IPV6, 0, 0]) if v6 => v6_address,
                _ => NOT_THERE.to_vec(),
            })
        }
    }

    #[test]
    fn the_lan_channel_is_found() {
        let mac = Some(Mac::from_bytes([2, 0, 0, 0, 0, 9]));
        let v4 = BmcAddress {
            ipv4: Some("10.77.1.1".into()),
            ipv6: None,
            mac,
        };
        assert_eq!(
            address(bmc([10, 77, 1, 1], false)).unwrap(),
            Some(v4.clone())
        );
        let both = BmcAddress {
            ipv6: Some("fd77::1:2".into()),
            ..v4
        };
        assert_eq!(address(bmc([10, 77, 1, 1], true)).unwrap(), Some(both));
        let neither = BmcAddress {
            mac,
            ..BmcAddress::default()
        };
        assert_eq!(address(bmc([0; 4], false)).unwrap(), Some(neither));
    }

    #[test]
    fn a_bmc_that_knows_nothing_has_no_address() {
        assert_eq!(address(|_, _, _| Ok(NOT_THERE.to_vec())).unwrap(), None);
        assert_eq!(address(|_, _, _| Ok(Vec::new())).unwrap(), None);
        assert!(address(|_, _, _| Err(io::Error::other("wedged"))).is_err());
    }

    #[test]
    fn a_bmc_that_answers_nonsense_is_survived() {
        let mut random = Mutator::new(0x1b0b_ea70);
        for _ in 0..5_000 {
            let nonsense = |_: u8, _: u8, _: &[u8]| {
                let length = random.below(40);
                let mut bytes: Vec<u8> = (0..length).map(|_| random.random() as u8).collect();
                if let Some(code) = bytes.first_mut() {
                    *code &= 1;
                }
                Ok(bytes)
            };
            drop(address(nonsense));
        }
    }

    #[test]
    fn a_machine_without_a_bmc_has_none() {
        let root = tempfile::tempdir().unwrap();
        let roots = Roots::at(root.path().to_str().unwrap());
        let mut inventory = ironbeat_common::inventory::Inventory::default();
        Reader::default().read(&roots).unwrap()(&mut inventory);
        assert_eq!(inventory.bmc, None);
    }
}
