//! `cargo xtask simulate`: compiles the simulation for speed and runs it.
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

/// Five times as many events a second; in tests, which are compiled with all others, the time would go into compiling.
const OPTIMISED: [&str; 2] = [
    "profile.dev.package.ironbeat-simulate.opt-level=2",
    "profile.dev.package.ironbeat-core.opt-level=2",
];

/// # Errors
/// When something was found, or it cannot be compiled.
pub fn run(args: &Args) -> Result<()> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "--package", "ironbeat-simulate"]);
    for option in OPTIMISED {
        command.args(["--config", option]);
    }
    command.arg("--").args(&args.options);
    let status = command
        .current_dir(artifacts::root())
        .status()
        .with_context(|| format!("start {command:?}"))?;
    ensure!(status.success(), "the simulation found something");
    Ok(())
}
