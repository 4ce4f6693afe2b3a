//! What this crate builds, booted under QEMU: the ramdisks with a probe for an agent, the demo operating system.
//! Leaves the agent and the deploy to `tests/product`.
mod demo_os;
mod machine;
mod ramdisk;
