//! What `--wait` prints while a node is on its way: each step and try, the network boot, and how far the agent has come.
//! `verb` asks and waits; time is handed in.
use super::events;
use ironbeat_common::heartbeat::{Progress, Status};
use ironbeat_common::inventory::BootMode;
use ironbeat_core::node::{Instance, Job, Phase};
use ironbeat_core::plan::steps_of;
use ironbeat_ops::happening::{Event, What};
use ironbeat_ops::reply::Shown;
use std::time::Duration;
use tokio::time::Instant;

/// Between two lines about the same phase of a step.
const EVERY: Duration = Duration::from_secs(5);

/// Remembers what was printed, so that nothing is printed twice.
#[derive(Default)]
pub struct Report {
    line: String,
    last: Option<Sample>,
}

struct Sample {
    phase: String,
    done: u64,
    trouble: Option<String>,
    at: Instant,
}

impl Report {
    /// The node's step, if it is another than last time.
    pub fn node(&mut self, node: &Shown) -> Option<String> {
        let line = step_line(node);
        if line == self.line {
            return None;
        }
        self.line.clone_from(&line);
        self.last = None;
        Some(line)
    }

    /// The machine's way to the ramdisk; the rest of what happens is in the node.
    pub fn event(&self, event: &Event) -> Option<String> {
        let what = &event.known()?.what;
        match what {
            What::Lease { .. } => Some(format!("lease {}", events::words(what))),
            What::Netboot { .. } | What::Lookup { .. } => Some(events::words(what)),
            What::Enrolled
            | What::Deleted
            | What::State(_)
            | What::Step(_)
            | What::Refused { .. }
            | What::PowerSetStart(_)
            | What::PowerSetEnd(_)
            | What::PowerSetError(_)
            | What::PowerStateCorrected(_)
            | What::Nudge(_) => None,
        }
    }

    /// How far the agent is, now and then.
    pub fn agent(&mut self, status: &Status, now: Instant) -> Option<String> {
        let Status::Running { progress, .. } = status else {
            return None;
        };
        if progress.phase.is_empty() {
            return None;
        }
        let before = self
            .last
            .as_ref()
            .filter(|last| last.phase == progress.phase);
        let is_new = before.is_some_and(|last| last.trouble != progress.trouble);
        if !is_new && before.is_some_and(|last| now - last.at < EVERY) {
            return None;
        }
        let rate = before.and_then(|last| {
            let moved = progress.done.checked_sub(last.done)?;
            let millis = u64::try_from((now - last.at).as_millis()).ok()?;
            moved.checked_mul(1000)?.checked_div(millis)
        });
        let mut line = progress_line(progress, rate);
        if let Some(trouble) = &progress.trouble {
            line += &format!(": {trouble}");
        }
        self.last = Some(Sample {
            phase: progress.phase.clone(),
            done: progress.done,
            trouble: progress.trouble.clone(),
            at: now,
        });
        Some(line)
    }
}

/// `deploying (write_image, step 3 of 7, try 2)`.
fn step_line(node: &Shown) -> String {
    let state = &node.provision_state;
    let Some(job) = node.job() else {
        return state.clone();
    };
    let mode = node.rest.get("found_boot_mode");
    let mode = mode.and_then(|mode| serde_json::from_value::<BootMode>(mode.clone()).ok());
    let instance = node.rest.get("instance");
    let instance = instance.and_then(|it| serde_json::from_value::<Instance>(it.clone()).ok());
    let mut line = format!(
        "{state} ({}, step {} of {}",
        job.step().name(),
        job.at + 1,
        steps_of(job, mode, instance.as_ref())
    );
    if job.tries > 1 {
        line += &format!(", try {}", job.tries);
    }
    if job.boots > 1 {
        line += &format!(", ramdisk boot {}", job.boots);
    }
    if let Some(why) = &job.again {
        line += &format!(", booted again because {why}");
    }
    line + &pause(job) + ")"
}

fn pause(job: &Job) -> String {
    match &job.phase {
        Phase::Backoff { until, because, .. } => {
            format!(", tried again at {until}, because: {because}")
        }
        Phase::InLine { .. } => ", in line".into(),
        Phase::Held { .. } => ", on hold".into(),
        Phase::Waiting { until, .. } => format!(", until {until}"),
        Phase::Acting { .. } | Phase::AwaitingAgent { .. } | Phase::AgentStep { .. } => {
            String::new()
        }
    }
}

/// Whether a phase of an agent's step counts bytes.
pub(super) fn moves_bytes(phase: &str) -> bool {
    matches!(phase, "download" | "write" | "verify" | "commit")
}

/// `download 42 %, 118.0 MB/s, 35 s left`. Steps that do not move bytes count disks or the like.
fn progress_line(progress: &Progress, rate: Option<u64>) -> String {
    let Progress {
        phase, done, total, ..
    } = progress;
    if !moves_bytes(phase) {
        return match total {
            Some(total) => format!("{phase} {done} of {total}"),
            None => phase.clone(),
        };
    }
    let mut line = match total {
        Some(total @ 1..) => format!("{phase} {} %", done.saturating_mul(100) / total),
        Some(0) | None => format!("{phase} {} MB", done / 1_000_000),
    };
    if let Some(rate) = rate {
        line += &format!(", {}.{} MB/s", rate / 1_000_000, rate % 1_000_000 / 100_000);
        if let (Some(total), 1..) = (total, rate) {
            line += &format!(", {} s left", total.saturating_sub(*done).div_ceil(rate));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_common::id::StepId;
    use serde_json::json;

    fn running(phase: &str, done: u64, total: Option<u64>) -> Status {
        Status::Running {
            step: StepId(1),
            progress: Progress {
                phase: phase.into(),
                done,
                total,
                trouble: None,
            },
        }
    }

    #[test]
    fn an_image_is_said_in_percent_with_its_rate_and_the_time_left() {
        let mut report = Report::default();
        let begin = Instant::now();
        let mut at =
            |secs: u64, status: &Status| report.agent(status, begin + Duration::from_secs(secs));
        let mb = |n: u64| n * 1_000_000;
        let total = Some(mb(1000));
        let first = at(0, &running("download", 0, total));
        assert_eq!(first.as_deref(), Some("download 0 %"));
        assert_eq!(at(4, &running("download", mb(300), total)), None);
        let second = at(5, &running("download", mb(500), total));
        assert_eq!(
            second.as_deref(),
            Some("download 50 %, 100.0 MB/s, 5 s left")
        );
        // It stands still, and says so.
        let third = at(10, &running("download", mb(500), total));
        assert_eq!(third.as_deref(), Some("download 50 %, 0.0 MB/s"));
        // It began again, from the start.
        let fourth = at(15, &running("download", mb(10), total));
        assert_eq!(fourth.as_deref(), Some("download 1 %"));
        // A new phase is said at once.
        let fifth = at(16, &running("write", mb(2500), None));
        assert_eq!(fifth.as_deref(), Some("write 2500 MB"));
        let sixth = at(21, &running("write", mb(2550), None));
        assert_eq!(sixth.as_deref(), Some("write 2550 MB, 10.0 MB/s"));
        let other = at(22, &running("erase", 2, Some(3)));
        assert_eq!(other.as_deref(), Some("erase 2 of 3"));
        assert_eq!(at(30, &Status::Idle), None);
    }

    #[test]
    fn what_troubles_a_download_is_said_at_once_and_no_longer_than_it_lasts() {
        let mut report = Report::default();
        let begin = Instant::now();
        let troubled = |trouble: Option<&str>| {
            let mut status = running("download", 1_000_000, Some(10_000_000));
            if let Status::Running { progress, .. } = &mut status {
                progress.trouble = trouble.map(Into::into);
            }
            status
        };
        let refused = "GET http://w/os.zst: Connection refused";
        let mut at = |secs: u64, trouble| {
            report.agent(&troubled(trouble), begin + Duration::from_secs(secs))
        };
        assert_eq!(at(0, None).as_deref(), Some("download 10 %"));
        let said = at(1, Some(refused)).unwrap();
        assert!(said.ends_with(&format!(": {refused}")), "{said}");
        assert_eq!(at(2, Some(refused)), None);
        let over = at(3, None).unwrap();
        assert!(!over.contains("refused"), "{over}");
    }

    fn shown(job: serde_json::Value) -> Shown {
        serde_json::from_value(json!({
            "id": "07070707-0707-0707-0707-070707070707",
            "provision_state": "deploying",
            "found_boot_mode": "uefi",
            "state": { "busy": job },
        }))
        .unwrap()
    }

    #[test]
    fn steps_are_counted_from_the_start_and_tries_are_told() {
        let time = "2026-11-21T04:51:16.123Z";
        let steps = json!([{ "bmc": "netboot" }, "await_agent"]);
        let job = |tries: u32, phase: serde_json::Value| {
            json!({ "kind": "deploy", "goal": { "rest": "active" }, "began": time, "steps": steps,
                    "at": 0, "tries": tries, "boots": 1, "phase": phase })
        };
        let acting =
            json!({ "acting": { "op": "o", "worker": "w1", "since": time, "until": time } });
        let mut report = Report::default();
        let node = shown(job(1, acting));
        let first = report.node(&node).unwrap();
        let of = steps_of(node.job().unwrap(), Some(BootMode::Uefi), None);
        assert_eq!(first, format!("deploying (boot_ramdisk, step 1 of {of})"));
        assert!(of > 2);
        assert_eq!(report.node(&node), None);
        let backoff =
            json!({ "backoff": { "since": time, "until": time, "because": "no answer" } });
        let again = report.node(&shown(job(2, backoff))).unwrap();
        assert!(
            again.ends_with(&format!(
                ", try 2, tried again at {time}, because: no answer)"
            )),
            "{again}"
        );
    }
}
