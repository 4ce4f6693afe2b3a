//! Datagrams and messages taken apart and put together, from the BMC's side (IPMI 2.0 §13).
//! Leaves it to `session` to find out whether they are authentic.

const IPMI_CLASS: [u8; 4] = [0x06, 0x00, 0xff, 0x07];
const ASF_CLASS: u8 = 0x06;
const RMCP_PLUS: u8 = 0x06;

pub(crate) const IPMI: u8 = 0x00;
pub(crate) const SOL: u8 = 0x01;
pub(crate) const OPEN_REQUEST: u8 = 0x10;
pub(crate) const OPEN_RESPONSE: u8 = 0x11;
pub(crate) const RAKP_1: u8 = 0x12;
pub(crate) const RAKP_2: u8 = 0x13;
pub(crate) const RAKP_3: u8 = 0x14;
pub(crate) const RAKP_4: u8 = 0x15;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Datagram<'a> {
    Ping {
        tag: u8,
    },
    /// IPMI 1.5 format, outside a session.
    Plain {
        message: &'a [u8],
    },
    Plus(Plus<'a>),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plus<'a> {
    pub kind: u8,
    pub encrypted: bool,
    pub authenticated: bool,
    pub session: u32,
    pub sequence: u32,
    pub payload: &'a [u8],
    /// From the session header to the end, for the authentication code.
    pub whole: &'a [u8],
}

pub(crate) fn parse(bytes: &[u8]) -> Option<Datagram<'_>> {
    let [0x06, _, _, class, rest @ ..] = bytes else {
        return None;
    };
    if *class == ASF_CLASS {
        let [0x00, 0x00, 0x11, 0xbe, 0x80, tag, ..] = *rest else {
            return None;
        };
        return Some(Datagram::Ping { tag });
    }
    if *class != IPMI_CLASS[3] {
        return None;
    }
    match *rest {
        [0x00, 0, 0, 0, 0, 0, 0, 0, 0, length, ..] => {
            let message = rest.get(10..10 + usize::from(length))?;
            Some(Datagram::Plain { message })
        }
        [RMCP_PLUS, kind, i0, i1, i2, i3, s0, s1, s2, s3, l0, l1, ..] => {
            let length = usize::from(u16::from_le_bytes([l0, l1]));
            Some(Datagram::Plus(Plus {
                kind: kind & 0x3f,
                encrypted: kind & 0x80 != 0,
                authenticated: kind & 0x40 != 0,
                session: u32::from_le_bytes([i0, i1, i2, i3]),
                sequence: u32::from_le_bytes([s0, s1, s2, s3]),
                payload: rest.get(12..12 + length)?,
                whole: rest,
            }))
        }
        _ => None,
    }
}

/// The answer to a presence ping: this is an IPMI device.
pub(crate) fn pong(tag: u8) -> Vec<u8> {
    let mut out = vec![0x06, 0x00, 0xff, ASF_CLASS, 0x00, 0x00, 0x11, 0xbe];
    out.extend([0x40, tag, 0x00, 0x10, 0x00, 0x00, 0x11, 0xbe]);
    out.extend([0, 0, 0, 0, 0x81, 0, 0, 0, 0, 0, 0, 0]);
    out
}

pub(crate) fn plain(message: &[u8]) -> Vec<u8> {
    let mut out = IPMI_CLASS.to_vec();
    out.extend([0; 9]);
    out.push(message.len() as u8);
    out.extend(message);
    out
}

/// An RMCP+ message; `flags` are the upper two bits of `kind`.
pub(crate) fn plus(kind: u8, session: u32, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 64);
    out.extend(IPMI_CLASS);
    out.extend([RMCP_PLUS, kind]);
    out.extend(session.to_le_bytes());
    out.extend(sequence.to_le_bytes());
    out.extend((payload.len() as u16).to_le_bytes());
    out.extend(payload);
    out
}

fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte))
}

/// A command as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    pub responder: u8,
    pub netfn: u8,
    pub lun: u8,
    pub requester: u8,
    pub sequence: u8,
    pub command: u8,
    pub data: Vec<u8>,
}

impl Request {
    pub(crate) fn parse(message: &[u8]) -> Option<Self> {
        let [responder, netfn, _, requester, sequence, command, ..] = *message else {
            return None;
        };
        let (body, _) = message.split_at(message.len() - 1);
        let sound = body.len() >= 6 && checksum(&message[..3]) == 0 && checksum(&message[3..]) == 0;
        sound.then(|| Self {
            responder,
            netfn: netfn >> 2,
            lun: netfn & 3,
            requester,
            sequence,
            command,
            data: body[6..].to_vec(),
        })
    }

    /// Completion code and data, addressed to whoever asked.
    pub(crate) fn answer(&self, completion: u8, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(data.len() + 8);
        out.extend([self.requester, (self.netfn | 1) << 2 | self.sequence & 3]);
        out.push(checksum(&out));
        let sequence = self.sequence & 0xfc | self.lun;
        out.extend([self.responder, sequence, self.command, completion]);
        out.extend(data);
        out.push(checksum(&out[3..]));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_ipmitool_are_read() {
        // Get Channel Authentication Capabilities, captured from ipmitool 1.8.19.
        let bytes = [
            0x06, 0x00, 0xff, 0x07, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x09, 0x20, 0x18, 0xc8, 0x81, 0x00,
            0x38, 0x8e, 0x04, 0xb5,
        ];
        let Some(Datagram::Plain { message }) = parse(&bytes) else {
            panic!("not read");
        };
        let request = Request::parse(message).unwrap();
        assert_eq!((request.netfn, request.command), (0x06, 0x38));
        assert_eq!(request.data, [0x8e, 0x04]);
        let answer = request.answer(0, &[1]);
        assert_eq!(
            answer,
            [0x81, 0x1c, 0x63, 0x20, 0x00, 0x38, 0x00, 0x01, 0xa7]
        );
        for short in 0..bytes.len() {
            assert_eq!(parse(&bytes[..short]), None);
        }
    }
}
