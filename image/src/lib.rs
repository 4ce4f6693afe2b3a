//! What machines boot: kernel and ramdisk for network boot, and a small operating system to deploy in demo and tests.
//! Built from Debian packages that are unpacked, never installed; the same input gives the same bytes.
mod cache;
pub mod cpio;
pub mod demo_os;
mod error;
pub mod flavour;
pub mod initramfs;
pub mod kernel;
mod modules;
mod packages;
pub mod rescue;
mod run;

pub use error::Error;
pub use packages::ensure_packages;
