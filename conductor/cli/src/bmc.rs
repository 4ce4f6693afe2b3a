//! `ironbeat bmc`: what a BMC says, what is wrong with it, and its password.
//! The workers ask it, and put its answers into words.
use super::auth::files::write_new;
use super::bulk::only_for_one;
use super::client::Client;
use super::login::{self, BmcLogin};
use super::out;
use super::password;
use super::verb::{Which, fresh_request};
use super::wait::Success;
use anyhow::bail;
use clap::{Args, Subcommand};
use ironbeat_core::node::{BmcAddress, Secret};
use ironbeat_ops::bmc::{Finding, Health, Part, Verdict};
use ironbeat_ops::request::{
    BmcFru, BmcInfo, BmcSel, BmcSensors, CheckBmc, RawBmc, ResetBmc, SetBmcPassword,
};
use std::path::PathBuf;

#[derive(Subcommand)]
pub enum BmcCommand {
    /// Say in words what is wrong with a BMC: a node's, or one that nobody has enrolled (`--bmc`).
    Check(CheckArgs),
    /// Show its firmware, network, users, boot device and the state of its chassis.
    Info {
        /// Id or name.
        node: String,
    },
    /// Show temperatures, fans, voltages and whatever else it measures.
    Sensors {
        /// Id or name.
        node: String,
    },
    /// Show its event log.
    Sel {
        /// Id or name.
        node: String,
        /// Empty it after reading.
        #[arg(long)]
        clear: bool,
    },
    /// Show its inventory: board, product, serial numbers.
    Fru {
        /// Id or name.
        node: String,
    },
    /// Restart the BMC itself; the machine goes on.
    Reset(Which),
    /// Give the workers' user at the BMC another password, random or from a file.
    ///
    /// The workers set it, prove it by a login, and keep it. A random one is in the records alone, unless `--keep` says where
    /// else: nobody can read it there, and whoever deletes the node loses it.
    SetPassword(SetPasswordArgs),
    /// Send it any command, as hex bytes: `06 01`.
    Raw {
        /// Id or name.
        node: String,
        /// In hex: network function, command, data.
        #[arg(required = true)]
        bytes: Vec<String>,
    },
}

#[derive(Args)]
pub struct CheckArgs {
    /// Id or name of a node.
    #[arg(required_unless_present = "bmc", conflicts_with = "bmc")]
    node: Option<String>,
    /// Address of a BMC that belongs to no node.
    #[arg(long)]
    bmc: Option<BmcAddress>,
    #[command(flatten)]
    login: BmcLogin,
}

#[derive(Args)]
pub struct SetPasswordArgs {
    #[command(flatten)]
    which: Which,
    /// File with the new password, `/dev/stdin` for a pipe. Never an argument: everybody can see those.
    #[arg(long)]
    password_file: Option<PathBuf>,
    /// Write the random password into this file too, which must not be there yet.
    #[arg(long, conflicts_with = "password_file")]
    keep: Option<PathBuf>,
}

pub async fn run(client: Client, command: BmcCommand) -> anyhow::Result<()> {
    match command {
        BmcCommand::Check(args) => check(&client, args).await,
        BmcCommand::Reset(which) => {
            let ask = |node| ResetBmc {
                node,
                request: fresh_request(),
            };
            which.ask(&client, Success::Back, ask).await
        }
        BmcCommand::SetPassword(args) => set_password(&client, args).await,
        BmcCommand::Sensors { node } => sensors(&client, &node).await,
        BmcCommand::Info { node } => out::json(&client.ask(&BmcInfo { node }).await?),
        BmcCommand::Sel { node, clear } => out::json(&client.ask(&BmcSel { node, clear }).await?),
        BmcCommand::Fru { node } => out::json(&client.ask(&BmcFru { node }).await?),
        BmcCommand::Raw { node, bytes } => {
            let raw = bytes.join(" ");
            out::json(&client.ask(&RawBmc { node, raw }).await?)
        }
    }
}

async fn set_password(client: &Client, args: SetPasswordArgs) -> anyhow::Result<()> {
    // Of one that leaks no other BMC shall have the same.
    only_for_one("a new password", args.which.chosen.is_several())?;
    let password = match &args.password_file {
        Some(path) => login::read("new BMC password", path)?,
        None => password::random()?,
    };
    // Before anybody else has it: whatever happens then, it is not lost.
    if let Some(path) = &args.keep {
        write_new(path, &format!("{password}\n"))?;
    }
    let ask = |node| SetBmcPassword {
        node,
        request: fresh_request(),
        password: Secret::new(password.clone()),
    };
    args.which.ask(client, Success::Back, ask).await
}

async fn check(client: &Client, args: CheckArgs) -> anyhow::Result<()> {
    let bmc = match args.bmc {
        None => None,
        Some(address) => Some(args.login.access(address)?),
    };
    let node = args.node;
    let check = client.ask(&CheckBmc { node, bmc }).await?;
    if client.json {
        out::json(&check)?;
    } else {
        out::line(format_args!("BMC {}", check.address))?;
        for finding in &check.findings {
            let mark = match finding.verdict {
                Verdict::Good => "ok ",
                Verdict::Odd => "odd",
                Verdict::Bad => "BAD",
            };
            let Finding {
                question, answer, ..
            } = finding;
            out::line(format_args!("  {mark}  {question:32} {answer}"))?;
        }
    }
    let bad = check.findings.iter().find(|f| f.verdict == Verdict::Bad);
    match bad {
        Some(finding) => bail!("{} {}", finding.question, finding.answer),
        None => Ok(()),
    }
}

async fn sensors(client: &Client, node: &str) -> anyhow::Result<()> {
    let sensors = client.ask(&BmcSensors::of(node)).await?;
    if client.json {
        return out::json(&sensors);
    }
    let rows = sensors.into_iter().map(|row| {
        let (value, health, error) = match row.reading {
            Part::Missing { error } => (None, None, error),
            Part::Given(reading) => (reading.value, reading.health, String::new()),
        };
        vec![
            row.name,
            row.kind,
            value.map_or(String::new(), |value| {
                format!("{value} {}", row.unit).trim().into()
            }),
            health.map_or("", health_word).into(),
            error,
        ]
    });
    out::table(
        &["SENSOR", "KIND", "VALUE", "HEALTH", "ERROR"],
        rows.collect(),
    )
}

fn health_word(health: Health) -> &'static str {
    match health {
        Health::Ok => "ok",
        Health::NonCritical => "non-critical",
        Health::Critical => "critical",
        Health::NonRecoverable => "non-recoverable",
    }
}
