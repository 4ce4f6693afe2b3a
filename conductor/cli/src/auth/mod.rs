//! `ironbeat auth`: makes a site's keys and files, and logins of people and workers.
//! What the keys mean is in `ironbeat-auth`; only `revoke` and `bootstrap replace` ask a worker; `revoke`, `roles` and `strangers` ask the servers.
mod about;
mod account;
mod bootstrap;
mod certificate;
mod certificates;
mod ending;
pub(super) mod files;
mod init;
mod jetstream;
mod roles;
mod strangers;
mod user;
mod worker;

use crate::Connect;
use clap::Subcommand;
pub use files::write_new;
pub use worker::{GRANT, SEALING};

#[derive(Subcommand)]
pub enum AuthCommand {
    /// Make a site's keys, and the files of its NATS servers, workers and first admin.
    Init(init::InitArgs),
    /// Make one more certificate with the site's CA, for a NATS server or a worker
    Certificate(certificate::CertificateArgs),
    /// Logins of people.
    #[command(subcommand)]
    User(user::UserCommand),
    /// Logins of workers.
    #[command(subcommand)]
    Worker(worker::WorkerCommand),
    /// The login in boot scripts, with which machines look up.
    #[command(subcommand)]
    Bootstrap(bootstrap::BootstrapCommand),
    /// After an update: let each role do what it does in this version.
    Roles(roles::RolesArgs),
    /// Show what is in JetStream and was not made by Ironbeat.
    ///
    /// Such as what a stolen login of a worker has left behind. The exit code is 1 when anything is left.
    Strangers(strangers::StrangersArgs),
    /// Make a login for `nats stream edit` and the like, good for an hour.
    Jetstream(jetstream::JetstreamArgs),
}

/// # Errors
/// What was attempted and why it did not work.
pub async fn run(to: &Connect, command: AuthCommand) -> anyhow::Result<()> {
    match command {
        AuthCommand::Init(args) => init::run(to, &args),
        AuthCommand::Certificate(args) => certificate::run(&args),
        AuthCommand::User(command) => user::run(to, command).await,
        AuthCommand::Worker(command) => worker::run(to, command).await,
        AuthCommand::Bootstrap(command) => bootstrap::run(to, command).await,
        AuthCommand::Roles(args) => roles::run(to, &args).await,
        AuthCommand::Strangers(args) => strangers::run(to, &args).await,
        AuthCommand::Jetstream(args) => jetstream::run(&args),
    }
}
