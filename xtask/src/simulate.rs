//! `cargo xtask simulate`: compiles the simulation and runs it.
//! What it simulates, and its options, are in `tests/simulate`.
use crate::artifacts;
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
    run(&Args {
        options: ["--events", EVENTS].map(String::from).into(),
    })
}

/// # Errors
/// When something was found, or it cannot be compiled.
pub fn run(args: &Args) -> Result<()> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "--package", "ironbeat-simulate"]);
    command.arg("--").args(&args.options);
    let status = command
        .current_dir(artifacts::root())
        .status()
        .with_context(|| format!("start {command:?}"))?;
    ensure!(status.success(), "the simulation found something");
    Ok(())
}
