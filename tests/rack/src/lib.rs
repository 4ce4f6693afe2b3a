//! Owns the virtual rack: real servers, real BMC software and QEMU machines for tests, the demo and the benchmarks.
//! Leaves the programs under test, and what they should do, to its users.
//!
//! ```no_run
//! use ironbeat_rack::machine::spec::NodeSpec;
//! use ironbeat_rack::rack::{Rack, RackSpec};
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
//! Alone, for tests that need no machines: [`nats::NatsServer::start_loopback`], [`http::HttpServer::start_loopback`]
//! (with faults on request), [`ports::PortLease`], [`process::Process`] and [`logfile::LogCursor`].
//!
//! | to find | look in |
//! |---|---|
//! | every address, port and name of the network | [`layout`] |
//! | what a machine can be made of | [`machine::spec`] |
//! | power, boot flags, POSTs with their times, CPU time | [`machine::Machine`] |
//! | a BMC's death and return | [`bmc::Bmc`]; or bring another BMC: [`rack::BmcKind::None`] |
//! | the product's dnsmasq configuration, its directories and bus | [`dnsmasq`] |
//! | programs and sockets inside the namespace | [`rack::Rack::command`], [`netns::Netns::inside`] |
//! | which clients and BMCs get on, as `docs/bmc-interop.md` says | [`interop`] |
//! | several nats-servers that can be killed, frozen, cut off and run out of disk | [`nats::cluster`], [`host`], [`disk`] |
//! | a search of all that was printed for secrets | [`leaks`] |
//! | what is swept after a `kill -9` | [`owner`], [`netns::sweep`] |

pub mod bmc;
pub mod certificates;
mod chassis;
pub mod disk;
pub mod dnsmasq;
mod exec;
pub mod host;
pub mod http;
pub mod interop;
pub mod layout;
pub mod leaks;
pub mod lldp;
pub mod logfile;
pub mod logins;
pub mod lone_bmc;
pub mod machine;
pub mod nats;
pub mod netns;
pub mod owner;
pub mod packet;
pub mod ports;
pub mod process;
pub mod rack;
pub mod secrets;
