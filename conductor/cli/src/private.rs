//! Files with secrets: nobody but their owner may read them, or write another secret into them.
//! What is in them is for whoever reads.
use anyhow::{Context, ensure};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Of the file that was opened, whatever has its name by now.
///
/// # Errors
/// When others than its owner may read or write it.
pub fn check(file: &File, path: &Path) -> anyhow::Result<()> {
    let (mode, path) = (file.metadata()?.mode(), path.display());
    ensure!(
        mode & 0o077 == 0,
        "others may read or write {path} (mode {mode:04o}): run `chmod 0600 {path}`, and if anybody has, replace what is in it",
        mode = mode & 0o7777,
    );
    Ok(())
}

/// All of a file that is its owner's alone.
///
/// # Errors
/// When it cannot be read, or as of [`check`].
pub fn read(path: &Path) -> anyhow::Result<String> {
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    check(&file, path)?;
    let mut text = String::new();
    file.read_to_string(&mut text)
        .with_context(|| format!("read {}", path.display()))?;
    Ok(text)
}
