//! `cargo xtask chaos`: one run, with its table and its JSON lines.
//! What is broken, and what is judged, is in the library.
use anyhow::{Result, ensure};
use clap::Parser;
use ironbeat_chaos::run::{self, Options};
use ironbeat_chaos::site::Programs;
use ironbeat_chaos::{report, wave::Outcome};
use ironbeat_rack::nats::cluster::version;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

#[derive(Parser)]
#[command(name = "cargo xtask chaos")]
struct Args {
    /// Few nodes and few faults, for ci.
    #[arg(long)]
    short: bool,
    /// Simulated machines; default: 2000, or 36 in the short form.
    #[arg(long)]
    nodes: Option<usize>,
    /// At most this many nodes begin to be deployed in each wave, and as many are deployed and undeployed; the others are
    /// looked after only.
    #[arg(long, default_value_t = 200)]
    flight: usize,
    /// Only this fault; may be given several times.
    #[arg(long)]
    only: Vec<String>,
    /// The worker.
    #[arg(long)]
    ironbeat: PathBuf,
    #[arg(long)]
    nats_server: PathBuf,
    /// Where logs stay.
    #[arg(long)]
    dir: PathBuf,
}

fn main() -> ExitCode {
    match try_main(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn try_main(args: &Args) -> Result<()> {
    let nodes = args.nodes.unwrap_or(if args.short { 36 } else { 2000 });
    let options = Options::new(nodes, args.flight, args.short, &args.only)?;
    let programs = Programs {
        ironbeat: args.ironbeat.clone(),
        nats_server: args.nats_server.clone(),
        dir: args.dir.clone(),
    };
    let version = version(&programs.nats_server)?;
    eprintln!(
        "chaos: {nodes} machines, three workers, three nats-server {version}; logs in {}",
        args.dir.display()
    );
    let begin = Instant::now();
    let tell = |it: &Outcome| {
        let well = it.well.map_or("never well".into(), |well| {
            format!("well after {:.1} s", well.as_secs_f64())
        });
        eprintln!(
            "{:>5} s  {}: {} jobs, {well}",
            begin.elapsed().as_secs(),
            it.fault.what,
            it.jobs
        );
        it.details
            .iter()
            .for_each(|words| eprintln!("         {words}"));
    };
    let outcomes = run::run(&programs, &options, tell)?;
    eprintln!("\n{}", report::table(&outcomes));
    report::lines(&outcomes)
        .iter()
        .for_each(|line| println!("{line}"));
    let good = outcomes.iter().all(Outcome::is_good);
    ensure!(
        good,
        "something was lost, seen twice, or did not become well"
    );
    Ok(())
}
