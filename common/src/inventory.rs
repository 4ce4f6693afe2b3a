//! What hardware a machine has, as its agent read it: SMBIOS, CPU, memory, disks, NICs, LLDP neighbours, BMC, boot.
//! Reading it is the agent's job; choosing a disk from it is the core's.
use crate::id::{Mac, SystemUuid};
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Everything a machine reports about itself. `problems` lists what could not be read: one dead drive is not a dead node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Inventory {
    pub system: System,
    pub cpu: Cpu,
    pub memory: Memory,
    #[serde(default)]
    pub disks: Vec<Disk>,
    #[serde(default)]
    pub nics: Vec<Nic>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc: Option<BmcAddress>,
    pub boot: BootFacts,
    #[serde(default)]
    pub problems: Vec<Problem>,
}

/// SMBIOS types 0, 1, 2 and 3. The agent trims text and leaves out empty text and vendors' placeholders.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct System {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<SystemUuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sku: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub board_serial: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chassis_serial: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset_tag: Option<String>,
    #[serde(default)]
    pub firmware: Firmware,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Firmware {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cpu {
    /// As `uname -m` prints it: `x86_64`, `aarch64`.
    pub architecture: String,
    pub model: String,
    /// Logical processors.
    pub count: u32,
    #[serde(default)]
    pub sockets: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mhz: Option<u32>,
    #[serde(default)]
    pub flags: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Memory {
    /// What the kernel manages.
    pub total_bytes: u64,
    /// Sum of the SMBIOS type 17 modules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed_bytes: Option<u64>,
    #[serde(default)]
    pub modules: Vec<MemoryModule>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MemoryModule {
    pub locator: String,
    pub size_bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed_mts: Option<u32>,
}

/// One whole block device that could carry an operating system.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Disk {
    /// `/dev/vda`: good for this boot only.
    pub name: String,
    pub size_bytes: u64,
    pub logical_sector_bytes: u32,
    #[serde(default)]
    pub physical_sector_bytes: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// `naa.5000c5…`, `nvme.…`, `eui.…`, as the kernel prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
    #[serde(default)]
    pub rotational: bool,
    #[serde(default)]
    pub removable: bool,
    #[serde(default)]
    pub read_only: bool,
    /// `nvme`, `sata`, `sas`, `fc`, `iscsi`, `mmc`, `usb`, `virtio`, `scsi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// SCSI host:channel:target:lun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hctl: Option<String>,
    /// `pci-0000:00:03.0-…`, how operators name a slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_path: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Nic {
    pub name: String,
    /// The permanent address where the driver reports it, else the present one.
    pub mac: Mac,
    #[serde(default)]
    pub carrier: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed_mbps: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pci_address: Option<String>,
    /// PCI vendor and device, `8086:1572`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pci_id: Option<String>,
    #[serde(default)]
    pub mtu: u32,
    /// Addresses with prefix length, `10.77.0.11/24`.
    #[serde(default)]
    pub addresses: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lldp: Option<LldpNeighbour>,
}

/// What the switch port announced (IEEE 802.1AB). Ids are rendered as text; the raw TLVs are not kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LldpNeighbour {
    pub chassis_id: String,
    pub port_id: String,
    pub ttl_secs: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_description: Option<String>,
    #[serde(default)]
    pub management_addresses: Vec<String>,
    /// 802.1 port VLAN id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pvid: Option<u16>,
    #[serde(default)]
    pub vlans: Vec<u16>,
    /// 802.3 maximum frame size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_frame_bytes: Option<u16>,
}

/// The BMC as seen from inside, over the system interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "BmcSeenFromInside"))]
pub struct BmcAddress {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum BootMode {
    Bios,
    Uefi,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BootFacts {
    pub mode: BootMode,
    /// Whether Secure Boot is on, as the kernel's EFI stub found it; none: it does not say, or there is no UEFI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<bool>,
    /// The NIC that the firmware booted from, as the boot script passed it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<Mac>,
    #[serde(default)]
    pub kernel: String,
}

impl Default for BootFacts {
    fn default() -> Self {
        Self {
            mode: BootMode::Bios,
            secure_boot: None,
            interface: None,
            kernel: String::new(),
        }
    }
}

impl Disk {
    /// Of USB and MMC the flag is believed; aacraid sets it on every array (crowbar/crowbar-core#1537).
    pub fn is_removable(&self) -> bool {
        self.removable && matches!(self.transport.as_deref(), Some("usb" | "mmc"))
    }
}

impl Inventory {
    /// Why the list of disks may be short: some could not be read, or their drivers had not settled.
    pub fn disk_problems(&self) -> impl Iterator<Item = &Problem> {
        let hides_disks = |name: &str| name == DISKS || name == DRIVERS;
        let problems = self.problems.iter();
        problems.filter(move |problem| hides_disks(&problem.collector))
    }
}

/// The collector that lists disks.
pub const DISKS: &str = "disks";
/// Not a collector: drivers that did not load, controllers without one, and hardware that was still coming up when the agent
/// had to go on.
pub const DRIVERS: &str = "drivers";

/// A collector that could not read something, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Problem {
    pub collector: String,
    pub what: String,
    /// The slot of the device without a driver, `pci-0000:00:1f.2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_path: Option<String>,
}
