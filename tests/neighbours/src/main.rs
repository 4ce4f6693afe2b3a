//! `cargo xtask neighbours`: one run, with a JSON line for each attempt.
//! Who tries what, and what counts as refused, is in the library.
use anyhow::{Result, ensure};
use clap::Parser;
use ironbeat_neighbours::book::Book;
use ironbeat_neighbours::lab::Lab;
use ironbeat_neighbours::rows::ROWS;
use ironbeat_neighbours::site::Programs;
use ironbeat_rack::nats::cluster::version;
use ironbeat_rack::netns::Netns;
use ironbeat_rack::owner::unique_name;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

#[derive(Parser)]
#[command(name = "cargo xtask neighbours")]
struct Args {
    /// Shorter floods and fewer names, for ci.
    #[arg(long)]
    short: bool,
    /// Only this neighbour; may be given several times.
    #[arg(long)]
    only: Vec<String>,
    /// Worker and command line.
    #[arg(long)]
    ironbeat: PathBuf,
    #[arg(long)]
    agent: PathBuf,
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
            eprintln!("neighbours: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn try_main(args: &Args) -> Result<()> {
    let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
    for only in &args.only {
        ensure!(
            names.contains(&only.as_str()),
            "there is no neighbour {only:?}; there are: {}",
            names.join(", ")
        );
    }
    let version = version(&args.nats_server)?;
    eprintln!(
        "neighbours: nats-server {version}; logs in {}",
        args.dir.display()
    );
    // Its sockets and addresses are nobody else's.
    let netns = Arc::new(Netns::create(&unique_name(), false)?);
    netns.inside(|| play(args, &netns))
}

fn play(args: &Args, netns: &Arc<Netns>) -> Result<()> {
    let begin = Instant::now();
    let programs = Programs {
        ironbeat: args.ironbeat.clone(),
        agent: args.agent.clone(),
        nats_server: args.nats_server.clone(),
        dir: args.dir.clone(),
    };
    let mut lab = Lab::start(programs, args.short, Arc::clone(netns))?;
    let mut book = Book::default();
    for row in ROWS {
        if args.only.is_empty() || args.only.iter().any(|only| only == row.name) {
            (row.plays)(&mut lab, &mut book)?;
            eprintln!("{:>5} s", begin.elapsed().as_secs());
        }
    }
    eprintln!("\n{}", book.table());
    book.sums().iter().for_each(|line| println!("{line}"));
    ensure!(book.is_good(), "somebody obtained what must be refused");
    Ok(())
}
