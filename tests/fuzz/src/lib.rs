//! Everything that reads foreign bytes, as fuzz targets, and a driver that damages good bytes until one of them does not survive.
//! What must hold for what was read is asserted beside each reader; damage to a few bytes is `ironbeat-mutate`'s.
mod memory;
mod mutant;
mod replay;
mod run;
mod targets;
mod watch;

pub use memory::Counted;
pub use replay::{Failure, Kept, one};
pub use run::{Done, Order, run};
pub use targets::{Target, all, find};
