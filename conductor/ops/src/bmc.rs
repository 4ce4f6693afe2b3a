//! What `bmc.check` finds: each question, its answer in words, and whether that is good.
//! Asking them is the conductor's business.
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Good,
    /// Works, but somebody should know.
    Odd,
    Bad,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub question: String,
    pub verdict: Verdict,
    pub answer: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub address: String,
    pub findings: Vec<Finding>,
}

impl Check {
    pub fn is_good(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.verdict != Verdict::Bad)
    }

    pub fn note(&mut self, question: &str, verdict: Verdict, answer: impl Into<String>) {
        self.findings.push(Finding {
            question: question.into(),
            verdict,
            answer: answer.into(),
        });
    }
}
