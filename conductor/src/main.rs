//! `ironbeat`: the conductor worker and the operator's command line, in one binary.
//! Each subcommand is a function of the library; errors are printed once, here.
use clap::Parser;
use ironbeat::cli::Cli;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    match ironbeat::cli::run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ironbeat: {error:#}");
            ExitCode::FAILURE
        }
    }
}
