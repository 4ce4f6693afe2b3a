//! The operator's command line: its arguments, and the function of each subcommand. `connect` says who asks.
//! `client` sends requests; the files beside it have the subcommands.
pub mod auth;
mod bmc;
mod client;
pub mod connect;
mod console;
mod decode;
mod events;
mod login;
mod node;
pub mod out;
mod parse;
mod power;
mod progress;
mod set;
mod verb;

use clap::Subcommand;
use client::Client;
pub use connect::Connect;
use ironbeat_ops::policy::differences;
use ironbeat_ops::request::{ListLookups, ListWorkers, ShowLookup};

#[derive(Subcommand)]
pub enum Command {
    /// Enroll, inspect, deploy and watch nodes.
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Switch machines on and off.
    #[command(subcommand)]
    Power(power::PowerCommand),
    /// Ask BMCs what they are and what is wrong with them.
    #[command(subcommand)]
    Bmc(bmc::BmcCommand),
    /// Show who looked up, what was found, and why it was refused.
    Lookups {
        /// Show one machine in full: a key of the list, or the start of one.
        key: Option<String>,
    },
    #[command(about = verb::about::<ListWorkers>())]
    Workers,
    /// Show what happened, oldest first.
    Events {
        /// Only this node: id or name.
        node: Option<String>,
        #[arg(long, default_value_t = 50)]
        last: usize,
        /// Keep printing as things happen.
        #[arg(long, short)]
        follow: bool,
    },
    /// Read CBOR (or JSON) on standard input, print JSON: for `nats sub 'ib.v1.>' --translate 'ironbeat decode'`.
    Decode,
}

/// # Errors
/// What was attempted and why it did not work, for the operator.
pub async fn run(to: &Connect, command: Command) -> anyhow::Result<()> {
    let connect = || Client::open(to);
    match command {
        Command::Decode => decode::run(),
        Command::Node(command) => node::run(connect().await?, command).await,
        Command::Power(command) => power::run(connect().await?, command).await,
        Command::Bmc(command) => bmc::run(connect().await?, command).await,
        Command::Workers => workers(&connect().await?).await,
        Command::Lookups { key: None } => lookups(&connect().await?).await,
        Command::Lookups { key: Some(key) } => {
            let lookup: serde_json::Value = connect().await?.ask_as(&ShowLookup { key }).await?;
            out::json(&lookup)
        }
        Command::Events { node, last, follow } => {
            events::run(&connect().await?, node, last, follow).await
        }
    }
}

async fn workers(client: &Client) -> anyhow::Result<()> {
    let workers = client.ask(&ListWorkers {}).await?;
    if client.json {
        return out::json(&workers);
    }
    let rows = workers.iter().map(|w| {
        vec![
            w.id.to_string(),
            w.host.clone(),
            w.url.clone(),
            w.version.clone(),
            w.started.to_string(),
            match w.lacks.is_empty() {
                true => "-".into(),
                false => w.lacks.join("; "),
            },
            w.dnsmasq.clone().unwrap_or_else(|| "-".into()),
        ]
    });
    let head = [
        "WORKER", "HOST", "HTTP", "VERSION", "STARTED", "LACKS", "DNSMASQ",
    ];
    out::table(&head, rows.collect())?;
    for worker in &workers {
        if let Some(why) = &worker.stands_by {
            out::line(format_args!("{} does nothing for nodes: {why}", worker.id))?;
        }
    }
    for (option, values) in differences(&workers) {
        let values = values.iter().map(|(id, value)| format!("{id} has {value}"));
        let values = values.collect::<Vec<_>>().join(", ");
        out::line(format_args!("policy.{option} differs: {values}"))?;
    }
    Ok(())
}

async fn lookups(client: &Client) -> anyhow::Result<()> {
    let found = client.ask(&ListLookups {}).await?;
    if client.json {
        return out::json(&found);
    }
    let rows = found.iter().map(|entry| {
        let lookup = &entry.lookup;
        let system = &lookup.inventory.system;
        let what = [&system.manufacturer, &system.product, &system.serial];
        vec![
            entry.key.clone(),
            lookup.at.to_string(),
            what.into_iter()
                .flatten()
                .cloned()
                .collect::<Vec<_>>()
                .join(" "),
            lookup
                .inventory
                .nics
                .first()
                .map_or(String::new(), |nic| nic.mac.to_string()),
            lookup.outcome.clone(),
        ]
    });
    out::table(
        &["LOOKUP", "LAST", "MACHINE", "FIRST MAC", "ANSWER"],
        rows.collect(),
    )
}
