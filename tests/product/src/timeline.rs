//! Owns where the time of a deploy went: from the event stream, the machine's POSTs and its serial console.
//! Leaves driving the deploy to its caller.

use anyhow::{Context, Result};
use ironbeat_ops::happening::{Event, What};
use std::time::{Duration, SystemTime};

/// Stretches of one deploy, in the order in which they happen.
pub const STRETCHES: [&str; 7] = [
    "POST",
    "network boot",
    "ramdisk",
    "lookup",
    "write",
    "reboot",
    "boot",
];

/// Moments of one deploy; a stretch is known when both its ends are.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// The operator's deploy was accepted.
    pub asked: Option<SystemTime>,
    /// The machine was powered on for the ramdisk.
    pub powered_on: Option<SystemTime>,
    /// It fetched its boot script: firmware and iPXE are up.
    pub script: Option<SystemTime>,
    /// Its agent looked up.
    pub lookup: Option<SystemTime>,
    /// The agent's own clock at the lookup: since the kernel started, and since the agent did.
    pub since_kernel: Option<Duration>,
    /// Part of that before the agent had read the hardware.
    pub agent_start: Option<Duration>,
    /// The image was on the disk.
    pub written: Option<SystemTime>,
    /// The machine left the ramdisk: its next POST began.
    pub rebooted: Option<SystemTime>,
    /// The conductor called it active.
    pub active: Option<SystemTime>,
    /// The deployed system spoke on its console.
    pub spoke: Option<SystemTime>,
    /// From nudge received to step started.
    pub nudge: Option<Duration>,
}

impl Timeline {
    /// Reads the events of one node from `since` on, as `ironbeat events --json` prints them: a document a line, oldest
    /// first.
    ///
    /// # Errors
    /// When a line is not an event.
    pub fn read(&mut self, events: &str, since: SystemTime) -> Result<()> {
        for line in events.lines() {
            let event: Event = serde_json::from_str(line)
                .with_context(|| format!("understand the event {line}"))?;
            let happening = event
                .known()
                .with_context(|| format!("know the event {line}"))?;
            let at = SystemTime::UNIX_EPOCH + Duration::from_millis(happening.at.unix_ms());
            if at >= since {
                self.note(at, &happening.what);
            }
        }
        Ok(())
    }

    fn note(&mut self, at: SystemTime, what: &What) {
        match what {
            What::Netboot { what, .. } => {
                if what.contains("script") {
                    self.script = self.script.or(Some(at));
                }
            }
            What::Lookup { timings, .. } => {
                let since_kernel = Duration::from_millis(timings.lookup_ms);
                let agent_start = Duration::from_millis(timings.network_ms);
                self.lookup = self.lookup.or(Some(at));
                self.since_kernel = self.since_kernel.or(Some(since_kernel));
                self.agent_start = self.agent_start.or(Some(agent_start));
            }
            What::Nudge(latency) => self.nudge = Some(Duration::from_micros(latency.micros)),
            What::State(change) | What::Step(change) => {
                if change.because.starts_with("write_image is done") {
                    self.written = Some(at);
                }
                if change.to == "active" {
                    self.active = Some(at);
                }
            }
            What::Enrolled
            | What::Deleted
            | What::Refused { .. }
            | What::PowerSetStart(_)
            | What::PowerSetEnd(_)
            | What::PowerSetError(_)
            | What::PowerStateCorrected(_)
            | What::Lease { .. } => {}
        }
    }

    /// How long each of [`STRETCHES`] took; `None` where an end was not seen.
    pub fn stretches(&self) -> [Option<Duration>; 7] {
        let between =
            |from: Option<SystemTime>, to: Option<SystemTime>| to?.duration_since(from?).ok();
        let kernel_began = match (self.lookup, self.since_kernel) {
            (Some(at), Some(age)) => at.checked_sub(age),
            (_, _) => None,
        };
        let network_up = match (kernel_began, self.agent_start) {
            (Some(at), Some(age)) => at.checked_add(age),
            (_, _) => None,
        };
        [
            between(self.powered_on, self.script),
            between(self.script, kernel_began),
            between(kernel_began, network_up),
            between(network_up, self.lookup),
            between(self.lookup, self.written),
            between(self.written, self.rebooted),
            between(self.rebooted, self.spoke),
        ]
    }

    /// From the operator's word to the deployed system's.
    pub fn total(&self) -> Option<Duration> {
        self.spoke?.duration_since(self.asked?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn events_give_the_stretches_of_a_deploy() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let id = "07070707-0707-0707-0707-070707070707";
        let event = |secs: u64, kind: &str, mut special: Value| {
            let at = format!("2001-09-09T01:46:{:02}.000Z", 40 + secs);
            let common = json!({ "kind": kind, "node": id, "at": at, "worker": "w1" });
            let fields = special.as_object_mut().expect("an object");
            fields.append(&mut common.as_object().expect("an object").clone());
            json!({ "subject": format!("ib.v1.event.{id}.{kind}"), "body": special }).to_string()
        };
        let change =
            |to: &str, because: &str| json!({ "from": "deploying", "to": to, "because": because });
        let timings = json!({ "agent_ms": 0, "modules_ms": 0, "network_ms": 2000, "inventory_ms": 0, "lookup_ms": 3000 });
        let events = [
            event(0, "state", change("active", "of another deploy")).replace("2001-", "2000-"),
            event(
                4,
                "netboot",
                json!({ "mac": "52:54:00:77:01:0a", "what": "script" }),
            ),
            event(
                9,
                "lookup",
                json!({ "boot": id, "agent": "0", "timings": timings }),
            ),
            event(
                12,
                "step",
                change("deploying", "write_image is done, set_boot_device follows"),
            ),
            event(14, "state", change("active", "the last step is done")),
        ];
        let after = |secs| Some(start + Duration::from_secs(secs));
        let mut timeline = Timeline {
            asked: after(0),
            powered_on: after(1),
            rebooted: after(13),
            spoke: after(18),
            ..Timeline::default()
        };
        timeline.read(&events.join("\n"), start).unwrap();
        assert_eq!(timeline.active, after(14));
        assert!(timeline.read("{}", start).is_err());
        let secs: Vec<u64> = timeline
            .stretches()
            .iter()
            .map(|s| s.expect("all ends are known").as_secs())
            .collect();
        assert_eq!(secs, [3, 2, 2, 1, 3, 1, 5]);
        assert_eq!(timeline.total(), Some(Duration::from_secs(18)));
    }
}
