//! The content of a `config-2` partition: a FAT volume with the files of the order, the same bytes for the same files.
//! Where it goes on the disk is planned in `layout`.
use anyhow::{Context, bail};
use ironbeat_common::wire::{ConfigFile, MAX_CONFIG_DRIVE_BYTES};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::io::{Cursor, Write};

/// As cloud-init and Ironic name it.
const LABEL: [u8; 11] = *b"config-2   ";
/// Files in a config drive: OpenStack's have about ten.
const MAX_FILES: usize = 1024;
/// Bytes that a file may waste in its last cluster, and that its directory entry with a long name may take.
const PER_FILE_BYTES: usize = 8192 + 21 * 32;
/// Bytes for boot sector, tables and root directory.
const FIXED_BYTES: usize = 256 * 1024;
const UNIT_BYTES: usize = 1 << 20;

/// None when there are no files. A whole number of MiB otherwise.
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
    let mut folders = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for file in files {
        let folded = file.path.to_lowercase();
        if file.path.split('/').any(|name| matches!(name, "" | "." | "..")) || !seen.insert(folded) {
            bail!("config drive: {:?} is no relative path of its own", file.path);
        }
        folders.extend(file.path.match_indices('/').map(|(at, _)| &file.path[..at]));
    }
    let bytes = FIXED_BYTES + content + (files.len() + folders.len()) * PER_FILE_BYTES;
    let mut volume = vec![0; bytes.next_multiple_of(UNIT_BYTES)];
    let mut hash = Sha256::new();
    for file in files {
        hash.update((file.path.len() as u64).to_le_bytes());
        hash.update(&file.path);
        hash.update((file.content.len() as u64).to_le_bytes());
        hash.update(&file.content);
    }
    let hash: [u8; 32] = hash.finalize().into();
    let volume_id = u32::from_le_bytes(hash[..4].try_into().expect("four bytes"));
    fill(&mut volume, files, folders, sector, volume_id).context("making the config drive")?;
    Ok(Some(volume))
}

fn fill(volume: &mut [u8], files: &[ConfigFile], folders: BTreeSet<&str>, sector: u32, id: u32) -> anyhow::Result<()> {
    let options = fatfs::FormatVolumeOptions::new()
        .volume_label(LABEL)
        .volume_id(id)
        .bytes_per_sector(sector.try_into().context("sector size")?)
        .bytes_per_cluster(sector.max(2048));
    fatfs::format_volume(Cursor::new(&mut *volume), options)?;
    let fs = fatfs::FileSystem::new(Cursor::new(volume), fatfs::FsOptions::new())?;
    let root = fs.root_dir();
    for folder in folders {
        root.create_dir(folder).with_context(|| format!("folder {folder:?}"))?;
    }
    for file in files {
        let write = || root.create_file(&file.path)?.write_all(file.content.as_bytes());
        write().with_context(|| format!("file {:?}", file.path))?;
    }
    drop(root);
    Ok(fs.unmount()?)
}

#[cfg(test)]
#[path = "tests/config_drive.rs"]
mod tests;
