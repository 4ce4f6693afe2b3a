//! Owns one virtual machine as its BMC sees it: power, boot flags, serial console, disks; one QEMU per POST.
//! Leaves the BMC's protocol to `bmc`, and the command line to `qemu`.

mod board;
mod disk;
pub mod qemu;
mod qmp;
pub mod spec;

pub use board::{Machine, Post, PowerEvent};
pub use disk::boot_sector;
pub use qmp::End;
