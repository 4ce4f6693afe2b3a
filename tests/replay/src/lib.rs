//! An exported flight record, read line by line and decided again by the core that is compiled in.
//! `ironbeat_core::flight` decides and compares; a worker has written the file, and anybody may have damaged it since.
#[doc(hidden)]
pub mod example;

use ironbeat_common::id::NodeId;
use ironbeat_core::flight::{self, Entry, Replay, Verdict};
use ironbeat_core::node;
use ironbeat_core::policy::Policy;
use ironbeat_ops::history::RecordHead;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, Read};

/// Of one line; a worker keeps entries of 400 KB at most, and a head has an inventory, of 200 KB at most.
const MAX_LINE: u64 = 4 << 20;
/// A worker keeps 300 of each kind unless told otherwise.
const MAX_LINES: usize = 1_000_000;
/// Reasons why entries were left out, each once.
const MAX_REASONS: usize = 32;

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("line {0}: {1}")]
    Io(usize, std::io::Error),
    #[error("line {0}: {1}")]
    Json(usize, serde_json::Error),
    #[error("line {0} has more than {MAX_LINE} bytes")]
    Long(usize),
    #[error("it has more than {MAX_LINES} lines")]
    Many,
    #[error("it is empty: its first line says what it is")]
    Empty,
    #[error(
        "it is of version {found} of flight records and version {schema} of records; this program reads up to {} and {}",
        flight::SCHEMA,
        node::SCHEMA
    )]
    Later { found: u32, schema: u32 },
}

/// What came of a file.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub node: NodeId,
    pub program: String,
    /// Entries that are decided as they were.
    pub same: usize,
    /// Why others were not decided again, and how many.
    pub skipped: BTreeMap<String, usize>,
    pub first: Option<Difference>,
}

/// The first entry that is decided otherwise.
#[derive(Clone, Debug)]
pub struct Difference {
    pub line: usize,
    pub at: String,
    /// The event, as JSON.
    pub event: String,
    pub what: String,
    pub then: String,
    pub now: String,
}

impl Outcome {
    pub fn is_same(&self) -> bool {
        self.first.is_none()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (node, same, program) = (&self.node, self.same, &self.program);
        for (why, count) in &self.skipped {
            writeln!(f, "not decided again: {count}: {why}")?;
        }
        match &self.first {
            None => write!(
                f,
                "node {node}: {same} decisions of ironbeat {program}, and all are the same"
            ),
            Some(difference) => {
                let Difference {
                    line,
                    at,
                    event,
                    what,
                    then,
                    now,
                } = difference;
                writeln!(
                    f,
                    "node {node}: {same} decisions of ironbeat {program} are the same, and then one is not"
                )?;
                writeln!(f, "line {line}, {at}: {what} differs")?;
                writeln!(f, "event: {event}")?;
                writeln!(f, "then:  {then}")?;
                write!(f, "now:   {now}")
            }
        }
    }
}

/// Reads to the first difference, or to the end.
///
/// # Errors
/// When it is no flight record, or one that this program does not know.
pub fn replay(file: impl BufRead) -> Result<Outcome, ReadError> {
    let mut lines = Lines { file, read: 0 };
    let head: RecordHead = lines.next()?.ok_or(ReadError::Empty)?;
    if head.flight > flight::SCHEMA || head.schema > node::SCHEMA {
        let (found, schema) = (head.flight, head.schema);
        return Err(ReadError::Later { found, schema });
    }
    let mut outcome = Outcome {
        node: head.node,
        program: head.ironbeat.clone(),
        same: 0,
        skipped: BTreeMap::new(),
        first: None,
    };
    let mut replay = Replay::new(beside(head.inventory.as_ref()), beside(head.notes.as_ref()));
    let of_head = policy(head.policy);
    let own = head.changed.into_iter().collect::<Map<_, _>>();
    while let Some(entry) = lines.next::<Entry>()? {
        let decided_by = match entry.policy == own && entry.version == head.ironbeat {
            true => of_head.clone(),
            false => policy(Value::Object(entry.policy.clone())),
        };
        let verdict = match decided_by {
            Some(policy) => replay.next(&entry, &policy),
            None => {
                Verdict::Skipped("its policy has options that this program does not know".into())
            }
        };
        match verdict {
            Verdict::Same => outcome.same += 1,
            Verdict::Skipped(why) => {
                let known = outcome.skipped.len() < MAX_REASONS;
                let why = match known || outcome.skipped.contains_key(&why) {
                    true => why,
                    false => "other reasons".into(),
                };
                *outcome.skipped.entry(why).or_default() += 1;
            }
            Verdict::Differs { what, then, now } => {
                outcome.first = Some(Difference {
                    line: lines.read,
                    at: entry.at.to_string(),
                    event: serde_json::to_string(&entry.event).unwrap_or_default(),
                    what,
                    then,
                    now,
                });
                break;
            }
        }
    }
    Ok(outcome)
}

/// What lies beside the record, as far as it can be read: without it, fewer entries can be decided again.
fn beside<V: std::str::FromStr, T: DeserializeOwned>(
    kept: Option<&(String, Value)>,
) -> Option<(V, T)> {
    let (version, document) = kept?;
    let version = version.parse().ok()?;
    let document = T::deserialize(document).ok()?;
    Some((version, document))
}

/// The default with these options; none: one of them is unknown here, or no such value.
fn policy(options: Value) -> Option<Policy> {
    let policy = serde_json::from_value::<Policy>(options).ok()?;
    policy.check().is_ok().then_some(policy)
}

/// Documents, a line each.
struct Lines<R> {
    file: R,
    /// So many.
    read: usize,
}

impl<R: BufRead> Lines<R> {
    fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ReadError> {
        let mut line = String::new();
        loop {
            line.clear();
            self.read += 1;
            if self.read > MAX_LINES {
                return Err(ReadError::Many);
            }
            let mut bounded = (&mut self.file).take(MAX_LINE);
            let bytes = bounded.read_line(&mut line);
            let bytes = bytes.map_err(|error| ReadError::Io(self.read, error))?;
            if bytes == 0 {
                return Ok(None);
            }
            if bytes as u64 == MAX_LINE && !line.ends_with('\n') {
                return Err(ReadError::Long(self.read));
            }
            if !line.trim().is_empty() {
                break;
            }
        }
        let document = serde_json::from_str(&line);
        document
            .map(Some)
            .map_err(|error| ReadError::Json(self.read, error))
    }
}

/// For the fuzz target: whether the bytes are a flight record. Whatever they are, reading them twice says the same.
#[doc(hidden)]
pub fn is_read(bytes: &[u8]) -> bool {
    let (once, twice) = (replay(bytes), replay(bytes));
    match (once, twice) {
        (Ok(once), Ok(twice)) => {
            assert_eq!(once.to_string(), twice.to_string());
            true
        }
        (Err(once), Err(twice)) => {
            assert_eq!(once.to_string(), twice.to_string());
            false
        }
        (once, twice) => panic!("{once:?} / {twice:?}"),
    }
}

#[cfg(test)]
mod tests;
