//! Events of nodes, as operators and other programs read it: one JSON document per event.
//! The source of an event decides whether it is worth telling; the conductor's records keep it.
use ironbeat_common::heartbeat::NudgeLatency;
use ironbeat_common::id::{BootId, Mac, NodeId};
use ironbeat_common::lookup::BootTimings;
use ironbeat_core::id::{NodeName, RequestId, WorkerId};
use ironbeat_core::node::{LastError, Node};
use ironbeat_core::time::Time;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::net::IpAddr;

/// One thing that happened to one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Happening {
    pub node: NodeId,
    pub name: Option<NodeName>,
    pub at: Time,
    /// The worker that reports it.
    pub worker: WorkerId,
    /// What somebody asked for, when it follows from that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    #[serde(flatten)]
    pub what: What,
}

/// A request, and who made it as far as that is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Asked {
    pub verb: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Asker>,
}

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Asker {
    /// The public key of the login in whose inbox the answer went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// As they call themselves: nobody has looked whether it is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The header of a request in which whoever asks says a name.
pub const ASKER: &str = "Ironbeat-Asker";
/// The header of an event with what was decided, and on what (`ironbeat_core::flight`).
pub const FLIGHT: &str = "Ironbeat-Flight";

impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, &self.login) {
            (Some(name), Some(login)) => write!(f, "{name} ({login})"),
            (Some(who), None) | (None, Some(who)) => f.write_str(who),
            (None, None) => f.write_str("somebody"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind")]
pub enum What {
    /// The node is known from now on.
    #[serde(rename = "enrolled")]
    Enrolled,
    /// Its record is gone.
    #[serde(rename = "deleted")]
    Deleted,
    /// The provision state changed.
    #[serde(rename = "state")]
    State(Transition),
    /// The record changed, but not the provision state.
    #[serde(rename = "step")]
    Step(Transition),
    /// Somebody asked for something that is not possible now; nothing changed.
    #[serde(rename = "refused")]
    Refused {
        /// Ironic's name for the state that the node is in.
        state: String,
        because: String,
    },
    /// A change of power begins, ordered by an operator or by the power sync.
    #[serde(rename = "power_set.start")]
    PowerSetStart(PowerChange),
    /// The change of power ended without a new error.
    #[serde(rename = "power_set.end")]
    PowerSetEnd(PowerChange),
    /// The change of power failed; `error` says why.
    #[serde(rename = "power_set.error")]
    PowerSetError(PowerChange),
    /// The power changed without an order, and the record follows.
    #[serde(rename = "power_state_corrected.success")]
    PowerStateCorrected(PowerChange),
    /// The node's ramdisk looked up and was welcome.
    #[serde(rename = "lookup")]
    Lookup {
        boot: BootId,
        /// The agent's version.
        agent: String,
        timings: BootTimings,
    },
    /// How long a nudge took to become a step.
    #[serde(rename = "nudge")]
    Nudge(NudgeLatency),
    /// The machine fetched something to boot.
    #[serde(rename = "netboot")]
    Netboot { mac: Mac, what: String },
    /// The machine got an address from dnsmasq.
    #[serde(rename = "lease")]
    Lease {
        mac: Mac,
        #[serde(with = "as_text")]
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        ip: IpAddr,
    },
}

/// From one state of the record to the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Transition {
    /// Ironic's names for the state.
    pub from: String,
    pub to: String,
    /// The step of the job under way.
    pub step: Option<String>,
    pub because: String,
    /// Only when it is new.
    pub error: Option<LastError>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PowerChange {
    /// Whether the machine was on, and is; none: not known.
    pub from: Option<bool>,
    pub to: Option<bool>,
    /// Ironic's name for what was ordered.
    pub target: Option<String>,
    pub because: String,
    /// Only when it is new.
    pub error: Option<LastError>,
}

impl Happening {
    pub fn of(node: &Node, at: Time, worker: &WorkerId, what: What) -> Self {
        Self {
            node: node.id,
            name: node.name.clone(),
            at,
            worker: worker.clone(),
            asked: None,
            what,
        }
    }

    /// The last tokens of its subject.
    pub fn kind(&self) -> &'static str {
        match self.what {
            What::Enrolled => "enrolled",
            What::Deleted => "deleted",
            What::State(_) => "state",
            What::Step(_) => "step",
            What::Refused { .. } => "refused",
            What::PowerSetStart(_) => "power_set.start",
            What::PowerSetEnd(_) => "power_set.end",
            What::PowerSetError(_) => "power_set.error",
            What::PowerStateCorrected(_) => "power_state_corrected.success",
            What::Lookup { .. } => "lookup",
            What::Nudge(_) => "nudge",
            What::Netboot { .. } => "netboot",
            What::Lease { .. } => "lease",
        }
    }
}

/// One message of the event stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Event {
    pub subject: String,
    pub body: Body,
}

/// A later version may report more, and must not break an earlier worker or client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "nearly all are known")]
pub enum Body {
    Known(Happening),
    /// A kind that this version does not know.
    Other(Value),
}

impl Event {
    pub fn known(&self) -> Option<&Happening> {
        match &self.body {
            Body::Known(happening) => Some(happening),
            Body::Other(_) => None,
        }
    }

    /// The name of the node it is about.
    pub fn name(&self) -> Option<&str> {
        match &self.body {
            Body::Known(happening) => happening.name.as_ref().map(NodeName::as_str),
            Body::Other(value) => value.get("name").and_then(Value::as_str),
        }
    }
}

/// As text in every encoding: CBOR would make an address bytes.
mod as_text {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::net::IpAddr;

    pub fn serialize<S: Serializer>(ip: &IpAddr, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(ip)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<IpAddr, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
