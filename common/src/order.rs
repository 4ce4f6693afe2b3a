//! What a conductor can order an agent to do, one variant per step.
//! Choosing the order is the core's job; carrying it out is the agent's.
use crate::disk::DiskIdentity;
use crate::image::{Checksum, ImageFormat};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

/// Largest config drive content, in bytes, summed over its files.
pub const MAX_CONFIG_DRIVE_BYTES: usize = 512 * 1024;

/// An order is complete: the agent has nothing left to choose.
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
    /// Wipe old signatures and partition tables of these disks.
    EraseMetadata {
        disks: Vec<DiskIdentity>,
    },
    /// Unpack a rescue system beside this agent, let people in, and start it.
    Rescue(Rescue),
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
            Order::Rescue(_) => "rescue",
            Order::Reboot => "reboot",
            Order::PowerOff => "power_off",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WriteImage {
    pub disk: DiskIdentity,
    /// Mirrors of the same bytes, best first. Tried in turn; a broken transfer resumes at the next.
    pub urls: Vec<String>,
    pub format: ImageFormat,
    pub checksum: Checksum,
    /// Files of a `config-2` volume, added as the last partition. Empty: no config drive.
    #[serde(default)]
    pub config_drive: Vec<ConfigFile>,
    /// Without a new byte for this long the step counts as hung; until shortly before, broken transfers are tried again.
    #[serde(default = "default_stall_secs")]
    pub stall_secs: u32,
    /// Other disks that are made harmless where they may be taken for this one. All are looked at, and no other is touched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub neutralise: Vec<DiskIdentity>,
}

/// The default of the conductor's policy, for an order that does not say.
fn default_stall_secs() -> u32 {
    600
}

/// What people find who log in to a ramdisk, and who may, as `rescue`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Rescue {
    /// Mirrors of an archive (cpio "newc", by zstd), which is unpacked into the ramdisk's root.
    pub urls: Vec<String>,
    /// Of the archive as it is served.
    pub checksum: Checksum,
    /// As in [`WriteImage`].
    pub stall_secs: u32,
    /// As crypt(5) has it; none: nobody by a password.
    pub password_hash: Option<String>,
    /// Lines of OpenSSH's `authorized_keys`.
    pub ssh_keys: Vec<String>,
}

/// A hash is worth a guess: `Debug` says whether there is one.
impl fmt::Debug for Rescue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by_password = self.password_hash.is_some();
        let keys = self.ssh_keys.len();
        write!(
            f,
            "Rescue({:?}, password: {by_password}, {keys} keys)",
            self.urls
        )
    }
}

/// One file of a config drive; `path` is relative, `openstack/latest/meta_data.json`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConfigFile {
    pub path: String,
    pub content: String,
}

/// User data may hold passwords: `Debug` shows only its size.
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
