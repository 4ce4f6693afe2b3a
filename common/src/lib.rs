//! What agent and conductor say to each other: ids, inventory, orders, lookups, heartbeats, and their encoding.
//! Nothing here decides anything. No clock, socket, file, log line or async: outside tests the crate is `no_std`.
#![cfg_attr(not(test), no_std)]
extern crate alloc;

pub mod codec;
pub mod collision;
pub mod disk;
#[cfg(test)]
mod golden;
pub mod heartbeat;
pub mod id;
pub mod image;
pub mod inventory;
pub mod login;
pub mod lookup;
pub mod measured;
pub mod near;
pub mod order;
pub mod subject;
pub mod text_form;
