//! An IPMI v2.0 LAN client (RMCP+, "lanplus"): many BMCs over one socket per address family, no process spawned.
//! The caller decides what to tell a BMC; this crate decides which bytes that takes.
//!
//! Layers, each testable without the next; a file imports only from its own layer and those above it in this list:
//! - what all others use: `secret`, `error`, `crypto` (the cipher suites), `config` (what the caller chooses);
//! - bytes: `packet` (RMCP+), `message` (IPMI), `bridge` (for a controller behind the BMC), `presession`;
//! - sessions without sockets or clocks: `handshake` opens one and `session` seals its messages (`v15` does both for
//!   IPMI 1.5), `either` hides which protocol it is, `window` recognises new messages, `received`
//!   says what a datagram was;
//! - decisions that are handed the time: `pace` (how long to wait), `retransmit` (when to send again), `exchange` (which
//!   message is the answer), `login` (what to try next), `sol` and `watch` (the serial console);
//! - the edge: `clock`, `random`, `transport` (sockets), `line` (one BMC's), over which `ask` (no session), `attempt` (a
//!   login) and `open` (a session) send and wait;
//! - the owners: `link` (one BMC's session: opened, kept, replaced), `bmc` (the handle), `slots` (how many at once);
//! - commands, a file each: `chassis`, `boot`, `device`, `lan`, `users`, `sdr`, `sensor`, `sel`, `fru`, `probe`, with their
//!   words in `text` and `units`; and the serial console, `console`.
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
#[doc(hidden)]
pub mod fuzz;
mod handshake;
mod lan;
mod line;
mod link;
mod login;
mod message;
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
