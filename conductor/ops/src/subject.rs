//! NATS subjects of the traffic between operators and conductors. `prefix` is `ib.v1` unless the operator chose another.
//! Those of the agents are in `ironbeat_common::subject`, those of consoles in `console`.
use ironbeat_common::id::NodeId;

pub fn event(prefix: &str, node: &NodeId, kind: &str) -> String {
    format!("{prefix}.event.{node}.{kind}")
}

/// `endpoint` is `noun.verb`.
pub fn api(prefix: &str, endpoint: &str) -> String {
    format!("{prefix}.api.{endpoint}")
}
