//! Owns a rack held up by a process of its own, for tests that kill the holder and for looking around by hand.
//! Leaves everything about the rack to the library.

use std::io::Read as _;

use anyhow::{Context as _, Result, bail};
use ironbeat_rack::machine::spec::NodeSpec;
use ironbeat_rack::rack::{Rack, RackSpec};

/// `hold-rack bios|uefi…`: one machine each, switched on by its BMC; prints where the rack is and holds it until
/// standard input ends.
fn main() -> Result<()> {
    let mut nodes = Vec::new();
    for word in std::env::args().skip(1) {
        match word.as_str() {
            "bios" => nodes.push(NodeSpec::bios()),
            "uefi" => nodes.push(NodeSpec::uefi()),
            _ => bail!("usage: hold-rack bios|uefi…"),
        }
    }
    let count = nodes.len();
    let mut rack = Rack::start(RackSpec {
        nodes,
        ..RackSpec::default()
    })?;
    for node in 1..=count {
        rack.ipmitool(node, &["power", "on"])?;
    }
    println!("dir {}", rack.dir().display());
    println!("netns {}", rack.netns().name().unwrap_or("(this one)"));
    println!("nats {}", rack.nats().url());
    println!("up");
    std::io::stdin()
        .read_to_end(&mut Vec::new())
        .context("wait for the end of standard input")?;
    rack.shutdown();
    Ok(())
}
