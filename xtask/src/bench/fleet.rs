//! `bench fleet`: what one machine costs at each size of the fleet, with the worker that ships and a real nats-server.
//! Leaves load and figures to `ironbeat-fleet`, which is compiled as the worker is.
use crate::artifacts;
use anyhow::{Context, Result, ensure};
use std::process::Command;

#[derive(clap::Args)]
pub struct Args {
    /// Sizes of the fleet, one after the other; growth is from the first to the last.
    #[arg(long, default_value = "1000,10000")]
    nodes: String,
    /// Only what has this in its name: `lookup`, `discover`, `list`, `start`, `stage`, `manage`, `idle`, `deploy`, `beat`,
    /// `storm`.
    #[arg(long)]
    only: Option<String>,
    /// Rounds of what can be repeated.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// How long to watch a fleet that does nothing.
    #[arg(long, default_value_t = 120)]
    idle_secs: u64,
}

/// `$NATS_SERVER_CURRENT` is the server, if it is set; otherwise the one that is installed.
pub fn run(args: &Args) -> Result<()> {
    let (ironbeat, load) = artifacts::fleet()?;
    let mut command = Command::new(load);
    command.arg("--ironbeat").arg(ironbeat);
    if let Some(nats) = std::env::var_os("NATS_SERVER_CURRENT") {
        command.arg("--nats").arg(nats);
    }
    command.args(["--nodes", &args.nodes, "--rounds", &args.runs.to_string()]);
    command.args(["--idle-secs", &args.idle_secs.to_string()]);
    if let Some(only) = &args.only {
        command.args(["--only", only]);
    }
    let status = command.status().context("start the simulated fleet")?;
    ensure!(status.success(), "the simulated fleet ended with {status}");
    Ok(())
}
