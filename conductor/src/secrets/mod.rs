//! How secrets are sealed: master keys, the data keys that they wrap, and the envelopes that lie in the bucket; and tokens that
//! only who has a master key can make.
//! `records` stores what is sealed here; nothing in here knows NATS.
mod envelope;
mod image_token;
mod key;
mod mark;
mod master;
mod source;

pub use envelope::{Broken, DataKey, Envelope, Wrapped};
pub use image_token::{ImageTokens, Purpose};
pub use mark::Mark;
pub use master::{BadKeys, MasterKey, MasterKeys};
pub use source::{load, new_key};
