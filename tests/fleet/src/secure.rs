//! `bench fleet`: what logins and TLS cost. The same agents in the middle of a step, each with a connection of its own: first where
//! servers ask nobody, then with logins and TLS.
//! Leaves the measures themselves to `bench`.
use crate::bench::{BEATERS, Bench, Measures, Plan};
use anyhow::{Context, Result};
use ironbeat_rack::logins::Logins;
use std::time::Instant;

/// Adds to `measures`: all of both ways, and the ratios.
pub async fn run(plan: &Plan, nodes: usize) -> Result<Measures> {
    let mut measures = Measures::default();
    for way in ["plain", "secure"] {
        let logins = match way {
            "plain" => None,
            _ => Some(Logins::init(&plan.ironbeat, &["--tls"])?),
        };
        let mut bench = Bench::open(plan, nodes, 1, nodes, logins).await?;
        bench.prepare(nodes).await?;
        bench.measures = Measures::default();
        bench.fleet.hold(true);
        let begin = Instant::now();
        bench.ask_deploys(0..nodes).await?;
        bench.writing(nodes).await?;
        let all_write = begin.elapsed().as_secs_f64();
        bench.measures.add("muster_s", "s", all_write);
        let some = bench.writing(BEATERS.min(nodes)).await?;
        for _ in 0..plan.rounds {
            bench.lookups_of(&some).await?;
            bench.beat(&some).await?;
        }
        let all: Vec<usize> = (0..nodes).collect();
        for _ in 0..plan.rounds {
            bench.come_back(&all).await?;
        }
        let rss = bench.site.rss_mib()?;
        bench.measures.add("rss_mib", "MiB", rss);
        for (name, unit, values) in bench.end().await.0 {
            measures.0.push((format!("{way}_{name}"), unit, values));
        }
    }
    for what in ["lookup_per_s", "beat_per_s", "storm_s"] {
        let of = |way: &str| measures.median(&format!("{way}_{what}"));
        let ratio =
            of("secure").context("it was measured")? / of("plain").context("so was this")?;
        measures.add(&format!("secure_over_plain_{what}"), "ratio", ratio);
    }
    Ok(measures)
}
