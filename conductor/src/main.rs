//! `ironbeat`: the conductor worker and the operator's command line, in one binary.
//! Each subcommand is a function of the library; errors are printed once, here.
use clap::Parser;
use ironbeat::cli::Cli;
use ironbeat::cli::out::NobodyReads;
use std::process::ExitCode;

const SIGPIPE: u8 = 13;

#[tokio::main]
async fn main() -> ExitCode {
    match ironbeat::cli::run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        // As if the signal had ended it, which Rust's runtime ignores.
        Err(error) if error.is::<NobodyReads>() => ExitCode::from(128 + SIGPIPE),
        Err(error) => {
            eprintln!("ironbeat: {error:#}");
            ExitCode::FAILURE
        }
    }
}
