//! Files that hold keys: made once, readable by their owner alone, never overwritten.
//! What is in them is for the commands.
use anyhow::Context;
use std::fs::{DirBuilder, OpenOptions, Permissions, set_permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// # Errors
/// When it is there already, or cannot be made.
pub fn make_dir(path: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .mode(0o700)
        .create(path)
        .with_context(|| format!("make the directory {}", path.display()))
}

/// # Errors
/// When it is there already, or cannot be written.
pub fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let written = options.open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            anyhow::anyhow!(
                "{} is there already, and is never overwritten",
                path.display()
            )
        }
        _ => anyhow::Error::new(error).context(format!("write {}", path.display())),
    })
}

/// Beside it first, so that it is there whole or as it was.
///
/// # Errors
/// When it cannot be written.
pub fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    let written = std::fs::write(&new, text)
        .and_then(|()| set_permissions(&new, Permissions::from_mode(0o600)))
        .and_then(|()| std::fs::rename(&new, path));
    written.with_context(|| format!("write {}", path.display()))
}

/// # Errors
/// When it cannot be read.
pub fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}
