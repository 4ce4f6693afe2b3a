//! Log lines: to the console with the kernel's time, and the newest kept for watchers on NATS.
//! When to publish them is decided in `heart::beat`.
use crate::clock;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Lines kept until they can be published: enough for the start of a boot; older ones are dropped.
const KEPT_LINES: usize = 200;
/// Longest line kept, in characters; the console has the rest.
const LINE_CHARS: usize = 1000;

/// The lines not yet published.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<VecDeque<String>>>);

impl Lines {
    /// Empties it.
    pub fn take(&self) -> Vec<String> {
        self.lock().drain(..).collect()
    }

    fn push(&self, line: &str) {
        let mut lines = self.lock();
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(line.chars().take(LINE_CHARS).collect());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct SinceKernelStart;

impl FormatTime for SinceKernelStart {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        let now = clock::uptime();
        write!(w, "[{:5}.{:03}]", now.as_secs(), now.subsec_millis())
    }
}

/// Writes to both places. One event is one `write`: the formatter hands over whole lines.
pub struct Both(Lines);

impl Write for Both {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(String::from_utf8_lossy(bytes).trim_end());
        // A broken console must not stop the agent.
        let _ = io::stderr().write_all(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Both;
    fn make_writer(&'a self) -> Both {
        Both(self.clone())
    }
}

/// Sends this process's log lines to standard error and to the returned store. Called once.
pub fn start(debug: bool) -> Lines {
    let lines = Lines::default();
    let (ours, others) = if debug {
        (Level::DEBUG, Level::DEBUG)
    } else {
        (Level::INFO, Level::WARN)
    };
    let filter = Targets::new()
        .with_target("ironbeat", ours)
        .with_default(others);
    tracing_subscriber::fmt()
        .with_max_level(ours)
        .with_ansi(false)
        .with_target(false)
        .with_timer(SinceKernelStart)
        .with_writer(lines.clone())
        .finish()
        .with(filter)
        .init();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept_and_cut() {
        let lines = Lines::default();
        for n in 0..KEPT_LINES + 3 {
            lines.push(&format!("line {n}"));
        }
        lines.push(&"é".repeat(LINE_CHARS + 1));
        let kept = lines.take();
        assert_eq!((kept.len(), kept[0].as_str()), (KEPT_LINES, "line 4"));
        assert_eq!(kept.last().unwrap().chars().count(), LINE_CHARS);
        assert!(lines.take().is_empty());
    }
}
