//! Owns one virtual machine as its BMC sees it: power, boot flags, serial console, disks; one QEMU per POST.
//! Leaves the BMC's protocol to `bmc`, and the command line to `qemu`.

mod board;
mod disk;
pub mod qemu;
mod qmp;
pub mod spec;
mod tpm;

pub use board::{Machine, Post, PowerEvent};
pub use disk::boot_sector;
pub use qmp::End;

/// For every kernel that is booted here: the serial port, and no look at whether the timer ticks, which an emulated one
/// fails when its host is busy ("IO-APIC + timer doesn't work").
pub const KERNEL_ARGS: &str = "console=ttyS0 no_timer_check";
