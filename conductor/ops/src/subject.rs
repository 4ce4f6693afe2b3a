//! NATS subjects of the traffic between operators and conductors. `prefix` is `ib.v1` unless the operator chose another.
//! Those of the agents are in `ironbeat_common::subject`, those of consoles in `console`.
use crate::happening::Happening;

pub fn event(prefix: &str, happening: &Happening) -> String {
    format!("{prefix}.event.{}.{}", happening.node, happening.kind())
}

/// `endpoint` is `noun.verb`.
pub fn api(prefix: &str, endpoint: &str) -> String {
    format!("{prefix}.api.{endpoint}")
}
