//! What an operator sees: the lines that nats-server and worker write, from a moment on.
//! Which line belongs to which attempt is for the row to say.
use ironbeat_rack::logfile::LogCursor;
use std::path::Path;
use std::time::{Duration, Instant};

/// A line is written within milliseconds; a machine may be busy.
const PATIENCE: Duration = Duration::from_secs(4);
const LOOK: Duration = Duration::from_millis(5);
/// Of a line, for the report.
const SHOWN: usize = 260;

/// Some logs, each from where it was when the attempt began.
pub struct Eyes(Vec<(&'static str, LogCursor, usize)>);

impl Eyes {
    pub fn on(logs: &[(&'static str, &Path)]) -> Self {
        let now = |(name, path): &(&'static str, &Path)| {
            let length = std::fs::metadata(path).map_or(0, |meta| meta.len());
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            (*name, LogCursor::at_end(*path), length)
        };
        Self(logs.iter().map(now).collect())
    }

    /// The first new line with all these words in it.
    pub fn see(&self, words: &[&str]) -> Option<String> {
        self.see_any(&[words])
    }

    /// How many new lines have this word.
    pub fn count(&self, word: &str) -> usize {
        let new = self.0.iter().map(|(_, log, from)| {
            let text = log.text();
            let new = text.get(*from..).unwrap_or(&text);
            new.lines().filter(|line| line.contains(word)).count()
        });
        new.sum()
    }

    /// The first new line with all words of one of these.
    pub fn see_any(&self, choices: &[&[&str]]) -> Option<String> {
        let until = Instant::now() + PATIENCE;
        loop {
            for (name, log, from) in &self.0 {
                let text = log.text();
                let new = text.get(*from..).unwrap_or(&text);
                let is_it = |line: &&str| {
                    let has = |words: &&[&str]| words.iter().all(|word| line.contains(word));
                    choices.iter().any(has)
                };
                if let Some(line) = new.lines().find(is_it) {
                    return Some(format!("{name}: {}", shown(line)));
                }
            }
            if Instant::now() >= until {
                return None;
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// Its beginning, without control characters.
fn shown(line: &str) -> String {
    let line = line.trim().chars().filter(|c| !c.is_control());
    line.take(SHOWN).collect()
}
