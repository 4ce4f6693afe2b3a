//! The IPMI message itself: addresses, network function, sequence number, checksums (IPMI 2.0 §13.8, IPMB §2.11).
//! `packet` wraps it for a LAN, `bridge` passes it on to another controller.

/// Slave address of the BMC, and software id of the remote console (§13.8).
pub(crate) const BMC: u8 = 0x20;
pub(crate) const CONSOLE: u8 = 0x81;

/// Network functions (table 5-1).
pub(crate) const CHASSIS: u8 = 0x00;
pub(crate) const SENSOR: u8 = 0x04;
pub(crate) const APP: u8 = 0x06;
pub(crate) const STORAGE: u8 = 0x0a;
pub(crate) const TRANSPORT: u8 = 0x0c;

/// Two's complement sum over `bytes`.
pub(crate) fn checksum(bytes: &[u8]) -> u8 {
    bytes
        .iter()
        .fold(0u8, |sum, byte| sum.wrapping_add(*byte))
        .wrapping_neg()
}

/// Whether a command may be sent again when it is unknown whether it was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Twice has the effect of once: reads, and writes of a whole state.
    Harmless,
    /// A second time is a second event: a power cycle.
    Never,
}

/// A command, without the addresses and numbers of one transmission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub netfn: u8,
    pub lun: u8,
    pub command: u8,
    pub data: Vec<u8>,
    pub repeat: Repeat,
}

impl Request {
    pub(crate) fn new(netfn: u8, command: u8, data: &[u8]) -> Self {
        Self {
            netfn,
            lun: 0,
            command,
            data: data.to_vec(),
            repeat: Repeat::Harmless,
        }
    }

    pub(crate) fn once(netfn: u8, command: u8, data: &[u8]) -> Self {
        Self {
            repeat: Repeat::Never,
            ..Self::new(netfn, command, data)
        }
    }

    /// As the remote console sends it to the BMC itself.
    pub(crate) fn encode(&self, rq_seq: u8) -> Vec<u8> {
        self.encode_between(CONSOLE, BMC, rq_seq)
    }

    pub(crate) fn encode_between(&self, requester: u8, responder: u8, rq_seq: u8) -> Vec<u8> {
        let mut out = Vec::with_capacity(7 + self.data.len());
        out.extend([responder, self.netfn << 2 | self.lun & 3]);
        out.push(checksum(&out));
        out.extend([requester, rq_seq << 2, self.command]);
        out.extend(&self.data);
        out.push(checksum(&out[3..]));
        out
    }
}

/// An answer, its checksums verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    /// The one that answers: the BMC, or a controller behind it.
    pub responder: u8,
    pub netfn: u8,
    pub rq_seq: u8,
    pub command: u8,
    pub completion: u8,
    pub data: Vec<u8>,
}

impl Response {
    pub(crate) fn answers(&self, request: &Request, rq_seq: u8) -> bool {
        self.rq_seq == rq_seq && self.command == request.command && self.netfn == request.netfn | 1
    }
}

pub(crate) fn parse_response(message: &[u8]) -> Result<Response, &'static str> {
    let [_, netfn, _, responder, seq, command, completion, ..] = *message else {
        return Err("an IPMI message shorter than its header");
    };
    let (body, last) = message.split_at(message.len() - 1);
    if body.len() < 7 {
        return Err("an IPMI message without its completion code");
    }
    if checksum(&body[..2]) != body[2] || checksum(&body[3..]) != last[0] {
        return Err("an IPMI message with a wrong checksum");
    }
    Ok(Response {
        responder,
        netfn: netfn >> 2,
        rq_seq: seq >> 2,
        command,
        completion,
        data: body[7..].to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_the_bytes_of_the_specification() {
        // Get Chassis Status with rqSeq 1 and Chassis Control "up" with rqSeq 2, checksums by hand.
        for (request, rq_seq, expected) in [
            (
                Request::new(CHASSIS, 0x01, &[]),
                1,
                &[0x20, 0x00, 0xe0, 0x81, 0x04, 0x01, 0x7a][..],
            ),
            (
                Request::once(CHASSIS, 0x02, &[0x01]),
                2,
                &[0x20, 0x00, 0xe0, 0x81, 0x08, 0x02, 0x01, 0x74],
            ),
        ] {
            assert_eq!(request.encode(rq_seq), expected);
        }
    }

    #[test]
    fn a_response_is_read_and_checked() {
        let mut message = vec![0x81, 0x04, 0x7b, 0x20, 0x04, 0x01, 0x00, 0x61];
        message.push(checksum(&message[3..]));
        let expected = Response {
            responder: 0x20,
            netfn: 1,
            rq_seq: 1,
            command: 1,
            completion: 0,
            data: vec![0x61],
        };
        assert_eq!(parse_response(&message), Ok(expected.clone()));
        assert!(expected.answers(&Request::new(CHASSIS, 0x01, &[]), 1));
        assert!(!expected.answers(&Request::new(CHASSIS, 0x01, &[]), 2));
        message[7] ^= 1;
        assert_eq!(
            parse_response(&message),
            Err("an IPMI message with a wrong checksum")
        );
        for short in 0..8 {
            assert!(parse_response(&message[..short]).is_err());
        }
    }
}
