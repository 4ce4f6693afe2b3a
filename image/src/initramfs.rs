//! The ramdisk: the agent as its only program, the modules it may need, and nothing else.
//! Leaves the choice of modules to `flavour` and `modules`, and loading them to the agent.
use crate::cpio::Archive;
use crate::error::{Error, Result, file};
use crate::flavour::Flavour;
use crate::kernel::Kernel;
use crate::modules::{closure, unsigned};
use std::fs;
use std::path::{Path, PathBuf};

/// Entries are in the order of their paths: nothing comes after this one.
const LAST: &str = "var/ironbeat/complete";

pub struct Spec<'a> {
    pub agent: &'a Path,
    pub kernel: &'a Kernel,
    pub flavour: Flavour,
    /// The CA of the site's NATS servers and images, in PEM.
    pub ca: Option<&'a Path>,
    /// When it is made, in seconds since 1970: no clock is before that.
    pub built: u64,
    /// zstd level: 19 for a release, 3 when time matters more. The kernel takes no window beyond 128 MiB; no level up to
    /// 19 asks for more than 8.
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

/// Writes `vmlinuz` and `initrd` into the output directory: the same input, the same bytes.
///
/// # Errors
/// When something cannot be read or written.
pub fn build(spec: &Spec<'_>) -> anyhow::Result<Built> {
    let mut archive = Archive::new();
    for dir in ["dev", "proc", "sys", "run", "tmp", "etc/ironbeat"] {
        archive.dir(dir);
    }
    archive.char_device("dev/console", 0o600, 5, 1);
    archive.char_device("dev/null", 0o666, 1, 3);
    // The agent looks for one of the first files and the last: with too little memory the kernel unpacks what it has room for.
    let needed = format!("{}\n", spec.flavour.memory_mib());
    archive.file("etc/ironbeat/memory-mib", 0o644, needed.into_bytes());
    let built = format!("{}\n", spec.built);
    archive.file("etc/ironbeat/built", 0o644, built.into_bytes());
    if let Some(ca) = spec.ca {
        archive.file("etc/ironbeat/ca.pem", 0o644, certificates(ca)?);
    }
    let agent = fs::read(spec.agent).map_err(file("read the agent", spec.agent))?;
    archive.file("init", 0o755, agent);

    let closure = closure(spec.kernel, spec.flavour.modules())?;
    let base = format!("lib/modules/{}", spec.kernel.version);
    for path in closure.files.values() {
        let from = spec.kernel.modules.join(path);
        let mut content = fs::read(&from).map_err(file("read", &from))?;
        if !spec.flavour.is_signed() {
            content.truncate(unsigned(&content).len());
        }
        archive.file(&format!("{base}/{path}"), 0o644, content);
    }
    for (name, text) in closure.index {
        archive.file(&format!("{base}/{name}"), 0o644, text.into_bytes());
    }
    let always = spec.flavour.always().iter();
    let always: String = always
        .filter(|name| closure.files.contains_key(**name))
        .flat_map(|name| [name, "\n"])
        .collect();
    archive.file("etc/ironbeat/modules", 0o644, always.into_bytes());
    archive.file(LAST, 0o644, Vec::new());

    assert_eq!(
        archive.last(),
        Some(LAST),
        "without it the agent calls the ramdisk cut short"
    );
    let unpacked = archive.finish();
    let packed = zstd::bulk::compress(&unpacked, spec.level).map_err(|source| Error::Compress {
        what: "the ramdisk",
        source,
    })?;
    fs::create_dir_all(spec.out_dir).map_err(file("make", spec.out_dir))?;
    let vmlinuz = fs::read(&spec.kernel.vmlinuz).map_err(file("read", &spec.kernel.vmlinuz))?;
    Ok(Built {
        vmlinuz: put(spec.out_dir, "vmlinuz", &vmlinuz)?,
        initrd: put(spec.out_dir, "initrd", &packed)?,
        vmlinuz_bytes: vmlinuz.len() as u64,
        initrd_bytes: packed.len() as u64,
        unpacked_bytes: unpacked.len() as u64,
        modules: closure.files.len(),
        unknown: closure.unknown,
    })
}

/// A key that belongs to nobody else must not be served to every machine.
fn certificates(path: &Path) -> Result<Vec<u8>> {
    let text = fs::read_to_string(path).map_err(file("read the CA", path))?;
    let is_public = text.contains("-----BEGIN CERTIFICATE-----") && !text.contains("PRIVATE KEY");
    match is_public {
        true => Ok(text.into_bytes()),
        false => Err(Error::Unfit(format!(
            "{} is no CA for a ramdisk: it has to have certificates, and no private key",
            path.display()
        ))),
    }
}

/// Renames it into place: a worker may be serving the old one.
fn put(dir: &Path, name: &str, content: &[u8]) -> Result<PathBuf> {
    let path = dir.join(name);
    let part = dir.join(format!("{name}.{}.part", std::process::id()));
    fs::write(&part, content).map_err(file("write", &part))?;
    fs::rename(&part, &path).map_err(file("write", &path))?;
    Ok(path)
}
