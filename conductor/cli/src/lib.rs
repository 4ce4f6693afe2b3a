//! The operator's command line: its arguments, and the function of each subcommand.
//! `client` sends requests, `node` shows nodes, `decode` is the CBOR filter.
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
use ironbeat_ops::happening::{Body, Event, Happening, What};
use ironbeat_ops::request::{ListEvents, ListLookups, ListWorkers, ShowLookup};

/// Where to find the workers, and how to print replies.
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
            match w.lacks.is_empty() {
                true => "-".into(),
                false => w.lacks.join("; "),
            },
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
        print_event(client, event)?;
    }
    if !follow {
        return Ok(());
    }
    while let Some(event) = live.next().await {
        print_event(client, &event)?;
    }
    Ok(())
}

fn print_event(client: &Client, event: &Event) -> anyhow::Result<()> {
    if client.json {
        return out::line(serde_json::to_string(event)?);
    }
    match &event.body {
        Body::Known(happening) => out::line(event_line(happening)?),
        Body::Other(value) => out::line(format_args!("{} {value}", event.subject)),
    }
}

/// One line for people.
fn event_line(happening: &Happening) -> anyhow::Result<String> {
    let what = match &happening.what {
        What::Enrolled | What::Deleted => String::new(),
        What::State(change) => format!("{} -> {}: {}", change.from, change.to, change.because),
        What::Step(step) => format!("{}: {}", step.from, step.because),
        What::PowerStateCorrected(power) => power.because.clone(),
        What::PowerSetStart(power) | What::PowerSetEnd(power) | What::PowerSetError(power) => {
            let target = power.target.as_deref().unwrap_or_default();
            format!("{target}: {}", power.because)
        }
        What::Lookup { .. } | What::Nudge(_) | What::Netboot { .. } | What::Lease { .. } => {
            serde_json::to_string(happening)?
        }
    };
    let Happening { at, node, name, .. } = happening;
    let who = name.as_ref().map_or(node.to_string(), ToString::to_string);
    let line = format!("{at} {who} {} {what}", happening.kind());
    Ok(line.trim_end().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_a_line() {
        let power = json!({ "from": null, "to": true, "target": "power on", "because": "asked" });
        let change = json!({ "from": "available", "to": "active", "because": "asked" });
        let nudge = json!({ "step": 9, "micros": 1500 });
        for (kind, name, fields, expected) in [
            ("state", Some("box"), &change, "available -> active: asked"),
            ("step", Some("box"), &change, "available: asked"),
            ("power_set.start", Some("box"), &power, "power on: asked"),
            ("power_state_corrected.success", None, &power, "asked"),
            ("nudge", None, &nudge, "{\"node\":"),
        ] {
            let node = "07070707-0707-0707-0707-070707070707";
            let at = "2026-11-21T04:51:16.123Z";
            let mut body =
                json!({ "kind": kind, "node": node, "name": name, "at": at, "worker": "w1" });
            let fields = fields.as_object().unwrap().clone();
            body.as_object_mut().unwrap().extend(fields);
            let line = event_line(&serde_json::from_value(body).unwrap()).unwrap();
            let begin = format!("{at} {} {kind} {expected}", name.unwrap_or(node));
            assert!(line.starts_with(&begin), "{line}");
        }
    }
}
