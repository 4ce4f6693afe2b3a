//! The content of a `config-2` partition: a FAT volume with the files of the order; the same files give the same bytes.
//! Its place on the disk is planned in `layout`.
use super::fat::Volume;
use super::hash;
use anyhow::{Context, bail};
use ironbeat_common::order::{ConfigFile, MAX_CONFIG_DRIVE_BYTES};

/// As cloud-init and Ironic name it.
const LABEL: &[u8; 11] = b"config-2   ";
/// Files in a config drive: OpenStack's have about ten.
const MAX_FILES: usize = 1024;
const UNIT_BYTES: usize = 1 << 20;

/// `None` without files; otherwise a whole number of MiB.
pub fn build(files: &[ConfigFile], sector: u32) -> anyhow::Result<Option<Vec<u8>>> {
    if files.is_empty() {
        return Ok(None);
    }
    let content: usize = files.iter().map(|file| file.content.len()).sum();
    if files.len() > MAX_FILES || content > MAX_CONFIG_DRIVE_BYTES {
        bail!(
            "a config drive of {} files with {content} bytes: at most {MAX_FILES} and {MAX_CONFIG_DRIVE_BYTES}",
            files.len()
        );
    }
    let mut all = Vec::new();
    for text in files.iter().flat_map(|file| [&file.path, &file.content]) {
        all.extend((text.len() as u64).to_le_bytes());
        all.extend(text.bytes());
    }
    let hash = hash::sha256(&[&all]);
    let id = u32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]]);
    let files = files
        .iter()
        .map(|file| (file.path.as_str(), file.content.as_bytes()))
        .collect();
    let mut volume = Volume {
        label: LABEL,
        id,
        sector,
        files,
    }
    .bytes()
    .context("making the config drive")?;
    volume.resize(volume.len().next_multiple_of(UNIT_BYTES), 0);
    Ok(Some(volume))
}

#[cfg(test)]
mod tests;
