//! NATS subjects of the traffic between operators and conductors. `prefix` is `ib.v1` unless the operator chose another.
//! Those of the agents are in `ironbeat_common::subject`.
use ironbeat_common::id::NodeId;

pub fn event(prefix: &str, node: &NodeId, kind: &str) -> String {
    format!("{prefix}.event.{node}.{kind}")
}

pub fn api(prefix: &str, noun: &str, verb: &str) -> String {
    format!("{prefix}.api.{noun}.{verb}")
}
