//! `cargo xtask chaos`: compiles the worker and the chaos once, fetches a current nats-server, and runs it.
//! What is broken, and its options, are in `tests/chaos`.
use crate::artifacts::{self, Programs};
use crate::packages;
use anyhow::{Context, Result, ensure};
use ironbeat_rack::nats::NatsBinary;
use std::process::Command;

#[derive(clap::Args)]
pub struct Args {
    /// `--short`, `--nodes N`, `--only FAULT`, and what `--help` after `--` says.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// # Errors
/// When something was lost, seen twice or did not become well, or a part cannot be had.
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
    packages::ensure(&[packages::BUILD, packages::CLUSTER])?;
    let (ironbeat, chaos) = artifacts::chaos(programs)?;
    let nats_server = match artifacts::current_nats_server() {
        Ok(path) => path,
        Err(error) => {
            let path = NatsBinary::Floor.path()?;
            eprintln!(
                "chaos: no current nats-server ({error:#}); {} will do",
                path.display()
            );
            path
        }
    };
    let mut command = Command::new(chaos);
    command.arg("--ironbeat").arg(ironbeat);
    command.arg("--nats-server").arg(nats_server);
    command.arg("--dir").arg(artifacts::chaos_dir());
    let status = command
        .args(options)
        .status()
        .with_context(|| format!("start {command:?}"))?;
    ensure!(status.success(), "the chaos found something");
    Ok(())
}
