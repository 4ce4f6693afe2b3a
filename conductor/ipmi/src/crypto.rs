//! The arithmetic of RMCP+: the two cipher suites, their HMACs and AES (IPMI 2.0 §13.28 to §13.32, table 22-19).
//! `handshake` and `session` say which bytes are hashed for what.
use aes::Aes128;
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// A cipher suite that authenticates, checks integrity and encrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// RAKP-HMAC-SHA1, HMAC-SHA1-96, AES-CBC-128: every IPMI 2.0 BMC has it.
    Three,
    /// RAKP-HMAC-SHA256, HMAC-SHA256-128, AES-CBC-128.
    Seventeen,
}

/// Bytes of the longest authentication code of a packet.
const MAX_CHECK: usize = 16;

impl Suite {
    pub fn number(self) -> u8 {
        match self {
            Suite::Three => 3,
            Suite::Seventeen => 17,
        }
    }

    /// Authentication, integrity and confidentiality algorithm numbers (tables 13-17 to 13-19).
    pub(crate) fn algorithms(self) -> [u8; 3] {
        match self {
            Suite::Three => [1, 1, 1],
            Suite::Seventeen => [3, 4, 1],
        }
    }

    /// Bytes of a whole HMAC.
    pub(crate) fn digest_len(self) -> usize {
        match self {
            Suite::Three => 20,
            Suite::Seventeen => 32,
        }
    }

    /// Bytes of a packet's authentication code and of RAKP 4's check value.
    pub(crate) fn check_len(self) -> usize {
        match self {
            Suite::Three => 12,
            Suite::Seventeen => 16,
        }
    }

    pub(crate) fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        fn run<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
            let mut mac =
                <M as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length");
            parts.iter().for_each(|part| mac.update(part));
            mac.finalize().into_bytes().to_vec()
        }
        match self {
            Suite::Three => run::<Hmac<Sha1>>(key, parts),
            Suite::Seventeen => run::<Hmac<Sha256>>(key, parts),
        }
    }
}

/// Signs a session's packets: an HMAC that has taken in the key already, which is half the work for a short packet.
pub(crate) enum Signer {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
}

/// A packet's authentication code: the beginning of an HMAC.
pub(crate) struct Code {
    bytes: [u8; MAX_CHECK],
    len: usize,
}

impl AsRef<[u8]> for Code {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Signer {
    pub(crate) fn new(suite: Suite, key: &[u8]) -> Self {
        let any = "HMAC takes a key of any length";
        match suite {
            Suite::Three => Self::Sha1(KeyInit::new_from_slice(key).expect(any)),
            Suite::Seventeen => Self::Sha256(KeyInit::new_from_slice(key).expect(any)),
        }
    }

    pub(crate) fn sign(&self, packet: &[u8]) -> Code {
        fn run<M: Mac + Clone>(mac: &M, packet: &[u8], suite: Suite) -> Code {
            let whole = mac.clone().chain_update(packet).finalize().into_bytes();
            let len = suite.check_len();
            let mut bytes = [0; MAX_CHECK];
            bytes[..len].copy_from_slice(&whole[..len]);
            Code { bytes, len }
        }
        match self {
            Signer::Sha1(mac) => run(mac, packet, Suite::Three),
            Signer::Sha256(mac) => run(mac, packet, Suite::Seventeen),
        }
    }
}

/// Compares in constant time, so that the duration does not reveal how far two codes agree.
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    bool::from(a.ct_eq(b))
}

const BLOCK: usize = 16;

/// An initialisation vector that cannot be predicted without the key, from a number that is used only once with that key
/// (NIST SP 800-38A, appendix C, the first of its two methods). Random bytes would cost a system call.
pub(crate) fn iv(key: &[u8; 16], number: u32) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..4].copy_from_slice(&number.to_le_bytes());
    cbc::Encryptor::<Aes128>::new(&(*key).into(), &[0; BLOCK].into())
        .encrypt_padded::<NoPadding>(&mut block, BLOCK)
        .expect("it is one block");
    block
}

/// IV, then the payload with its confidentiality trailer 1, 2, 3 … n, n (§13.29).
pub(crate) fn encrypt(key: &[u8; 16], iv: [u8; 16], payload: &[u8]) -> Vec<u8> {
    let pad = (BLOCK - (payload.len() + 1) % BLOCK) % BLOCK;
    let mut body = payload.to_vec();
    body.extend((1..=pad).map(|n| n as u8));
    body.push(pad as u8);
    let len = body.len();
    cbc::Encryptor::<Aes128>::new(&(*key).into(), &iv.into())
        .encrypt_padded::<NoPadding>(&mut body, len)
        .expect("the trailer makes whole blocks");
    [iv.as_slice(), &body].concat()
}

/// The inverse; `None` when the bytes are not what `encrypt` makes.
pub(crate) fn decrypt(key: &[u8; 16], bytes: &[u8]) -> Option<Vec<u8>> {
    let (iv, body) = bytes.split_first_chunk::<BLOCK>()?;
    if body.is_empty() || body.len() % BLOCK != 0 {
        return None;
    }
    let mut body = body.to_vec();
    cbc::Decryptor::<Aes128>::new(&(*key).into(), &(*iv).into())
        .decrypt_padded::<NoPadding>(&mut body)
        .ok()?;
    let pad = usize::from(body.pop()?);
    let kept = body.len().checked_sub(pad)?;
    // Some BMCs pad with bytes other than 1, 2, 3; the integrity check has already covered them.
    (pad < BLOCK).then(|| body[..kept].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn hmacs_are_the_published_ones() {
        // RFC 2202 test 2 and RFC 4231 test 2.
        let parts: [&[u8]; 2] = [b"what do ya want ", b"for nothing?"];
        assert_eq!(
            hex(&Suite::Three.hmac(b"Jefe", &parts)),
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
        );
        assert_eq!(
            hex(&Suite::Seventeen.hmac(b"Jefe", &parts)),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_signer_signs_as_the_hmac_does() {
        for suite in [Suite::Three, Suite::Seventeen] {
            for len in 0..200usize {
                let packet: Vec<u8> = (0..len).map(|n| n as u8).collect();
                let whole = suite.hmac(b"Jefe", &[&packet]);
                let code = Signer::new(suite, b"Jefe").sign(&packet);
                assert_eq!(code.as_ref(), &whole[..suite.check_len()]);
            }
        }
    }

    #[test]
    fn an_iv_is_the_encrypted_number() {
        // OpenSSL's aes-128-ecb of 01 00 … 00 under the key 00 01 … 0f.
        let key = std::array::from_fn(|n| n as u8);
        assert_eq!(hex(&iv(&key, 1)), "e37cd363dd7c87a09aff0e3e60e09c82");
        assert_ne!(iv(&key, 1), iv(&key, 2));
    }

    #[test]
    fn every_length_survives_encryption() {
        let key = [7; 16];
        for len in 0..70usize {
            let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let sealed = encrypt(&key, [9; 16], &payload);
            assert_eq!(sealed.len() % BLOCK, 0);
            assert_eq!(decrypt(&key, &sealed), Some(payload));
        }
    }

    #[test]
    fn badly_encrypted_bytes_do_not_decrypt() {
        for wrong in [&[][..], &[0; 16], &[0; 17], &[0; 31]] {
            assert_eq!(decrypt(&[7; 16], wrong), None);
        }
    }
}
