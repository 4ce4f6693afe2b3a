//! What the ramdisk needs before there is a network: mounts and a console, entropy, kernel modules, the command line.
//! The network is brought up in `net`; the order of it all is in `heart::machine`.
pub mod cmdline;
pub(crate) mod modules;
pub(crate) mod pid1;
pub(crate) mod ramdisk;
pub(crate) mod seed;
