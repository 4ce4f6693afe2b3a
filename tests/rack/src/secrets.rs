//! The master key of workers under test: a file, and the part of their configuration that names it.
//! What a worker does with it is the product's.
use anyhow::{Context, Result};
use std::io::Write;
use std::path::Path;
use tempfile::NamedTempFile;

/// The same for all, so that workers of one store can be started from several places. It protects nothing.
pub const MASTER_KEY: &str = "ironbeat-master-key:dGhpcyBrZXkgb2YgdGhlIHRlc3RzIHByb3RlY3RzIG4=\n";

/// `[secrets]` of a worker's configuration. The key file is written into `dir`.
///
/// # Errors
/// When it cannot be written.
pub fn section(dir: &Path) -> Result<String> {
    let path = dir.join("master.key");
    let failed = || format!("write {}", path.display());
    // Another worker may just be reading it. Only its owner may read a temporary file.
    let mut file = NamedTempFile::new_in(dir).with_context(failed)?;
    file.write_all(MASTER_KEY.as_bytes()).with_context(failed)?;
    file.persist(&path).with_context(failed)?;
    Ok(format!("[secrets]\nkey_file = \"{}\"\n", path.display()))
}
