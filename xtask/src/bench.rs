//! Benchmarks: each prints JSON lines `{name, value, unit, min, max, runs}` and nothing else on standard output.
use anyhow::Result;
use clap::Subcommand;

#[derive(Subcommand)]
pub enum Bench {}

pub fn run(bench: Bench) -> Result<()> {
    match bench {}
}
