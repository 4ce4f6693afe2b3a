//! The cipher: ChaCha20-Poly1305 of `ring`, with 256-bit keys that are wiped when they are dropped.
//! `master` and `envelope` say what is sealed with which key.
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

pub const KEY_BYTES: usize = 32;
/// Sealed bytes come in steps of this: how long a password is must not be seen by the length of its document.
const STEP: usize = 64;

#[derive(Clone)]
pub struct Key(Zeroizing<[u8; KEY_BYTES]>);

/// A nonce and what was sealed with it. A key seals at most some millions of these, far from the 2³² at which random
/// nonces of 96 bits begin to meet.
pub struct Sealed {
    pub nonce: [u8; NONCE_LEN],
    pub bytes: Vec<u8>,
}

pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.expect("Linux always has random bytes");
    bytes
}

impl Key {
    pub fn generate() -> Self {
        Self(Zeroizing::new(random()))
    }

    /// None: these are not as many as a key has.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let bytes: [u8; KEY_BYTES] = bytes.try_into().ok()?;
        Some(Self(Zeroizing::new(bytes)))
    }

    pub fn reveal(&self) -> &[u8] {
        &*self.0
    }

    /// A key for another use, told apart by `label`: one block of HKDF-Expand (RFC 5869 §2.3), since a key is as random as its
    /// output would have to be.
    pub fn derive(&self, label: &[u8]) -> hmac::Key {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.reveal());
        let block = [label, &[1]].concat();
        hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, &block).as_ref())
    }

    fn cipher(&self) -> LessSafeKey {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &*self.0);
        LessSafeKey::new(key.expect("a key has as many bytes as the cipher wants"))
    }

    /// `at`: where it will lie. It opens there and nowhere else.
    pub fn seal(&self, at: &str, plain: &[u8]) -> Sealed {
        let nonce = random();
        let mut bytes = plain.to_vec();
        let cipher = self.cipher();
        let in_place = Nonce::assume_unique_for_key(nonce);
        cipher
            .seal_in_place_append_tag(in_place, Aad::from(at), &mut bytes)
            .expect("a document is shorter than 256 GB");
        Sealed { nonce, bytes }
    }

    /// None: it was sealed with another key or for another place, or it was changed.
    pub fn open(&self, at: &str, nonce: &[u8], sealed: Vec<u8>) -> Option<Zeroizing<Vec<u8>>> {
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = Zeroizing::new(sealed);
        let opened = self
            .cipher()
            .open_in_place(nonce, Aad::from(at), &mut bytes);
        let length = opened.ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }
}

/// White space after a JSON document, up to the next step; a reader of JSON passes over it.
pub fn pad(json: &mut Zeroizing<Vec<u8>>) {
    let padded = json.len().next_multiple_of(STEP);
    if padded > json.capacity() {
        // By hand: a vector that grows leaves its old bytes behind.
        let mut larger = Zeroizing::new(Vec::with_capacity(padded));
        larger.extend_from_slice(json);
        *json = larger;
    }
    json.resize(padded, b' ');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_the_same_key_at_the_same_place_and_unchanged() {
        let key = Key::generate();
        let Sealed { nonce, bytes } = key.seal("a.b", b"hush");
        let open = |key: &Key, at, nonce: &[u8], bytes: &[u8]| {
            let opened = key.open(at, nonce, bytes.to_vec());
            opened.map(|plain| plain.to_vec())
        };
        assert_eq!(open(&key, "a.b", &nonce, &bytes), Some(b"hush".to_vec()));
        assert_eq!(open(&key, "a.c", &nonce, &bytes), None);
        assert_eq!(open(&Key::generate(), "a.b", &nonce, &bytes), None);
        assert_eq!(open(&key, "a.b", &nonce[1..], &bytes), None);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&key, "a.b", &nonce, &flipped), None, "bit {bit}");
        }
        for bit in 0..nonce.len() * 8 {
            let mut flipped = nonce;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&key, "a.b", &flipped, &bytes), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(
                open(&key, "a.b", &nonce, &bytes[..length]),
                None,
                "{length}"
            );
        }
        let again = key.seal("a.b", b"hush");
        assert_ne!((again.nonce, &again.bytes), (nonce, &bytes));
    }

    #[test]
    fn short_documents_are_all_of_one_length() {
        for (length, padded) in [(0, 0), (1, 64), (63, 64), (64, 64), (65, 128)] {
            let mut json = Zeroizing::new(vec![b'1'; length]);
            pad(&mut json);
            assert_eq!(json.len(), padded);
            assert!(json[length..].iter().all(|byte| *byte == b' '));
        }
    }
}
