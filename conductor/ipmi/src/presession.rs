//! Bytes of the questions outside a session: presence ping (ASF), authentication capabilities, cipher suites.
//! `ask` sends them and waits.
use crate::message::{self, APP, Request, Response};
use crate::packet::{self, MAX_DATAGRAM, RMCP_IPMI};

/// RMCP class ASF, and ASF's IANA number (§13.2.3).
const CLASS_ASF: u8 = 0x06;
const ASF_IANA: [u8; 4] = [0x00, 0x00, 0x11, 0xbe];
const PING: u8 = 0x80;
const PONG: u8 = 0x40;
/// Session header of a message outside a session, IPMI 1.5 format: no authentication, sequence and session id zero.
const NO_SESSION: [u8; 9] = [0; 9];
/// "The channel this arrives on" (§22.23).
pub(crate) const THIS_CHANNEL: u8 = 0x0e;

pub(crate) fn ping(tag: u8) -> Vec<u8> {
    let mut out = vec![0x06, 0x00, 0xff, CLASS_ASF];
    out.extend(ASF_IANA);
    out.extend([PING, tag, 0x00, 0x00]);
    out
}

/// The tag of a pong whose sender says that it speaks IPMI.
pub(crate) fn pong(datagram: &[u8]) -> Option<u8> {
    let [0x06, _, _, class, a, b, c, d, PONG, tag, _, length, ..] = *datagram else {
        return None;
    };
    let entities = datagram.get(20)?;
    let is_ipmi = entities & 0x80 != 0;
    (class & 0x1f == CLASS_ASF && [a, b, c, d] == ASF_IANA && length >= 16 && is_ipmi)
        .then_some(tag)
}

/// A command outside a session.
pub(crate) fn plain_request(request: &Request, rq_seq: u8) -> Vec<u8> {
    let message = request.encode(rq_seq);
    let mut out = RMCP_IPMI.to_vec();
    out.extend(NO_SESSION);
    out.push(message.len() as u8);
    out.extend(message);
    out
}

/// The answer to such a command; `None` for everything else.
pub(crate) fn plain_response(datagram: &[u8]) -> Option<Response> {
    let [0x06, _, _, class, 0x00, ..] = *datagram else {
        return None;
    };
    if class & 0x1f != RMCP_IPMI[3] || datagram.len() > MAX_DATAGRAM {
        return None;
    }
    let length = usize::from(*datagram.get(13)?);
    message::parse_response(datagram.get(14..14 + length)?).ok()
}

/// Neither an answer to a question outside a session nor an RMCP+ message.
pub(crate) fn is_noise(datagram: &[u8]) -> bool {
    pong(datagram).is_none()
        && plain_response(datagram).is_none()
        && packet::parse(datagram).is_err()
}

/// The ways to log in that a BMC offers (Get Channel Authentication Capabilities, §22.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthCapabilities {
    pub channel: u8,
    /// RMCP+ sessions: this client uses nothing else, unless it is asked to.
    pub ipmi_v2: bool,
    pub ipmi_v1_5: bool,
    /// IPMI 1.5 authentication types, as a bit mask: none 01h, MD2 02h, MD5 04h, password 10h, OEM 20h.
    pub auth_types: u8,
    /// Key K_g is not zero: a login needs it in addition to the password.
    pub kg_needed: bool,
    /// Anyone may log in: the empty user has no password.
    pub anonymous: bool,
    /// IANA number of the vendor that extends this; zero: none.
    pub oem: u32,
}

/// `extended`: with the IPMI 2.0 bit, which some BMCs refuse.
pub(crate) fn auth_capabilities_request(extended: bool, privilege: u8) -> Request {
    let extended = if extended { 0x80 } else { 0 };
    Request::new(APP, 0x38, &[extended | THIS_CHANNEL, privilege])
}

pub(crate) fn parse_auth_capabilities(data: &[u8]) -> Option<AuthCapabilities> {
    let [channel, types, status, protocols, oem @ ..] = data else {
        return None;
    };
    let extended = types & 0x80 != 0;
    let oem: [u8; 3] = oem.first_chunk().copied().unwrap_or_default();
    Some(AuthCapabilities {
        channel: channel & 0x0f,
        ipmi_v2: extended && protocols & 0x02 != 0,
        ipmi_v1_5: !extended || protocols & 0x01 != 0,
        auth_types: types & 0x37,
        kg_needed: extended && status & 0x20 != 0,
        anonymous: status & 0x01 != 0,
        oem: u32::from_le_bytes([oem[0], oem[1], oem[2], 0]),
    })
}

/// A cipher suite a BMC offers (§22.15.2). Suites 0 to 2 leave out authentication, integrity or encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CipherSuite {
    pub id: u8,
    /// IANA number of its owner; none: a suite of the specification.
    pub oem: Option<u32>,
    /// Algorithm numbers (tables 13-17 to 13-19); zero: none.
    pub authentication: u8,
    pub integrity: u8,
    pub confidentiality: u8,
}

/// Bytes of suite records in one answer; a shorter answer is the last.
pub(crate) const SUITE_CHUNK: usize = 16;
/// The list index of a request has six bits (§22.15).
pub(crate) const SUITE_CHUNKS: u8 = 64;

pub(crate) fn cipher_suites_request(index: u8) -> Request {
    // Payload type IPMI; list by suite.
    Request::new(APP, 0x54, &[THIS_CHANNEL, 0x00, 0x80 | index & 0x3f])
}

/// Reads suite records; bytes that begin no record are skipped.
pub(crate) fn parse_cipher_suites(records: &[u8]) -> Vec<CipherSuite> {
    let mut suites: Vec<CipherSuite> = Vec::new();
    let mut rest = records;
    while let [start, tail @ ..] = rest {
        rest = tail;
        let (id, oem) = match (*start, tail) {
            (0xc0, [id, after @ ..]) => {
                rest = after;
                (*id, None)
            }
            (0xc1, [id, a, b, c, after @ ..]) => {
                rest = after;
                (*id, Some(u32::from_le_bytes([*a, *b, *c, 0])))
            }
            _ => continue,
        };
        let mut suite = CipherSuite {
            id,
            oem,
            authentication: 0,
            integrity: 0,
            confidentiality: 0,
        };
        // The first algorithm of each kind counts, as §22.15.2 allows several of integrity and confidentiality.
        while let [tag, tail @ ..] = rest
            && *tag < 0xc0
        {
            let field = match tag >> 6 {
                0 => &mut suite.authentication,
                1 => &mut suite.integrity,
                _ => &mut suite.confidentiality,
            };
            if *field == 0 {
                *field = tag & 0x3f;
            }
            rest = tail;
        }
        suites.push(suite);
    }
    suites
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_mutate::Mutator;

    #[test]
    fn ping_and_pong_are_the_bytes_of_the_specification() {
        assert_eq!(
            ping(0x12),
            [0x06, 0, 0xff, 0x06, 0, 0, 0x11, 0xbe, 0x80, 0x12, 0, 0]
        );
        let mut answer = vec![0x06, 0, 0xff, 0x06, 0, 0, 0x11, 0xbe, 0x40, 0x12, 0, 0x10];
        answer.extend([0, 0, 0x11, 0xbe, 0, 0, 0, 0, 0x81, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(pong(&answer), Some(0x12));
        answer[20] = 0x01;
        assert_eq!(
            pong(&answer),
            None,
            "a managed device that does not speak IPMI"
        );
    }

    #[test]
    fn a_request_outside_a_session_is_the_bytes_that_ipmitool_sends() {
        let sent = plain_request(&auth_capabilities_request(true, 4), 0);
        let expected = [
            0x06, 0x00, 0xff, 0x07, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x09, 0x20, 0x18, 0xc8, 0x81, 0x00,
            0x38, 0x8e, 0x04, 0xb5,
        ];
        assert_eq!(sent, expected);
    }

    #[test]
    fn capabilities_are_read_in_both_formats() {
        let extended = parse_auth_capabilities(&[1, 0x80 | 0x17, 0x24, 0x03, 0xa2, 2, 0, 0]);
        let expected = AuthCapabilities {
            channel: 1,
            ipmi_v2: true,
            ipmi_v1_5: true,
            auth_types: 0x17,
            kg_needed: true,
            anonymous: false,
            oem: 674,
        };
        assert_eq!(extended, Some(expected));
        let old = parse_auth_capabilities(&[1, 0x14, 0x24, 0x03, 0, 0, 0, 0]).unwrap();
        assert!(!old.ipmi_v2 && old.ipmi_v1_5 && !old.kg_needed);
        assert_eq!(parse_auth_capabilities(&[1, 2, 3]), None);
    }

    #[test]
    fn suites_are_read_with_and_without_an_owner() {
        let records = [
            0xc0, 0x03, 0x01, 0x41, 0x81, 0xc0, 0x11, 0x03, 0x44, 0x81, 0xc1, 0x80, 0xa2, 0x02,
            0x00, 0x02, 0x00,
        ];
        let ids: Vec<_> = parse_cipher_suites(&records)
            .iter()
            .map(|s| {
                (
                    s.id,
                    s.oem,
                    [s.authentication, s.integrity, s.confidentiality],
                )
            })
            .collect();
        assert_eq!(
            ids,
            [
                (3, None, [1, 1, 1]),
                (17, None, [3, 4, 1]),
                (128, Some(674), [2, 0, 0])
            ]
        );
    }

    #[test]
    fn mutants_never_panic() {
        let mut mutator = Mutator::seeded("presession");
        let mut response = plain_request(&auth_capabilities_request(true, 4), 0);
        response.resize(60, 7);
        for _ in 0..50_000 {
            let bytes = mutator.mutate(&response);
            let _ = pong(&bytes);
            let _ = plain_response(&bytes);
            let _ = parse_auth_capabilities(&bytes);
            assert!(parse_cipher_suites(&bytes).len() <= bytes.len());
        }
    }
}
