//! The network interfaces that sysfs lists: names, link, present address.
//! What only system calls know is read in `net::sys`.
use crate::sysfs::number;
use anyhow::Context;
use ironbeat_common::id::Mac;
use std::fs;
use std::path::Path;

/// More ports than any machine has.
const MAX_INTERFACES: usize = 256;

/// Names of the interfaces that are hardware, sorted.
///
/// # Errors
/// When there is no `/sys/class/net`.
pub fn names(sys: &Path) -> anyhow::Result<Vec<String>> {
    let dir = sys.join("class/net");
    let entries = fs::read_dir(&dir).with_context(|| format!("listing {}", dir.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join("device").exists())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .take(MAX_INTERFACES)
        .collect();
    names.sort();
    Ok(names)
}

/// Whether there is a link, as far as the kernel knows.
pub fn carrier(sys: &Path, name: &str) -> bool {
    // While the interface is down, reading it fails.
    number(&sys.join("class/net").join(name), "carrier") == Some(1u8)
}

/// The present address.
pub fn mac(sys: &Path, name: &str) -> Option<Mac> {
    let mac: Mac = number(&sys.join("class/net").join(name), "address")?;
    (mac.as_bytes() != &[0; 6]).then_some(mac)
}
