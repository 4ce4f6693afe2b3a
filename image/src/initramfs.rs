//! The ramdisk: the agent as its only program, the modules it may need, and nothing else.
//! Which modules is in `flavour` and `modules`; what the agent does with them is its own affair.
use crate::cpio::Archive;
use crate::flavour::Flavour;
use crate::kernel::Kernel;
use crate::modules::closure;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

pub struct Spec<'a> {
    pub agent: &'a Path,
    pub kernel: &'a Kernel,
    pub flavour: Flavour,
    /// zstd level: 19 for a release, 3 when time matters more.
    pub level: i32,
    pub out_dir: &'a Path,
}

#[derive(Debug)]
pub struct Built {
    pub vmlinuz: PathBuf,
    pub initrd: PathBuf,
    pub vmlinuz_bytes: u64,
    pub initrd_bytes: u64,
    /// Before compression.
    pub unpacked_bytes: u64,
    pub modules: usize,
    /// Wanted modules that this kernel does not have.
    pub unknown: Vec<String>,
}

/// Writes `vmlinuz` and `initrd` into the output directory.
///
/// # Errors
/// When something cannot be read or written.
pub fn build(spec: &Spec<'_>) -> Result<Built> {
    let mut archive = Archive::new();
    for dir in ["dev", "proc", "sys", "run", "tmp", "etc/ironbeat"] {
        archive.dir(dir);
    }
    archive.char_device("dev/console", 0o600, 5, 1);
    archive.char_device("dev/null", 0o666, 1, 3);
    let agent =
        fs::read(spec.agent).with_context(|| format!("read the agent {}", spec.agent.display()))?;
    archive.file("init", 0o755, agent);

    let closure = closure(spec.kernel, spec.flavour.modules())?;
    let base = format!("lib/modules/{}", spec.kernel.version);
    for path in closure.files.values() {
        let from = spec.kernel.modules.join(path);
        let content = fs::read(&from).with_context(|| format!("read {}", from.display()))?;
        archive.file(&format!("{base}/{path}"), 0o644, content);
    }
    for (name, text) in &closure.index {
        archive.file(&format!("{base}/{name}"), 0o644, text.clone().into_bytes());
    }
    let always = spec
        .flavour
        .always()
        .iter()
        .filter(|name| closure.files.contains_key(**name));
    let always: String = always.map(|name| format!("{name}\n")).collect();
    archive.file("etc/ironbeat/modules", 0o644, always.into_bytes());

    let unpacked = archive.finish();
    let packed = zstd::bulk::compress(&unpacked, spec.level).context("compress the ramdisk")?;
    fs::create_dir_all(spec.out_dir).with_context(|| format!("make {}", spec.out_dir.display()))?;
    let (vmlinuz, initrd) = (spec.out_dir.join("vmlinuz"), spec.out_dir.join("initrd"));
    let vmlinuz_bytes = fs::copy(&spec.kernel.vmlinuz, &vmlinuz)
        .with_context(|| format!("write {}", vmlinuz.display()))?;
    fs::write(&initrd, &packed).with_context(|| format!("write {}", initrd.display()))?;
    Ok(Built {
        vmlinuz,
        initrd,
        vmlinuz_bytes,
        initrd_bytes: packed.len() as u64,
        unpacked_bytes: unpacked.len() as u64,
        modules: closure.files.len(),
        unknown: closure.unknown,
    })
}
