//! Bytes of RMCP and the RMCP+ session header (IPMI 2.0 §13.1 to §13.6); every length is checked before it is used.
//! `session` has keys and sequence numbers, `message` the contents of an IPMI payload.

/// RMCP version 1.0, no acknowledgement, class IPMI (§13.1.3).
pub(crate) const RMCP_IPMI: [u8; 4] = [0x06, 0x00, 0xff, 0x07];
/// Authentication type "RMCP+" (§13.6).
const AUTH_RMCP_PLUS: u8 = 0x06;
/// The largest IPMI message over LAN is far below one Ethernet frame.
pub(crate) const MAX_DATAGRAM: usize = 1500;
const HEADER: usize = 16;
/// Bytes after a payload, at most: pad, its length, next header, code.
const TRAILER: usize = 3 + 2 + 16;

/// Payload types (table 13-16).
pub(crate) const IPMI: u8 = 0x00;
pub(crate) const SOL: u8 = 0x01;
pub(crate) const OPEN_REQUEST: u8 = 0x10;
pub(crate) const OPEN_RESPONSE: u8 = 0x11;
pub(crate) const RAKP_1: u8 = 0x12;
pub(crate) const RAKP_2: u8 = 0x13;
pub(crate) const RAKP_3: u8 = 0x14;
pub(crate) const RAKP_4: u8 = 0x15;

const ENCRYPTED: u8 = 0x80;
const AUTHENTICATED: u8 = 0x40;

/// A datagram, parsed as far as its session header. `signed` is what the authentication code covers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outer<'a> {
    pub payload_type: u8,
    pub encrypted: bool,
    pub authenticated: bool,
    pub session_id: u32,
    pub sequence: u32,
    pub payload: &'a [u8],
    /// From the session header on.
    pub from_header: &'a [u8],
}

pub(crate) fn parse(datagram: &[u8]) -> Result<Outer<'_>, &'static str> {
    if datagram.len() > MAX_DATAGRAM {
        return Err("a datagram longer than any IPMI message");
    }
    let header: &[u8; HEADER] = datagram
        .first_chunk()
        .ok_or("a datagram shorter than its headers")?;
    // Byte 2, the RMCP sequence number, is 0xff for IPMI; some BMCs count anyway.
    if header[0] != RMCP_IPMI[0] || header[3] & 0x1f != RMCP_IPMI[3] {
        return Err("not an RMCP message of class IPMI");
    }
    if header[4] != AUTH_RMCP_PLUS {
        return Err("not an RMCP+ session header");
    }
    let [
        _,
        _,
        _,
        _,
        _,
        kind,
        id0,
        id1,
        id2,
        id3,
        s0,
        s1,
        s2,
        s3,
        l0,
        l1,
    ] = *header;
    let length = usize::from(u16::from_le_bytes([l0, l1]));
    let payload = datagram
        .get(HEADER..HEADER + length)
        .ok_or("a payload longer than its datagram")?;
    Ok(Outer {
        payload_type: kind & 0x3f,
        encrypted: kind & ENCRYPTED != 0,
        authenticated: kind & AUTHENTICATED != 0,
        session_id: u32::from_le_bytes([id0, id1, id2, id3]),
        sequence: u32::from_le_bytes([s0, s1, s2, s3]),
        payload,
        from_header: &datagram[RMCP_IPMI.len()..],
    })
}

/// A message outside a session: open session and RAKP.
pub(crate) fn plain(payload_type: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = RMCP_IPMI.to_vec();
    header(&mut out, payload_type, 0, 0, payload);
    out
}

fn header(out: &mut Vec<u8>, kind: u8, session_id: u32, sequence: u32, payload: &[u8]) {
    out.extend([AUTH_RMCP_PLUS, kind]);
    out.extend(session_id.to_le_bytes());
    out.extend(sequence.to_le_bytes());
    out.extend((payload.len() as u16).to_le_bytes());
    out.extend(payload);
}

/// A message inside a session. `sign` gets everything from the session header to the next-header byte.
pub(crate) fn sealed<C: AsRef<[u8]>>(
    payload_type: u8,
    session_id: u32,
    sequence: u32,
    payload: &[u8],
    sign: impl FnOnce(&[u8]) -> C,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + payload.len() + TRAILER);
    out.extend(RMCP_IPMI);
    header(
        &mut out,
        payload_type | ENCRYPTED | AUTHENTICATED,
        session_id,
        sequence,
        payload,
    );
    // Integrity pad to a multiple of 4, counting pad length and next header (§13.28.4).
    let covered = out.len() - RMCP_IPMI.len() + 2;
    let pad = (4 - covered % 4) % 4;
    out.extend(std::iter::repeat_n(0xff, pad));
    out.extend([pad as u8, 0x07]);
    let code = sign(&out[RMCP_IPMI.len()..]);
    out.extend(code.as_ref());
    out
}

/// The session trailer of an authenticated message: what is signed, and the code.
pub(crate) fn split_signature<'a>(
    outer: &Outer<'a>,
    code_len: usize,
) -> Result<(&'a [u8], &'a [u8]), &'static str> {
    let whole = outer.from_header;
    let at = whole
        .len()
        .checked_sub(code_len)
        .ok_or("an authenticated message without its code")?;
    if at < HEADER - RMCP_IPMI.len() + outer.payload.len() + 2 {
        return Err("an authenticated message without its trailer");
    }
    Ok(whole.split_at(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_message_survives_and_a_lying_length_does_not() {
        let mut datagram = plain(OPEN_REQUEST, &[1, 2, 3]);
        let outer = parse(&datagram).unwrap();
        assert_eq!(
            (outer.payload_type, outer.payload),
            (OPEN_REQUEST, &[1u8, 2, 3][..])
        );
        datagram[14] = 200;
        assert_eq!(parse(&datagram), Err("a payload longer than its datagram"));
        assert_eq!(parse(&[]), Err("a datagram shorter than its headers"));
        assert_eq!(
            parse(&[0; 2000]),
            Err("a datagram longer than any IPMI message")
        );
    }

    #[test]
    fn a_signature_covers_whole_words() {
        for len in 0..9 {
            let datagram = sealed(IPMI, 1, 2, &vec![7; len], |signed| {
                assert_eq!(signed.len() % 4, 0);
                vec![0xaa; 12]
            });
            let outer = parse(&datagram).unwrap();
            let (signed, code) = split_signature(&outer, 12).unwrap();
            assert_eq!((signed.len() % 4, code), (0, &[0xaa; 12][..]));
        }
    }
}
