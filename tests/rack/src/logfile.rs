//! Owns waiting for words in a file that another program is writing: a log, a serial console.
//! Leaves the writing, and what the words mean, to others.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// How often the file is looked at. Ten milliseconds of error are lost in the noise of what is waited for (seconds).
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How much of the file's end an error shows, in bytes: about one screen.
const TAIL_BYTES: usize = 2_000;

/// A place in a growing file: everything before it has been seen.
#[derive(Clone, Debug)]
pub struct LogCursor {
    path: PathBuf,
    offset: u64,
}

/// What [`LogCursor::wait_for_any`] found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Index of the pattern that came first.
    pub pattern: usize,
    /// The line around it, as far as it came after the cursor and was written by then.
    pub line: String,
    /// When it was seen (up to 10 ms after it was written).
    pub at: Instant,
}

impl LogCursor {
    /// A cursor that has seen nothing yet. The file need not exist.
    pub fn at_start(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            offset: 0,
        }
    }

    /// A cursor that has seen all that is in the file now.
    pub fn at_end(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let offset = fs::metadata(&path).map_or(0, |meta| meta.len());
        Self { path, offset }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole file, bytes that are no text replaced; empty while it does not exist.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.path).unwrap_or_default()).into_owned()
    }

    /// The last screen of the file, for messages.
    pub fn tail(&self) -> String {
        let bytes = fs::read(&self.path).unwrap_or_default();
        let from = bytes.len().saturating_sub(TAIL_BYTES);
        String::from_utf8_lossy(&bytes[from..]).into_owned()
    }

    /// Waits for `pattern` after the cursor and moves the cursor just behind it.
    ///
    /// # Errors
    /// When it doesn't come in time; the error shows the file's end.
    pub fn wait_for(&mut self, pattern: &str, timeout: Duration) -> Result<Found> {
        self.wait_for_any(&[pattern], timeout)
    }

    /// Waits for whichever of `patterns` comes first after the cursor and moves the cursor just behind it.
    ///
    /// # Errors
    /// When none comes in time; the error shows the file's end.
    pub fn wait_for_any(&mut self, patterns: &[&str], timeout: Duration) -> Result<Found> {
        self.wait_while(patterns, timeout, || true)
    }

    /// As [`Self::wait_for_any`], giving up early when `worth_waiting` says that nothing more will be written.
    pub(crate) fn wait_while(
        &mut self,
        patterns: &[&str],
        timeout: Duration,
        mut worth_waiting: impl FnMut() -> bool,
    ) -> Result<Found> {
        let deadline = Instant::now() + timeout;
        let longest = patterns.iter().map(|p| p.len()).max().unwrap_or(0);
        let mut buffer = Vec::new();
        let mut searched = 0;
        loop {
            // Asked before the read, so that the last words of a dying writer are still read.
            let more_may_come = worth_waiting() && Instant::now() < deadline;
            buffer.extend(self.read_from(self.offset + buffer.len() as u64)?);
            if let Some((pattern, start)) = first_of(&buffer, patterns, searched) {
                let end = start + patterns[pattern].len();
                self.offset += end as u64;
                return Ok(Found {
                    pattern,
                    line: line_around(&buffer, start, end),
                    at: Instant::now(),
                });
            }
            if !more_may_come {
                bail!(
                    "no {patterns:?} in {} within {timeout:?}; it ends:\n{}",
                    self.path.display(),
                    self.tail()
                );
            }
            searched = buffer.len().saturating_sub(longest);
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn read_from(&self, offset: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut file = match File::open(&self.path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(bytes),
            other => other.with_context(|| format!("open {}", self.path.display()))?,
        };
        file.seek(SeekFrom::Start(offset))
            .with_context(|| format!("seek in {}", self.path.display()))?;
        file.read_to_end(&mut bytes)
            .with_context(|| format!("read {}", self.path.display()))?;
        Ok(bytes)
    }
}

/// Index of the pattern that occurs first at or after `from`, and where.
fn first_of(bytes: &[u8], patterns: &[&str], from: usize) -> Option<(usize, usize)> {
    let position = |pattern: &str| {
        bytes[from..]
            .windows(pattern.len().max(1))
            .position(|window| window == pattern.as_bytes())
    };
    let hits = patterns
        .iter()
        .enumerate()
        .filter_map(|(i, pattern)| Some((i, from + position(pattern)?)));
    hits.min_by_key(|&(_, at)| at)
}

fn line_around(bytes: &[u8], start: usize, end: usize) -> String {
    let is_break = |b: &u8| *b == b'\n' || *b == b'\r';
    let from = bytes[..start]
        .iter()
        .rposition(is_break)
        .map_or(0, |at| at + 1);
    let to = bytes[end..]
        .iter()
        .position(is_break)
        .map_or(bytes.len(), |at| end + at);
    String::from_utf8_lossy(&bytes[from..to]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn a_cursor_finds_words_in_order_and_remembers_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "one\r\ntwo beta\nthree").unwrap();
        let mut cursor = LogCursor::at_start(&path);
        let found = cursor.wait_for_any(&["beta", "two"], SOON).unwrap();
        assert_eq!((found.pattern, found.line.as_str()), (1, "two beta"));
        assert_eq!(cursor.wait_for("beta", SOON).unwrap().line, " beta");
        assert_eq!(cursor.offset, "one\r\ntwo beta".len() as u64);
        let error = cursor
            .wait_for("one", Duration::ZERO)
            .unwrap_err()
            .to_string();
        assert!(error.contains("three") && error.contains("one"), "{error}");
        assert!(
            LogCursor::at_end(&path)
                .wait_for("three", Duration::ZERO)
                .is_err()
        );
    }

    #[test]
    fn a_word_written_in_two_halves_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut halves = ["....DEPLO", "YED-OK\n"].into_iter();
        let mut cursor = LogCursor::at_start(&path);
        let found = cursor.wait_while(&["DEPLOYED-OK"], SOON, || {
            let mut text = fs::read_to_string(&path).unwrap_or_default();
            text.push_str(halves.next().unwrap_or_default());
            fs::write(&path, text).unwrap();
            true
        });
        assert_eq!(found.unwrap().line, "....DEPLOYED-OK");
    }
}
