//! `bench fleet`: what further workers cost and bring. Deploys with 1, 2 and 4 of them, free, then each held to a quarter of a core.
//! Leaves one worker and everything else to `bench`.
use crate::bench::{Bench, Measures, Plan, SHARED};
use crate::quota::Quota;
use anyhow::{Context, Result};
use std::time::Instant;

/// Enrolled, and of them deployed.
const NODES: usize = 2000;
const WORKERS: [usize; 3] = [1, 2, 4];
/// So little that the workers are what binds, and not the server or the machine.
const PERCENT: u32 = 25;

/// Adds to `measures`: costs without a limit, rates with it.
pub async fn run(plan: &Plan) -> Result<Measures> {
    let mut measures = Measures::default();
    for workers in WORKERS {
        let mut bench = Bench::open(plan, NODES, workers, SHARED, None).await?;
        bench.prepare(NODES).await?;
        for round in 0..plan.rounds {
            if round > 0 {
                bench.undeploy(NODES).await?;
            }
            let (per_s, cpu_ms) = deploys(&bench, NODES).await?;
            measures.add(&format!("workers_{workers}_cpu_ms"), "ms", cpu_ms);
            measures.add(&format!("workers_{workers}_per_s"), "1/s", per_s);
        }
        let mut quotas = Vec::new();
        for (n, worker) in bench.site.workers.iter().enumerate() {
            let name = format!("ironbeat-bench-{}-{n}", std::process::id());
            quotas.push(Quota::hold(&name, PERCENT, worker.pid())?);
        }
        for _ in 0..plan.rounds {
            bench.undeploy(NODES).await?;
            let (per_s, _) = deploys(&bench, NODES).await?;
            measures.add(&format!("scale_{workers}_per_s"), "1/s", per_s);
        }
        bench.site.stop_workers();
        drop(quotas);
    }
    let of = |name: &str| measures.median(name).context("it was measured");
    let overhead = of("workers_4_cpu_ms")? / of("workers_1_cpu_ms")?;
    let one = of("scale_1_per_s")?;
    let (two, four) = (of("scale_2_per_s")? / one, of("scale_4_per_s")? / one);
    measures.add("workers_overhead", "ratio", overhead);
    measures.add("scale_2", "ratio", two);
    measures.add("scale_4", "ratio", four);
    Ok(measures)
}

/// Deploys a second, and what all workers together use for one.
async fn deploys(bench: &Bench<'_>, nodes: usize) -> Result<(f64, f64)> {
    let (before, begin) = (bench.site.settled().await, Instant::now());
    let mut rests = bench.follow("active").await?;
    bench.ask_deploys(0..nodes).await?;
    rests.wait(nodes).await?;
    let secs = begin.elapsed().as_secs_f64();
    let after = bench.site.settled().await;
    let cpu_ms = (after.worker - before.worker) * 1e3 / nodes as f64;
    Ok((nodes as f64 / secs, cpu_ms))
}
