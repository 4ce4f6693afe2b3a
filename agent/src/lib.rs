//! The ramdisk's only program: says what the machine is made of, then keeps saying how it is doing, and does what it is told.
//! What should be done is the conductor's affair; the messages are in `ironbeat_common`.

pub mod beat;
pub mod clock;
pub mod cmdline;
pub mod collect;
pub mod disk;
pub mod link;
pub mod log;
pub mod machine;
pub mod modules;
#[cfg(test)]
mod mutate;
pub mod net;
pub mod perform;
pub mod pid1;
pub mod random;
pub mod seed;
pub mod steps;
