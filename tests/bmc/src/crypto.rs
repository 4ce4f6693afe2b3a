//! The arithmetic of cipher suites 3 and 17, written apart from the client's so that both do not err alike.
//! Leaves what is hashed and sealed to `session`.
use aes::Aes128;
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// A cipher suite (IPMI 2.0 table 22-20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    Three,
    Seventeen,
}

impl Suite {
    /// Authentication, integrity, confidentiality.
    pub(crate) fn algorithms(self) -> [u8; 3] {
        match self {
            Suite::Three => [0x01, 0x01, 0x01],
            Suite::Seventeen => [0x03, 0x04, 0x01],
        }
    }

    pub(crate) fn id(self) -> u8 {
        match self {
            Suite::Three => 3,
            Suite::Seventeen => 17,
        }
    }

    /// Bytes of a digest that are kept in packets and in RAKP 4.
    pub(crate) fn kept(self) -> usize {
        match self {
            Suite::Three => 12,
            Suite::Seventeen => 16,
        }
    }

    pub(crate) fn key(self, bytes: &[u8]) -> Key {
        let why = "HMAC takes a key of any length";
        match self {
            Suite::Three => Key::Sha1(<Hmac<Sha1> as KeyInit>::new_from_slice(bytes).expect(why)),
            Suite::Seventeen => {
                Key::Sha256(<Hmac<Sha256> as KeyInit>::new_from_slice(bytes).expect(why))
            }
        }
    }
}

/// An HMAC key, its schedule done.
#[derive(Clone)]
pub(crate) enum Key {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
}

impl Key {
    pub(crate) fn hmac(&self, parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Key::Sha1(key) => {
                let mut mac = key.clone();
                parts.iter().for_each(|part| mac.update(part));
                mac.finalize().into_bytes().to_vec()
            }
            Key::Sha256(key) => {
                let mut mac = key.clone();
                parts.iter().for_each(|part| mac.update(part));
                mac.finalize().into_bytes().to_vec()
            }
        }
    }
}

pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    bool::from(a.ct_eq(b))
}

/// AES-CBC-128 with its trailer (§13.29), IV first.
pub(crate) fn encrypt(key: &[u8; 16], iv: [u8; 16], plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(plain.len() + 48);
    out.extend(iv);
    out.extend(plain);
    let mut pad = 0u8;
    while !(out.len() + 1).is_multiple_of(16) {
        pad += 1;
        out.push(pad);
    }
    out.push(pad);
    let length = out.len() - 16;
    cbc::Encryptor::<Aes128>::new(&(*key).into(), &iv.into())
        .encrypt_padded::<NoPadding>(&mut out[16..], length)
        .expect("the trailer makes whole blocks");
    out
}

/// None unless the trailer is exactly as it should be: a client's error should show.
pub(crate) fn decrypt(key: &[u8; 16], sealed: &[u8]) -> Option<Vec<u8>> {
    let (iv, body) = sealed.split_first_chunk::<16>()?;
    if body.is_empty() || !body.len().is_multiple_of(16) {
        return None;
    }
    let mut plain = body.to_vec();
    cbc::Decryptor::<Aes128>::new(&(*key).into(), &(*iv).into())
        .decrypt_padded::<NoPadding>(&mut plain)
        .ok()?;
    let pad = plain.pop()?;
    let kept = plain.len().checked_sub(usize::from(pad))?;
    let counts_up = plain[kept..].iter().zip(1u8..).all(|(byte, n)| *byte == n);
    (pad < 16 && counts_up).then(|| {
        plain.truncate(kept);
        plain
    })
}
