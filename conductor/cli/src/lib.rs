//! The operator's command line: its arguments, and the function of each subcommand. `connect` says who asks.
//! `client` sends requests; the files beside it have the subcommands.
mod allocation;
pub mod auth;
mod bars;
mod bmc;
mod bulk;
mod choose;
mod client;
mod clock;
pub mod connect;
mod console;
mod decode;
mod events;
#[doc(hidden)]
pub mod fuzz;
mod list;
mod login;
mod manual;
mod node;
pub mod out;
mod parse;
mod password;
mod past;
mod power;
pub mod private;
mod profile;
mod progress;
mod rescue;
mod rule;
mod runbook;
mod seal;
pub mod servers;
mod set;
mod template;
mod top;
mod verb;
pub mod wait;

pub use bulk::exit_code;
use clap::Subcommand;
use client::Client;
pub use connect::Connect;
use ironbeat_ops::lookup::LookupEntry;
use ironbeat_ops::policy::differences;
use ironbeat_ops::reply::WorkerInfo;
use ironbeat_ops::request::{ListLookups, ListWorkers, RotateKey, ShowLookup};

#[derive(Subcommand)]
pub enum Command {
    /// Enroll, inspect, deploy and watch nodes.
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Ask for any node of a kind.
    #[command(subcommand)]
    Allocation(allocation::AllocationCommand),
    /// Keep steps under a name, for cleanings and services.
    #[command(subcommand)]
    Runbook(runbook::RunbookCommand),
    /// Keep steps for deploys of instances that ask for a trait.
    #[command(subcommand)]
    Template(template::TemplateCommand),
    /// Say what follows from what inspections find.
    #[command(subcommand)]
    Rule(rule::RuleCommand),
    /// Switch machines on and off.
    #[command(subcommand)]
    Power(power::PowerCommand),
    /// Ask BMCs what they are and what is wrong with them; give them passwords.
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
        /// So many of the last ones first.
        #[arg(long, default_value_t = 50)]
        last: usize,
        /// Keep printing as things happen.
        #[arg(long, short)]
        follow: bool,
    },
    /// Watch the fleet live: states, stuck nodes first, rates, workers, the NATS servers.
    Top,
    /// Read CBOR or JSON on standard input, print JSON.
    ///
    /// For `nats sub 'ib.v1.>' --translate 'ironbeat decode'`.
    Decode,
}

/// # Errors
/// What was attempted and why it did not work, for the operator.
pub async fn run(to: &Connect, command: Command) -> anyhow::Result<()> {
    let connect = || Client::open(to);
    match command {
        Command::Decode => decode::run(),
        Command::Node(command) => node::run(connect().await?, command).await,
        Command::Allocation(command) => allocation::run(&connect().await?, command).await,
        Command::Runbook(command) => runbook::run(&connect().await?, command).await,
        Command::Template(command) => template::run(&connect().await?, command).await,
        Command::Rule(command) => rule::run(&connect().await?, command).await,
        Command::Power(command) => power::run(connect().await?, command).await,
        Command::Bmc(command) => bmc::run(connect().await?, command).await,
        Command::Top => top::run(&connect().await?).await,
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

/// `ironbeat auth rotate-key`.
///
/// # Errors
/// When no worker does it, or a secret is left that no key opens.
pub async fn rotate_key(to: &Connect) -> anyhow::Result<()> {
    let client = Client::open(to).await?;
    let rotated = client.ask(&RotateKey {}).await?;
    if to.json {
        return out::json(&rotated);
    }
    out::line(format_args!(
        "{} secrets are encrypted anew, with data key {}, which master key {} wraps",
        rotated.documents, rotated.key, rotated.master
    ))?;
    for document in &rotated.unreadable {
        out::line(format_args!("{document}: no key opens it"))?;
    }
    let unreadable = rotated.unreadable.len() as u64 + rotated.more;
    anyhow::ensure!(
        unreadable == 0,
        "{unreadable} documents are as they were: give the BMCs' passwords and keys K_g anew with `ironbeat node set`, deploy \
         instances anew"
    );
    Ok(())
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
            [Some(&*w.url), w.https.as_deref()]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(" "),
            w.version.clone(),
            w.started.to_string(),
            lacks(w),
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
    for worker in &workers {
        for what in &worker.records {
            out::line(format_args!("{}: {what}", worker.id))?;
        }
    }
    for (option, values) in differences(&workers) {
        let values = values.iter().map(|(id, value)| format!("{id} has {value}"));
        let values = values.collect::<Vec<_>>().join(", ");
        out::line(format_args!("policy.{option} differs: {values}"))?;
    }
    Ok(())
}

fn lacks(worker: &WorkerInfo) -> String {
    let files = worker.lacks.iter().chain(&worker.lacks_images);
    let all: Vec<&str> = files.chain(&worker.refused).map(String::as_str).collect();
    match all.is_empty() {
        true => "-".into(),
        false => all.join("; "),
    }
}

/// What the machine was told, and who else claims to be it.
fn answer(entry: &LookupEntry) -> String {
    let outcome = &entry.lookup.outcome;
    match entry.conflicts.as_slice() {
        [] => outcome.clone(),
        others => format!("{outcome}; conflict: also claimed by {}", others.join(", ")),
    }
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
            answer(entry),
        ]
    });
    out::table(
        &["LOOKUP", "LAST", "MACHINE", "FIRST MAC", "ANSWER"],
        rows.collect(),
    )
}
