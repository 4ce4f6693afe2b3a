//! The main job, watched live: machines from enroll to active on real parts, and what the deployed systems say.
//! The rack and the workers are `ironbeat-tests`'; this file drives them as an operator would, and prints.
use crate::artifacts::{self, Profile};
use crate::{interrupt, packages};
use anyhow::{Context, Result, bail};
use ironbeat_image::flavour::Flavour;
use ironbeat_tests::cluster::timeline::{STRETCHES, Timeline};
use ironbeat_tests::cluster::{Cluster, node_name};
use ironbeat_tests::logfile::LogCursor;
use ironbeat_tests::machine::PowerEvent;
use ironbeat_tests::machine::spec::{DiskKind, DiskSpec, NodeSpec};
use ironbeat_tests::rack::RackSpec;
use serde_json::Value;
use std::fmt::Write as _;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

#[derive(clap::Args)]
pub struct Args {
    /// How many machines: BIOS and UEFI in turn.
    #[arg(long, default_value_t = 2)]
    pub nodes: usize,
    /// Leave everything up until Ctrl-C.
    #[arg(long)]
    pub keep: bool,
}

/// A disk that a default deploy accepts: Ironic's 4 GiB, and room.
const DISK_BYTES: u64 = 5 << 30;
/// From one rest to the next. A boot takes 10 s here; a loaded machine and many nodes get room.
const PATIENCE: Duration = Duration::from_secs(900);
const LOOK: Duration = Duration::from_millis(250);

/// BIOS with a virtio disk, UEFI with NVMe, and so on in turn.
pub fn machines(count: usize) -> Vec<NodeSpec> {
    (1..=count)
        .map(|n| {
            let (base, kind) = match n % 4 {
                1 => (NodeSpec::bios(), DiskKind::VirtioBlk),
                2 => (NodeSpec::uefi(), DiskKind::Nvme),
                3 => (NodeSpec::bios(), DiskKind::Scsi),
                _ => (NodeSpec::uefi(), DiskKind::VirtioBlk),
            };
            let mut spec = base;
            spec.disks = vec![DiskSpec::blank(
                kind,
                DISK_BYTES,
                &format!("IB-DISK-{n:03}"),
            )];
            spec.identity.serial = format!("IB-{n:03}");
            spec
        })
        .collect()
}

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

/// Waits in a thread of its own for what the deployed system says, and when.
pub fn listen(cluster: &Cluster, node: usize) -> JoinHandle<Result<(String, SystemTime)>> {
    let mut console = LogCursor::at_end(cluster.rack.console(node).path());
    std::thread::spawn(move || {
        let deadline = Instant::now() + PATIENCE;
        loop {
            interrupt::check()?;
            // The end of the line that begins with DEPLOYED-OK.
            match console.wait_for(" firmware=", Duration::from_secs(1)) {
                Ok(found) => return Ok((found.line.trim().to_string(), wall_clock())),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => {}
            }
        }
    })
}

/// As machines and workers say when something happened.
#[expect(
    clippy::disallowed_methods,
    reason = "it measures, and decides nothing"
)]
fn wall_clock() -> SystemTime {
    SystemTime::now()
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

/// Where the time of one deploy went.
pub fn timeline(
    cluster: &Cluster,
    node: usize,
    asked: SystemTime,
    spoke: SystemTime,
) -> Result<Timeline> {
    // One document a line.
    let text = cluster.cli_text(&["events", &node_name(node), "--last", "500", "--json"])?;
    let events: Vec<Value> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .context("understand the events")?;
    let posts: Vec<SystemTime> = cluster
        .rack
        .machine(node)
        .events()
        .into_iter()
        .filter(|(at, event)| *at >= asked && matches!(event, PowerEvent::Post(_)))
        .map(|(at, _)| at)
        .collect();
    let mut timeline = Timeline {
        asked: Some(asked),
        powered_on: posts.first().copied(),
        rebooted: posts.get(1).copied(),
        spoke: Some(spoke),
        ..Timeline::default()
    };
    timeline.read(&events, asked);
    Ok(timeline)
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

pub fn print_next(cluster: &Cluster) {
    let enter = match cluster.rack.netns().name() {
        Some(name) => format!("ip netns exec {name} "),
        None => String::new(),
    };
    println!("\nTo try next, with `--keep` and in another terminal:");
    for line in [
        "node list",
        "node show node1",
        "node explain node1",
        "events node1",
        "lookups",
        "workers",
        "node undeploy node1 --wait",
    ] {
        println!(
            "  {enter}{} --nats nats://10.77.0.1:4222 {line}",
            cluster.ironbeat().display()
        );
    }
    println!("  {enter}nats --server 10.77.0.1 micro info ironbeat");
    println!(
        "  {enter}nats --server 10.77.0.1 sub 'ib.v1.>' --translate '{} decode'",
        cluster.ironbeat().display()
    );
    println!("  {enter}nats --server 10.77.0.1 kv get ib --raw node.<id>");
}

/// Until Ctrl-C.
pub fn hold(cluster: &Cluster) {
    println!(
        "\nThe rack is up; Ctrl-C tears it down. Logs and consoles: {}",
        cluster.rack.dir().display()
    );
    while interrupt::check().is_ok() {
        std::thread::sleep(LOOK);
    }
}
