//! What is kept in NATS: node records, claims, presence, last heartbeats, lookups and events.
//! What is written is decided in the core; who writes a node record is `drive`.
pub mod claim;
pub mod events;
mod follow;
mod kv;
pub mod lookups;
pub mod presence;
pub mod seen;
mod store;
mod stream;
#[cfg(test)]
pub(crate) mod tests;
pub mod view;

pub(crate) use follow::{Change, Followed, SILENCE};
pub(crate) use kv::{Keep, Kv, is_final};
pub use kv::{KvError, Revision};
pub(crate) use store::parse;
pub use store::{Names, Store, StoreError};
pub(crate) use stream::{ensure, read_stream};
