//! Debian's kernel, downloaded and unpacked, with its module index: cached, never installed.
//! Leaves the choice of modules to `modules`.
use crate::cache;
use crate::error::{Error, Result, file};
use crate::flavour::Flavour;
use crate::packages::{apt_get, download};
use crate::run::{run, text};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Clone, Debug)]
pub struct Kernel {
    /// As `uname -r` will say it.
    pub version: String,
    pub vmlinuz: PathBuf,
    /// `…/lib/modules/<version>`, its files uncompressed and indexed.
    pub modules: PathBuf,
}

/// The newest kernel of this machine's Debian release, from `cache_dir` if it is there.
///
/// # Errors
/// When the package cannot be found, downloaded or unpacked.
pub fn fetch(flavour: Flavour, cache_dir: &Path) -> anyhow::Result<Kernel> {
    let package = resolve(flavour)?;
    let dir = cache::entry(cache_dir, &package, |dir| {
        eprintln!("kernel: download and unpack {package}");
        unpack(&package, dir)
    })?;
    let version = version_of(&package)?;
    let vmlinuz = dir.join("boot").join(format!("vmlinuz-{version}"));
    let modules = dir.join("lib/modules").join(version);
    for path in [&vmlinuz, &modules] {
        if !path.exists() {
            return Err(unfit(format!("{package} has no {}", path.display())).into());
        }
    }
    Ok(Kernel {
        version: version.into(),
        vmlinuz,
        modules,
    })
}

fn unfit(said: String) -> Error {
    Error::Unfit(said)
}

fn version_of(package: &str) -> Result<&str> {
    package
        .strip_prefix("linux-image-")
        .ok_or_else(|| unfit(format!("{package} is no kernel: linux-image-<version>")))
}

/// The real package behind the meta package.
fn resolve(flavour: Flavour) -> Result<String> {
    let meta = flavour.kernel_package();
    let listed =
        |meta: &str| text(Command::new("apt-cache").args(["depends", "--important", meta]));
    let mut depends = listed(meta).unwrap_or_default();
    if behind(&depends).is_none() {
        // A fresh machine has no package lists.
        apt_get(&["update", "-qq"])?;
        depends = listed(meta)?;
    }
    behind(&depends)
        .map(str::to_string)
        .ok_or_else(|| unfit(format!("{meta} leads to no kernel: {depends:?}")))
}

fn behind(depends: &str) -> Option<&str> {
    depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends:"))
        .map(str::trim)
        .find(|name| name.starts_with("linux-image-"))
}

fn unpack(package: &str, dir: &Path) -> Result<()> {
    download(&[package], dir)?;
    let entries = fs::read_dir(dir).map_err(file("list", dir))?;
    let deb = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| {
            unfit(format!(
                "apt-get download left no package in {}",
                dir.display()
            ))
        })?;
    run(Command::new("dpkg").arg("-x").arg(&deb).arg(dir))?;
    fs::remove_file(&deb).map_err(file("remove", &deb))?;
    let modules = dir.join("lib/modules");
    if !modules.exists() {
        // Debian 13 has them below usr.
        let lib = dir.join("lib");
        fs::create_dir_all(&lib).map_err(file("make", &lib))?;
        fs::rename(dir.join("usr/lib/modules"), &modules).map_err(file("find", &modules))?;
    }
    decompress(&modules)?;
    // The package has no index; whoever installs it makes one.
    run(Command::new("depmod")
        .arg("-b")
        .arg(dir)
        .arg(version_of(package)?))
    .map(drop)
}

/// The ramdisk's own compression does better on all modules together than xz on each.
fn decompress(modules: &Path) -> Result<()> {
    /// Files named to one xz; far below the kernel's limit for arguments.
    const AT_ONCE: usize = 500;
    let mut dirs = vec![modules.to_path_buf()];
    let mut packed = Vec::new();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).map_err(file("list", &dir))? {
            let path = entry.map_err(file("list", &dir))?.path();
            if path.is_dir() && !path.is_symlink() {
                dirs.push(path);
            } else if path.to_string_lossy().ends_with(".ko.xz") {
                packed.push(path);
            }
        }
    }
    for some in packed.chunks(AT_ONCE) {
        run(Command::new("xz").arg("--decompress").args(some))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(depends: &str, expected: Option<&str>) {
        assert_eq!(behind(depends), expected, "{depends}");
    }

    #[test]
    fn the_real_package_is_found_behind_the_meta_package() {
        check(
            "linux-image-amd64\n  Depends: linux-image-6.1.0-56-amd64\n",
            Some("linux-image-6.1.0-56-amd64"),
        );
        check(
            "linux-image-amd64\n  Depends: linux-base\n  Depends: linux-image-6.12.94+deb13-amd64\n",
            Some("linux-image-6.12.94+deb13-amd64"),
        );
        check("linux-image-amd64\n", None);
        check("", None);
    }

    #[test]
    fn compressed_modules_are_unpacked_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("6.12/kernel/net");
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("a.ko"), "module").unwrap();
        fs::write(deep.join("plain.ko"), "other").unwrap();
        run(Command::new("xz").arg(deep.join("a.ko"))).unwrap();
        assert!(deep.join("a.ko.xz").exists());
        decompress(dir.path()).unwrap();
        assert!(!deep.join("a.ko.xz").exists());
        assert_eq!(fs::read(deep.join("a.ko")).unwrap(), b"module");
        assert_eq!(fs::read(deep.join("plain.ko")).unwrap(), b"other");
    }
}
