//! The main job, watched live: machines from enroll to active on real parts, and what the deployed systems say.
//! Drives them as an operator would; leaves bringing them up to `rack`.
use crate::interrupt;
use crate::rack::bring_up::bring_up;
use crate::rack::hold::{hold, print_next};
use crate::rack::listen::{listen, timeline, wall_clock};
use anyhow::{Result, bail};
use ironbeat_product::cluster::{Cluster, node_name};
use ironbeat_product::timeline::{STRETCHES, Timeline};
use serde_json::Value;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct Args {
    /// How many machines: BIOS and UEFI in turn.
    #[arg(long, default_value_t = 2)]
    pub nodes: usize,
    /// Leave everything up until Ctrl-C.
    #[arg(long)]
    pub keep: bool,
}

/// From one rest to the next. A boot takes 10 s here; a loaded machine and many nodes get room.
const PATIENCE: Duration = Duration::from_secs(900);
const LOOK: Duration = Duration::from_millis(250);

pub fn run(args: &Args) -> Result<()> {
    if args.nodes == 0 {
        bail!("a demo needs a machine");
    }
    let mut cluster = bring_up(args.nodes)?;
    let result = play(&cluster, args.nodes);
    match &result {
        Ok(()) => println!("\nEvery machine runs what its owner asked for."),
        Err(error) => {
            println!("\n{error:#}");
            println!("logs are in {}", cluster.rack.dir().display());
        }
    }
    if args.keep {
        hold(&cluster);
    }
    cluster.rack.shutdown();
    result
}

/// What an operator would type, for each machine at once.
fn play(cluster: &Cluster, nodes: usize) -> Result<()> {
    let begin = Instant::now();
    let mut watch = Watch {
        cluster,
        begin,
        shown: vec![String::new(); nodes],
    };
    for node in 1..=nodes {
        let shown = cluster.enroll(node, &[])?;
        watch.say(
            node,
            &format!("enrolled as {}", shown["id"].as_str().unwrap_or("?")),
        );
    }
    for (verb, goal) in [
        ("manage", "manageable"),
        ("inspect", "manageable"),
        ("provide", "available"),
    ] {
        for node in 1..=nodes {
            cluster.cli(&["node", verb, &node_name(node)])?;
        }
        watch.until(goal)?;
    }
    let asked = wall_clock();
    let consoles: Vec<_> = (1..=nodes).map(|node| listen(cluster, node)).collect();
    for node in 1..=nodes {
        cluster.deploy(node, &format!("web{node}"))?;
    }
    watch.until("active")?;

    println!("\nWhat the deployed systems said on their serial consoles:");
    let mut rows = Vec::new();
    for (node, console) in (1..=nodes).zip(consoles) {
        let (line, at) = console
            .join()
            .map_err(|_| anyhow::anyhow!("the thread that listens to {node} panicked"))??;
        println!("  {}: {line}", node_name(node));
        if !line.contains(&format!("hostname=web{node} ")) {
            bail!("{} does not know its name: {line}", node_name(node));
        }
        rows.push((node, timeline(cluster, node, asked, at)?));
    }
    print_table(&rows);
    for (node, timeline) in &rows {
        if let Some(nudge) = timeline.nudge {
            println!(
                "  {}: {:.1} ms from nudge to the start of the step it announced",
                node_name(*node),
                nudge.as_secs_f64() * 1e3
            );
        }
    }
    print_next(cluster);
    Ok(())
}

/// Prints what changes, as it changes.
struct Watch<'a> {
    cluster: &'a Cluster,
    begin: Instant,
    shown: Vec<String>,
}

impl Watch<'_> {
    fn say(&self, node: usize, what: &str) {
        println!(
            "{:>7.1} s  {:<8} {what}",
            self.begin.elapsed().as_secs_f64(),
            node_name(node)
        );
    }

    /// Until every node rests in `goal`.
    fn until(&mut self, goal: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            interrupt::check()?;
            let mut there = 0;
            for node in 1..=self.shown.len() {
                let shown = self.cluster.show(node)?;
                let line = state_line(&shown);
                if line != self.shown[node - 1] {
                    self.say(node, &line);
                    self.shown[node - 1] = line;
                }
                let state = shown["provision_state"].as_str().unwrap_or_default();
                let rests = shown.get("wake_at").is_none_or(Value::is_null);
                there += usize::from(rests && state == goal);
                if (rests && state != goal) || Instant::now() > deadline {
                    let why = self
                        .cluster
                        .cli_text(&["node", "explain", &node_name(node)])?;
                    bail!("{} is {state}, not {goal}:\n{why}", node_name(node));
                }
            }
            if there == self.shown.len() {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
    }
}

fn state_line(shown: &Value) -> String {
    let state = shown["provision_state"].as_str().unwrap_or("?");
    let job = &shown["state"]["busy"];
    let (Some(at), Some(steps)) = (job["at"].as_u64(), job["steps"].as_array()) else {
        return state.into();
    };
    let step = steps.get(at as usize).map_or(String::new(), step_name);
    let phase = if job["phase"].get("backoff").is_some() {
        ", waiting before another try"
    } else {
        ""
    };
    format!(
        "{state:<15} step {} of {}: {step}{phase}",
        at + 1,
        steps.len()
    )
}

/// `{"bmc":"netboot"}`, `"await_agent"`, `{"agent":{"write_image":{…}}}`.
fn step_name(step: &Value) -> String {
    match step {
        Value::String(name) => name.replace('_', " "),
        Value::Object(map) => {
            map.iter()
                .next()
                .map_or(String::new(), |(kind, inner)| match inner {
                    Value::Object(order) => {
                        let name = order.keys().next().map_or("", String::as_str);
                        format!("{kind}: {}", name.replace('_', " "))
                    }
                    other => format!(
                        "{kind}: {}",
                        other.as_str().unwrap_or_default().replace('_', " ")
                    ),
                })
        }
        _ => String::new(),
    }
}

fn print_table(rows: &[(usize, Timeline)]) {
    println!("\nWhere the time went, in seconds:");
    let mut head = format!("  {:<8}", "");
    for name in STRETCHES {
        write!(head, "{name:>14}").expect("a String grows");
    }
    println!("{head}{:>14}", "in all");
    for (node, timeline) in rows {
        let mut line = format!("  {:<8}", node_name(*node));
        let secs = |stretch: Option<Duration>| {
            stretch.map_or("-".into(), |s| format!("{:.1}", s.as_secs_f64()))
        };
        for stretch in timeline.stretches().into_iter().chain([timeline.total()]) {
            write!(line, "{:>14}", secs(stretch)).expect("a String grows");
        }
        println!("{line}");
    }
}
