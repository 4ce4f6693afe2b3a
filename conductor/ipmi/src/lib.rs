//! An IPMI v2.0 LAN client (RMCP+, "lanplus"): many BMCs over one socket per address family, no process spawned.
//! What a BMC is told to do is the caller's affair; which wire bytes that takes is ours.
//!
//! Layers, each testable without the next: `crypto` and `packet` (bytes), `handshake` and `session` (a session without
//! sockets or clocks), `transport` (sockets), `bmc` (one BMC: retries, time-outs, session kept), `chassis` (commands).
mod bmc;
mod chassis;
mod crypto;
mod error;
mod handshake;
mod packet;
mod session;
mod transport;

pub use bmc::{Bmc, BmcConfig, Timing};
pub use chassis::{BootDevice, BootFlags, ChassisControl, ChassisStatus, DeviceId};
pub use crypto::Suite;
pub use error::{CompletionCode, Error, ErrorKind};
pub use handshake::Privilege;
pub use transport::Transport;

use std::fmt;

/// A password or key. Shows itself nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }
    pub(crate) fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("******")
    }
}
