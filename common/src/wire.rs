//! The messages between agent and conductor, and their encoding: CBOR (RFC 8949) with a bound on size.
//! Unknown fields are ignored, trailing bytes are not; what a message means is decided in `decide` and `lookup`.
use crate::disk::DiskIdentity;
use crate::id::{BootId, NodeId, StepId};
use crate::inventory::Inventory;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Largest message either side decodes, in bytes. A lookup of a machine with 60 disks is about 40 KB; a config drive
/// travels inside a step and may have [`MAX_CONFIG_DRIVE_BYTES`]. Well below the 1 MiB `max_payload` of a stock server.
pub const MAX_MESSAGE_BYTES: usize = 768 * 1024;
/// Largest config drive content, in bytes, summed over its files.
pub const MAX_CONFIG_DRIVE_BYTES: usize = 512 * 1024;
pub const CONTENT_TYPE: &str = "application/cbor";
/// Version of the messages below: a field may be added without a new one, a meaning may not change.
pub const VERSION: u32 = 1;

/// Subjects. `prefix` is `ib.v1` unless the operator chose another.
pub mod subject {
    use crate::id::NodeId;
    use alloc::format;
    use alloc::string::String;

    pub const DEFAULT_PREFIX: &str = "ib.v1";
    /// The queue group of all workers.
    pub const QUEUE_GROUP: &str = "conductor";

    pub fn lookup(prefix: &str) -> String {
        format!("{prefix}.lookup")
    }
    pub fn heartbeat(prefix: &str, node: &NodeId) -> String {
        format!("{prefix}.heartbeat.{node}")
    }
    pub fn nudge(prefix: &str, node: &NodeId) -> String {
        format!("{prefix}.nudge.{node}")
    }
    /// `what` is `log` or `progress`: for watching only, nothing is decided by it.
    pub fn agent(prefix: &str, node: &NodeId, what: &str) -> String {
        format!("{prefix}.agent.{node}.{what}")
    }
    pub fn event(prefix: &str, node: &NodeId, kind: &str) -> String {
        format!("{prefix}.event.{node}.{kind}")
    }
    pub fn api(prefix: &str, noun: &str, verb: &str) -> String {
        format!("{prefix}.api.{noun}.{verb}")
    }
}

/// "Here I am, this is what I am made of." Request on `lookup`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lookup {
    pub version: u32,
    pub boot: BootId,
    /// The agent's own version, as `ironbeat-agent --version` says it.
    pub agent: String,
    pub inventory: Inventory,
    #[serde(default)]
    pub timings: BootTimings,
}

/// Milliseconds since the kernel started, by the machine's own monotonic clock.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BootTimings {
    pub agent_ms: u64,
    pub modules_ms: u64,
    pub network_ms: u64,
    pub inventory_ms: u64,
    pub lookup_ms: u64,
}

/// The answer to a lookup. An unknown, an ambiguous and an unwanted machine get the same `Wait`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum LookupReply {
    Welcome {
        node: NodeId,
        /// The conductor misses a machine after this long; it beats at 0.3 to 0.6 of it.
        heartbeat_timeout_secs: u32,
    },
    /// Knock again in `retry_secs` × U(0.5, 1.5).
    Wait { retry_secs: u32 },
}

/// "This boot lives, and this is what it is doing." Request on `heartbeat.<id>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    pub version: u32,
    pub boot: BootId,
    /// Counts the beats of this boot from 1.
    pub seq: u64,
    pub status: Status,
    /// Why this beat was sent, for the latency figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nudge: Option<NudgeLatency>,
}

/// Sent once, in the first beat after a nudge led to a step: from nudge received to step started, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NudgeLatency {
    pub step: StepId,
    pub micros: u64,
}

/// The whole present state of the agent. The last finished step is repeated until another one is wanted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Status {
    Idle,
    Running { step: StepId, progress: Progress },
    Done { step: StepId, outcome: Outcome },
    Failed { step: StepId, error: StepError },
}

/// How far a step has come. It counts as alive while `done` or `phase` changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// `download`, `verify`, `commit`: for people, and a change counts as progress.
    pub phase: String,
    /// In bytes where the step moves bytes.
    pub done: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    Nothing,
    Inventory(Box<Inventory>),
    Written(Written),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Written {
    /// Size of the image on the disk.
    pub image_bytes: u64,
    pub millis: u64,
    /// How often a broken transfer was taken up again.
    #[serde(default)]
    pub resumed: u32,
}

/// Why a step failed: what was attempted on what, causes joined by `: `. No secret is ever in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepError {
    pub what: String,
}

/// The answer to a heartbeat: what the conductor wants now, by id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "a reply lives on the stack of one heartbeat"
)]
pub enum HeartbeatReply {
    /// Nothing to do: go on beating. A running step goes on too.
    Idle,
    /// Run this, unless it is the step already running or already finished. A different running step is given up.
    Step { id: StepId, order: Order },
    /// The conductor does not know this boot: look up again.
    LookUp,
}

/// What an agent can be asked to do. Whole orders: the agent chooses nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// Read all hardware again, waiting for LLDP on every NIC that has a carrier.
    Inspect {
        lldp_wait_secs: u32,
    },
    WriteImage(WriteImage),
    /// Make the firmware boot this disk first (UEFI boot entry).
    SetBootEntry {
        disk: DiskIdentity,
        label: String,
    },
    /// Make old signatures and tables of these disks unreadable.
    EraseMetadata {
        disks: Vec<DiskIdentity>,
    },
    Reboot,
    PowerOff,
}

impl Order {
    /// Ironic's name for the step, where it has one.
    pub fn name(&self) -> &'static str {
        match self {
            Order::Inspect { .. } => "inspect",
            Order::WriteImage(_) => "write_image",
            Order::SetBootEntry { .. } => "prepare_instance_boot",
            Order::EraseMetadata { .. } => "erase_devices_metadata",
            Order::Reboot => "reboot",
            Order::PowerOff => "power_off",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WriteImage {
    pub disk: DiskIdentity,
    /// Where the same bytes can be had, best first. Tried in turn; a broken transfer resumes at the next.
    pub urls: Vec<String>,
    pub format: ImageFormat,
    pub checksum: Checksum,
    /// Files of a `config-2` volume, added as the last partition. Empty: no config drive.
    #[serde(default)]
    pub config_drive: Vec<ConfigFile>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageFormat {
    Raw,
    Gzip,
    Zstd,
}

impl ImageFormat {
    /// By the file name's last extension, as operators name images.
    pub fn of_name(name: &str) -> Self {
        let path = name.split(['?', '#']).next().unwrap_or(name);
        match path.rsplit('.').next() {
            Some("gz") => ImageFormat::Gzip,
            Some("zst") => ImageFormat::Zstd,
            _ => ImageFormat::Raw,
        }
    }
}

/// Of the bytes as they are served (compressed if they are), as Ironic's `image_checksum`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Checksum {
    Sha256(Digest<32>),
    Sha512(Digest<64>),
}

impl core::str::FromStr for Checksum {
    type Err = crate::id::BadId;
    /// `sha256:<64 hex>`, `sha512:<128 hex>`, or bare hex told apart by its length.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let bad = || crate::id::BadId {
            kind: "checksum (sha256:<64 hex digits> or sha512:<128 hex digits>)",
            input: s.chars().take(160).collect(),
        };
        let (algorithm, hex) = s.split_once(':').map_or((None, s), |(a, h)| (Some(a), h));
        match (algorithm, hex.len()) {
            (None | Some("sha256"), 64) => {
                Digest::from_hex(hex).map(Checksum::Sha256).ok_or_else(bad)
            }
            (None | Some("sha512"), 128) => {
                Digest::from_hex(hex).map(Checksum::Sha512).ok_or_else(bad)
            }
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Checksum::Sha256(digest) => write!(f, "sha256:{digest}"),
            Checksum::Sha512(digest) => write!(f, "sha512:{digest}"),
        }
    }
}

/// A hash value; hex in every encoding.
#[derive(Clone, PartialEq, Eq)]
pub struct Digest<const N: usize>(pub [u8; N]);

impl<const N: usize> Digest<N> {
    pub fn from_hex(hex: &str) -> Option<Self> {
        let mut out = [0u8; N];
        if hex.len() != 2 * N || !hex.is_ascii() {
            return None;
        }
        for (byte, pair) in out.iter_mut().zip(hex.as_bytes().chunks(2)) {
            let high = (pair[0] as char).to_digit(16)?;
            let low = (pair[1] as char).to_digit(16)?;
            *byte = (high * 16 + low) as u8;
        }
        Some(Self(out))
    }
}

impl<const N: usize> fmt::Display for Digest<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl<const N: usize> fmt::Debug for Digest<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> Serialize for Digest<N> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Digest<N> {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let hex = String::deserialize(d)?;
        Digest::from_hex(&hex)
            .ok_or_else(|| serde::de::Error::custom(format!("not {N} bytes of hex")))
    }
}

/// One file of a config drive; `path` is relative, `openstack/latest/meta_data.json`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigFile {
    pub path: String,
    pub content: String,
}

/// User data carries passwords: only sizes are shown.
impl fmt::Debug for ConfigFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ConfigFile({:?}, {} bytes)",
            self.path,
            self.content.len()
        )
    }
}

/// Why bytes were not a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    TooLong { bytes: usize },
    Malformed { why: String },
    TrailingBytes { bytes: usize },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::TooLong { bytes } => {
                write!(f, "message of {bytes} bytes, at most {MAX_MESSAGE_BYTES}")
            }
            DecodeError::Malformed { why } => write!(f, "malformed CBOR: {why}"),
            DecodeError::TrailingBytes { bytes } => {
                write!(f, "{bytes} bytes after the end of the message")
            }
        }
    }
}

impl core::error::Error for DecodeError {}

pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(message, &mut out)
        .expect("a Vec takes any bytes, and our types serialise");
    out
}

/// # Errors
/// When the bytes are too many, are not CBOR of this shape, or go on after it.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(DecodeError::TooLong { bytes: bytes.len() });
    }
    let mut rest = bytes;
    let message = ciborium::from_reader(&mut rest).map_err(|e| {
        // The text may quote the input: it is cut, so that a hostile message cannot fill a log.
        let why: String = e.to_string().chars().take(200).collect();
        DecodeError::Malformed { why }
    })?;
    match rest.len() {
        0 => Ok(message),
        bytes => Err(DecodeError::TrailingBytes { bytes }),
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
