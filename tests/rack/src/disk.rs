//! Owns small disks that can run full: a file system in memory, with a file on it that takes what is left.
//! Leaves what is stored there to the programs under test.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// The file that takes what is left.
const BALLAST: &str = "ballast";

/// A mounted disk. Unmounted on drop; after a crash by the next run's sweep.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of `bytes` at `path`, which is made.
    ///
    /// # Errors
    /// When the process is not root.
    pub fn mount(path: &Path, bytes: u64) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("make {}", path.display()))?;
        let size = CString::new(format!("size={bytes}")).expect("a number has no NUL in it");
        mount(
            "tmpfs",
            path,
            "tmpfs",
            MountFlags::NOSUID,
            Some(size.as_c_str()),
        )
        .with_context(|| format!("mount a small disk at {}", path.display()))?;
        Ok(Self(path.to_owned()))
    }

    /// Takes all space that is left.
    ///
    /// # Errors
    /// When writing fails for another reason than a full disk.
    pub fn fill(&self) -> Result<()> {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(self.0.join(BALLAST))
            .context("make the ballast")?;
        for block in [1 << 20, 4096] {
            let zeros = vec![0; block];
            loop {
                match file.write_all(&zeros) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error).context("fill the disk"),
                }
            }
        }
        Ok(())
    }

    /// Gives the space back.
    ///
    /// # Errors
    /// When it was not filled.
    pub fn drain(&self) -> Result<()> {
        fs::remove_file(self.0.join(BALLAST)).context("remove the ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What still has files open here goes on with them; the memory is freed with the last of them.
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// Unmounts what a dead owner left mounted below a directory.
pub(crate) fn unmount_below(dir: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .map(Path::new);
    for point in points.filter(|point| point.starts_with(dir)) {
        // Another run may sweep at the same moment.
        let _ = unmount(point, UnmountFlags::DETACH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_refuses_until_it_is_drained() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let disk = SmallDisk::mount(&path, 1 << 20).unwrap();
        fs::write(path.join("before"), "kept").unwrap();
        disk.fill().unwrap();
        let error = fs::write(path.join("more"), [0; 8192]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        disk.drain().unwrap();
        fs::write(path.join("more"), [0; 8192]).unwrap();
        assert_eq!(fs::read_to_string(path.join("before")).unwrap(), "kept");
        drop(disk);
        assert!(!path.join("before").exists(), "it is unmounted");
    }

    #[test]
    fn what_a_dead_owner_left_mounted_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        std::mem::forget(SmallDisk::mount(&path, 1 << 20).unwrap());
        fs::write(path.join("file"), "").unwrap();
        unmount_below(dir.path());
        assert!(!path.join("file").exists());
    }
}
