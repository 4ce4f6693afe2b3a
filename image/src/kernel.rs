//! Debian's kernel, downloaded and unpacked, with its module index: cached, never installed.
//! Which modules of it a ramdisk gets is in `modules`.
use crate::flavour::Flavour;
use crate::run::{run, text};
use anyhow::{Context, Result, bail};
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

/// # Errors
/// When the package cannot be found, downloaded or unpacked.
pub fn fetch(flavour: Flavour, cache_dir: &Path) -> Result<Kernel> {
    let package = resolve(flavour)?;
    let dir = cache_dir.join(&package);
    if !dir.join("done").exists() {
        eprintln!("kernel: download and unpack {package}");
        let unpacking = cache_dir.join(format!("{package}.{}", std::process::id()));
        unpack(&package, &unpacking).with_context(|| format!("get {package}"))?;
        fs::write(unpacking.join("done"), "")?;
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
        }
        fs::rename(&unpacking, &dir).with_context(|| format!("move to {}", dir.display()))?;
    }
    let version = package
        .strip_prefix("linux-image-")
        .context("a kernel package is linux-image-<version>")?;
    let vmlinuz = dir.join("boot").join(format!("vmlinuz-{version}"));
    let modules = dir.join("lib/modules").join(version);
    for path in [&vmlinuz, &modules] {
        anyhow::ensure!(path.exists(), "{package} has no {}", path.display());
    }
    Ok(Kernel {
        version: version.into(),
        vmlinuz,
        modules,
    })
}

/// The real package behind the meta package.
fn resolve(flavour: Flavour) -> Result<String> {
    let meta = flavour.kernel_package();
    let listed =
        |meta: &str| text(Command::new("apt-cache").args(["depends", "--important", meta]));
    let mut depends = listed(meta).unwrap_or_default();
    if !depends.contains("Depends:") {
        // A fresh machine has no package lists.
        run(Command::new("apt-get").args(["update", "-qq"])).context("update the package lists")?;
        depends = listed(meta)?;
    }
    let found = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends:"))
        .map(str::trim);
    let mut found = found.filter(|name| name.starts_with("linux-image-"));
    found
        .next()
        .map(str::to_string)
        .with_context(|| format!("{meta} leads to no kernel: {depends:?}"))
}

fn unpack(package: &str, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    run(Command::new("apt-get")
        .args(["download", "-qq", package])
        .current_dir(dir))?;
    let deb = fs::read_dir(dir)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let Some(deb) = deb else {
        bail!("apt-get download left no package in {}", dir.display())
    };
    run(Command::new("dpkg")
        .arg("-x")
        .args([&deb, &dir.to_path_buf()]))?;
    fs::remove_file(&deb)?;
    // Debian 13 has them below usr/lib.
    if !dir.join("lib/modules").exists() {
        fs::create_dir_all(dir.join("lib"))?;
        fs::rename(dir.join("usr/lib/modules"), dir.join("lib/modules"))
            .context("find lib/modules")?;
    }
    decompress(&dir.join("lib/modules"))?;
    let version = package.trim_start_matches("linux-image-");
    run(Command::new("depmod").arg("-b").arg(dir).arg(version)).map(drop)
}

/// Packed once more by the ramdisk's own compression, which does better on all of them together.
fn decompress(modules: &Path) -> Result<()> {
    let mut dirs = vec![modules.to_path_buf()];
    let mut packed = Vec::new();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                dirs.push(entry.path());
            } else if entry.file_name().to_string_lossy().ends_with(".ko.xz") {
                packed.push(entry.path());
            }
        }
    }
    for some in packed.chunks(500) {
        run(Command::new("xz").arg("--decompress").args(some))?;
    }
    Ok(())
}
