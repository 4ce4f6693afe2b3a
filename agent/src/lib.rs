//! The ramdisk's only program: says what the machine is made of, then keeps saying how it is doing, and does what it is told.
//! What should be done is the conductor's affair; the messages are `ironbeat_common::wire`.

pub mod disk;
pub mod steps;
