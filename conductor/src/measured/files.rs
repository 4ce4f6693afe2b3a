//! The hashes of the kernel and the ramdisk that this worker serves, of what loads them, and of those that they replaced a while ago.
//! `presence` tells the other workers: a machine may have booted from any of them.
use super::authenticode;
use crate::netboot::dnsmasq::FOLDER;
use crate::netboot::script::{KERNEL, RAMDISK};
use crate::records::presence::Presence;
use ironbeat_common::image::Digest;
use ironbeat_ops::reply::Served;
use sha2::{Digest as _, Sha256};
use std::collections::VecDeque;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A file that was put there counts after this long: no machine gets from its ramdisk to a lookup sooner. GRUB's configuration is
/// written anew every three seconds at most, unless nodes change meanwhile.
const LOOK: Duration = Duration::from_secs(2);

/// Pairs that are remembered: kernel and ramdisk are replaced one after the other.
const MAX_PAIRS: usize = 4;
/// Loaders that are remembered: three to five in a directory, and configurations of GRUB that were replaced when workers came and went.
const MAX_LOADERS: usize = 64;
/// Of one, in bytes: GRUB with all its modules has 3 MB.
const MAX_LOADER_BYTES: u64 = 16 << 20;
/// How the names of UEFI programs end.
const PROGRAM: &str = "efi";
const GRUB_CONFIG: &str = "grub.cfg";

/// What tells that a file is another one: device, inode, length and when it was written.
type Stamp = (u64, u64, u64, i64, i64);

/// A file that loads a kernel, or says which.
struct Loader {
    path: PathBuf,
    stamp: Stamp,
    /// None: it cannot be read, or is no program.
    sha256: Option<Digest<32>>,
    gone: Option<Instant>,
}

pub struct Files {
    boot_dir: PathBuf,
    /// Where loaders are: the directory of TFTP, if this worker looks after one, and that of kernel and ramdisk, for those that
    /// machines load from elsewhere.
    loader_dirs: Vec<PathBuf>,
    /// For so long a machine may be on its way with what was served before.
    keep: Duration,
    stamps: Option<[Stamp; 2]>,
    /// The newest first, each since when it is not served any more.
    pairs: VecDeque<(Served, Option<Instant>)>,
    /// The oldest first.
    loaders: Vec<Loader>,
}

impl Files {
    /// `keep`: how long a file counts when it is not served any more.
    pub fn new(boot_dir: &Path, tftp_dir: Option<&Path>, keep: Duration) -> Self {
        let loader_dirs = tftp_dir.into_iter().chain([boot_dir]);
        Self {
            boot_dir: boot_dir.into(),
            loader_dirs: loader_dirs.map(Into::into).collect(),
            keep,
            stamps: None,
            pairs: VecDeque::new(),
            loaders: Vec::new(),
        }
    }

    /// Hashes what has changed, which blocks for some 50 ms, and says what machines may have booted, and by which loaders. Files
    /// that cannot be read are no news here.
    pub fn look(&mut self, now: Instant) -> (Vec<Served>, Vec<Digest<32>>) {
        (self.look_at_pairs(now), self.look_at_loaders(now))
    }

    fn look_at_loaders(&mut self, now: Instant) -> Vec<Digest<32>> {
        let present: Vec<(PathBuf, Stamp)> = self.loaders_there().collect();
        for loader in &mut self.loaders {
            let is_there =
                |(path, stamp): &(PathBuf, Stamp)| *path == loader.path && *stamp == loader.stamp;
            match present.iter().any(is_there) {
                true => loader.gone = None,
                false => drop(loader.gone.get_or_insert(now)),
            }
        }
        for (path, stamp) in present {
            let is_it = |it: &Loader| it.path == path && it.stamp == stamp;
            if !self.loaders.iter().any(is_it) {
                self.loaders.push(Loader {
                    sha256: hash_loader(&path),
                    path,
                    stamp,
                    gone: None,
                });
            }
        }
        let keep = self.keep;
        let counts = |gone: &Option<Instant>| gone.is_none_or(|at| now.duration_since(at) < keep);
        self.loaders.retain(|it| counts(&it.gone));
        while self.loaders.len() > MAX_LOADERS {
            let oldest = self.loaders.iter().position(|it| it.gone.is_some());
            self.loaders.remove(oldest.unwrap_or(0));
        }
        let hashes = self.loaders.iter().filter_map(|it| it.sha256.clone());
        hashes.collect()
    }

    fn loaders_there(&self) -> impl Iterator<Item = (PathBuf, Stamp)> {
        let programs = self
            .loader_dirs
            .iter()
            .filter_map(|dir| fs::read_dir(dir).ok());
        let programs = programs.flatten().flatten().map(|entry| entry.path());
        let programs = programs
            .filter(|path| is_program(path))
            .take(MAX_LOADERS / 2);
        let [in_tftp, beside] = [FOLDER, ""].map(|folder| {
            let dirs = self.loader_dirs.iter();
            dirs.map(move |dir| dir.join(folder).join(GRUB_CONFIG))
        });
        let all = programs.chain(in_tftp).chain(beside);
        all.filter_map(|path| {
            let file = fs::metadata(&path).ok()?;
            let is_loader = file.is_file() && file.len() <= MAX_LOADER_BYTES;
            is_loader.then(|| (path, stamp(&file)))
        })
    }

    fn look_at_pairs(&mut self, now: Instant) -> Vec<Served> {
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
        let of = |name| {
            let file = fs::metadata(self.boot_dir.join(name)).ok()?;
            Some(stamp(&file))
        };
        Some([of(KERNEL)?, of(RAMDISK)?])
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

fn stamp(file: &Metadata) -> Stamp {
    let (dev, ino, len) = (file.dev(), file.ino(), file.len());
    (dev, ino, len, file.mtime(), file.mtime_nsec())
}

fn is_program(path: &Path) -> bool {
    let end = path.extension();
    end.is_some_and(|end| end.eq_ignore_ascii_case(PROGRAM))
}

fn hash_loader(path: &Path) -> Option<Digest<32>> {
    let content = fs::read(path).ok()?;
    let sha256 = match is_program(path) {
        true => authenticode::sha256(&content)?,
        false => Sha256::digest(&content).into(),
    };
    Some(Digest(sha256))
}

/// Runs until the worker stops.
pub async fn watch(mut files: Files, presence: Presence) {
    loop {
        tokio::time::sleep(LOOK).await;
        let look = move || {
            let boots = files.look(Instant::now());
            (files, boots)
        };
        match tokio::task::spawn_blocking(look).await {
            Ok((looked, (serves, loaders))) => {
                files = looked;
                presence.serves(serves, loaders);
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
        let mut files = Files::new(dir.path(), None, keep);
        let begin = Instant::now();
        let sha256 = |content: &str| Digest(Sha256::digest(content).into());
        let ramdisks =
            |served: Vec<Served>| -> Vec<_> { served.into_iter().map(|it| it.ramdisk).collect() };
        put(KERNEL, "no PE file");
        assert_eq!(files.look_at_pairs(begin), []);
        put(RAMDISK, "one");
        let served = files.look_at_pairs(begin);
        let one = Served {
            kernel: sha256("no PE file"),
            program: None,
            ramdisk: sha256("one"),
        };
        assert_eq!(served, [one]);
        put(RAMDISK, "two, which is longer");
        let replaced = begin + Duration::from_secs(100);
        let both = [sha256("two, which is longer"), sha256("one")];
        assert_eq!(ramdisks(files.look_at_pairs(replaced)), both);
        assert_eq!(ramdisks(files.look_at_pairs(replaced + keep / 2)), both);
        assert_eq!(ramdisks(files.look_at_pairs(replaced + keep)), both[..1]);
        fs::remove_file(dir.path().join(RAMDISK)).unwrap();
        assert_eq!(ramdisks(files.look_at_pairs(replaced + keep)), both[..1]);
        assert_eq!(files.look_at_pairs(replaced + 2 * keep), []);
        for n in 0..10 {
            put(RAMDISK, &"n".repeat(n + 1));
            files.look_at_pairs(begin);
        }
        assert_eq!(files.look_at_pairs(begin).len(), MAX_PAIRS);
    }

    #[test]
    fn loaders_and_the_configuration_of_grub_count_until_a_while_after_they_were_replaced() {
        use ironbeat_mutate::good::event_log::program;
        let (boot, tftp) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(tftp.path().join(FOLDER)).unwrap();
        let put = |name: &str, content: &[u8]| fs::write(tftp.path().join(name), content).unwrap();
        let keep = Duration::from_secs(900);
        let mut files = Files::new(boot.path(), Some(tftp.path()), keep);
        let begin = Instant::now();
        let program_of = |body: &[u8]| Digest(authenticode::sha256(&program(body, b"")).unwrap());
        let config_of = |content: &[u8]| Digest(Sha256::digest(content).into());
        put("shimx64.efi", &program(b"shim", b"signed"));
        put("no-program.efi", b"text");
        put("pxelinux.0", &program(b"other", b""));
        put("grub/initrd", b"a ramdisk is no loader");
        put("grub/grub.cfg", b"of one worker");
        fs::write(boot.path().join("IPXE.EFI"), program(b"ipxe", b"")).unwrap();
        let mut all = vec![
            program_of(b"shim"),
            program_of(b"ipxe"),
            config_of(b"of one worker"),
        ];
        assert_eq!(files.look_at_loaders(begin), all);
        put("grub/grub.cfg", b"of two workers");
        let replaced = begin + Duration::from_secs(100);
        all.push(config_of(b"of two workers"));
        assert_eq!(files.look_at_loaders(replaced), all);
        all.remove(2);
        assert_eq!(files.look_at_loaders(replaced + keep), all);
        for n in 0..2 * MAX_LOADERS {
            put("grub/grub.cfg", &vec![b'#'; n]);
            files.look_at_loaders(begin);
        }
        let last = files.look_at_loaders(begin);
        assert!(last.len() <= MAX_LOADERS, "{}", last.len());
        assert!(
            all[..2].iter().all(|it| last.contains(it)),
            "those there stay"
        );
    }
}
