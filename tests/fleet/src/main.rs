//! The load of `cargo xtask bench fleet`: real nats-server, real workers, simulated machines; figures as JSON lines.
//! What is measured is in the library's `bench`.
use clap::Parser;
use ironbeat_fleet::bench::{HUGE, Measures, Plan, run};
use ironbeat_fleet::{scale, secure};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Parser)]
#[command(name = "ironbeat-fleet")]
struct Args {
    /// Worker and command line, as they ship.
    #[arg(long)]
    ironbeat: PathBuf,
    /// Default: the oldest supported one, as installed.
    #[arg(long)]
    nats: Option<PathBuf>,
    /// Sizes of the fleet, one after the other.
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 10_000])]
    nodes: Vec<usize>,
    /// Only what has this in its name.
    #[arg(long)]
    only: Option<String>,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long to watch an idle fleet; the power sync has a period of 120 s.
    #[arg(long, default_value_t = 120)]
    idle_secs: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let plan = Plan {
        ironbeat: args.ironbeat,
        nats: args.nats,
        only: args.only,
        idle: Duration::from_secs(args.idle_secs),
        rounds: args.rounds.max(1),
    };
    let mut results: Vec<(usize, Measures)> = Vec::new();
    for nodes in args.nodes {
        eprintln!("{nodes} nodes");
        results.push((nodes, run(&plan, nodes).await?));
    }
    let sizes = results.iter().map(|(nodes, _)| *nodes);
    let largest = sizes.filter(|nodes| *nodes < HUGE).max();
    for (nodes, measures) in &results {
        if *nodes >= HUGE {
            for (name, unit, values) in &measures.0 {
                let (name, of) = name.split_once('_').unwrap_or((name, ""));
                let size = nodes / 1000;
                print(&format!("fleet.{name}_{size}k_{of}"), unit, values);
            }
            continue;
        }
        // The names of the targets mean the largest fleet; smaller ones carry their size.
        let suffix = match Some(*nodes) == largest {
            true => String::new(),
            false => format!(".{nodes}"),
        };
        for (name, unit, values) in &measures.0 {
            print(&format!("fleet.{name}{suffix}"), unit, values);
        }
    }
    if let Some(nodes) = largest
        && plan.wants("secure")
    {
        for (name, unit, values) in &secure::run(&plan, nodes).await?.0 {
            print(&format!("fleet.{name}"), unit, values);
        }
    }
    if plan.wants("workers") || plan.wants("scale") {
        for (name, unit, values) in &scale::run(&plan).await?.0 {
            print(&format!("fleet.{name}"), unit, values);
        }
    }
    results.retain(|(nodes, _)| *nodes < HUGE);
    if let [(_, small), .., (_, large)] = results.as_slice() {
        for what in ["lookup", "lookup_again", "beat", "deploy"] {
            let name = format!("{what}_cpu_ms");
            if let (Some(small), Some(large)) = (small.median(&name), large.median(&name)) {
                print(&format!("fleet.{what}_growth"), "ratio", &[large / small]);
            }
        }
    }
    Ok(())
}

/// The median, with what it is the median of.
fn print(name: &str, unit: &str, values: &[f64]) {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let round = |value: f64| (value * 10_000.0).round() / 10_000.0;
    let (min, max) = (values[0], values[values.len() - 1]);
    let line = serde_json::json!({
        "name": name, "value": round(values[values.len() / 2]), "unit": unit,
        "min": round(min), "max": round(max), "runs": values.len(),
    });
    println!("{line}");
}
