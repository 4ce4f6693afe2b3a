//! The declaration of a kind of document: its keys, its version, what it has to itself, what all may know of it.
//! `documents`, `claim` and `view` store, claim and follow all kinds alike.
use super::StoreError;
use ironbeat_core::id::OpId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::str::FromStr;

/// What a document has to itself among its kind: a key, and the words for it. `mac.020000000001`, "MAC address …".
pub type Claims = BTreeMap<String, String>;

pub trait Document:
    Serialize + DeserializeOwned + Clone + PartialEq + Debug + Send + Sync + 'static
{
    /// First token of its keys, and the word for it in errors.
    const KIND: &'static str;
    /// Versions from 1 up to this are understood. A later one is refused rather than lose fields of it.
    const SCHEMA: u32;
    type Id: Copy
        + Eq
        + Debug
        + Display
        + FromStr
        + Serialize
        + DeserializeOwned
        + AsRef<[u8]>
        + Send
        + Sync;
    /// The part of each document that all workers know without reading it.
    type Entry: Serialize + DeserializeOwned + Send + Sync + 'static;

    fn id(&self) -> Self::Id;
    fn schema(&self) -> u32;
    /// The write that made this revision.
    fn op(&self) -> &OpId;
    fn claims(&self) -> Claims;
    /// Whether its claims are those of `other`, without naming them.
    fn claims_as(&self, other: &Self) -> bool;
    fn entry(&self) -> Self::Entry;
}

/// Keys are spread over so many shards, so that a follower can choose a part of them. See ARCHITECTURE.md, "Keys".
const SHARDS: u8 = 64;

/// Must never change: keys depend on it.
fn shard(id: &[u8]) -> u8 {
    id.iter().fold(0, |folded, byte| folded ^ byte) % SHARDS
}

/// `node.17.<id>`
pub(crate) fn key<T: Document>(id: T::Id) -> String {
    key_of(T::KIND, &id)
}

/// A key of `kind` about a document with this id; what lies beside a document is in the same shard.
pub(super) fn key_of(kind: &str, id: &(impl AsRef<[u8]> + Display)) -> String {
    format!("{kind}.{:02}.{id}", shard(id.as_ref()))
}

/// The document that a key is about.
pub(super) fn id_of<T: Document>(key: &str) -> Option<T::Id> {
    let id = key.rsplit('.').next()?.parse().ok()?;
    (self::key::<T>(id) == key).then_some(id)
}

/// A document in words: "node 5e3b…".
pub(super) fn words<T: Document>(id: T::Id) -> String {
    format!("{} {id}", T::KIND)
}

/// Reads a document as it is stored under `key`.
///
/// # Errors
/// [`StoreError::Corrupt`] when it is not one, is about another id, or has a later version than this worker's.
pub(crate) fn parse<T: Document>(key: &str, value: &[u8]) -> Result<T, StoreError> {
    #[derive(Deserialize)]
    struct Version {
        schema: u32,
    }
    let corrupt = |why: String| StoreError::Corrupt {
        key: key.into(),
        why,
    };
    let known = T::SCHEMA;
    let version = |schema| corrupt(format!("it has schema {schema}, this worker knows {known}"));
    let document: T = match serde_json::from_slice(value) {
        Ok(document) => document,
        // A later version explains a shape that this worker does not understand.
        Err(error) => match serde_json::from_slice::<Version>(value) {
            Ok(Version { schema }) if schema > known => return Err(version(schema)),
            _ => return Err(corrupt(without_values(&error))),
        },
    };
    if !(1..=known).contains(&document.schema()) {
        return Err(version(document.schema()));
    }
    if self::key::<T>(document.id()) != key {
        let about = words::<T>(document.id());
        return Err(corrupt(format!("it is about {about}")));
    }
    Ok(document)
}

/// serde quotes a value that it did not expect; its place says enough, and quotes nothing.
pub(super) fn without_values(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match error.classify() {
        Category::Data if !text.starts_with("missing field ") => format!(
            "unexpected value before line {} column {}",
            error.line(),
            error.column()
        ),
        Category::Data | Category::Syntax | Category::Eof | Category::Io => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_common::id::NodeId;
    use ironbeat_core::node::Node;

    #[test]
    fn a_key_names_its_document_and_no_other_key_does() {
        let id = NodeId::from_bytes([0x11; 16]);
        let other = NodeId::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(key::<Node>(id), format!("node.00.{id}"));
        assert_eq!(key::<Node>(other), format!("node.07.{other}"));
        assert_eq!(id_of::<Node>(&format!("node.07.{other}")), Some(other));
        for wrong in [
            format!("node.08.{other}"),
            format!("port.07.{other}"),
            "node.07.x".into(),
        ] {
            assert_eq!(id_of::<Node>(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn shards_are_even() {
        let mut counts = [0u32; SHARDS as usize];
        // Ids that count up are the worst that a site can choose.
        for n in 0..6400u16 {
            let mut id = [0x5a; 16];
            id[14..].copy_from_slice(&n.to_be_bytes());
            counts[usize::from(shard(&id))] += 1;
        }
        assert_eq!(counts, [100; SHARDS as usize]);
    }
}
