//! NATS subjects of the traffic between operators and conductors. `prefix` is `ib.v1` unless the operator chose another.
//! Those of the agents are in `ironbeat_common::subject`, those of consoles in `console`.
use crate::happening::Happening;
use ironbeat_common::id::NodeId;

pub fn event(prefix: &str, happening: &Happening) -> String {
    format!("{prefix}.event.{}.{}", happening.node, happening.kind())
}

/// `endpoint` is `noun.verb`.
pub fn api(prefix: &str, endpoint: &str) -> String {
    format!("{prefix}.api.{endpoint}")
}

/// Where an event goes by Ironic's name, `baremetal.node.provision_set.start`; nobody keeps it.
pub fn ironic(prefix: &str, node: &NodeId, event_type: &str) -> String {
    format!("{prefix}.ironic.{node}.{event_type}")
}
