//! DHCP messages as bytes (RFC 2131 section 2, options RFC 2132): the ones the client sends and the answers it accepts.
//! When to send which is decided in `dhcp`.
use ironbeat_common::id::Mac;
use std::net::Ipv4Addr;

/// Fixed part and magic cookie, in bytes.
const HEADER: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Smallest BOOTP message; some relays insist on it (RFC 1542 section 2.1), in bytes.
const SMALLEST: usize = 300;
/// Asks for a broadcast answer: this machine may not have the address yet.
const BROADCAST: [u8; 2] = [0x80, 0];
/// Identifies the agent (option 60) to servers with rules for it.
const VENDOR_CLASS: &[u8] = b"ironbeat-agent";
/// Options requested: mask, router, name servers, time servers, lease, server, T1, T2.
const WANTED: [u8; 8] = [1, 3, 6, 42, 51, 54, 58, 59];
/// Name servers taken from one answer, and time servers.
const MAX_NAME_SERVERS: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Discover,
    /// The offer of that server.
    Request {
        ip: Ipv4Addr,
        server: Ipv4Addr,
    },
    /// Renews the address in use with any server (RFC 2131 section 4.3.2, REBINDING).
    Renew {
        ip: Ipv4Addr,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Offer,
    Ack,
    Nak,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub kind: Kind,
    pub ip: Ipv4Addr,
    pub server: Option<Ipv4Addr>,
    pub prefix_len: Option<u8>,
    pub gateway: Option<Ipv4Addr>,
    pub name_servers: Vec<Ipv4Addr>,
    pub time_servers: Vec<Ipv4Addr>,
    pub lease_secs: Option<u32>,
    /// When to renew.
    pub renew_secs: Option<u32>,
}

pub fn encode(ask: Ask, mac: Mac, xid: u32, secs: u16) -> Vec<u8> {
    let mut out = vec![0u8; HEADER];
    out[..4].copy_from_slice(&[1, 1, 6, 0]);
    out[4..8].copy_from_slice(&xid.to_be_bytes());
    out[8..10].copy_from_slice(&secs.to_be_bytes());
    out[10..12].copy_from_slice(&BROADCAST);
    if let Ask::Renew { ip } = ask {
        out[12..16].copy_from_slice(&ip.octets());
    }
    out[28..34].copy_from_slice(mac.as_bytes());
    out[236..240].copy_from_slice(&COOKIE);
    let mut option = |code: u8, value: &[u8]| {
        out.extend([code, value.len() as u8]);
        out.extend(value);
    };
    option(53, &[if ask == Ask::Discover { 1 } else { 3 }]);
    // As iPXE identifies itself, so that both get the same address.
    let mut client = vec![1];
    client.extend(mac.as_bytes());
    option(61, &client);
    option(60, VENDOR_CLASS);
    option(55, &WANTED);
    if let Ask::Request { ip, server } = ask {
        option(50, &ip.octets());
        option(54, &server.octets());
    }
    out.push(255);
    out.resize(out.len().max(SMALLEST), 0);
    out
}

/// An answer to our `xid` and address; `None` for any other, since servers broadcast those of other machines too.
pub fn decode(bytes: &[u8], mac: Mac, xid: u32) -> Option<Answer> {
    let (header, options) = bytes.split_at_checked(HEADER)?;
    let ours = header[..3] == [2, 1, 6]
        && header[4..8] == xid.to_be_bytes()
        && header[28..34] == *mac.as_bytes()
        && header[236..240] == COOKIE;
    if !ours {
        return None;
    }
    let mut answer = Answer {
        kind: Kind::Nak,
        ip: address(&header[16..20])?,
        server: None,
        prefix_len: None,
        gateway: None,
        name_servers: Vec::new(),
        time_servers: Vec::new(),
        lease_secs: None,
        renew_secs: None,
    };
    let mut kind = None;
    let mut more = 0;
    read_options(options, &mut answer, &mut kind, &mut more)?;
    // Option 52: options go on in the fields for the file name and the server name (RFC 2131 section 4.1).
    for (bit, field) in [(1, &header[108..236]), (2, &header[44..108])] {
        if more & bit != 0 {
            read_options(field, &mut answer, &mut kind, &mut 0)?;
        }
    }
    answer.kind = kind?;
    let usable = |ip: &Ipv4Addr| {
        !(ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast() || ip.is_loopback())
    };
    (answer.kind == Kind::Nak || usable(&answer.ip)).then_some(answer)
}

fn read_options(
    mut rest: &[u8],
    answer: &mut Answer,
    kind: &mut Option<Kind>,
    more: &mut u8,
) -> Option<()> {
    loop {
        let (code, value) = match rest {
            [] | [255, ..] => return Some(()),
            [0, after @ ..] => {
                rest = after;
                continue;
            }
            [code, length, after @ ..] => {
                let (value, after) = after.split_at_checked(usize::from(*length))?;
                rest = after;
                (*code, value)
            }
            // An option without its length.
            [_] => return None,
        };
        match (code, value) {
            (53, [2]) => *kind = Some(Kind::Offer),
            (53, [5]) => *kind = Some(Kind::Ack),
            (53, [6]) => *kind = Some(Kind::Nak),
            (52, [fields]) => *more = *fields,
            (1, mask) => answer.prefix_len = address(mask).and_then(crate::ipv4::mask_len),
            (3, routers) => {
                answer.gateway = routers
                    .get(..4)
                    .and_then(address)
                    .filter(|ip| !ip.is_unspecified())
            }
            (6, list) => answer.name_servers = addresses(list),
            (42, list) => answer.time_servers = addresses(list),
            (51, secs) => answer.lease_secs = number(secs),
            (58, secs) => answer.renew_secs = number(secs),
            (54, server) => answer.server = address(server),
            _ => {}
        }
    }
}

fn addresses(list: &[u8]) -> Vec<Ipv4Addr> {
    let all = list.chunks_exact(4).filter_map(address);
    all.take(MAX_NAME_SERVERS).collect()
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from)
}

fn number(bytes: &[u8]) -> Option<u32> {
    <[u8; 4]>::try_from(bytes).ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_mutate::good::dhcp::{self, XID, answer, offer};
    use ironbeat_mutate::mutants;

    const MAC: Mac = Mac::from_bytes(dhcp::MAC);

    #[test]
    fn an_offer_is_read() {
        let ip = Ipv4Addr::new;
        let expected = Answer {
            kind: Kind::Offer,
            ip: ip(10, 77, 0, 11),
            server: Some(ip(10, 77, 0, 1)),
            prefix_len: Some(24),
            gateway: Some(ip(10, 77, 0, 1)),
            name_servers: vec![ip(10, 77, 0, 1), ip(1, 1, 1, 1)],
            time_servers: vec![ip(10, 77, 0, 3), ip(10, 77, 0, 4)],
            lease_secs: Some(3600),
            renew_secs: Some(1800),
        };
        assert_eq!(decode(&offer(), MAC, XID), Some(expected));
    }

    #[test]
    fn what_is_not_for_us_is_left_alone() {
        assert_eq!(decode(&offer(), MAC, XID + 1), None);
        assert_eq!(decode(&offer(), Mac::from_bytes([1; 6]), XID), None);
        assert_eq!(
            decode(&answer(&[&[1, 4, 255, 255, 255, 0]]), MAC, XID),
            None,
            "no message type"
        );
        assert_eq!(
            decode(&answer(&[&[53, 1, 2], &[54, 200, 1]]), MAC, XID),
            None,
            "an option past the end"
        );
        let mut nowhere = offer();
        nowhere[16..20].fill(0);
        assert_eq!(decode(&nowhere, MAC, XID), None, "an offer of no address");
        for cut in 0..HEADER {
            assert_eq!(decode(&offer()[..cut], MAC, XID), None);
        }
    }

    #[test]
    fn a_refusal_needs_no_address() {
        let mut nak = answer(&[&[53, 1, 6]]);
        nak[16..20].fill(0);
        assert_eq!(decode(&nak, MAC, XID).map(|a| a.kind), Some(Kind::Nak));
    }

    #[test]
    fn options_may_go_on_in_the_name_fields() {
        let mut bytes = answer(&[&[53, 1, 5], &[52, 1, 3]]);
        bytes[108..115].copy_from_slice(&[1, 4, 255, 255, 0, 0, 255]);
        bytes[44..51].copy_from_slice(&[3, 4, 10, 77, 0, 9, 255]);
        let answer = decode(&bytes, MAC, XID).unwrap();
        assert_eq!(
            (answer.prefix_len, answer.gateway),
            (Some(16), Some(Ipv4Addr::new(10, 77, 0, 9)))
        );
    }

    #[test]
    fn what_is_sent_is_what_the_rfc_says() {
        let bytes = encode(
            Ask::Request {
                ip: Ipv4Addr::new(10, 77, 0, 11),
                server: Ipv4Addr::new(10, 77, 0, 1),
            },
            MAC,
            XID,
            3,
        );
        assert_eq!(bytes.len(), SMALLEST);
        assert_eq!(
            bytes[..12],
            [1, 1, 6, 0, 0x12, 0x34, 0x56, 0x78, 0, 3, 0x80, 0]
        );
        assert_eq!(bytes[28..34], *MAC.as_bytes());
        let options = &bytes[HEADER..];
        assert_eq!(options[..3], [53, 1, 3]);
        assert_eq!(options[3..12], [61, 7, 1, 0x52, 0x54, 0, 0x77, 1, 1]);
        let end = [50, 4, 10, 77, 0, 11, 54, 4, 10, 77, 0, 1, 255];
        assert!(options.windows(end.len()).any(|window| window == end));
        let bytes = encode(
            Ask::Renew {
                ip: Ipv4Addr::new(10, 77, 0, 11),
            },
            MAC,
            XID,
            0,
        );
        assert_eq!(
            (&bytes[12..16], bytes[HEADER + 2]),
            (&[10, 77, 0, 11][..], 3)
        );
        assert!(
            !bytes[HEADER..].windows(2).any(|option| option == [54, 4]),
            "no server is named when rebinding"
        );
        assert_eq!(encode(Ask::Discover, MAC, XID, 0)[HEADER + 2], 1);
    }

    #[test]
    fn any_bytes_are_survived() {
        mutants(&offer(), 50_000, |bytes| {
            if let Some(answer) = decode(bytes, MAC, XID) {
                assert!(answer.name_servers.len() <= MAX_NAME_SERVERS);
                assert!(answer.time_servers.len() <= MAX_NAME_SERVERS);
            }
        });
    }
}
