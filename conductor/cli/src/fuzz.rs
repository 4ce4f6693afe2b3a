//! The entrance to what the command line shows of messages, for `ironbeat-fuzz`. Nothing that ships calls it.
//! It says whether the bytes were understood.
use crate::decode::to_json;

/// A message in CBOR or JSON.
pub fn message(bytes: &[u8]) -> bool {
    to_json(bytes).is_ok()
}
