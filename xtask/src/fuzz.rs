//! `cargo xtask fuzz`: compiles the fuzz targets and runs them.
//! What is tried, and its options, are in `tests/fuzz`.
use crate::artifacts::{self, Programs};
use anyhow::{Context, Result, ensure};
use std::process::Command;

#[derive(clap::Args)]
pub struct Args {
    /// `--target NAME`, `--mutants N`, `--minutes M`, `--seed S`, and what `--help` after `--` says.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// What ci tries of each target, and how long all of them may take there together.
const MUTANTS: &str = "50000";
const MINUTES: &str = "0.75";

/// # Errors
/// As [`run`].
pub fn short() -> Result<()> {
    let options = ["--mutants", MUTANTS, "--minutes", MINUTES];
    with(Programs::Compiled, &options.map(String::from))
}

/// # Errors
/// When a target did not survive something, or it cannot be compiled.
pub fn run(args: &Args) -> Result<()> {
    with(Programs::Needed, &args.options)
}

fn with(programs: Programs, options: &[String]) -> Result<()> {
    let mut command = Command::new(artifacts::fuzz(programs)?);
    let status = command
        .args(options)
        .current_dir(artifacts::root())
        .status()
        .with_context(|| format!("start {command:?}"))?;
    ensure!(status.success(), "a fuzz target failed");
    Ok(())
}
