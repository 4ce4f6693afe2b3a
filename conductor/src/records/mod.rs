//! Everything kept in NATS: records, claims, what lies beside records, presence, last heartbeats, lookups and events.
//! The core decides what is written; only `drive` has node records written.
mod allocations;
pub mod backup;
mod beside;
mod claim;
pub mod dhcp;
mod document;
mod documents;
pub mod events;
mod follow;
pub mod fuzz;
mod kept;
pub mod keys;
mod kv;
pub mod logins;
pub mod lookups;
pub mod marks;
mod node;
mod nodes;
pub mod origin;
pub mod presence;
pub mod revoked;
pub mod rotate;
mod rules;
pub mod seen;
pub mod signed;
mod store;
mod stream;
mod sweep;
#[cfg(test)]
pub(crate) mod tests;
pub mod view;

pub use beside::Besides;
pub use document::{Claims, Document};
pub use documents::Records;
pub(crate) use follow::{Change, Depth, Followed, SILENCE};
pub(crate) use kv::{Keep, Kv, is_final};
pub use kv::{KvError, Revision};
pub use store::{Cause, Names, Store, StoreError};
pub use stream::Replicas;
pub(crate) use stream::{read_stream, read_stream_while};
