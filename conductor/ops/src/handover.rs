//! How a worker hands a question to the one that owns the node's BMC: on which subject, with which header.
//! Body and reply are the question's own; a front decides which questions are handed over.
use ironbeat_core::id::WorkerId;

/// Header that names the question, `noun.verb`.
pub const ENDPOINT: &str = "Ironbeat-Endpoint";

/// A worker's own subject, not part of the service's index. For workers only: another one let in what comes here.
pub fn subject(prefix: &str, worker: &WorkerId) -> String {
    format!("{prefix}.worker.{worker}.ask")
}
