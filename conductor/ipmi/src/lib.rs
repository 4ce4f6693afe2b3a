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
mod ask;
mod attempt;
mod bmc;
mod boot;
mod bridge;
mod chassis;
mod clock;
mod config;
mod console;
mod crypto;
mod device;
mod either;
mod error;
mod exchange;
mod fru;
mod handshake;
mod lan;
mod line;
mod link;
mod login;
mod message;
#[cfg(test)]
mod mutate;
mod open;
mod pace;
mod packet;
mod presession;
mod probe;
mod random;
mod received;
mod retransmit;
mod sdr;
mod secret;
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
mod watch;
mod window;

pub use bmc::Bmc;
pub use boot::{BootDevice, BootFlags, BootSelection};
pub use bridge::Bridge;
pub use chassis::{ChassisControl, ChassisStatus, RestorePolicy};
pub use config::{BmcConfig, Privilege, Protocol, Timing};
pub use console::Console;
pub use crypto::Suite;
pub use device::{BmcReset, DeviceId};
pub use error::{CompletionCode, Error, ErrorKind};
pub use fru::{Fru, FruBoard, FruChassis, FruProduct};
pub use lan::{AddressSource, LanIpv6, LanParameters};
pub use presession::{AuthCapabilities, CipherSuite};
pub use probe::Presence;
pub use sdr::{FruLocator, Sdr, SensorRecord};
pub use secret::Secret;
pub use sel::{SelEntry, SelEvent, SelInfo, SelTime};
pub use sensor::{Health, Sensor, SensorReading, Thresholds};
pub use slots::Slots;
pub use transport::Transport;
pub use units::{SensorType, Unit};
pub use users::User;
