//! Simulated BMCs that speak real RMCP+ (IPMI 2.0, suites 3 and 17): one or ten thousand on one UDP socket, with faults.
//! They are written from the BMC's side of the specification, apart from the client that is tried on them.
//!
//! [`Bmc`] has no socket and no clock: datagrams and times in, datagrams out. [`Fleet`] gives many of them a socket.
mod bmc;
mod chassis;
mod commands;
mod crypto;
mod dice;
mod fleet;
#[doc(hidden)]
pub mod fuzz;
mod inband;
#[cfg(test)]
mod mutate;
mod plan;
mod power;
mod program;
mod records;
mod rmcp;
mod sel;
mod session;
mod settings;
pub mod signals;
mod sol;
mod sys;
mod vm;

pub use bmc::{Bmc, Reply};
pub use chassis::{BootFlags, Chassis, Control};
pub use crypto::Suite;
pub use fleet::{Fleet, FleetConfig};
pub use inband::MachineLink;
pub use plan::{Plan, duration};
pub use program::Program;
pub use settings::{Counters, Faults, Lan, PowerFault, Settings, User};
pub use vm::Order;
