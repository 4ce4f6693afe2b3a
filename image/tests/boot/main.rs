//! What this crate builds, booted under QEMU: the ramdisks with a probe for an agent, the demo operating system.
//! Agent and deploy are tried on the rack, in `ironbeat-rack`.
mod demo_os;
mod machine;
mod ramdisk;
