//! Tokens with which deployed instances say that they run: made, hashed, and where they are sent to.
//! The core says what a word of an instance means; `netboot/http` hears it.
use ironbeat_common::id::NodeId;
use ironbeat_common::image::Digest;
use ironbeat_core::node::{ConfirmToken, Secret};
use sha2::Digest as _;

/// The folder of the HTTP service that takes them.
pub const PATH: &str = "/v1/confirm";

/// A random one: 122 bits that nobody can guess.
pub fn token() -> ConfirmToken {
    let secret = uuid::Uuid::new_v4().simple().to_string();
    ConfirmToken {
        sha256: sha256(&secret),
        secret: Secret::new(secret),
    }
}

/// What is compared: how long that takes says nothing of the token.
pub fn sha256(token: &str) -> Digest<32> {
    Digest(sha2::Sha256::digest(token).into())
}

/// Where the instance of a node sends its token to. `base`: a worker's URL.
pub fn url(base: &str, node: NodeId, token: &Secret) -> String {
    format!("{base}{PATH}/{node}/{}", token.reveal())
}
