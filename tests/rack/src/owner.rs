//! Owns the names under which a test process leaves things behind, so that a later run can tell dead owners from live ones.
//! Leaves the removal of namespaces to `netns` and of processes to `process`.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fs, io};

use anyhow::{Context as _, Result};

use crate::disk;

/// First word of every name this crate makes outside its own memory: namespaces and run directories.
pub const PREFIX: &str = "ib";

/// The process that made something: its id, and when it started, because ids are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pid: u32,
    start_ticks: u64,
}

impl Owner {
    /// This process.
    pub fn this() -> Self {
        let pid = std::process::id();
        Self {
            pid,
            start_ticks: start_ticks(pid).unwrap_or(0),
        }
    }

    /// Reads the owner out of a name made by [`unique_name`]; `None` for names that are not ours.
    pub fn of(name: &str) -> Option<Self> {
        let mut parts = name.split('-');
        if parts.next() != Some(PREFIX) {
            return None;
        }
        let pid = parts.next()?.parse().ok()?;
        let start_ticks = parts.next()?.parse().ok()?;
        parts.next()?.parse::<u32>().ok()?;
        parts.next().is_none().then_some(Self { pid, start_ticks })
    }

    /// True while that very process (not a later one with its id) is alive.
    pub fn is_alive(&self) -> bool {
        start_ticks(self.pid) == Some(self.start_ticks)
    }
}

/// When a process started, in clock ticks since boot; `None` when there is none or it is a zombie.
fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name is in parentheses and may hold anything; the fields after the last `)` are plain (proc(5)).
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let state = *fields.first()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.get(19)?.parse().ok()
}

/// A name nobody else uses, that tells who made it: `ib-<pid>-<start>-<n>`.
pub fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let owner = Owner::this();
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}-{}-{}-{n}", owner.pid, owner.start_ticks)
}

/// A directory under the system's temporary directory, removed on drop, or by [`sweep_run_dirs`] after a crash.
#[derive(Debug)]
pub struct RunDir(PathBuf);

impl RunDir {
    /// Makes an empty directory with a name of its own, for this user only.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn create() -> Result<Self> {
        Self::create_named(&unique_name())
    }

    /// Makes an empty directory with the given [`unique_name`].
    ///
    /// # Errors
    /// When it can't be made.
    pub fn create_named(name: &str) -> Result<Self> {
        // What killed runs left goes first; failing at that harms nobody.
        drop(sweep_run_dirs());
        let path = std::env::temp_dir().join(name);
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("make run directory {}", path.display()))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        // Nothing to be done about a failure here; the next run sweeps what is left.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes the run directories of owners that are gone. Returns how many.
///
/// # Errors
/// When the temporary directory can't be listed.
pub fn sweep_run_dirs() -> io::Result<usize> {
    let mut swept = 0;
    for entry in fs::read_dir(std::env::temp_dir())? {
        let Ok(entry) = entry else { continue };
        let name = entry.file_name();
        let dead = name
            .to_str()
            .and_then(Owner::of)
            .is_some_and(|owner| !owner.is_alive());
        // Another run may sweep at the same moment; losing that race is fine.
        if !dead {
            continue;
        }
        disk::unmount_below(&entry.path());
        if fs::remove_dir_all(entry.path()).is_ok() {
            swept += 1;
        }
    }
    Ok(swept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_owner() {
        let name = unique_name();
        assert_ne!(name, unique_name());
        assert_eq!(Owner::of(&name), Some(Owner::this()));
        assert!(Owner::this().is_alive());
        for foreign in [
            "ib",
            "ib-1",
            "ib-1-2",
            "ib-1-2-x",
            "ib-1-2-3-4",
            "other-1-2-3",
            "ib-a-2-3",
            "",
        ] {
            assert_eq!(Owner::of(foreign), None, "{foreign:?}");
        }
    }

    #[test]
    fn an_owner_with_a_reused_pid_is_dead() {
        let this = Owner::this();
        let earlier = Owner {
            start_ticks: this.start_ticks + 1,
            ..this
        };
        assert!(!earlier.is_alive());
    }

    #[test]
    fn directories_of_dead_owners_are_swept_and_ours_are_kept() {
        let ours = RunDir::create().unwrap();
        let this = Owner::this();
        let dead =
            std::env::temp_dir().join(format!("{PREFIX}-{}-{}-7", this.pid, this.start_ticks + 1));
        fs::create_dir_all(dead.join("deep")).unwrap();
        sweep_run_dirs().unwrap();
        assert!(!dead.exists());
        assert!(ours.path().exists());
        let path = ours.path().to_owned();
        drop(ours);
        assert!(!path.exists());
    }
}
