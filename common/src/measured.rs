//! What the firmware of a machine has measured into its TPM, as the agent read it: PCR values, and the event log behind them.
//! Reading the log and comparing it with what is served is the conductor's job.
use crate::image::Digest;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The kernel image that firmware starts is measured into PCR 4 (TCG PC Client Platform Firmware Profile 1.05 §3.3.4), ramdisks
/// into PCR 9 (GRUB's `tpm` module, and the EFI stub of Linux).
pub const PCRS: [u8; 2] = [4, 9];

/// Longest event log that an agent sends, in bytes. A lookup may have 256 KiB, and the logs of servers have 20 to 50.
pub const MAX_LOG_BYTES: usize = 64 * 1024;

/// Of a machine with a TPM 2.0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurements {
    /// [`PCRS`] of the SHA-256 bank, as far as they can be read.
    pub pcrs: Vec<Pcr>,
    pub log: EventLog,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pcr {
    pub index: u8,
    pub sha256: Digest<32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum EventLog {
    /// As Linux has it: the firmware's log, and what was measured after the EFI stub took that.
    Read(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Why there is none.
    Missing(String),
}
