//! A rack comes up: packages, what ships, machines, servers, workers.
//! Leaves its parts to `ironbeat-rack` and `ironbeat-product`, and what is done with it to the commands.
use super::machines::machines;
use crate::artifacts::{self, Build};
use crate::interrupt;
use anyhow::Result;
use ironbeat_image::flavour::Flavour;
use ironbeat_product::cluster::Cluster;
use ironbeat_rack::rack::RackSpec;

/// Everything a rack needs is there; the rack is up, with two workers.
pub fn bring_up(nodes: usize) -> Result<Cluster> {
    let product = artifacts::product(Build::Demo, Flavour::Small)?;
    interrupt::catch()?;
    println!(
        "\nrack: {nodes} machines, nats-server, dnsmasq, ipmi_sim, two conductor workers, in a network namespace of their own"
    );
    Cluster::start(
        product,
        RackSpec {
            nodes: machines(nodes),
            ..RackSpec::default()
        },
        2,
        "",
    )
}
