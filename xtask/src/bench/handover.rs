//! `bench handover`: from the kernel's first moment to the agent's first heartbeat, with and without TLS and logins of a CA.
//! Two racks with one machine each; only one machine is on at a time. Leaves a deploy to `ironbeat-product`.
use super::print;
use crate::artifacts::{self, Build};
use crate::interrupt;
use crate::rack::machines::machines;
use anyhow::{Context, Result, ensure};
use ironbeat_image::flavour::Flavour;
use ironbeat_ops::happening::{Event, What};
use ironbeat_product::cluster::{Cluster, node_name};
use ironbeat_rack::layout::GATEWAY;
use ironbeat_rack::logins::Logins;
use ironbeat_rack::rack::RackSpec;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(600);

/// How a site is made, and what its figures are called.
const SITES: [(&str, &[&str]); 2] = [("plain", &[]), ("tls", &["--tls"])];

/// # Errors
/// When a machine does not get to its heartbeat.
pub fn run(runs: usize) -> Result<()> {
    ensure!(runs > 0, "no runs, no result");
    let product = artifacts::product(Build::Ship, Flavour::Small)?;
    interrupt::catch()?;
    let host = GATEWAY.to_string();
    let mut clusters = Vec::new();
    for (_, options) in SITES {
        let options = [options, &["--host", &host]].concat();
        let logins = Logins::init(&product.ironbeat, &options)?;
        let spec = RackSpec {
            nodes: machines(1),
            ..RackSpec::default()
        };
        let policy = "automated_clean = false";
        let cluster = Cluster::start_as(logins, product.clone(), spec, 1, policy, "")?;
        cluster.enroll(1, &[])?;
        cluster.make_available(1, PATIENCE)?;
        clusters.push(cluster);
    }
    let mut took: [Vec<f64>; 2] = Default::default();
    for _ in 0..runs {
        for (cluster, took) in clusters.iter().zip(&mut took) {
            interrupt::check()?;
            took.push(first_beat(cluster)?.as_secs_f64());
        }
    }
    for ((name, _), took) in SITES.iter().zip(&took) {
        print(&format!("handover.{name}.s"), "s", took);
    }
    let [plain, tls] = &took;
    let more: Vec<f64> = plain
        .iter()
        .zip(tls)
        .map(|(plain, tls)| tls - plain)
        .collect();
    print("handover.tls_costs.s", "s", &more);
    Ok(())
}

/// Of one deploy's ramdisk; the machine is available again afterwards.
fn first_beat(cluster: &Cluster) -> Result<Duration> {
    cluster.deploy(1, "handover")?;
    cluster.wait_state(1, &["active"], PATIENCE)?;
    let events = cluster.cli_text(&["events", &node_name(1), "--last", "100", "--json"])?;
    cluster.cli(&["node", "undeploy", &node_name(1)])?;
    cluster.wait_state(1, &["available"], PATIENCE)?;
    // The last lookup, and the heartbeat that began the first step after it.
    let (mut looked_up, mut began) = (None, None);
    for line in events.lines() {
        let event: Event =
            serde_json::from_str(line).with_context(|| format!("understand the event {line}"))?;
        let Some(happening) = event.known() else {
            continue;
        };
        match (&happening.what, &looked_up) {
            (What::Lookup { timings, .. }, _) => {
                looked_up = Some((happening.at, timings.lookup_ms));
                began = None;
            }
            (What::State(_) | What::Step(_), Some(_)) if began.is_none() => {
                began = Some(happening.at);
            }
            (_, _) => {}
        }
    }
    let (at, since_kernel) = looked_up.context("no lookup among the events")?;
    let began = began.context("no heartbeat among the events")?;
    Ok(Duration::from_millis(since_kernel) + began.since(at))
}
