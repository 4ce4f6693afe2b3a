//! The encoding of messages between agent and conductor: CBOR (RFC 8949), bounded in size, with a checked version.
//! It ignores unknown fields but refuses trailing bytes. The messages are in `lookup`, `heartbeat` and `order`.
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest message either side decodes, in bytes. A lookup of a machine with 60 disks is about 40 KB; a config drive
/// travels inside a step and may have [`crate::order::MAX_CONFIG_DRIVE_BYTES`]. Well below the 1 MiB `max_payload` of a
/// stock server.
pub const MAX_MESSAGE_BYTES: usize = 768 * 1024;
pub const CONTENT_TYPE: &str = "application/cbor";
/// Version of lookups and heartbeats: a new field keeps it, a new meaning does not.
pub const VERSION: u32 = 1;

/// Why the bytes are not a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    TooLong { bytes: usize },
    Malformed { why: String },
    TrailingBytes { bytes: usize },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::TooLong { bytes } => {
                write!(f, "message of {bytes} bytes, at most {MAX_MESSAGE_BYTES}")
            }
            DecodeError::Malformed { why } => write!(f, "malformed CBOR: {why}"),
            DecodeError::TrailingBytes { bytes } => {
                write!(f, "{bytes} bytes after the end of the message")
            }
        }
    }
}

impl core::error::Error for DecodeError {}

pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(message, &mut out)
        .expect("a Vec takes any bytes, and our types serialise");
    out
}

/// # Errors
/// When the message is too long, is not CBOR of this shape, or has bytes after its end.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(DecodeError::TooLong { bytes: bytes.len() });
    }
    let mut rest = bytes;
    let message = ciborium::from_reader(&mut rest).map_err(|e| {
        // The text may quote the input: cut it, or a hostile message could fill a log.
        let why: String = e.to_string().chars().take(200).collect();
        DecodeError::Malformed { why }
    })?;
    match rest.len() {
        0 => Ok(message),
        bytes => Err(DecodeError::TrailingBytes { bytes }),
    }
}
