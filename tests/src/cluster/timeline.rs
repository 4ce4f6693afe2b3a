//! Owns where the time of a deploy went: from the event stream, the machine's POSTs and its serial console.
//! Leaves driving the deploy to its caller.

use std::time::{Duration, SystemTime};

use serde_json::Value;

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
    /// Its agent looked up, and was so long after the kernel started (ms).
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
    /// Reads the events of one node from `since` on, as `ironbeat events --json` prints them, oldest first.
    pub fn read(&mut self, events: &[Value], since: SystemTime) {
        for event in events {
            let body = &event["body"];
            let Some(at) = body["at"]
                .as_str()
                .and_then(parse_time)
                .filter(|at| *at >= since)
            else {
                continue;
            };
            let kind = event["subject"]
                .as_str()
                .and_then(|s| s.rsplit('.').next())
                .unwrap_or_default();
            let text = |key: &str| body[key].as_str().unwrap_or_default();
            match kind {
                "netboot" if text("what").contains("script") => {
                    self.script = self.script.or(Some(at))
                }
                "lookup" => {
                    self.lookup = self.lookup.or(Some(at));
                    let millis =
                        |key: &str| body["timings"][key].as_u64().map(Duration::from_millis);
                    self.since_kernel = self.since_kernel.or(millis("lookup_ms"));
                    self.agent_start = self.agent_start.or(millis("network_ms"));
                }
                "nudge" => {
                    self.nudge = body["micros"]
                        .as_u64()
                        .map(Duration::from_micros)
                        .or(self.nudge)
                }
                "state" | "step" => {
                    if text("because").starts_with("write_image is done") {
                        self.written = Some(at);
                    }
                    if text("to") == "active" {
                        self.active = Some(at);
                    }
                }
                _ => {}
            }
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

/// RFC 3339 in UTC with milliseconds, as the product writes it.
pub fn parse_time(text: &str) -> Option<SystemTime> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (clock, millis) = time.split_once('.')?;
    let mut clock = clock.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    // Days since 1970 of the proleptic Gregorian calendar, years counted from March.
    let year = if month <= 2 { year - 1 } else { year };
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * shifted + 2) / 5 + day
        - 1
        - 719_468;
    let seconds = u64::try_from(days).ok()? * 86_400 + hour * 3600 + minute * 60 + second;
    Some(
        SystemTime::UNIX_EPOCH
            + Duration::from_millis(seconds * 1000 + millis.parse::<u64>().ok()?),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let ms = |text| {
            parse_time(text)
                .unwrap()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap()
                .as_millis()
        };
        assert_eq!(ms("1970-01-01T00:00:00.000Z"), 0);
        assert_eq!(ms("2026-11-21T04:51:16.123Z"), 1_795_236_676_123);
        assert!(parse_time("soon").is_none() && parse_time("2026-11-21").is_none());
    }

    #[test]
    fn stretches_follow_from_moments() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let event = |secs: u64, kind: &str, body: Value| {
            let at = format!("2001-09-09T01:46:{:02}.000Z", 40 + secs);
            let mut body = body;
            body["at"] = at.into();
            serde_json::json!({ "subject": format!("ib.v1.event.n.{kind}"), "body": body })
        };
        let events = [
            event(4, "netboot", serde_json::json!({ "what": "script" })),
            event(
                9,
                "lookup",
                serde_json::json!({ "timings": { "lookup_ms": 3000, "network_ms": 2000 } }),
            ),
            event(
                12,
                "step",
                serde_json::json!({ "because": "write_image is done, set_boot_device follows" }),
            ),
            event(14, "state", serde_json::json!({ "to": "active" })),
        ];
        let after = |secs| Some(start + Duration::from_secs(secs));
        let mut timeline = Timeline {
            asked: after(0),
            powered_on: after(1),
            rebooted: after(13),
            spoke: after(18),
            ..Timeline::default()
        };
        timeline.read(&events, start);
        let secs: Vec<u64> = timeline
            .stretches()
            .iter()
            .map(|s| s.expect("all ends are known").as_secs())
            .collect();
        assert_eq!(secs, [3, 2, 2, 1, 3, 1, 5]);
        assert_eq!(timeline.total(), Some(Duration::from_secs(18)));
    }
}
