//! What CI runs, which is what a person runs: format, lints, layout, docs, unit and integration tests, rack cycles.
//! Leaves the tests themselves to the crates and to `tests/`.
use crate::artifacts::{self, AgentBuild, Build};
use crate::{chaos, fuzz, ipxe, neighbours, packages, simulate, tidy};
use anyhow::{Context, Result, anyhow, ensure};
use ironbeat_image::flavour::Flavour;
use ironbeat_product::product::Product;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const MAX_AGENT_BYTES: u64 = 3_500_000;
const MAX_SMALL_RAMDISK_BYTES: u64 = 2_200_000;

/// Rack tests at a time. Most have one machine, which is one busy core.
const RACK_TESTS_AT_ONCE: &str = "2";

/// # Errors
/// The first check that failed.
pub fn run() -> Result<()> {
    let begin = Instant::now();
    let mut parts = Parts::default();
    let result = all(&mut parts);
    parts.print();
    let took = begin.elapsed().as_secs();
    match &result {
        Ok(()) => println!("ci: all passed in {took} s"),
        Err(_) => println!("ci: failed after {took} s"),
    }
    result
}

fn all(parts: &mut Parts) -> Result<()> {
    parts.part("packages", || {
        packages::ensure(&[
            packages::BUILD,
            packages::IMAGE,
            packages::DEMO_OS,
            packages::RACK,
            packages::TESTS,
        ])
    })?;
    parts.part("format", || run_cargo(&["fmt", "--all", "--check"]))?;
    parts.part("lints", lints)?;
    parts.part("no unwrap in what ships", no_unwrap)?;
    parts.part("tidy", || tidy::run(&tidy::Args::default()))?;
    parts.part("docs", docs)?;
    parts.part(
        "compile everything in the profile of tests",
        artifacts::workspace,
    )?;
    // Tests wait for time-outs and servers; what ships in ramdisks is compiled and packed meanwhile. The agent's profile has a
    // directory of its own, so that neither cargo waits for the other.
    let (_, products) = parts.beside(
        "unit and integration tests",
        // All that fails, not the first of it: a run is half an hour.
        || run_cargo(&["test", "--workspace", "--no-fail-fast"]),
        "the agent, kernels, ramdisks, images (meanwhile)",
        || Products::build(Build::Tested),
    )?;
    parts.part("chaos, the short form", chaos::short)?;
    // Neighbours are refused, which takes them time and no core.
    parts.beside(
        "simulation and fuzz targets, the short forms",
        || simulate::short().and_then(|()| fuzz::short()),
        "bad neighbours, the short form (meanwhile)",
        neighbours::short,
    )?;
    parts.part("rack tests", || {
        run_rack_tests(&products, "--workspace", None, None)
    })
}

/// How long each part took, in order.
#[derive(Default)]
struct Parts(Vec<(&'static str, Duration)>);

impl Parts {
    fn part<T>(&mut self, name: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("\n== {name}");
        let begin = Instant::now();
        let result = work();
        self.0.push((name, begin.elapsed()));
        result.context(name)
    }

    /// Two parts at the same time, the second in a thread of its own.
    fn beside<A, B: Send>(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> Result<A>,
        other_name: &'static str,
        other: impl FnOnce() -> Result<B> + Send,
    ) -> Result<(A, B)> {
        let mut others = Parts::default();
        let (first, second) = std::thread::scope(|scope| {
            let second = scope.spawn(|| others.part(other_name, other));
            let first = self.part(name, work);
            let second = second
                .join()
                .map_err(|_| anyhow!("the thread of {other_name:?} panicked"));
            (first, second.flatten())
        });
        self.0.append(&mut others.0);
        Ok((first?, second?))
    }

    fn print(&self) {
        println!();
        for (name, took) in &self.0 {
            println!("{:>6} s  {name}", took.as_secs());
        }
    }
}

fn lints() -> Result<()> {
    run_cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--features",
        "ironbeat-product/rack",
        "--",
        "-D",
        "warnings",
    ])
}

/// `expect("why it cannot happen")` tells the next reader something. In a test there is nothing to tell.
fn no_unwrap() -> Result<()> {
    run_cargo(&[
        "clippy",
        "--workspace",
        "--lib",
        "--bins",
        "--",
        "-D",
        "warnings",
        "-D",
        "clippy::unwrap_used",
    ])
}

fn docs() -> Result<()> {
    let mut command = cargo(&["doc", "--workspace", "--no-deps"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    run_command(command)
}

/// `ipxe`: a clone of its repository, for the tests that `ci` leaves out.
///
/// # Errors
/// When something cannot be built or a rack test fails.
pub fn rack_tests(filter: Option<&str>, ipxe: Option<&Path>) -> Result<()> {
    let products = Products::build(Build::Test)?;
    let ipxe = ipxe
        .map(|source| ipxe::of_rack(&products.small.ironbeat, source))
        .transpose()?;
    let package = "--package=ironbeat-product";
    run_rack_tests(&products, package, filter, ipxe.as_deref())
}

/// What rack tests run, in both flavours.
struct Products {
    small: Product,
    generic: Product,
}

impl Products {
    fn build(build: Build) -> Result<Self> {
        let small = artifacts::product(build, Flavour::Small)?;
        sizes(&small)?;
        let generic = artifacts::product(build, Flavour::Generic)?;
        Ok(Self { small, generic })
    }
}

fn run_rack_tests(
    products: &Products,
    packages: &str,
    filter: Option<&str>,
    ipxe: Option<&Path>,
) -> Result<()> {
    let mut command = cargo(&["test", packages, "--features", "ironbeat-product/rack"]);
    command.args(["--test", "product"]).args(filter).args([
        "--",
        "--nocapture",
        "--test-threads",
        RACK_TESTS_AT_ONCE,
    ]);
    // Those that need it are ignored otherwise, which is printed.
    if let Some(ipxe) = ipxe {
        command.arg("--include-ignored").env("IRONBEAT_IPXE", ipxe);
    }
    for (name, product, flavour) in [
        ("IRONBEAT_PRODUCT", &products.small, Flavour::Small),
        (
            "IRONBEAT_PRODUCT_GENERIC",
            &products.generic,
            Flavour::Generic,
        ),
    ] {
        command.env(name, artifacts::write_product(product, flavour)?);
    }
    run_command(command)
}

/// What a machine has to fetch and hold is kept small. A size does not depend on the day's load, so it is a check.
fn sizes(product: &Product) -> Result<()> {
    for (what, path, most) in [
        (
            "the agent",
            artifacts::agent(AgentBuild::Small)?,
            MAX_AGENT_BYTES,
        ),
        (
            "the small flavour's ramdisk",
            product.boot_dir.join("initrd"),
            MAX_SMALL_RAMDISK_BYTES,
        ),
    ] {
        let bytes = std::fs::metadata(&path)
            .with_context(|| format!("look at {}", path.display()))?
            .len();
        ensure!(bytes <= most, "{what} has {bytes} bytes, at most {most}");
    }
    Ok(())
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).current_dir(artifacts::root());
    command
}

fn run_cargo(arguments: &[&str]) -> Result<()> {
    run_command(cargo(arguments))
}

fn run_command(mut command: Command) -> Result<()> {
    println!("{command:?}");
    let status = command
        .status()
        .with_context(|| format!("start {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}
