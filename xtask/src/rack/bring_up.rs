//! A rack comes up: packages, what ships, machines, servers, workers.
//! What it is made of is in `ironbeat-rack`; what is done with it, in the commands.
use super::machines::machines;
use crate::artifacts::{self, Profile};
use crate::{interrupt, packages};
use anyhow::Result;
use ironbeat_image::flavour::Flavour;
use ironbeat_product::cluster::Cluster;
use ironbeat_rack::rack::RackSpec;

/// Everything a rack needs is there; the rack is up, with two workers.
pub fn bring_up(nodes: usize) -> Result<Cluster> {
    packages::ensure(&[
        packages::BUILD,
        packages::IMAGE,
        packages::DEMO_OS,
        packages::RACK,
    ])?;
    // Optimising the workers takes minutes, and they have little to do here. The ramdisk is the one that ships.
    let product = artifacts::product(Profile::Dev, Flavour::Small)?;
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
