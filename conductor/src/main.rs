//! `ironbeat`: the conductor worker and the operator's command line, in one binary.
//! Each subcommand is a function of a library; errors are printed once, here.
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use ironbeat::backup;
use ironbeat::config::Config;
use ironbeat_cli::auth::{self, AuthCommand};
use ironbeat_cli::out::{self, NobodyReads};
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
        /// What the worker is told: see docs/conductor.md.
        #[arg(long, default_value = "/etc/ironbeat/conductor.toml")]
        config: PathBuf,
    },
    /// Make keys and logins, and end them.
    #[command(subcommand)]
    Auth(AuthCommand),
    /// Write all records to a new file. It holds every password: keep it as you keep those.
    Backup { file: PathBuf },
    /// Bring a backup back into an empty bucket, while no worker runs. Every node is in maintenance then.
    Restore {
        file: PathBuf,
        /// Nothing has happened to any machine since the backup: take the records as they are, without maintenance.
        #[arg(long)]
        nothing_happened_since: bool,
    },
    #[command(flatten)]
    Operator(ironbeat_cli::Command),
}

#[tokio::main]
async fn main() -> ExitCode {
    let matches = Ironbeat::command().get_matches();
    let Ironbeat { connect, command } =
        Ironbeat::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    if let Command::Conductor { .. } = command {
        refuse_connect(&matches);
    }
    let result = match command {
        Command::Auth(command) => auth::run(&connect, command).await,
        Command::Conductor { config } => conductor(config, connect.i_know()).await,
        Command::Backup { file } => backup::backup(&connect, &file).await,
        Command::Restore {
            file,
            nothing_happened_since,
        } => backup::restore(&connect, &file, nothing_happened_since).await,
        Command::Operator(command) => run(&connect, command).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // As if the signal had ended it, which Rust's runtime ignores.
        Err(error) if error.is::<NobodyReads>() => ExitCode::from(128 + SIGPIPE),
        Err(error) => {
            eprintln!("ironbeat: {}", out::visible(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

/// A worker has these from its file: two places for them would be one too many.
fn refuse_connect(matches: &ArgMatches) {
    for (option, instead) in [
        ("nats", "nats.servers"),
        ("prefix", "nats.prefix"),
        ("creds", "nats.login"),
        ("ca", "nats.login"),
        ("no_auth", "nats.auth"),
    ] {
        if matches.value_source(option) == Some(ValueSource::CommandLine) {
            let why = format!(
                "a worker takes {instead} from its file; --{} is for the other commands",
                option.replace('_', "-")
            );
            Ironbeat::command()
                .error(ErrorKind::ArgumentConflict, why)
                .exit();
        }
    }
}

async fn conductor(config: PathBuf, i_know: bool) -> anyhow::Result<()> {
    ironbeat::run::run(Config::read(&config)?, i_know).await
}
