//! Owns making a machine's disk images.
//! Leaves attaching them to `qemu`.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::spec::{DiskContent, DiskSpec};

/// Makes the raw image of `disk` at `path`. Raw, so that tests can look inside, and so that a machine's power may be
/// cut at any moment without harm to the image's own format.
///
/// # Errors
/// When it can't be written, or the initial content is larger than the disk.
pub(super) fn make(disk: &DiskSpec, path: &Path) -> Result<()> {
    let what = || format!("make disk image {}", path.display());
    match &disk.content {
        DiskContent::Zeros => drop(File::create(path).with_context(what)?),
        DiskContent::Fill(byte) => fill(path, *byte, disk.bytes).with_context(what)?,
        DiskContent::File(from) => {
            let copied = fs::copy(from, path)
                .with_context(|| format!("{} from {}", what(), from.display()))?;
            ensure!(
                copied <= disk.bytes,
                "{} is larger than disk {} ({} bytes)",
                from.display(),
                disk.serial,
                disk.bytes
            );
        }
    }
    let file = File::options().write(true).open(path).with_context(what)?;
    file.set_len(disk.bytes).with_context(what)
}

/// A disk's first sector that says `text` on the first serial port when a BIOS boots it, and then halts.
///
/// # Panics
/// When `text` is longer than 400 bytes.
pub fn boot_sector(text: &str) -> [u8; 512] {
    assert!(
        text.len() <= 400,
        "a boot sector has room for 400 bytes of text"
    );
    // xor ax,ax; mov ds,ax; mov si,text
    // next: lodsb; test al,al; jz end; mov ah,1; xor dx,dx; int 0x14; jmp next
    // end: hlt; jmp end
    let code = [
        0x31, 0xc0, 0x8e, 0xd8, 0xbe, 0x17, 0x7c, 0xac, 0x84, 0xc0, 0x74, 0x08, 0xb4, 0x01, 0x31,
        0xd2, 0xcd, 0x14, 0xeb, 0xf3, 0xf4, 0xeb, 0xfd,
    ];
    let mut sector = [0; 512];
    sector[..code.len()].copy_from_slice(&code);
    sector[code.len()..][..text.len()].copy_from_slice(text.as_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

fn fill(path: &Path, byte: u8, bytes: u64) -> std::io::Result<()> {
    let block = vec![byte; 1 << 20];
    let mut file = File::create(path)?;
    let mut left = bytes;
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        file.write_all(&block[..now])?;
        left -= now as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::spec::DiskKind;
    use super::*;

    #[test]
    fn a_new_disk_has_the_content_and_size_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let (path, seed) = (dir.path().join("disk"), dir.path().join("seed"));
        fs::write(&seed, b"boot").unwrap();
        let disk = |content| DiskSpec {
            content,
            ..DiskSpec::blank(DiskKind::Nvme, 3 << 19, "S")
        };
        make(&disk(DiskContent::Zeros), &path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), vec![0; 3 << 19]);
        make(&disk(DiskContent::Fill(0xa5)), &path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), vec![0xa5; 3 << 19]);
        make(&disk(DiskContent::File(seed.clone())), &path).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!((&bytes[..5], bytes.len()), (&b"boot\0"[..], 3 << 19));
        let small = DiskSpec {
            content: DiskContent::File(seed),
            ..DiskSpec::blank(DiskKind::Nvme, 3, "S")
        };
        assert!(
            make(&small, &path)
                .unwrap_err()
                .to_string()
                .contains("larger")
        );
    }
}
