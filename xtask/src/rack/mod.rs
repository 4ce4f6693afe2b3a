//! A rack to play with, up until Ctrl-C: machines, workers and enrolled nodes; or simulated BMCs alone, very many of them.
//! Its files are what the demo and the benches share with it; what a simulated BMC does is in `ironbeat-bmc-sim`.
mod bmcs;
pub mod bring_up;
pub mod hold;
pub mod listen;
pub mod machines;

use anyhow::Result;
use ironbeat_product::cluster::node_name;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    /// How many machines: BIOS and UEFI in turn.
    #[arg(long, default_value_t = 2)]
    nodes: usize,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(clap::Subcommand)]
enum Part {
    /// Only BMCs, simulated, as many as you like, in one process on one UDP socket.
    Bmc(bmcs::Args),
}

pub fn run(args: &Args) -> Result<()> {
    match &args.part {
        None => whole(args.nodes),
        Some(Part::Bmc(args)) => bmcs::run(args),
    }
}

fn whole(nodes: usize) -> Result<()> {
    let mut cluster = bring_up::bring_up(nodes)?;
    for node in 1..=nodes {
        cluster.enroll(node, &[])?;
        println!(
            "{} is enrolled; its console is {}",
            node_name(node),
            cluster.rack.console(node).path().display()
        );
    }
    println!(
        "BMC user {}, password {}",
        cluster.rack.login().user,
        cluster.rack.login().password
    );
    hold::print_next(&cluster);
    hold::hold(&cluster);
    cluster.rack.shutdown();
    Ok(())
}
