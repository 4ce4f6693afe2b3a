//! Owns the whole product in a rack: workers that are the shipped program, machines that boot the shipped ramdisk.
//! Leaves the rack to `ironbeat-rack`, and building the product to `cargo xtask`, whose demo and benches use this too.

pub mod cluster;
pub mod other_system;
pub mod product;
pub mod timeline;
