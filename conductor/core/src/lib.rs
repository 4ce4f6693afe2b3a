//! The deciding core: the node record, what can happen to it, and what follows.
//! No clock, socket, file, log line or async: callers hand in time, ids and policy, and outside tests it is `no_std`.
#![cfg_attr(not(test), no_std)]
// A new state does not compile until every event has an answer for it.
#![deny(clippy::wildcard_enum_match_arm)]
extern crate alloc;

pub mod allocation;
pub mod boot;
pub mod decide;
mod deploying;
mod disks;
pub mod event;
pub mod explain;
pub mod flight;
pub mod hints;
pub mod id;
pub mod index;
pub mod invariant;
pub mod kept;
pub mod lookup;
pub mod manual;
pub mod named;
pub mod node;
pub mod patch;
pub mod plan;
pub mod policy;
pub mod rules;
pub mod runbook;
pub mod template;
pub mod text;
pub mod time;
pub mod turn;
pub mod validate;
