//! The hashes of the kernel and the ramdisk that this worker serves, and of those that they replaced a while ago.
//! `presence` tells the other workers: a machine may have booted from any of them.
use super::authenticode;
use crate::netboot::script::{KERNEL, RAMDISK};
use crate::records::presence::Presence;
use ironbeat_common::image::Digest;
use ironbeat_ops::reply::Served;
use sha2::{Digest as _, Sha256};
use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A file that was put there counts after this long: no machine gets from its ramdisk to a lookup sooner.
const LOOK: Duration = Duration::from_secs(5);

/// Pairs that are remembered: kernel and ramdisk are replaced one after the other.
const MAX_PAIRS: usize = 4;

/// What tells that a file is another one: device, inode, length and when it was written.
type Stamp = (u64, u64, u64, i64, i64);

pub struct Files {
    boot_dir: PathBuf,
    /// For so long a machine may be on its way with what was served before.
    keep: Duration,
    stamps: Option<[Stamp; 2]>,
    /// The newest first, each since when it is not served any more.
    pairs: VecDeque<(Served, Option<Instant>)>,
}

impl Files {
    pub fn new(boot_dir: &Path, keep: Duration) -> Self {
        Self {
            boot_dir: boot_dir.into(),
            keep,
            stamps: None,
            pairs: VecDeque::new(),
        }
    }

    /// Hashes what has changed, which blocks for some 50 ms, and says what machines may have booted. Files that cannot be read
    /// are no news here.
    pub fn look(&mut self, now: Instant) -> Vec<Served> {
        let stamps = self.stamps();
        if stamps != self.stamps {
            let read = stamps.and_then(|_| self.read().ok());
            self.replace(read, now);
            self.stamps = stamps;
        }
        let keep = self.keep;
        let counts = |gone: &Option<Instant>| gone.is_none_or(|at| now.duration_since(at) < keep);
        self.pairs.retain(|(_, gone)| counts(gone));
        self.pairs
            .iter()
            .map(|(served, _)| served.clone())
            .collect()
    }

    fn replace(&mut self, by: Option<Served>, now: Instant) {
        for (_, gone) in &mut self.pairs {
            gone.get_or_insert(now);
        }
        if let Some(served) = by {
            self.pairs.retain(|(before, _)| *before != served);
            self.pairs.push_front((served, None));
        }
        self.pairs.truncate(MAX_PAIRS);
    }

    fn stamps(&self) -> Option<[Stamp; 2]> {
        let stamp = |name| {
            let file = fs::metadata(self.boot_dir.join(name)).ok()?;
            let (dev, ino, len) = (file.dev(), file.ino(), file.len());
            Some((dev, ino, len, file.mtime(), file.mtime_nsec()))
        };
        Some([stamp(KERNEL)?, stamp(RAMDISK)?])
    }

    fn read(&self) -> io::Result<Served> {
        let kernel = fs::read(self.boot_dir.join(KERNEL))?;
        let ramdisk = fs::read(self.boot_dir.join(RAMDISK))?;
        Ok(Served {
            kernel: Digest(Sha256::digest(&kernel).into()),
            program: authenticode::sha256(&kernel).map(Digest),
            ramdisk: Digest(Sha256::digest(&ramdisk).into()),
        })
    }
}

/// Runs until the worker stops.
pub async fn watch(mut files: Files, presence: Presence) {
    loop {
        tokio::time::sleep(LOOK).await;
        let look = move || {
            let serves = files.look(Instant::now());
            (files, serves)
        };
        match tokio::task::spawn_blocking(look).await {
            Ok((looked, serves)) => {
                files = looked;
                presence.serves(serves);
            }
            Err(error) => {
                tracing::error!("hash what is served: {error}");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_served_counts_for_a_while_after_it_was_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name, content: &str| fs::write(dir.path().join(name), content).unwrap();
        let keep = Duration::from_secs(900);
        let mut files = Files::new(dir.path(), keep);
        let begin = Instant::now();
        let sha256 = |content: &str| Digest(Sha256::digest(content).into());
        let ramdisks =
            |served: Vec<Served>| -> Vec<_> { served.into_iter().map(|it| it.ramdisk).collect() };
        put(KERNEL, "no PE file");
        assert_eq!(files.look(begin), []);
        put(RAMDISK, "one");
        let served = files.look(begin);
        let one = Served {
            kernel: sha256("no PE file"),
            program: None,
            ramdisk: sha256("one"),
        };
        assert_eq!(served, [one]);
        put(RAMDISK, "two, which is longer");
        let replaced = begin + Duration::from_secs(100);
        let both = [sha256("two, which is longer"), sha256("one")];
        assert_eq!(ramdisks(files.look(replaced)), both);
        assert_eq!(ramdisks(files.look(replaced + keep / 2)), both);
        assert_eq!(ramdisks(files.look(replaced + keep)), both[..1]);
        fs::remove_file(dir.path().join(RAMDISK)).unwrap();
        assert_eq!(ramdisks(files.look(replaced + keep)), both[..1]);
        assert_eq!(files.look(replaced + 2 * keep), []);
        for n in 0..10 {
            put(RAMDISK, &"n".repeat(n + 1));
            files.look(begin);
        }
        assert_eq!(files.look(begin).len(), MAX_PAIRS);
    }
}
