//! How a worker hands a question to the one that owns the node's BMC: where, and what is said beside the body.
//! Body and reply are those of the question itself, as they came; which questions these are is a front's business.
use ironbeat_core::id::WorkerId;

/// Header that names the question, `noun.verb`.
pub const ENDPOINT: &str = "Ironbeat-Endpoint";

/// A worker's own subject, not part of the service's index. For workers only: what comes here was let in by another.
pub fn subject(prefix: &str, worker: &WorkerId) -> String {
    format!("{prefix}.worker.{worker}.ask")
}
