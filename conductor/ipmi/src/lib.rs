//! An IPMI v2.0 LAN client (RMCP+, "lanplus"): many BMCs over one socket per address family, no process spawned.
//! What a BMC is told to do is the caller's affair; which wire bytes that takes is ours.
//!
//! Layers, each testable without the next:
//! - bytes: `crypto`, `packet` (RMCP+), `message` (IPMI), `presession` (before a login);
//! - a session without sockets or clocks: `handshake` opens it, `session` seals and opens its messages, `pace` says how
//!   long to wait;
//! - the edge: `transport` (sockets), `link` (one BMC's session: retries, losses, reopening), `bmc` (the handle);
//! - commands, a file each: `chassis`, `boot`, `device`, `lan`, `probe`.
mod bmc;
mod boot;
mod chassis;
mod crypto;
mod device;
mod error;
mod handshake;
mod lan;
mod link;
mod message;
#[cfg(test)]
mod mutate;
mod pace;
mod packet;
mod presession;
mod probe;
mod session;
mod transport;

pub use bmc::{Bmc, BmcConfig};
pub use boot::{BootDevice, BootFlags, BootSelection};
pub use chassis::{ChassisControl, ChassisStatus, RestorePolicy};
pub use crypto::Suite;
pub use device::{BmcReset, DeviceId};
pub use error::{CompletionCode, Error, ErrorKind};
pub use handshake::Privilege;
pub use lan::{AddressSource, LanIpv6, LanParameters};
pub use pace::Timing;
pub use presession::{AuthCapabilities, CipherSuite};
pub use probe::Presence;
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
