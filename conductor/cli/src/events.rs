//! `ironbeat events`: what happened, a line for people or a JSON document each.
//! `ironbeat_ops::happening` has the events; `progress` prints some of them while a verb is waited for.
use super::client::Client;
use super::out;
use crate::connect::Link;
use anyhow::Context;
use ironbeat_ops::happening::{Body, Event, Happening, What};
use ironbeat_ops::request::ListEvents;

pub async fn run(
    client: &Client,
    node: Option<String>,
    last: usize,
    follow: bool,
) -> anyhow::Result<()> {
    let mut link = client.link();
    // Subscribed before the past is read, so that nothing falls between.
    let mut live = client.watch_events(node.as_deref()).await?;
    let last = Some(last);
    let past = client.ask(&ListEvents { node, last }).await?;
    for event in &past {
        print(client, event)?;
    }
    if !follow {
        return Ok(());
    }
    loop {
        tokio::select! {
            event = live.next() => {
                let event = event.context("the connection to NATS was closed")?;
                print(client, &event)?;
            }
            why = client.ended() => return Err(why),
            Ok(()) = link.changed() => match *link.borrow_and_update() {
                Link::Lost => out::warn("the connection to NATS is lost; connecting again")?,
                Link::Up => out::warn(
                    "the connection to NATS was lost and is back: what happened in between is not here, `ironbeat events` \
                     without --follow has it",
                )?,
                // The reason comes beside this.
                Link::Ended => {}
            },
        }
    }
}

fn print(client: &Client, event: &Event) -> anyhow::Result<()> {
    if client.json {
        return out::line(serde_json::to_string(event)?);
    }
    match &event.body {
        Body::Known(happening) => out::line(line(happening)),
        Body::Other(value) => out::line(format_args!("{} {value}", event.subject)),
    }
}

/// One line for people.
fn line(happening: &Happening) -> String {
    let Happening { at, node, name, .. } = happening;
    let who = name.as_ref().map_or(node.to_string(), ToString::to_string);
    let line = format!("{at} {who} {} {}", happening.kind(), words(&happening.what));
    line.trim_end().to_string()
}

/// Without when and who.
pub fn words(what: &What) -> String {
    match what {
        What::Enrolled | What::Deleted => String::new(),
        What::State(change) => format!("{} -> {}: {}", change.from, change.to, change.because),
        What::Refused { state, because } => format!("{state}: {because}"),
        What::Step(step) => format!("{}: {}", step.from, step.because),
        What::PowerStateCorrected(power) => power.because.clone(),
        What::PowerSetStart(power) | What::PowerSetEnd(power) | What::PowerSetError(power) => {
            let target = power.target.as_deref().unwrap_or_default();
            format!("{target}: {}", power.because)
        }
        What::Lookup { agent, timings, .. } => format!(
            "the ramdisk is up, agent {agent}, {} s after its kernel began",
            seconds(timings.lookup_ms)
        ),
        What::Nudge(latency) => format!(
            "step {} began {}.{:03} ms after the nudge",
            latency.step,
            latency.micros / 1000,
            latency.micros % 1000
        ),
        What::Netboot { mac, what } => format!("{what} ({mac})"),
        What::Lease { mac, ip } => format!("{ip} for {mac}"),
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{}", ms / 1000, ms % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_a_line() {
        let power = json!({ "from": null, "to": true, "target": "power on", "because": "asked" });
        let change = json!({ "from": "available", "to": "active", "because": "asked" });
        let timings = json!({ "agent_ms": 1, "modules_ms": 2, "network_ms": 3, "inventory_ms": 4, "lookup_ms": 6789 });
        let lookup = json!({ "boot": "0b0b0b0b-0b0b-0b0b-0b0b-0b0b0b0b0b0b", "agent": "0.1.0", "timings": timings });
        let mac = "52:54:00:77:00:01";
        for (kind, name, fields, expected) in [
            (
                "state",
                Some("box"),
                change.clone(),
                "available -> active: asked",
            ),
            ("step", Some("box"), change, "available: asked"),
            (
                "power_set.start",
                Some("box"),
                power.clone(),
                "power on: asked",
            ),
            ("power_state_corrected.success", None, power, "asked"),
            (
                "nudge",
                None,
                json!({ "step": 9, "micros": 1500 }),
                "step 9 began 1.500 ms after the nudge",
            ),
            (
                "lookup",
                Some("box"),
                lookup,
                "the ramdisk is up, agent 0.1.0, 6.7 s after its kernel began",
            ),
            (
                "netboot",
                Some("box"),
                json!({ "mac": mac, "what": "kernel" }),
                "kernel (52:54:00:77:00:01)",
            ),
            (
                "lease",
                Some("box"),
                json!({ "mac": mac, "ip": "10.77.0.9" }),
                "10.77.0.9 for 52:54:00:77:00:01",
            ),
        ] {
            let node = "07070707-0707-0707-0707-070707070707";
            let at = "2026-11-21T04:51:16.123Z";
            let mut body =
                json!({ "kind": kind, "node": node, "name": name, "at": at, "worker": "w1" });
            let fields = fields.as_object().unwrap().clone();
            body.as_object_mut().unwrap().extend(fields);
            let line = line(&serde_json::from_value(body).unwrap());
            let whole = format!("{at} {} {kind} {expected}", name.unwrap_or(node));
            assert_eq!(line, whole);
        }
    }
}
