//! How an image is packed and verified: format and checksum, parsed from text at the edge.
//! Its URLs are in `order`; fetching and unpacking it is the agent's job.
use alloc::format;
use alloc::string::String;
use core::fmt;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ImageFormat {
    Raw,
    Gzip,
    Zstd,
}

impl ImageFormat {
    /// By the file name's last extension, as operators name images.
    pub fn of_name(name: &str) -> Self {
        let path = name.split(['?', '#']).next().unwrap_or(name);
        match path.rsplit('.').next() {
            Some("gz") => ImageFormat::Gzip,
            Some("zst") => ImageFormat::Zstd,
            _ => ImageFormat::Raw,
        }
    }
}

/// Of the bytes as served, compressed or not, like Ironic's `image_checksum`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Checksum {
    Sha256(Digest<32>),
    Sha512(Digest<64>),
}

impl core::str::FromStr for Checksum {
    type Err = crate::id::BadId;
    /// `sha256:<64 hex>`, `sha512:<128 hex>`, or bare hex, whose length decides.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let bad = || crate::id::BadId {
            kind: "checksum (sha256:<64 hex digits> or sha512:<128 hex digits>)",
            input: s.chars().take(160).collect(),
        };
        let (algorithm, hex) = s.split_once(':').map_or((None, s), |(a, h)| (Some(a), h));
        match (algorithm, hex.len()) {
            (None | Some("sha256"), 64) => {
                Digest::from_hex(hex).map(Checksum::Sha256).ok_or_else(bad)
            }
            (None | Some("sha512"), 128) => {
                Digest::from_hex(hex).map(Checksum::Sha512).ok_or_else(bad)
            }
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Checksum::Sha256(digest) => write!(f, "sha256:{digest}"),
            Checksum::Sha512(digest) => write!(f, "sha512:{digest}"),
        }
    }
}

/// A hash value; hex in every encoding.
#[derive(Clone, PartialEq, Eq)]
pub struct Digest<const N: usize>(pub [u8; N]);

impl<const N: usize> Digest<N> {
    pub fn from_hex(hex: &str) -> Option<Self> {
        let bytes = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

impl<const N: usize> fmt::Display for Digest<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HEXLOWER.encode_display(&self.0).fmt(f)
    }
}

impl<const N: usize> fmt::Debug for Digest<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> Serialize for Digest<N> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Digest<N> {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let hex = String::deserialize(d)?;
        Digest::from_hex(&hex)
            .ok_or_else(|| serde::de::Error::custom(format!("not {N} bytes of hex")))
    }
}

crate::text_schema!(Digest<const N: usize>);
