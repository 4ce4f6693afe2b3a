//! Whether a job waits for its turn, or has a place among the jobs of its kind that run at once.
//! `index::turns` says whose turn it is.
use crate::node::{Job, JobKind, Phase};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    Waits(JobKind),
    Has(JobKind, u16),
}

impl Turn {
    pub fn of(job: &Job) -> Option<Self> {
        match &job.phase {
            Phase::InLine { .. } => Some(Turn::Waits(job.kind.line())),
            Phase::Held { .. }
            | Phase::Acting { .. }
            | Phase::Backoff { .. }
            | Phase::AwaitingAgent { .. }
            | Phase::Waiting { .. }
            | Phase::AgentStep { .. } => job.place.map(|place| Turn::Has(job.kind.line(), place)),
        }
    }
}
