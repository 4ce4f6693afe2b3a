//! `bench cycle`: first BMC command to deployed system, beside a shell ramdisk that only downloads and writes.
//! Leaves the floor to `floor`, and the product's part to `ironbeat-product`.
use super::floor::{DEPLOYED, Floor, FloorParts};
use super::print;
use crate::artifacts::{self, Build};
use crate::interrupt;
use crate::rack::machines::machines;

use anyhow::{Context, Result, ensure};
use ironbeat_image::demo_os::DemoOs;
use ironbeat_image::flavour::Flavour;
use ironbeat_product::cluster::{Cluster, node_name};
use ironbeat_rack::logfile::LogCursor;
use ironbeat_rack::rack::{Rack, RackSpec};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(600);

/// The same machines twice: one rack boots the floor, the other is the product's. Only one machine is on at a time.
pub fn run(runs: usize) -> Result<()> {
    ensure!(runs > 0, "no runs, no result");
    let product = artifacts::product(Build::Ship, Flavour::Small)?;
    let os = artifacts::demo_os(Flavour::Small)?;
    let kernel = artifacts::kernel(Flavour::Small)?;
    interrupt::catch()?;
    let spec = || RackSpec {
        nodes: machines(2),
        ..RackSpec::default()
    };
    let floor_rack = Rack::start(spec())?;
    let modules_root = kernel
        .modules
        .ancestors()
        .nth(3)
        .context("modules are in lib/modules/<version>")?;
    let parts = FloorParts {
        kernel: kernel.vmlinuz.clone(),
        modules_root: modules_root.to_path_buf(),
        kernel_version: kernel.version.clone(),
        image: os.raw.clone(),
    };
    let floor = Floor::prepare(&floor_rack, &parts)?;
    let cluster = Cluster::start(product, spec(), 2, "automated_clean = false")?;
    std::fs::copy(&os.raw, cluster.rack.http_dir().join("os.raw")).context("serve the image")?;
    for node in [1, 2] {
        cluster.enroll(node, &[])?;
        cluster.make_available(node, PATIENCE)?;
    }
    let mut rounds: [Vec<(f64, f64)>; 2] = Default::default();
    for round in 1..=runs {
        for node in [1, 2] {
            interrupt::check()?;
            let base = floor.run(node)?.deployed.as_secs_f64();
            let ours = ours(&cluster, node, &os)?.as_secs_f64();
            eprintln!(
                "round {round}, {}: floor {base:.1} s, ironbeat {ours:.1} s",
                firmware(node)
            );
            rounds[node - 1].push((base, ours));
        }
    }
    for node in [1, 2] {
        let pairs = &rounds[node - 1];
        let name = |what: &str| format!("cycle.{}.{what}", firmware(node));
        print(
            &name("ratio"),
            "ratio",
            &pairs
                .iter()
                .map(|(base, ours)| ours / base)
                .collect::<Vec<_>>(),
        );
        print(
            &name("s"),
            "s",
            &pairs.iter().map(|(_, ours)| *ours).collect::<Vec<_>>(),
        );
        print(
            &name("floor.s"),
            "s",
            &pairs.iter().map(|(base, _)| *base).collect::<Vec<_>>(),
        );
    }
    Ok(())
}

fn firmware(node: usize) -> &'static str {
    if node == 1 { "bios" } else { "uefi" }
}

/// From the operator's deploy to the deployed system's word; then back to `available`, unmeasured.
fn ours(cluster: &Cluster, node: usize, os: &DemoOs) -> Result<Duration> {
    let mut console = LogCursor::at_end(cluster.rack.console(node).path());
    let (name, image) = (node_name(node), cluster.rack.images().url("os.raw"));
    let checksum = format!("sha256:{}", os.raw_sha256);
    let begin = Instant::now();
    cluster.cli(&[
        "node",
        "deploy",
        &name,
        "--image",
        &image,
        "--checksum",
        &checksum,
    ])?;
    let found = console.wait_for(DEPLOYED, PATIENCE)?;
    let took = found.at - begin;
    cluster.wait_state(node, &["active"], PATIENCE)?;
    cluster.cli(&["node", "undeploy", &name])?;
    cluster.wait_state(node, &["available"], PATIENCE)?;
    Ok(took)
}
