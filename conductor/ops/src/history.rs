//! A node's history as operators read it, and the pages of its flight record.
//! `happening` has the events that both are made of; `ironbeat_core::flight` has the entries of a flight record.
use crate::happening::{Asked, Happening, What};
use crate::reply::Changed;
use ironbeat_common::id::NodeId;
use ironbeat_core::id::{NodeName, WorkerId};
use ironbeat_core::time::Time;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// As Ironic has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum Severity {
    Info,
    /// Something failed, or was refused.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Info => "INFO",
            Severity::Error => "ERROR",
        })
    }
}

/// Something that happened to a node, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HistoryEntry {
    pub at: Time,
    pub severity: Severity,
    /// The kind of the event: `state`, `step`, `refused`, `power_set.error`.
    pub event_type: String,
    /// Ironic's names of the states, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The step of the job under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    pub because: String,
    /// What failed, when that is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    pub worker: WorkerId,
}

impl HistoryEntry {
    /// None: of a machine's boot, which `ironbeat events` has.
    pub fn of(happening: Happening) -> Option<Self> {
        let event_type = happening.kind().to_string();
        let plain = |because: &str| (None, None, None, because.to_string(), None);
        let (from, to, step, because, error) = match happening.what {
            What::Enrolled => plain("enrolled"),
            What::Deleted => plain("deleted"),
            What::State(change) | What::Step(change) => (
                Some(change.from),
                Some(change.to),
                change.step,
                change.because,
                change.error,
            ),
            What::Refused { state, because } => {
                (Some(state.clone()), Some(state), None, because, None)
            }
            What::PowerSetStart(change)
            | What::PowerSetEnd(change)
            | What::PowerSetError(change)
            | What::PowerStateCorrected(change) => {
                let target = change.target.map(|target| format!("{target}: "));
                let because = target.unwrap_or_default() + &change.because;
                (None, None, None, because, change.error)
            }
            What::Lookup { .. } | What::Nudge(_) | What::Netboot { .. } | What::Lease { .. } => {
                return None;
            }
        };
        let failed = error.is_some() || event_type == "refused";
        Some(Self {
            at: happening.at,
            severity: match failed {
                true => Severity::Error,
                false => Severity::Info,
            },
            event_type,
            from,
            to,
            step,
            because,
            error: error.map(|error| format!("{}: {}", error.during, error.what)),
            asked: happening.asked,
            worker: happening.worker,
        })
    }
}

/// A line for people.
impl fmt::Display for HistoryEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.at, self.severity, self.event_type)?;
        match (&self.from, &self.to) {
            (Some(from), Some(to)) if from != to => write!(f, " {from} -> {to}")?,
            (Some(state), _) | (None, Some(state)) => write!(f, " {state}")?,
            (None, None) => {}
        }
        if let Some(step) = &self.step {
            write!(f, " [{step}]")?;
        }
        write!(f, ": {}", self.because)?;
        if let Some(error) = &self.error {
            write!(f, "; {error}")?;
        }
        if let Some(asked) = &self.asked {
            write!(f, "; {} was asked for", asked.verb)?;
            if let Some(by) = &asked.by {
                write!(f, " by {by}")?;
            }
            if let Some(request) = &asked.request {
                write!(f, " in request {request}")?;
            }
        }
        write!(f, "; worker {}", self.worker)
    }
}

/// The first line of an exported flight record.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RecordHead {
    /// Version of the program that answered.
    pub ironbeat: String,
    /// Version of the file, `ironbeat_core::flight::SCHEMA`.
    pub flight: u32,
    /// Version of the node's record.
    pub schema: u32,
    pub node: NodeId,
    #[serde(default)]
    pub name: Option<NodeName>,
    pub at: Time,
    pub worker: WorkerId,
    /// All options of the worker that answered.
    pub policy: Value,
    /// Its options that are not the default.
    #[serde(default)]
    pub changed: Changed,
    /// What lies beside the present record, each with its version: an inventory, and notes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<(String, Value)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<(String, Value)>,
}

/// One reply of `node.record`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RecordPage {
    /// Of the first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Box<RecordHead>>,
    /// Entries, as they were kept.
    pub entries: Vec<Value>,
    /// More follow after this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}
