//! What CI runs, which is what a person runs: format, lints, layout, docs, unit and integration tests, rack cycles.
//! The tests themselves live beside the code and in `tests/`.
use crate::artifacts::{self, AgentBuild, Profile};
use crate::{packages, tidy};
use anyhow::{Context, Result, ensure};
use ironbeat_image::flavour::Flavour;
use ironbeat_product::product::Product;
use std::process::Command;
use std::time::Instant;

const MAX_AGENT_BYTES: u64 = 3_500_000;
const MAX_SMALL_RAMDISK_BYTES: u64 = 4_000_000;

/// # Errors
/// The first check that failed.
pub fn run() -> Result<()> {
    packages::ensure(&[
        packages::BUILD,
        packages::IMAGE,
        packages::DEMO_OS,
        packages::RACK,
        packages::TESTS,
    ])?;
    let begin = Instant::now();
    step("format", cargo(&["fmt", "--all", "--check"]))?;
    step(
        "lints",
        cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--features",
            "ironbeat-product/rack",
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    // `expect("why it cannot happen")` tells the next reader something. In a test there is nothing to tell.
    step(
        "no unwrap in what ships",
        cargo(&[
            "clippy",
            "--workspace",
            "--lib",
            "--bins",
            "--",
            "-D",
            "warnings",
            "-D",
            "clippy::unwrap_used",
        ]),
    )?;
    println!("\n== tidy");
    tidy::run(&tidy::Args::default())?;
    let mut docs = cargo(&["doc", "--workspace", "--no-deps"]);
    docs.env("RUSTDOCFLAGS", "-D warnings");
    step("docs", docs)?;
    step(
        "unit and integration tests",
        cargo(&["test", "--workspace"]),
    )?;
    rack_tests(None)?;
    println!("ci: all passed in {} min", begin.elapsed().as_secs() / 60);
    Ok(())
}

/// # Errors
/// When something cannot be built or a rack test fails.
pub fn rack_tests(filter: Option<&str>) -> Result<()> {
    packages::ensure(&[
        packages::BUILD,
        packages::IMAGE,
        packages::DEMO_OS,
        packages::RACK,
    ])?;
    let small = artifacts::product(Profile::Dev, Flavour::Small)?;
    sizes(&small)?;
    let generic = artifacts::product(Profile::Dev, Flavour::Generic)?;
    let mut command = cargo(&[
        "test",
        "--package",
        "ironbeat-product",
        "--features",
        "rack",
        "--test",
        "product",
    ]);
    // Two machines boot at once on two cores; more would only slow each other down.
    command
        .args(filter)
        .args(["--", "--nocapture", "--test-threads", "1"]);
    for (name, product, flavour) in [
        ("IRONBEAT_PRODUCT", &small, Flavour::Small),
        ("IRONBEAT_PRODUCT_GENERIC", &generic, Flavour::Generic),
    ] {
        command.env(name, artifacts::write_product(product, flavour)?);
    }
    step("rack tests", command)
}

/// What a machine has to fetch and hold is kept small; a size is no matter of the day's load, so it is a check.
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

fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(args).current_dir(artifacts::root());
    command
}

fn step(name: &str, mut command: Command) -> Result<()> {
    println!("\n== {name}: {command:?}");
    let begin = Instant::now();
    let status = command
        .status()
        .with_context(|| format!("start {command:?}"))?;
    ensure!(status.success(), "{name}: {command:?} ended with {status}");
    println!("== {name}: passed in {} s", begin.elapsed().as_secs());
    Ok(())
}
