//! Builds what ships and what the rack needs: binaries, kernel, ramdisk, demo operating system. Everything below target/.
//! What goes into a ramdisk is `ironbeat-image`'s affair.
use crate::packages;
use anyhow::{Context, Result, ensure};
use ironbeat_image::flavour::Flavour;
use ironbeat_image::{demo_os, initramfs, kernel};
use ironbeat_product::product::Product;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The agent is static, so that it is alone in its ramdisk. The target is named so that these flags do not reach build
/// scripts; without the last one, random numbers would need /dev.
const AGENT_TARGET: &str = "x86_64-unknown-linux-gnu";
const AGENT_RUSTFLAGS: &str = "-C target-feature=+crt-static -C relocation-model=pie --cfg getrandom_backend=\"linux_getrandom\"";
/// Level 19 takes 2 s and is decompressed as fast as any other.
const ZSTD_LEVEL: i32 = 19;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Quick to build; what tests and the demo run.
    Dev,
    /// What ships.
    Release,
}

/// How the agent is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentBuild {
    /// Small: what ships, and what tests and the demo run.
    Small,
    /// Without optimising across crates: for trying a change.
    Quick,
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is in the workspace")
        .to_path_buf()
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn cache() -> PathBuf {
    target().join("cache")
}

fn cargo(arguments: &[&str], rustflags: Option<&str>) -> Result<()> {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).current_dir(root());
    if let Some(flags) = rustflags {
        command.env("RUSTFLAGS", flags);
    }
    let status = command
        .status()
        .with_context(|| format!("start {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

/// The `ironbeat` binary.
pub fn ironbeat(profile: Profile) -> Result<PathBuf> {
    match profile {
        Profile::Dev => cargo(&["build", "--package", "ironbeat"], None)?,
        Profile::Release => cargo(&["build", "--release", "--package", "ironbeat"], None)?,
    }
    let dir = match profile {
        Profile::Dev => "debug",
        Profile::Release => "release",
    };
    Ok(target().join(dir).join("ironbeat"))
}

/// The simulated BMCs, as a program.
pub fn bmc_sim() -> Result<PathBuf> {
    cargo(
        &["build", "--release", "--package", "ironbeat-bmc-sim"],
        None,
    )?;
    Ok(target().join("release/ironbeat-bmc-sim"))
}

/// The load of the BMC bench.
pub fn bmc_load() -> Result<PathBuf> {
    let arguments = [
        "build",
        "--release",
        "--package",
        "ironbeat-ipmi",
        "--example",
        "sweep",
    ];
    cargo(&arguments, None)?;
    Ok(target().join("release/examples/sweep"))
}

/// Where benches keep what they install.
pub fn bench_dir() -> Result<PathBuf> {
    let dir = target().join("bench");
    std::fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    Ok(dir)
}

/// The static agent.
pub fn agent(build: AgentBuild) -> Result<PathBuf> {
    let profile = match build {
        AgentBuild::Small => "agent",
        AgentBuild::Quick => "agent-quick",
    };
    let arguments = [
        "build",
        "--profile",
        profile,
        "--target",
        AGENT_TARGET,
        "--package",
        "ironbeat-agent",
    ];
    cargo(&arguments, Some(AGENT_RUSTFLAGS))?;
    let dir = target().join(AGENT_TARGET).join(profile);
    Ok(dir.join("ironbeat-agent"))
}

pub fn kernel(flavour: Flavour) -> Result<kernel::Kernel> {
    kernel::fetch(flavour, &cache().join("kernels"))
}

/// Kernel and ramdisk; prints their sizes.
pub fn ramdisk(flavour: Flavour, build: AgentBuild, out_dir: &Path) -> Result<initramfs::Built> {
    let agent = agent(build)?;
    let kernel = kernel(flavour)?;
    let built = initramfs::build(&initramfs::Spec {
        agent: &agent,
        kernel: &kernel,
        flavour,
        level: ZSTD_LEVEL,
        out_dir,
    })?;
    let agent_bytes = std::fs::metadata(&agent)?.len();
    eprintln!("{flavour} flavour, Linux {}:", kernel.version);
    eprintln!("  {:>10} bytes  agent, static", agent_bytes);
    eprintln!(
        "  {:>10} bytes  {} (with {} modules; {} unpacked)",
        built.initrd_bytes,
        built.initrd.display(),
        built.modules,
        built.unpacked_bytes
    );
    eprintln!(
        "  {:>10} bytes  {}",
        built.vmlinuz_bytes,
        built.vmlinuz.display()
    );
    if !built.unknown.is_empty() {
        eprintln!("  this kernel has no {}", built.unknown.join(", "));
    }
    Ok(built)
}

pub fn image_command(flavour: &str, out: Option<PathBuf>, build: AgentBuild) -> Result<()> {
    packages::ensure(&[packages::BUILD, packages::IMAGE])?;
    let flavour: Flavour = flavour.parse()?;
    let out = out.unwrap_or_else(|| target().join("image").join(flavour.to_string()));
    ramdisk(flavour, build, &out).map(drop)
}

/// The demo's operating system, with that flavour's drivers.
pub fn demo_os(flavour: Flavour) -> Result<demo_os::DemoOs> {
    demo_os::build(&kernel(flavour)?, &cache().join("demo-os"))
}

/// All that a rack needs: of virtual machines, or of such as have the disks and NICs of real ones.
pub fn product(profile: Profile, flavour: Flavour) -> Result<Product> {
    let boot_dir = target().join("image").join(flavour.to_string());
    // The kernel is downloaded while the worker is compiled.
    let ironbeat = std::thread::scope(|scope| {
        let download = scope.spawn(|| kernel(flavour));
        let ironbeat = ironbeat(profile);
        download.join().expect("a download does not panic")?;
        ironbeat
    })?;
    ramdisk(flavour, AgentBuild::Small, &boot_dir)?;
    let os = demo_os(flavour)?;
    Ok(Product {
        ironbeat,
        boot_dir,
        image: os.zst,
        image_sha256: os.zst_sha256,
    })
}

/// Writes a file that `Product::read` reads, and returns its path.
pub fn write_product(product: &Product, flavour: Flavour) -> Result<PathBuf> {
    let path = target().join(format!("product-{flavour}.json"));
    std::fs::write(&path, product.to_json().to_string())
        .with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}
