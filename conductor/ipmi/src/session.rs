//! An open session: seals requests, opens answers, watches sequence numbers (IPMI 2.0 §13.28 to §13.32).
//! It has no socket and no clock; when to send again is `link`'s affair.
use crate::crypto::{Suite, decrypt, encrypt, same};
use crate::message::{self, APP, Request, Response};
use crate::packet::{self, IPMI};

/// How far an answer may lag behind the newest one and still be taken (§13.15.2: at least 16).
const WINDOW: u32 = 32;
/// rqSeq has six bits.
const RQ_SEQS: u8 = 64;

#[derive(Debug)]
pub(crate) struct Keys {
    integrity: Vec<u8>,
    confidentiality: [u8; 16],
}

impl Keys {
    /// K1 and K2 from the session integrity key (§13.32).
    pub(crate) fn derive(suite: Suite, sik: &[u8]) -> Self {
        let constant = |n: u8| vec![n; suite.digest_len()];
        let integrity = suite.hmac(sik, &[&constant(1)]);
        let k2 = suite.hmac(sik, &[&constant(2)]);
        let confidentiality = *k2
            .first_chunk()
            .expect("every digest has at least 20 bytes");
        Self {
            integrity,
            confidentiality,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Session {
    suite: Suite,
    console_id: u32,
    bmc_id: u32,
    keys: Keys,
    next_sequence: u32,
    newest_seen: u32,
    /// Bit n: `newest_seen - n` was seen.
    seen: u32,
    rq_seq: u8,
}

impl Session {
    pub(crate) fn new(suite: Suite, console_id: u32, bmc_id: u32, keys: Keys) -> Self {
        Self {
            suite,
            console_id,
            bmc_id,
            keys,
            next_sequence: 1,
            newest_seen: 0,
            seen: 1,
            rq_seq: 0,
        }
    }

    pub(crate) fn suite(&self) -> Suite {
        self.suite
    }

    /// Close Session (§22.19).
    pub(crate) fn close_request(&self) -> Request {
        Request::once(APP, 0x3c, &self.bmc_id.to_le_bytes())
    }

    /// A number for a new request. Its retransmissions keep it, so that the BMC can tell them from new ones.
    pub(crate) fn next_rq_seq(&mut self) -> u8 {
        self.rq_seq = (self.rq_seq + 1) % RQ_SEQS;
        self.rq_seq
    }

    /// The bytes of one transmission. Each has its own session sequence number, a retransmission too.
    pub(crate) fn seal(&mut self, request: &Request, rq_seq: u8, iv: [u8; 16]) -> Vec<u8> {
        let payload = encrypt(&self.keys.confidentiality, iv, &request.encode(rq_seq));
        let sequence = self.next_sequence;
        // Zero is for messages outside a session.
        self.next_sequence = self.next_sequence.checked_add(1).unwrap_or(1);
        packet::sealed(IPMI, self.bmc_id, sequence, &payload, |signed| {
            let mut code = self.suite.hmac(&self.keys.integrity, &[signed]);
            code.truncate(self.suite.check_len());
            code
        })
    }

    /// An authentic, new IPMI answer; `Ok(None)` for what is none of our business.
    pub(crate) fn open(&mut self, datagram: &[u8]) -> Result<Option<Response>, &'static str> {
        let outer = packet::parse(datagram)?;
        if outer.session_id != self.console_id || outer.payload_type != IPMI {
            return Ok(None);
        }
        if !outer.authenticated || !outer.encrypted {
            return Err("an unprotected message in a protected session");
        }
        let (signed, code) = packet::split_signature(&outer, self.suite.check_len())?;
        let expected = self.suite.hmac(&self.keys.integrity, &[signed]);
        if !same(&expected[..self.suite.check_len()], code) {
            return Err("a message with a wrong authentication code");
        }
        if !self.is_new(outer.sequence) {
            return Ok(None);
        }
        let message = decrypt(&self.keys.confidentiality, outer.payload)
            .ok_or("a message that does not decrypt")?;
        message::parse_response(&message).map(Some)
    }

    /// Within the window and not seen before; remembers it.
    fn is_new(&mut self, sequence: u32) -> bool {
        let ahead = sequence.wrapping_sub(self.newest_seen);
        if ahead != 0 && ahead < 1 << 31 {
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.newest_seen = sequence;
            return true;
        }
        let behind = self.newest_seen.wrapping_sub(sequence);
        let fresh = behind < WINDOW && self.seen & (1 << behind) == 0;
        if fresh {
            self.seen |= 1 << behind;
        }
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(suite: Suite) -> Session {
        Session::new(suite, 7, 7, Keys::derive(suite, &[3; 32]))
    }

    /// A BMC's answer, made with the session's own keys.
    fn answer(suite: Suite, sequence: u32) -> Vec<u8> {
        let mut bmc = session(suite);
        bmc.next_sequence = sequence;
        let response = Request::new(1, 1, &[0, 0x21]);
        bmc.seal(&response, 5, [1; 16])
    }

    #[test]
    fn answers_are_opened_once_in_any_order_within_the_window() {
        for suite in [Suite::Three, Suite::Seventeen] {
            let mut console = session(suite);
            let mut opens = |sequence| console.open(&answer(suite, sequence)).unwrap().is_some();
            let expected = [
                (1, true),
                (1, false),
                (3, true),
                (2, true),
                (2, false),
                (100, true),
                (69, true),
                (68, false),
                (3, false),
            ];
            for (sequence, new) in expected {
                assert_eq!(opens(sequence), new, "{suite:?} {sequence}");
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for suite in [Suite::Three, Suite::Seventeen] {
            let good = answer(suite, 1);
            for bit in 0..good.len() * 8 {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                let opened = session(suite).open(&bad);
                // The RMCP version, sequence and reserved bits carry no meaning here.
                assert!(
                    bit / 8 < 4 || !matches!(opened, Ok(Some(_))),
                    "bit {bit} of {suite:?}: {opened:?}"
                );
            }
        }
    }

    #[test]
    fn mutants_never_panic_and_never_pass() {
        let mut mutator = crate::mutate::Mutator::seeded("session");
        for suite in [Suite::Three, Suite::Seventeen] {
            let good = answer(suite, 1);
            for _ in 0..20_000 {
                let bytes = mutator.mutate(&good);
                let opened = session(suite).open(&bytes);
                assert!(
                    bytes[bytes.len().min(4)..] == good[4..] || !matches!(opened, Ok(Some(_))),
                    "{bytes:02x?} of {suite:?}: {opened:?}"
                );
            }
        }
    }
}
