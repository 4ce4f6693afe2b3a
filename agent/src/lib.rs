//! The ramdisk's only program: reports what the machine is made of, sends heartbeats, and carries out the steps it is given.
//! Deciding what to do is the conductor's job; the messages are in `ironbeat_common`.

pub mod clock;
mod collect;
pub mod context;
mod disk;
#[doc(hidden)]
pub mod fuzz;
pub mod heart;
pub mod init;
mod ipv4;
mod latch;
pub mod log;
pub mod net;
mod netlink;
pub mod random;
mod rescue;
mod sysfs;
pub mod web;
