//! An open RMCP+ session: seals requests, opens answers, watches sequence numbers (IPMI 2.0 §13.28 to §13.32).
//! It has no socket and no clock; `retransmit` says when to send again.
use crate::crypto::{Signer, Suite, decrypt, encrypt, iv, same};
use crate::message;
use crate::packet::{self, IPMI, SOL};
use crate::received::Incoming;
use crate::window::Window;
use std::fmt;

/// Bytes of the constants from which keys are derived.
const KEY_CONSTANT: usize = 20;

/// Its `Debug` shows stars.
pub(crate) struct Keys {
    integrity: Signer,
    confidentiality: [u8; 16],
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("******")
    }
}

impl Keys {
    /// K1 and K2 from the session integrity key (§13.32). The constants have 20 bytes with SHA-256 too. The text can be
    /// read otherwise, but this is what ipmitool, FreeIPMI and pyghmi do, and every BMC that they talk to.
    pub(crate) fn derive(suite: Suite, sik: &[u8]) -> Self {
        let [k1, k2] = additional_keys(suite, sik);
        let confidentiality = *k2
            .first_chunk()
            .expect("every digest has at least 20 bytes");
        Self {
            integrity: Signer::new(suite, &k1),
            confidentiality,
        }
    }
}

fn additional_keys(suite: Suite, sik: &[u8]) -> [Vec<u8>; 2] {
    [1, 2].map(|n| suite.hmac(sik, &[&[n; KEY_CONSTANT]]))
}

#[derive(Debug)]
pub(crate) struct Session {
    suite: Suite,
    console_id: u32,
    bmc_id: u32,
    keys: Keys,
    next_sequence: u32,
    window: Window,
}

impl Session {
    pub(crate) fn new(suite: Suite, console_id: u32, bmc_id: u32, keys: Keys) -> Self {
        Self {
            suite,
            console_id,
            bmc_id,
            keys,
            next_sequence: 1,
            window: Window::from(1),
        }
    }

    pub(crate) fn bmc_id(&self) -> u32 {
        self.bmc_id
    }

    /// The bytes of one transmission of a payload.
    pub(crate) fn seal(&mut self, kind: u8, payload: &[u8]) -> Vec<u8> {
        // A session has its own key and does not live for 2^32 packets, so no number is used twice with a key.
        let iv = iv(&self.keys.confidentiality, self.next_sequence);
        self.seal_with(kind, payload, iv)
    }

    pub(crate) fn seal_with(&mut self, kind: u8, payload: &[u8], iv: [u8; 16]) -> Vec<u8> {
        let payload = encrypt(&self.keys.confidentiality, iv, payload);
        let sequence = self.next_sequence;
        // Zero is for messages outside a session.
        self.next_sequence = self.next_sequence.checked_add(1).unwrap_or(1);
        packet::sealed(kind, self.bmc_id, sequence, &payload, |signed| {
            self.keys.integrity.sign(signed)
        })
    }

    /// An authentic, new message; `Ok(None)` for datagrams of other sessions, and for repeated ones.
    pub(crate) fn open(&mut self, datagram: &[u8]) -> Result<Option<Incoming>, &'static str> {
        let outer = packet::parse(datagram)?;
        if outer.session_id != self.console_id || !matches!(outer.payload_type, IPMI | SOL) {
            return Ok(None);
        }
        if !outer.authenticated || !outer.encrypted {
            return Err("an unprotected message in a protected session");
        }
        let (signed, code) = packet::split_signature(&outer, self.suite.check_len())?;
        if !same(self.keys.integrity.sign(signed).as_ref(), code) {
            return Err("a message with a wrong authentication code");
        }
        if !self.window.take(outer.sequence) {
            return Ok(None);
        }
        let payload = decrypt(&self.keys.confidentiality, outer.payload)
            .ok_or("a message that does not decrypt")?;
        if outer.payload_type == SOL {
            return Ok(Some(Incoming::Sol(payload)));
        }
        message::parse_response(&payload).map(|response| Some(Incoming::Ipmi(response)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Request;

    fn session(suite: Suite) -> Session {
        Session::new(suite, 7, 7, Keys::derive(suite, &[3; 32]))
    }

    /// A BMC's answer, made with the session's own keys.
    fn answer(suite: Suite, sequence: u32) -> Vec<u8> {
        let mut bmc = session(suite);
        bmc.next_sequence = sequence;
        let response = Request::new(1, 1, &[0, 0x21]);
        bmc.seal(IPMI, &response.encode(5))
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

    /// From a session of ipmitool 1.8.19 at suite 17 (`-vvvv`).
    #[test]
    fn keys_are_those_of_ipmitool() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
                .collect()
        };
        let sik = hex("c531c391ca5327e41374617085522a1696fcb7fd62cefd75f2e677f337718e76");
        let [integrity, _] = additional_keys(Suite::Seventeen, &sik);
        let keys = Keys::derive(Suite::Seventeen, &sik);
        let k1 = "8d65e9488d1203658563d6f254b782d7f04a048c65c9d2b4b196b852a5201a16";
        assert_eq!(integrity, hex(k1));
        assert_eq!(
            keys.confidentiality.to_vec(),
            hex("cb7fd5c89f59650f4d8f6069b3fd8ed9")
        );
        // Its first message in that session, Set Session Privilege Level, and the code it put behind.
        let signed = hex("06c09b1b61f3030000002000181d72bc29ac323ea1ac743acbf4d847\
             df6a9024e71521b82d0b84c6d955c8e4ffff0207");
        let code = keys.integrity.sign(&signed);
        assert_eq!(code.as_ref(), hex("2722e1ec1ec39059790971346306d7f3"));
        let message = decrypt(&keys.confidentiality, &signed[12..44]).unwrap();
        assert_eq!(message[5..7], [0x3b, 0x04]);
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
        let mut mutator = ironbeat_mutate::Mutator::seeded("session");
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
