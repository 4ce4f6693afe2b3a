//! A share of a core for one process, by a cgroup of either version. Needs root.
//! Leaves who is held to it, and why, to `scale`.
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// The kernel's usual period.
const PERIOD_US: u32 = 100_000;

/// Goes when it is dropped, if nobody is left in it.
pub struct Quota(PathBuf);

impl Quota {
    /// Holds a process to so many hundredths of a core.
    pub fn hold(name: &str, percent: u32, pid: u32) -> Result<Self> {
        let quota = percent * PERIOD_US / 100;
        let v1 = Path::new("/sys/fs/cgroup/cpu");
        let (root, limits) = match v1.is_dir() {
            true => {
                let limits = [
                    ("cpu.cfs_period_us", PERIOD_US.to_string()),
                    ("cpu.cfs_quota_us", quota.to_string()),
                ];
                (v1, limits.to_vec())
            }
            false => {
                let root = Path::new("/sys/fs/cgroup");
                put(&root.join("cgroup.subtree_control"), "+cpu")?;
                (root, vec![("cpu.max", format!("{quota} {PERIOD_US}"))])
            }
        };
        let dir = root.join(name);
        if !dir.is_dir() {
            std::fs::create_dir(&dir).with_context(|| format!("make {}", dir.display()))?;
        }
        let held = Self(dir);
        for (file, value) in limits {
            put(&held.0.join(file), &value)?;
        }
        put(&held.0.join("cgroup.procs"), &pid.to_string())?;
        Ok(held)
    }
}

fn put(file: &Path, value: &str) -> Result<()> {
    std::fs::write(file, value).with_context(|| format!("write {value} to {}", file.display()))
}

impl Drop for Quota {
    fn drop(&mut self) {
        // Its process may take a moment to be gone; an empty cgroup that stays costs nothing.
        let _ = std::fs::remove_dir(&self.0);
    }
}
