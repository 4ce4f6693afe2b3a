//! Thousands of simulated machines in one process, over few connections: real NATS, real CBOR, real RMCP+, no metal.
//! [`Fleet`] starts them; each has a ledger of what it was told and what was touched.
mod agent;
pub mod bench;
mod fleet;
pub mod hardware;
mod link;
mod machine;
mod quota;
pub mod scale;
mod site;

pub use agent::Pace;
pub use fleet::{Fleet, Spec, enrolment, name};
pub use link::{Link, Unanswered};
pub use machine::{Act, Ledger, Machine, Runs};
