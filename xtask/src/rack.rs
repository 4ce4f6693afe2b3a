//! A rack to play with: machines, workers and enrolled nodes, up until Ctrl-C.
//! What the demo does with such a rack is in `demo`.
use crate::demo;
use anyhow::Result;
use ironbeat_tests::cluster::node_name;

#[derive(clap::Args)]
pub struct Args {
    /// How many machines: BIOS and UEFI in turn.
    #[arg(long, default_value_t = 2)]
    nodes: usize,
}

pub fn run(args: &Args) -> Result<()> {
    let mut cluster = demo::bring_up(args.nodes)?;
    for node in 1..=args.nodes {
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
    demo::print_next(&cluster);
    demo::hold(&cluster);
    cluster.rack.shutdown();
    Ok(())
}
