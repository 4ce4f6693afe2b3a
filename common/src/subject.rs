//! NATS subjects of the traffic between agent and conductor. `prefix` is `ib.v1` unless the operator chose another.
//! The subjects that operators use belong to `ironbeat-ops`.
use crate::id::NodeId;
use alloc::format;
use alloc::string::String;

pub const DEFAULT_PREFIX: &str = "ib.v1";
/// The queue group of all workers.
pub const QUEUE_GROUP: &str = "conductor";

pub fn lookup(prefix: &str) -> String {
    format!("{prefix}.lookup")
}
pub fn heartbeat(prefix: &str, node: &NodeId) -> String {
    format!("{prefix}.heartbeat.{node}")
}
pub fn nudge(prefix: &str, node: &NodeId) -> String {
    format!("{prefix}.nudge.{node}")
}
/// Where an agent asks for its next login.
pub fn login(prefix: &str, node: &NodeId) -> String {
    agent(prefix, node, "login")
}
/// `what` is `log` or `progress`: for watching only, no decision depends on it.
pub fn agent(prefix: &str, node: &NodeId, what: &str) -> String {
    format!("{prefix}.agent.{node}.{what}")
}
