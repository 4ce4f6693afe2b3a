//! How secrets are sealed: master keys, the data keys that they wrap, and the envelopes that lie in the bucket.
//! `records` stores what is sealed here; nothing in here knows NATS.
mod envelope;
mod key;
mod master;
mod source;

pub use envelope::{Broken, DataKey, Envelope, Wrapped};
pub use master::{BadKeys, MasterKey, MasterKeys};
pub use source::{load, new_key};
