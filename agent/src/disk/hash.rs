//! The checksum of an image as served, computed while it is downloaded.
//! What to do about a wrong one is decided in `write`.
use ironbeat_common::image::Checksum;
use ironbeat_common::image::Digest;
use ring::digest::{self, SHA256, SHA512};

/// By the hash functions that TLS has aboard already.
pub struct Hasher(digest::Context);

/// SHA-256 of these parts, one after the other.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = digest::Context::new(&SHA256);
    parts.iter().for_each(|part| hash.update(part));
    of(hash)
}

fn of<const N: usize>(hash: digest::Context) -> [u8; N] {
    let hash = hash.finish();
    hash.as_ref()
        .try_into()
        .expect("the hash is as long as its algorithm says")
}

#[derive(Debug, thiserror::Error)]
#[error("the image's checksum is wrong: expected {expected}, got {got}")]
pub struct WrongChecksum {
    expected: String,
    got: String,
}

impl Hasher {
    pub fn new(kind: &Checksum) -> Self {
        Self(digest::Context::new(match kind {
            Checksum::Sha256(_) => &SHA256,
            Checksum::Sha512(_) => &SHA512,
        }))
    }
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
    /// `expected`: of the kind that it was made for.
    ///
    /// # Errors
    /// When the checksum differs; the error names both.
    pub fn check(self, expected: &Checksum) -> Result<(), WrongChecksum> {
        let got = match expected {
            Checksum::Sha256(_) => Checksum::Sha256(Digest(of(self.0))),
            Checksum::Sha512(_) => Checksum::Sha512(Digest(of(self.0))),
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
