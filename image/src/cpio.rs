//! The archive the kernel unpacks as its first root: cpio "newc" (Documentation/driver-api/early-userspace).
//! Same entries, same bytes: inode numbers count up, times are zero, everything is root's. Leaves the contents to callers.
use std::collections::BTreeMap;

/// Entries by path; directories of a path are made as needed.
#[derive(Default)]
pub struct Archive {
    entries: BTreeMap<String, Entry>,
}

struct Entry {
    mode: u32,
    device: (u32, u32),
    content: Vec<u8>,
}

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHAR_DEVICE: u32 = 0o020_000;

impl Archive {
    pub fn new() -> Self {
        Self::default()
    }

    fn add(&mut self, path: &str, entry: Entry) {
        let path = path.trim_matches('/');
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.dir(parent);
        }
        self.entries.insert(path.into(), entry);
    }

    pub fn dir(&mut self, path: &str) {
        if !self.entries.contains_key(path.trim_matches('/')) {
            self.add(
                path,
                Entry {
                    mode: DIRECTORY | 0o755,
                    device: (0, 0),
                    content: Vec::new(),
                },
            );
        }
    }

    /// `permissions` as in `0o755`.
    pub fn file(&mut self, path: &str, permissions: u32, content: Vec<u8>) {
        self.add(
            path,
            Entry {
                mode: FILE | permissions,
                device: (0, 0),
                content,
            },
        );
    }

    pub fn symlink(&mut self, path: &str, target: &str) {
        self.add(
            path,
            Entry {
                mode: SYMLINK | 0o777,
                device: (0, 0),
                content: target.as_bytes().to_vec(),
            },
        );
    }

    /// Nothing where there is something already.
    pub fn symlink_unless_there(&mut self, path: &str, target: &str) {
        let path = path.trim_matches('/');
        if !self.entries.contains_key(path) {
            self.symlink(path, target);
        }
    }

    pub fn char_device(&mut self, path: &str, permissions: u32, major: u32, minor: u32) {
        self.add(
            path,
            Entry {
                mode: CHAR_DEVICE | permissions,
                device: (major, minor),
                content: Vec::new(),
            },
        );
    }

    /// The path that is unpacked last.
    pub fn last(&self) -> Option<&str> {
        self.entries.last_key_value().map(|(path, _)| path.as_str())
    }

    pub fn finish(&self) -> Vec<u8> {
        let mut out = Vec::new();
        // Directories sort before what is in them.
        for (inode, (path, entry)) in (1u32..).zip(&self.entries) {
            write_entry(&mut out, inode, path, entry);
        }
        write_entry(
            &mut out,
            0,
            "TRAILER!!!",
            &Entry {
                mode: 0,
                device: (0, 0),
                content: Vec::new(),
            },
        );
        out
    }
}

fn write_entry(out: &mut Vec<u8>, inode: u32, name: &str, entry: &Entry) {
    let links = 1 + u32::from(entry.mode & 0o170_000 == DIRECTORY);
    let size = u32::try_from(entry.content.len()).expect("no file of a ramdisk has 4 GiB");
    let fields = [
        inode,
        entry.mode,
        0,
        0,
        links,
        0,
        size,
        0,
        0,
        entry.device.0,
        entry.device.1,
        name.len() as u32 + 1,
        0,
    ];
    out.extend(b"070701");
    for field in fields {
        out.extend(format!("{field:08x}").bytes());
    }
    out.extend(name.bytes());
    out.push(0);
    pad(out);
    out.extend(&entry.content);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    fn archive() -> Archive {
        let mut archive = Archive::new();
        archive.file("init", 0o755, b"#!/bin/true\n".to_vec());
        archive.file("/etc/deep/er/file", 0o644, vec![7; 5]);
        archive.symlink("sbin", "bin");
        archive.char_device("dev/console", 0o600, 5, 1);
        archive
    }

    fn cpio(arguments: &[&str]) -> String {
        let mut reader = Command::new("cpio")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        reader
            .stdin
            .take()
            .unwrap()
            .write_all(&archive().finish())
            .unwrap();
        let output = reader.wait_with_output().unwrap();
        assert!(output.status.success(), "{:?}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn the_reference_reader_agrees() {
        let listing = cpio(&["-itv", "--quiet"]);
        let lines: Vec<Vec<&str>> = listing
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        let named: Vec<(&str, &str)> = lines
            .iter()
            .map(|line| (line[0], *line.last().unwrap()))
            .collect();
        assert_eq!(
            named,
            [
                ("drwxr-xr-x", "dev"),
                ("crw-------", "dev/console"),
                ("drwxr-xr-x", "etc"),
                ("drwxr-xr-x", "etc/deep"),
                ("drwxr-xr-x", "etc/deep/er"),
                ("-rw-r--r--", "etc/deep/er/file"),
                ("-rwxr-xr-x", "init"),
                ("lrwxrwxrwx", "bin"),
            ]
        );
    }

    #[test]
    fn the_reference_reader_finds_the_contents() {
        let content = cpio(&["-i", "--quiet", "--to-stdout", "init", "etc/deep/er/file"]);
        assert_eq!(content, "\x07\x07\x07\x07\x07#!/bin/true\n");
    }

    #[test]
    fn the_same_entries_in_any_order_make_the_same_archive() {
        let mut other = Archive::new();
        other.char_device("dev/console", 0o600, 5, 1);
        other.symlink("sbin", "bin");
        other.dir("dev");
        other.file("etc/deep/er/file", 0o644, vec![7; 5]);
        other.file("init", 0o755, b"#!/bin/true\n".to_vec());
        assert_eq!(archive().finish(), other.finish());
    }
}
