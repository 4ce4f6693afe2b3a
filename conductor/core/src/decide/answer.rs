//! What a decision answers: the new record and what to do once it is saved, or why nothing changes.
//! The conductor carries the effects out.
use crate::id::OpId;
use crate::node::{Beside, BmcAct, JobKind, Node, State};
use crate::time::Time;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use ironbeat_common::login::UserKey;
use serde::{Deserialize, Serialize};

/// What the winner of the save does next; nobody else does it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Do it by `until` of your own clock, or stop; report as `Event::Bmc` with this `op`.
    Bmc { op: OpId, act: BmcAct, until: Time },
    /// Tell the agent to heartbeat now.
    Nudge,
    /// Have the NATS servers end these logins; report as `Event::LoginsEnded`.
    EndLogins { keys: Vec<UserKey> },
}

/// The new record, what to put beside it before it is saved, what to do next, and why, in a few words for the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// None: the node is forgotten.
    pub node: Option<Node>,
    /// New versions of documents, named by the record's `op`.
    pub beside: Vec<Beside>,
    pub effects: Vec<Effect>,
    pub because: String,
}

/// The event changes nothing, and its sender should know why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejected {
    NoNode,
    /// A node with this id exists, with another description.
    Exists {
        differs: String,
    },
    /// The verb is not possible in this state.
    WrongState {
        verb: String,
        state: String,
    },
    InMaintenance {
        verb: String,
        reason: String,
    },
    /// An operator has said that its instance is not to be taken away.
    Protected {
        verb: String,
        reason: String,
    },
    /// An operator has said that it is to serve nobody else.
    Retired {
        verb: String,
        reason: String,
    },
    /// It must never be switched off, and this would.
    PowerOffDisabled {
        verb: String,
    },
    Invalid {
        why: String,
    },
    /// The BMC may have one of two passwords: neither can be replaced before it is known which.
    PasswordOpen {
        since: Time,
        /// Both are kept until then at least.
        until: Time,
    },
    /// The heartbeat comes from a boot that the node does not listen to.
    UnknownBoot,
    /// A later boot has already replaced the one that looks up.
    OldBoot,
    /// It does not come from the node's present boot script.
    WrongTicket {
        why: WrongTicket,
    },
    /// Its firmware did not measure what is served, which the policy wants.
    NotMeasured {
        why: String,
    },
    /// A later boot script was fetched before this one was ready.
    OldScript,
    /// Nobody deployed an instance with this token, or it cannot run yet.
    WrongToken,
    /// A ramdisk is up on a node that has no work for it.
    AgentNotWanted {
        state: String,
    },
}

/// What is wrong with the ticket of a ramdisk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WrongTicket {
    Missing,
    /// Never given out for this node, or long ago.
    Unknown,
    /// A later boot script has taken its place.
    Void,
    /// By another boot, or by this one for another key.
    Used,
    /// The ramdisk of the boot before has not had the time to say that it lives.
    TooEarly,
}

impl WrongTicket {
    fn words(self) -> &'static str {
        match self {
            WrongTicket::Missing => "it has no ticket",
            WrongTicket::Unknown => "its ticket is not this node's",
            WrongTicket::Void => {
                "its ticket is void: another boot script was fetched for this node afterwards"
            }
            WrongTicket::Used => "its ticket is used",
            WrongTicket::TooEarly => "another ramdisk of this node may still run",
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejected::NoNode => f.write_str("there is no such node"),
            Rejected::Exists { differs } => {
                write!(f, "a node with this id exists, and differs in: {differs}")
            }
            Rejected::WrongState { verb, state } => {
                write!(f, "cannot {verb} a node that is {state}")
            }
            Rejected::InMaintenance { verb, reason } => {
                write!(f, "cannot {verb}: the node is in maintenance ({reason})")
            }
            Rejected::Protected { verb, reason } => write!(
                f,
                "cannot {verb}: the node is protected ({reason}); `ironbeat node set NODE --clear protected` ends that"
            ),
            Rejected::Retired { verb, reason } => write!(
                f,
                "cannot {verb}: the node is retired ({reason}); `ironbeat node set NODE --clear retired` ends that"
            ),
            Rejected::PowerOffDisabled { verb } => write!(
                f,
                "cannot {} the node: its power off is disabled, and this would switch it off",
                verb.trim_end_matches(" of")
            ),
            Rejected::Invalid { why } => f.write_str(why),
            Rejected::PasswordOpen { since, until } => write!(
                f,
                "a change of the BMC's password is open since {since}: it ends with the first login after \
                 {until}, as of the power sync or `ironbeat bmc check`"
            ),
            Rejected::UnknownBoot => f.write_str("this boot is not the node's current one"),
            Rejected::OldBoot => f.write_str("a later boot has replaced this one"),
            Rejected::WrongTicket { why } => f.write_str(why.words()),
            Rejected::NotMeasured { why } => write!(
                f,
                "the policy wants a measured boot (measured_boot = \"require\"): {why}"
            ),
            Rejected::OldScript => f.write_str("a later boot script was fetched meanwhile"),
            Rejected::WrongToken => f.write_str("this is not the token of a deployed instance"),
            Rejected::AgentNotWanted { state } => {
                write!(f, "no work for a ramdisk: the node is {state}")
            }
        }
    }
}

impl core::error::Error for Rejected {}

/// The state, in words for a refused verb, and what ends it.
pub(super) fn words(state: &State) -> String {
    let name = state.provision_state();
    match state {
        State::Busy(job) if job.kind == JobKind::Bmc => {
            format!("{name} with its BMC busy on another request (abort that first)")
        }
        State::Busy(_) => format!("{name} (abort that first)"),
        State::Resting(_) => name.to_string(),
    }
}
