//! Reads one LLDP frame (IEEE 802.1AB-2016 clauses 8 and 9, and the 802.1 and 802.3 organisational TLVs).
//! Receiving frames, and how long they are valid, is left to `lldp`.
use data_encoding::HEXLOWER;
use ironbeat_common::inventory::LldpNeighbour;
use std::net::{Ipv4Addr, Ipv6Addr};

/// VLANs kept per port; a trunk may announce thousands.
const MAX_VLANS: usize = 256;
const MAX_MANAGEMENT_ADDRESSES: usize = 8;
/// Longest text of the standard, in bytes.
const MAX_TEXT: usize = 255;
/// IEEE 802.1 and 802.3, as they number their own TLVs.
const OUI_8021: [u8; 3] = [0x00, 0x80, 0xc2];
const OUI_8023: [u8; 3] = [0x00, 0x12, 0x0f];

/// Why a frame was rejected: only its first three TLVs condemn it (IEEE 802.1AB-2016 clause 9.2.7.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    #[error("a TLV goes past the end of the frame")]
    Truncated,
    #[error("chassis id, port id and time to live must come first, once and in this order")]
    Order,
    #[error("TLV of type {kind} cannot have {length} bytes")]
    Length { kind: u8, length: usize },
}

/// Reads the frame's payload, the part after the EtherType. What follows the End TLV is padding. An optional TLV that makes
/// no sense is left out, one that is longer than it should be counts as far as it goes (802.1AB-2005 clause 10.3.2.1;
/// lldpd/lldpd#368), and one that goes past the end of the frame ends it.
pub fn parse(frame: &[u8]) -> Result<LldpNeighbour, BadFrame> {
    let mut rest = frame;
    let mut neighbour = LldpNeighbour::default();
    for mandatory in 1..=3 {
        let (kind, value, after) = next(rest).ok_or(match rest {
            [] => BadFrame::Order,
            _ => BadFrame::Truncated,
        })?;
        if kind != mandatory {
            return Err(BadFrame::Order);
        }
        let length = value.len();
        let bad_length = BadFrame::Length { kind, length };
        match kind {
            1 => neighbour.chassis_id = id(value, 4, 5).ok_or(bad_length)?,
            2 => neighbour.port_id = id(value, 3, 4).ok_or(bad_length)?,
            _ => neighbour.ttl_secs = number(value).ok_or(bad_length)?,
        }
        rest = after;
    }
    while let Some((kind, value, after)) = next(rest) {
        rest = after;
        match kind {
            0 => break,
            // Which of the two would be the neighbour (clause 9.2.7.7.2)?
            1..=3 => return Err(BadFrame::Order),
            4 => set(&mut neighbour.port_description, value),
            5 => set(&mut neighbour.system_name, value),
            6 => set(&mut neighbour.system_description, value),
            8 if neighbour.management_addresses.len() < MAX_MANAGEMENT_ADDRESSES => {
                let address = management_address(value);
                neighbour.management_addresses.extend(address);
            }
            127 => organisational(&mut neighbour, value),
            // Capabilities, and types that the standard reserves.
            _ => {}
        }
    }
    Ok(neighbour)
}

/// Type and value of the first TLV, and what follows it.
fn next(rest: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (head, after) = rest.split_at_checked(2)?;
    let head = u16::from_be_bytes([head[0], head[1]]);
    let (value, after) = after.split_at_checked(usize::from(head & 0x1ff))?;
    Some(((head >> 9) as u8, value, after))
}

fn organisational(neighbour: &mut LldpNeighbour, value: &[u8]) {
    let [a, b, c, subtype, value @ ..] = value else {
        return;
    };
    match ([*a, *b, *c], *subtype) {
        // Port VLAN id (802.1Q Annex D.2.1); 0 means none.
        (OUI_8021, 1) => {
            let vlan = number(value).filter(|vlan| *vlan != 0);
            neighbour.pvid = vlan.or(neighbour.pvid);
        }
        // VLAN name (D.2.3): id, length of the name, name.
        (OUI_8021, 3) => {
            if let [high, low, length, name @ ..] = value
                && name.len() >= usize::from(*length)
                && neighbour.vlans.len() < MAX_VLANS
            {
                neighbour.vlans.push(u16::from_be_bytes([*high, *low]));
            }
        }
        // Maximum frame size (802.3 79.3.4).
        (OUI_8023, 4) => neighbour.max_frame_bytes = number(value).or(neighbour.max_frame_bytes),
        _ => {}
    }
}

/// Chassis and port ids differ in which subtypes are a MAC and a network address; the others are text.
fn id(value: &[u8], mac_subtype: u8, network_subtype: u8) -> Option<String> {
    let [subtype, id @ ..] = value else {
        return None;
    };
    if id.is_empty() || id.len() > MAX_TEXT {
        return None;
    }
    match id {
        [_, _, _, _, _, _] if *subtype == mac_subtype => Some(colon_hex(id)),
        [family, address @ ..] if *subtype == network_subtype => {
            Some(network_address(*family, address))
        }
        _ => Some(text(id)),
    }
}

/// Families as IANA numbers them: 1 is IPv4, 2 is IPv6.
fn network_address(family: u8, address: &[u8]) -> String {
    if let (1, Ok(ip)) = (family, <[u8; 4]>::try_from(address)) {
        Ipv4Addr::from(ip).to_string()
    } else if let (2, Ok(ip)) = (family, <[u8; 16]>::try_from(address)) {
        Ipv6Addr::from(ip).to_string()
    } else {
        colon_hex(address)
    }
}

/// Clause 8.5.9: length, family and address; kind and number of an interface; length of an object id and that id.
fn management_address(value: &[u8]) -> Option<String> {
    let [length, rest @ ..] = value else {
        return None;
    };
    if !(2..=32).contains(length) {
        return None;
    }
    let (address, rest) = rest.split_at_checked(usize::from(*length))?;
    let (interface, rest) = rest.split_at_checked(6)?;
    (rest.len() >= usize::from(interface[5])).then(|| network_address(address[0], &address[1..]))
}

fn number(value: &[u8]) -> Option<u16> {
    value
        .first_chunk()
        .map(|bytes: &[u8; 2]| u16::from_be_bytes(*bytes))
}

/// The first TLV of a type counts.
fn set(slot: &mut Option<String>, value: &[u8]) {
    if slot.is_none() && (1..=MAX_TEXT).contains(&value.len()) {
        *slot = Some(text(value));
    }
}

/// Text where it is text, else hex; some switches end it with NUL.
fn text(value: &[u8]) -> String {
    let end = value
        .iter()
        .rposition(|b| *b != 0)
        .map_or(0, |last| last + 1);
    match std::str::from_utf8(&value[..end]) {
        Ok(text) if text.chars().all(|c| !c.is_control() || c.is_whitespace()) => {
            text.trim().to_string()
        }
        _ => colon_hex(value),
    }
}

/// `52:54:00:77:01:01`
fn colon_hex(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.chunks(1).map(|byte| HEXLOWER.encode(byte)).collect();
    pairs.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_mutate::good::lldp::{start, tlv, whole};
    use ironbeat_mutate::mutants;

    fn with(more: &[u8]) -> Result<LldpNeighbour, BadFrame> {
        parse(&[&start(), more].concat())
    }

    #[test]
    fn all_of_a_switch_port_is_read() {
        let expected = LldpNeighbour {
            chassis_id: "52:54:00:aa:00:01".into(),
            port_id: "Ethernet1/1".into(),
            ttl_secs: 120,
            port_description: Some("to rack1-node01".into()),
            system_name: Some("tor1".into()),
            system_description: Some("Switch OS 4.2\nbuild 7".into()),
            management_addresses: vec!["10.77.0.254".into()],
            pvid: Some(100),
            vlans: vec![100, 200],
            max_frame_bytes: Some(9216),
        };
        assert_eq!(parse(&whole()), Ok(expected));
    }

    #[test]
    fn ids_have_many_forms() {
        let ids = |chassis: &[u8], port: &[u8]| {
            let frame = [tlv(1, chassis), tlv(2, port), tlv(3, &[0, 1])].concat();
            parse(&frame).map(|n| (n.chassis_id, n.port_id))
        };
        let two = |a: &str, b: &str| Ok((a.to_string(), b.to_string()));
        assert_eq!(
            ids(b"\x07tor1", b"\x07Ethernet1/1"),
            two("tor1", "Ethernet1/1")
        );
        assert_eq!(
            ids(&[5, 1, 10, 0, 0, 1], &[3, 1, 2, 3, 4, 5, 6]),
            two("10.0.0.1", "01:02:03:04:05:06")
        );
        let v6 = [
            &[5, 2][..],
            &[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        ]
        .concat();
        assert_eq!(ids(&v6, &[4, 6, 1, 2]), two("fe80::1", "01:02"));
        assert_eq!(ids(&[7, 0xff, 1], &[6, 0, 7]), two("ff:01", "00:07"));
        assert_eq!(
            ids(&[4], b"\x05e"),
            Err(BadFrame::Length { kind: 1, length: 1 })
        );
    }

    #[test]
    fn the_first_three_are_fixed() {
        let [chassis, port, ttl] = [tlv(1, b"\x07a"), tlv(2, b"\x07b"), tlv(3, &[0, 1])];
        for wrong in [
            vec![],
            chassis.clone(),
            [port.clone(), chassis.clone(), ttl.clone()].concat(),
            [chassis.clone(), port.clone(), tlv(0, &[])].concat(),
        ] {
            assert_eq!(parse(&wrong), Err(BadFrame::Order), "{wrong:?}");
        }
        assert!(
            parse(&[chassis.clone(), port, ttl].concat()).is_ok(),
            "the End TLV may be absent"
        );
        assert_eq!(with(&chassis), Err(BadFrame::Order), "twice");
    }

    #[test]
    fn the_first_three_are_strict() {
        assert_eq!(parse(&[0x02]), Err(BadFrame::Truncated));
        assert_eq!(parse(&[2, 9, 7, b'a']), Err(BadFrame::Truncated));
        let bare = |ttl: &[u8]| parse(&[&start()[..start().len() - 4], &tlv(3, ttl)].concat());
        let length = 1;
        assert_eq!(bare(&[0]), Err(BadFrame::Length { kind: 3, length }));
        // What is too much is ignored, here as in all others.
        assert_eq!(bare(&[0, 7, 9]).map(|n| n.ttl_secs), Ok(7));
    }

    #[test]
    fn an_odd_optional_tlv_does_not_lose_the_neighbour() {
        let neighbour = with(&tlv(5, b"tor1")).unwrap();
        for (kind, value) in [
            (8u8, &[5u8, 1, 10, 77, 0, 254, 2, 0, 0, 0, 1][..]),
            (8, &[5, 1, 10, 77, 0, 254, 2, 0, 0, 0, 1, 1]),
            (8, &[0, 2, 0, 0, 0, 1, 0]),
            (127, &[0, 0x80, 0xc2]),
            (127, &[0, 0x80, 0xc2, 1, 0]),
            (127, &[0, 0x80, 0xc2, 3, 0, 1, 9, b'x']),
            (127, &[0, 0x12, 0x0f, 4, 1]),
            (5, &[]),
            (4, &[b'x'; 300]),
        ] {
            let odd = [tlv(kind, value), tlv(5, b"tor1")].concat();
            assert_eq!(with(&odd), Ok(neighbour.clone()), "{kind}: {value:?}");
        }
        // One that goes past the end, and half a head.
        for cut in [&[0x0c, 5, b'x'][..], &[0x0c]] {
            let odd = [tlv(5, b"tor1"), cut.to_vec()].concat();
            assert_eq!(with(&odd), Ok(neighbour.clone()));
        }
    }

    #[test]
    fn octets_that_are_too_many_are_ignored() {
        let long = [
            tlv(8, &[5, 1, 10, 77, 0, 254, 2, 0, 0, 0, 1, 0, 9, 9]),
            tlv(127, &[0, 0x80, 0xc2, 1, 0, 100, 9]),
            tlv(127, &[0, 0x80, 0xc2, 3, 0, 100, 1, b'x', 9]),
            tlv(127, &[0, 0x12, 0x0f, 4, 0x24, 0x00, 9]),
            tlv(0, &[9]),
            tlv(5, b"padding"),
        ];
        let neighbour = with(&long.concat()).unwrap();
        assert_eq!(neighbour.management_addresses, ["10.77.0.254"]);
        assert_eq!((neighbour.pvid, neighbour.vlans), (Some(100), vec![100]));
        let rest = (neighbour.max_frame_bytes, neighbour.system_name);
        assert_eq!(rest, (Some(9216), None));
    }

    #[test]
    fn any_bytes_are_survived() {
        let frame = whole();
        for cut in 0..frame.len() {
            drop(parse(&frame[..cut]));
        }
        mutants(&frame, 50_000, |bytes| {
            if let Ok(neighbour) = parse(bytes) {
                assert!(neighbour.vlans.len() <= MAX_VLANS);
                assert!(neighbour.management_addresses.len() <= MAX_MANAGEMENT_ADDRESSES);
            }
        });
    }
}
