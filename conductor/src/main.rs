//! `ironbeat`: the conductor worker and the operator's command line, in one binary.
//! Each subcommand is a function of a library; errors are printed once, here.
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use ironbeat::backup;
use ironbeat::config::Config;
use ironbeat::secrets;
use ironbeat_cli::auth::{self, AuthCommand};
use ironbeat_cli::out::{self, NobodyReads};
use ironbeat_cli::{Connect, exit_code, rotate_key, run};
use std::path::PathBuf;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    Auth(Auth),
    /// Write all records to a new file.
    ///
    /// Secrets in it are encrypted as they are in NATS: it is worth nothing without the master key.
    Backup {
        /// It must not be there yet.
        file: PathBuf,
    },
    /// Bring a backup back into an empty bucket, while no worker runs.
    ///
    /// Every node is in maintenance then.
    Restore {
        /// As `backup` wrote it.
        file: PathBuf,
        /// Nothing has happened to any machine since the backup: take the records as they are, without maintenance.
        #[arg(long)]
        nothing_happened_since: bool,
    },
    /// Print what a shell completes this program's words with.
    ///
    /// bash: `ironbeat completion bash > /etc/bash_completion.d/ironbeat`; zsh: into a file `_ironbeat` in a folder of `$fpath`;
    /// fish: into `~/.config/fish/completions/ironbeat.fish`.
    Completion {
        /// Whose words.
        shell: Shell,
    },
    #[command(flatten)]
    Operator(ironbeat_cli::Command),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Subcommand)]
enum Auth {
    /// Make a master key, with which workers encrypt secrets.
    NewKey {
        /// A new file; its owner alone may read it.
        file: PathBuf,
    },
    /// Encrypt all secrets with a new data key while all runs, and drop the old one.
    ///
    /// Interrupted, run it again.
    RotateKey,
    #[command(flatten)]
    Logins(AuthCommand),
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
        Command::Conductor { config } => conductor(config, connect.i_know()).await,
        Command::Auth(Auth::NewKey { file }) => secrets::new_key(&file),
        Command::Auth(Auth::RotateKey) => rotate_key(&connect).await,
        Command::Auth(Auth::Logins(command)) => auth::run(&connect, command).await,
        Command::Backup { file } => backup::backup(&connect, &file).await,
        Command::Restore {
            file,
            nothing_happened_since,
        } => backup::restore(&connect, &file, nothing_happened_since).await,
        Command::Completion { shell } => out::bytes(&completion(shell)),
        Command::Operator(command) => run(&connect, command).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is::<NobodyReads>() {
                eprintln!("ironbeat: {}", out::visible(&out::causes(&error)));
            }
            ExitCode::from(exit_code(&error))
        }
    }
}

/// A script for the shell, from the same description of commands that parses them.
fn completion(shell: Shell) -> Vec<u8> {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Ironbeat::command(), "ironbeat", &mut script);
    script
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A line in a list of commands has room for so much.
    const MAX_CHARS: usize = 90;

    /// What is wrong with the texts of a command and of those below it.
    fn faults(command: &clap::Command, path: &str) -> Vec<String> {
        let about = command.get_about().map(ToString::to_string);
        let about = about.unwrap_or_default();
        let chars = about.chars().count();
        let mut faults = Vec::new();
        if about.is_empty() || chars > MAX_CHARS || about.contains('\n') {
            faults.push(format!("{path}: {chars} characters: {about}"));
        }
        for arg in command.get_arguments() {
            if arg.get_help().is_none() {
                faults.push(format!("{path}: {} says nothing of itself", arg.get_id()));
            }
        }
        for command in command.get_subcommands() {
            let below = format!("{path} {}", command.get_name());
            faults.extend(self::faults(command, &below));
        }
        faults
    }

    #[test]
    fn every_command_says_what_it_does_in_one_line_and_every_argument_what_it_is() {
        let none: Vec<String> = Vec::new();
        assert_eq!(faults(&Ironbeat::command(), "ironbeat"), none);
    }
}
