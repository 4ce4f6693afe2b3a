//! The operator's command line: arguments, and which function each subcommand is.
//! Requests are sent in `client`, nodes are shown in `node`, the CBOR filter is `decode`.
mod bmc;
mod client;
mod console;
mod decode;
mod login;
mod node;
pub mod out;
mod power;
mod verb;

use clap::{Args, Subcommand};
use client::Client;
use ironbeat_ops::request::{ListEvents, ListLookups, ListWorkers, ShowLookup};

/// Where the workers are heard, and how replies are printed.
#[derive(Args)]
pub struct Connect {
    /// NATS servers, separated by commas.
    #[arg(
        long,
        env = "IRONBEAT_NATS",
        default_value = "nats://127.0.0.1:4222",
        global = true,
        value_delimiter = ','
    )]
    nats: Vec<String>,
    /// Subject prefix.
    #[arg(long, env = "IRONBEAT_PREFIX", default_value = ironbeat_common::subject::DEFAULT_PREFIX, global = true)]
    prefix: String,
    /// Print replies as JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
pub enum Command {
    /// Enroll, inspect, deploy and watch nodes.
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Switch machines on and off.
    #[command(subcommand)]
    Power(power::PowerCommand),
    /// What BMCs say, and what is wrong with them.
    #[command(subcommand)]
    Bmc(bmc::BmcCommand),
    /// Who looked up, what was found, and why it was refused.
    Lookups {
        /// One machine in full: a key of the list, or the start of one.
        key: Option<String>,
    },
    /// Live workers.
    Workers,
    /// What happened, oldest first.
    Events {
        /// Only this node: id or name.
        node: Option<String>,
        #[arg(long, default_value_t = 50)]
        last: usize,
        /// Go on as things happen.
        #[arg(long, short)]
        follow: bool,
    },
    /// Read CBOR (or JSON) on standard input, print JSON: for `nats sub 'ib.v1.>' --translate 'ironbeat decode'`.
    Decode,
}

/// # Errors
/// What was attempted and why it did not work, for the operator.
pub async fn run(to: &Connect, command: Command) -> anyhow::Result<()> {
    let connect = || Client::connect(&to.nats, &to.prefix, to.json);
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
            events(&connect().await?, node, last, follow).await
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
            w.url.clone(),
            w.version.clone(),
            w.started.to_string(),
        ]
    });
    out::table(&["WORKER", "HTTP", "VERSION", "STARTED"], rows.collect())
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

async fn events(
    client: &Client,
    node: Option<String>,
    last: usize,
    follow: bool,
) -> anyhow::Result<()> {
    // Subscribed before the past is read, so that nothing falls between.
    let mut live = client.watch_events(node.as_deref()).await?;
    let last = Some(last);
    let past = client.ask(&ListEvents { node, last }).await?;
    for event in &past {
        print_event(client, &event.subject, &event.body)?;
    }
    if !follow {
        return Ok(());
    }
    while let Some((subject, body)) = live.next().await {
        print_event(client, &subject, &body)?;
    }
    Ok(())
}

fn print_event(client: &Client, subject: &str, body: &serde_json::Value) -> anyhow::Result<()> {
    if client.json {
        return out::line(serde_json::json!({ "subject": subject, "body": body }));
    }
    let kind = body
        .get("node")
        .and_then(|node| node.as_str())
        .and_then(|node| subject.split_once(&format!(".{node}.")))
        .map_or(subject, |(_, kind)| kind);
    let text = |key: &str| body.get(key).and_then(|v| v.as_str()).unwrap_or_default();
    let who = [text("name"), text("node")]
        .into_iter()
        .find(|t| !t.is_empty())
        .unwrap_or_default();
    let what = match kind {
        "state" => format!("{} -> {}: {}", text("from"), text("to"), text("because")),
        "power_state_corrected.success" => text("because").to_string(),
        power if power.starts_with("power_set.") => {
            format!("{}: {}", text("target"), text("because"))
        }
        "step" => format!("{}: {}", text("from"), text("because")),
        _ => body.to_string(),
    };
    out::line(format_args!("{} {who} {kind} {what}", text("at")))
}
