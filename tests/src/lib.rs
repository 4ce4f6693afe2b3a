//! Owns the virtual rack: real servers, real BMC software and QEMU machines for tests, the demo and the benchmarks.
//! Leaves the programs under test, and what they should do, to its users.
//!
//! ```no_run
//! use ironbeat_tests::machine::spec::NodeSpec;
//! use ironbeat_tests::rack::{Rack, RackSpec};
//! use std::time::Duration;
//!
//! # fn main() -> anyhow::Result<()> {
//! let mut rack = Rack::start(RackSpec { nodes: vec![NodeSpec::bios(), NodeSpec::uefi()], ..RackSpec::default() })?;
//! let mut console = rack.console(1); // nodes count from 1
//! rack.ipmitool(1, &["chassis", "bootdev", "pxe"])?; // or the product's own IPMI client, at rack.bmc(1).address()
//! rack.ipmitool(1, &["power", "on"])?;
//! console.wait_for("iPXE", Duration::from_secs(60))?;
//! rack.shutdown(); // or drop; a killed owner's rack is swept by the next one
//! # Ok(()) }
//! ```
//! [`nats::NatsServer::start_loopback`] stands alone, for tests that need only a server.

pub mod bmc;
mod chassis;
pub mod dnsmasq;
mod exec;
pub mod floor;
pub mod http;
pub mod layout;
pub mod lldp;
pub mod logfile;
pub mod machine;
pub mod nats;
pub mod netns;
pub mod owner;
pub mod packet;
pub mod ports;
pub mod process;
pub mod rack;
pub mod signals;
