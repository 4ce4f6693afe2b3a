//! What agent and conductor agree on: ids, inventory, the node record, the wire, and the pure core that decides.
//! There is no clock, socket, file, log line or async in this crate; outside tests the compiler holds that (`no_std`).
#![cfg_attr(not(test), no_std)]
extern crate alloc;

pub mod boot;
pub mod decide;
pub mod disk;
pub mod explain;
pub mod hints;
pub mod id;
pub mod invariant;
pub mod inventory;
pub mod lookup;
pub mod node;
pub mod plan;
pub mod time;
pub mod wire;
