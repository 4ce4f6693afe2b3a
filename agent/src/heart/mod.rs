//! What the agent does once it has a network: looks up, sends heartbeats and carries out steps.
//! Which step is wanted is the conductor's decision; the work itself is done in `disk`, `collect` and `net`.
mod arguments;
pub mod authority;
mod away;
pub mod beat;
mod client;
mod hardware;
pub mod link;
pub mod login;
pub mod machine;
pub mod pass;
pub mod perform;
pub mod set_clock;
mod settle;
pub mod steps;
