//! `cargo xtask simulate`: compiles the simulation and runs it.
//! What it simulates, and its options, are in `tests/simulate`.
use crate::artifacts::{self, Programs};
use anyhow::{Context, Result, ensure};
use std::process::Command;

#[derive(clap::Args)]
pub struct Args {
    /// `--seeds N`, `--minutes M`, `--seed S`, and what `--help` after `--` says.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// What CI asks for: the figures are of this many events at least.
const EVENTS: &str = "1000000";

/// # Errors
/// As [`run`].
pub fn short() -> Result<()> {
    let options = ["--events", EVENTS].map(String::from);
    with(Programs::Compiled, &options)
}

/// # Errors
/// When something was found, or it cannot be compiled.
pub fn run(args: &Args) -> Result<()> {
    with(Programs::Needed, &args.options)
}

fn with(programs: Programs, options: &[String]) -> Result<()> {
    let mut command = Command::new(artifacts::simulate(programs)?);
    let status = command
        .args(options)
        .current_dir(artifacts::root())
        .status()
        .with_context(|| format!("start {command:?}"))?;
    ensure!(status.success(), "the simulation found something");
    Ok(())
}
