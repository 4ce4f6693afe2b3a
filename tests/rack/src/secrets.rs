//! The master key of workers under test: a file, and the part of their configuration that names it.
//! What a worker does with it is the product's.
use anyhow::{Context, Result};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The same for all, so that workers of one store can be started from several places. It protects nothing.
pub const MASTER_KEY: &str = "ironbeat-master-key:dGhpcyBrZXkgb2YgdGhlIHRlc3RzIHByb3RlY3RzIG4=\n";

/// `[secrets]` of a worker's configuration. The key file is written into `dir`.
///
/// # Errors
/// When it cannot be written.
pub fn section(dir: &Path) -> Result<String> {
    let path = dir.join("master.key");
    let open = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path);
    let written = open.and_then(|mut file| file.write_all(MASTER_KEY.as_bytes()));
    written.with_context(|| format!("write {}", path.display()))?;
    Ok(format!("[secrets]\nkey_file = \"{}\"\n", path.display()))
}
