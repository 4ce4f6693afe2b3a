//! An IPMI v2.0 LAN client (RMCP+, "lanplus"): many BMCs over one socket per address family, no process spawned.
//! What a BMC is told to do is the caller's affair; which wire bytes that takes is ours.
//!
//! Layers, each testable without the next:
//! - bytes: `crypto`, `packet` (RMCP+), `message` (IPMI), `bridge` (for a controller behind the BMC), `presession`;
//! - a session without sockets or clocks, `wire`: `handshake` opens it and `session` seals its messages (`v15` both for
//!   IPMI 1.5), `window` knows which are new, `pace` how long to wait;
//! - the edge: `transport` (sockets), `link` (one BMC's session: retries, losses, reopening), `bmc` (the handle), `slots`
//!   (how many at once);
//! - commands, a file each: `chassis`, `boot`, `device`, `lan`, `users`, `sdr`, `sensor`, `sel`, `fru`, `probe`;
//! - the serial console: `sol` (numbering and repetition, pure), `console` (the reader and writer).
mod bmc;
mod boot;
mod bridge;
mod chassis;
mod console;
mod crypto;
mod device;
mod error;
mod fru;
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
mod sdr;
mod sel;
mod sensor;
mod session;
mod slots;
mod sol;
mod text;
mod transport;
mod units;
mod users;
mod v15;
mod window;
mod wire;

pub use bmc::{Bmc, BmcConfig, Protocol};
pub use boot::{BootDevice, BootFlags, BootSelection};
pub use bridge::Bridge;
pub use chassis::{ChassisControl, ChassisStatus, RestorePolicy};
pub use console::Console;
pub use crypto::Suite;
pub use device::{BmcReset, DeviceId};
pub use error::{CompletionCode, Error, ErrorKind};
pub use fru::{Fru, FruBoard, FruChassis, FruProduct};
pub use handshake::Privilege;
pub use lan::{AddressSource, LanIpv6, LanParameters};
pub use pace::Timing;
pub use presession::{AuthCapabilities, CipherSuite};
pub use probe::Presence;
pub use sdr::{FruLocator, Sdr, SensorRecord};
pub use sel::{SelEntry, SelEvent, SelInfo, SelTime};
pub use sensor::{Health, Sensor, SensorReading, Thresholds};
pub use slots::Slots;
pub use transport::Transport;
pub use units::{SensorType, Unit};
pub use users::User;

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
