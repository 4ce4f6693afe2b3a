//! `ironbeat`: the conductor worker and the operator's command line, in one binary.
//! Each subcommand is a function of a library; errors are printed once, here.
use clap::{Parser, Subcommand};
use ironbeat::config::Config;
use ironbeat_cli::out::NobodyReads;
use ironbeat_cli::{Connect, run};
use std::path::PathBuf;
use std::process::ExitCode;

const SIGPIPE: u8 = 13;

/// Bare metal from rack to running.
#[derive(Parser)]
#[command(name = "ironbeat", version, propagate_version = true)]
struct Ironbeat {
    #[command(flatten)]
    connect: Connect,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a conductor worker.
    Conductor {
        #[arg(long, default_value = "/etc/ironbeat/conductor.toml")]
        config: PathBuf,
    },
    #[command(flatten)]
    Operator(ironbeat_cli::Command),
}

#[tokio::main]
async fn main() -> ExitCode {
    let Ironbeat { connect, command } = Ironbeat::parse();
    let result = match command {
        Command::Conductor { config } => conductor(config).await,
        Command::Operator(command) => run(&connect, command).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // As if the signal had ended it, which Rust's runtime ignores.
        Err(error) if error.is::<NobodyReads>() => ExitCode::from(128 + SIGPIPE),
        Err(error) => {
            eprintln!("ironbeat: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn conductor(config: PathBuf) -> anyhow::Result<()> {
    ironbeat::run::run(Config::read(&config)?).await
}
