//! Thousands of simulated machines in one process: real NATS, real CBOR, real logins, real RMCP+, no metal.
//! [`Fleet`] starts them; each has a ledger of what it was told and what was touched.
mod agent;
pub mod bench;
mod entry;
mod fleet;
pub mod hardware;
mod link;
mod machine;
mod quota;
pub mod scale;
pub mod secure;
mod site;

pub use agent::Pace;
pub use fleet::{Connections, Fleet, Spec, enrolment, name};
pub use link::{Link, Servers, Unanswered, Who};
pub use machine::{Act, Ledger, Machine, Runs};
