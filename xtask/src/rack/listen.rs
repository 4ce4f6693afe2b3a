//! What a deployed system says on its console, and where the time of its deploy went.
//! Leaves what follows from it to the commands.
use crate::interrupt;
use anyhow::Result;
use ironbeat_product::cluster::{Cluster, node_name};
use ironbeat_product::timeline::Timeline;
use ironbeat_rack::logfile::LogCursor;
use ironbeat_rack::machine::PowerEvent;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// A boot takes 10 s here; a loaded machine and many nodes get room.
const PATIENCE: Duration = Duration::from_secs(900);

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

/// Where the time of one deploy went.
pub fn timeline(
    cluster: &Cluster,
    node: usize,
    asked: SystemTime,
    spoke: SystemTime,
) -> Result<Timeline> {
    let events = cluster.cli_text(&["events", &node_name(node), "--last", "500", "--json"])?;
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
    timeline.read(&events, asked)?;
    Ok(timeline)
}

/// As machines and workers say when something happened.
#[expect(
    clippy::disallowed_methods,
    reason = "it measures, and decides nothing"
)]
pub fn wall_clock() -> SystemTime {
    SystemTime::now()
}
