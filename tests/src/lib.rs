//! Owns the virtual rack: real servers, real BMC software and QEMU machines for tests, the demo and the benchmarks.
//! Leaves the programs under test, and what they should do, to its users.

mod exec;
pub mod logfile;
pub mod nats;
pub mod owner;
pub mod ports;
pub mod process;
