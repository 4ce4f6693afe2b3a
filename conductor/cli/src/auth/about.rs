//! What later commands need to know of a site, beside its keys, and where it is.
//! `init` writes it, `user` reads it.
use ironbeat_auth::roles::Role;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub struct About {
    /// The account's public key.
    pub account: String,
    pub prefix: String,
}

pub const ABOUT: &str = "operator/site.json";

/// The key that signs accounts.
pub const SIGNER: &str = "operator/signer.seed";

/// Where the key is that makes logins of a role.
pub fn role_seed(role: Role) -> String {
    format!("operator/role-{role}.seed")
}

#[expect(
    clippy::disallowed_methods,
    reason = "tokens carry the time of whoever makes them"
)]
pub fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(0))
}
