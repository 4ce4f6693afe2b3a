//! What later commands need to know of a site, beside its keys, and where it is.
//! `init` writes it, `user`, `worker` and `bootstrap` read it.
use super::files::read;
use anyhow::Context;
use clap::Args;
use ironbeat_auth::roles::Role;
use nkeys::KeyPair;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

#[derive(Serialize, Deserialize)]
pub struct About {
    /// The account's public key.
    pub account: String,
    pub prefix: String,
    /// Public keys of the logins in [`SHARED`]. Sites of before do not say it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared: Vec<String>,
}

/// Of a command, where the site is.
#[derive(Args)]
pub struct Dir {
    /// What `ironbeat auth init` made.
    #[arg(long, env = "IRONBEAT_AUTH_DIR", default_value = ".")]
    pub dir: PathBuf,
}

pub const ABOUT: &str = "operator/site.json";

pub const CA: &str = "ca.pem";

/// The directory of all workers that have none of their own.
pub const SHARED: &str = "worker";

/// # Errors
/// When it is not there, or not what `init` writes.
pub fn about(dir: &Path) -> anyhow::Result<About> {
    let file = dir.join(ABOUT);
    let about = serde_json::from_str(&read(&file)?);
    about.with_context(|| format!("understand {}", file.display()))
}

/// The key that signs accounts.
pub const SIGNER: &str = "operator/signer.seed";

/// Where the key is that makes logins of a role.
pub fn role_seed(role: Role) -> String {
    format!("operator/role-{role}.seed")
}

/// # Errors
/// When it is not there, or is no key.
pub fn role_key(dir: &Path, role: Role) -> anyhow::Result<KeyPair> {
    key_in(&dir.join(role_seed(role)))
}

/// `signer` or `system`.
///
/// # Errors
/// When it is not there, or is no key.
pub fn operator_key(dir: &Path, name: &str) -> anyhow::Result<KeyPair> {
    key_in(&dir.join(format!("operator/{name}.seed")))
}

/// # Errors
/// When it is not there, or is no key.
pub fn key_in(file: &Path) -> anyhow::Result<KeyPair> {
    let key = KeyPair::from_seed(read(file)?.trim());
    key.map_err(|_| anyhow::anyhow!("{} is no key", file.display()))
}

#[expect(
    clippy::disallowed_methods,
    reason = "tokens carry the time of whoever makes them"
)]
pub fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(0))
}
