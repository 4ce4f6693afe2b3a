//! `cargo xtask neighbours`: compiles worker, agent and bad neighbours once, fetches a current nats-server, and runs them.
//! Who tries what, and its options, are in `tests/neighbours`.
use crate::artifacts::{self, Programs};
use crate::packages;
use anyhow::{Context, Result, ensure};
use ironbeat_rack::nats::NatsBinary;
use std::process::Command;

#[derive(clap::Args)]
pub struct Args {
    /// `--short`, `--only WHO`, and what `--help` after `--` says.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// # Errors
/// When somebody obtained what must be refused, a rightful holder did not get it, or a part cannot be had.
pub fn run(args: &Args) -> Result<()> {
    with(Programs::Needed, &args.options)
}

/// What ci runs.
///
/// # Errors
/// As [`run`].
pub fn short() -> Result<()> {
    with(Programs::Compiled, &["--short".into()])
}

fn with(programs: Programs, options: &[String]) -> Result<()> {
    packages::ensure(&[packages::BUILD, packages::NEIGHBOURS])?;
    let (ironbeat, agent, neighbours) = artifacts::neighbours(programs)?;
    let nats_server = match artifacts::current_nats_server() {
        Ok(path) => path,
        Err(error) => {
            let path = NatsBinary::Floor.path()?;
            eprintln!(
                "neighbours: no current nats-server ({error:#}); {} will do",
                path.display()
            );
            path
        }
    };
    let mut command = Command::new(neighbours);
    command.arg("--ironbeat").arg(ironbeat);
    command.arg("--agent").arg(agent);
    command.arg("--nats-server").arg(nats_server);
    command.arg("--dir").arg(artifacts::neighbours_dir());
    let status = command
        .args(options)
        .status()
        .with_context(|| format!("start {command:?}"))?;
    ensure!(status.success(), "a bad neighbour got in");
    Ok(())
}
