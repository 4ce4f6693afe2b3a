//! Unpacks a cpio archive ("newc", Documentation/driver-api/early-userspace/buffer-format.rst) beside the agent, as the kernel does at boot.
//! Whether its bytes are the ones meant is checked before.
use anyhow::{Context, bail};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Component, Path};

const HEAD: usize = 110;
const MAGIC: &[u8] = b"070701";
const LAST: &[u8] = b"TRAILER!!!";
const MAX_PATH: usize = 4096;
/// Of all files together. They lie in memory.
const MAX_UNPACKED: usize = 1 << 30;

const KIND: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// One entry. Its owner and its times do not matter: all is root's, and now.
#[derive(Debug, PartialEq)]
pub struct Entry {
    pub path: String,
    pub mode: u32,
    pub content: Vec<u8>,
}

/// Puts directories, files and links below `root`; what is there already gives way, but for directories.
///
/// # Errors
/// It is no such archive, ends before its end, leads out of `root`, has devices, or cannot be written.
pub fn unpack(mut archive: impl Read, root: &Path) -> anyhow::Result<()> {
    let mut left = MAX_UNPACKED;
    while let Some(entry) = next(&mut archive, &mut left)? {
        put(&entry, root).with_context(|| format!("writing {:?}", entry.path))?;
    }
    Ok(())
}

/// The next entry; none: that was all. `left`: how many bytes all that follow may have.
pub fn next(archive: &mut impl Read, left: &mut usize) -> anyhow::Result<Option<Entry>> {
    let mut head = [0; HEAD];
    archive
        .read_exact(&mut head)
        .context("the archive ends early")?;
    if !head.starts_with(MAGIC) {
        bail!("this is no cpio archive (newc)");
    }
    let (mode, size, name) = (field(&head, 1)?, field(&head, 6)?, field(&head, 11)?);
    let (size, name) = (size as usize, name as usize);
    if name == 0 || name > MAX_PATH || size > *left {
        bail!("an entry with a name of {name} bytes and {size} bytes in it");
    }
    *left -= size;
    let mut path = read(archive, name, HEAD)?;
    // It ends with a zero.
    path.pop();
    let content = read(archive, size, 0)?;
    if path == LAST {
        return Ok(None);
    }
    let path = String::from_utf8(path).context("an entry's name")?;
    let names = Path::new(&path).components();
    let within = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if !names.into_iter().all(within) {
        bail!("{path:?} leads elsewhere");
    }
    Ok(Some(Entry {
        path,
        mode,
        content,
    }))
}

/// Eight hex digits; the first is 0.
fn field(head: &[u8; HEAD], number: usize) -> anyhow::Result<u32> {
    let at = MAGIC.len() + number * 8;
    let text = std::str::from_utf8(&head[at..at + 8])?;
    Ok(u32::from_str_radix(text, 16)?)
}

/// So many bytes, and those up to the next multiple of four; `before`: what came before them since the last.
fn read(archive: &mut impl Read, size: usize, before: usize) -> anyhow::Result<Vec<u8>> {
    let padded = (before + size).next_multiple_of(4) - before;
    let mut bytes = Vec::new();
    archive.take(padded as u64).read_to_end(&mut bytes)?;
    if bytes.len() < padded {
        bail!("the archive ends early");
    }
    bytes.truncate(size);
    Ok(bytes)
}

fn put(entry: &Entry, root: &Path) -> anyhow::Result<()> {
    let path = root.join(&entry.path);
    match entry.mode & KIND {
        DIRECTORY => fs::create_dir_all(path)?,
        FILE => {
            gone(&path)?;
            let mut options = OpenOptions::new();
            options
                .write(true)
                .create_new(true)
                .mode(entry.mode & 0o7777);
            options.open(path)?.write_all(&entry.content)?;
        }
        SYMLINK => {
            gone(&path)?;
            symlink(std::str::from_utf8(&entry.content)?, path)?;
        }
        _ => bail!("it is neither file, directory nor link"),
    }
    Ok(())
}

fn gone(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    /// Made by the reference writer.
    fn archive(dir: &Path) -> Vec<u8> {
        let mut names = String::new();
        for name in [".", "bin", "bin/tool", "bin/link", "empty"] {
            names += &format!("{name}\n");
        }
        let mut cpio = Command::new("cpio")
            .args(["-o", "-H", "newc", "--quiet"])
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = cpio.stdin.take().unwrap();
        stdin.write_all(names.as_bytes()).unwrap();
        drop(stdin);
        cpio.wait_with_output().unwrap().stdout
    }

    #[test]
    fn what_the_reference_writer_packs_is_unpacked_over_what_is_there() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(from.path().join("bin")).unwrap();
        fs::write(from.path().join("bin/tool"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(
            from.path().join("bin/tool"),
            std::os::unix::fs::PermissionsExt::from_mode(0o750),
        )
        .unwrap();
        fs::write(from.path().join("empty"), "").unwrap();
        symlink("tool", from.path().join("bin/link")).unwrap();
        let packed = archive(from.path());
        for _ in 0..2 {
            unpack(packed.as_slice(), to.path()).unwrap();
            let content = fs::read_to_string(to.path().join("bin/link")).unwrap();
            assert_eq!(content, "#!/bin/sh\n");
            let mode = fs::metadata(to.path().join("bin/tool")).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::mode(&mode.permissions());
            assert_eq!(mode & 0o777, 0o750);
            assert_eq!(fs::read(to.path().join("empty")).unwrap(), b"");
        }
        for cut in [0, HEAD - 1, HEAD, packed.len() / 2] {
            let error = unpack(&packed[..cut], to.path()).unwrap_err();
            assert!(format!("{error:#}").contains("ends early"), "{error:#}");
        }
    }

    #[test]
    fn an_entry_that_leads_out_or_is_a_device_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let entry = |name: &str, mode: u32| {
            let mut bytes = b"070701".to_vec();
            for (i, zero) in [0u32; 13].into_iter().enumerate() {
                let field = match i {
                    1 => mode,
                    11 => name.len() as u32 + 1,
                    _ => zero,
                };
                bytes.extend(format!("{field:08x}").bytes());
            }
            bytes.extend(name.bytes());
            bytes.push(0);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        for (name, mode, why) in [
            ("../out", FILE, "leads elsewhere"),
            ("/out", FILE, "leads elsewhere"),
            ("a/../../out", FILE, "leads elsewhere"),
            ("dev/sda", 0o060_000, "neither file"),
        ] {
            let error = unpack(entry(name, mode).as_slice(), root.path()).unwrap_err();
            assert!(format!("{error:#}").contains(why), "{error:#}");
        }
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
