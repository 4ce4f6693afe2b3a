//! Benchmarks: each prints JSON lines `{name, value, unit, min, max, runs}` on standard output, beside the peer on the same
//! work in the same run. Each is a file.
mod bmc;
mod cycle;
mod fleet;
mod floor;
mod handover;

use crate::artifacts;
use anyhow::Result;
use clap::Subcommand;

#[derive(Subcommand)]
pub enum Bench {
    /// First BMC command to deployed system, beside a shell ramdisk that only downloads and writes.
    Cycle {
        /// Rounds; in each, floor and product take turns on either firmware.
        #[arg(long, default_value_t = 5)]
        runs: usize,
    },
    /// From the kernel's start to the agent's first heartbeat, with TLS and without.
    Handover {
        /// Deploys on either.
        #[arg(long, default_value_t = 5)]
        runs: usize,
    },
    /// Power reads of thousands of BMCs, beside ipmitool and pyghmi: CPU, time, memory, dead BMCs, lost packets.
    Bmc(bmc::Args),
    /// Lookups, beats, deploys and more of thousands of simulated machines: CPU each, and whether it grows with the fleet.
    Fleet(fleet::Args),
    /// The last part of `bmc` alone: the power sync of real workers.
    Sync,
}

pub fn run(bench: Bench) -> Result<()> {
    match bench {
        Bench::Cycle { runs } => cycle::run(runs),
        Bench::Handover { runs } => handover::run(runs),
        Bench::Bmc(args) => bmc::run(&args),
        Bench::Fleet(args) => fleet::run(&args),
        Bench::Sync => bmc::sync::measure(&artifacts::ironbeat()?),
    }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

fn median(values: &[f64]) -> f64 {
    sorted(values)[values.len() / 2]
}

/// The median, with what it is the median of.
fn print(name: &str, unit: &str, values: &[f64]) {
    let values = sorted(values);
    let round = |value: f64| (value * 1000.0).round() / 1000.0;
    let (min, max) = (values[0], values[values.len() - 1]);
    let line = serde_json::json!({
        "name": name, "value": round(values[values.len() / 2]), "unit": unit,
        "min": round(min), "max": round(max), "runs": values.len(),
    });
    println!("{line}");
}
