//! The checksum of an image as served, computed while it is downloaded.
//! What to do about a wrong one is decided in `write`.
use ironbeat_common::image::Checksum;
use sha2::{Digest, Sha256, Sha512};

pub enum Hasher {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

#[derive(Debug, thiserror::Error)]
#[error("the image's checksum is wrong: expected {expected}, got {got}")]
pub struct WrongChecksum {
    expected: String,
    got: String,
}

impl Hasher {
    pub fn new(kind: &Checksum) -> Self {
        match kind {
            Checksum::Sha256(_) => Hasher::Sha256(Sha256::new()),
            Checksum::Sha512(_) => Hasher::Sha512(Box::default()),
        }
    }
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
    }
    /// # Errors
    /// When the checksum differs; the error names both.
    pub fn check(self, expected: &Checksum) -> Result<(), WrongChecksum> {
        let got = match self {
            Hasher::Sha256(hasher) => {
                Checksum::Sha256(ironbeat_common::image::Digest(hasher.finalize().into()))
            }
            Hasher::Sha512(hasher) => {
                Checksum::Sha512(ironbeat_common::image::Digest(hasher.finalize().into()))
            }
        };
        if got == *expected {
            return Ok(());
        }
        Err(WrongChecksum {
            expected: expected.to_string(),
            got: got.to_string(),
        })
    }
}
