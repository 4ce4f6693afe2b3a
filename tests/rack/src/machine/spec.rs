//! Owns the description of one machine: firmware, disks, NICs, identity. Data only.
//! Leaves turning it into a QEMU command line to `qemu`.

use std::path::PathBuf;

/// What a machine is made of. Start from [`NodeSpec::bios`] or [`NodeSpec::uefi`] and change what matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    /// Which firmware runs at each POST.
    pub firmware: Firmware,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Number of CPUs.
    pub cpus: u32,
    /// Disks, in the order the firmware tries them.
    pub disks: Vec<DiskSpec>,
    /// One or two NICs; the first is on the machines' network, the second on a bridge of its own.
    pub nics: Vec<NicSpec>,
    /// What SMBIOS says.
    pub identity: Identity,
    /// Whether the machine sees its BMC in-band (KCS at 0xCA2, `/dev/ipmi0`).
    pub in_band_ipmi: bool,
    /// Whether it has a TPM 2.0, whose event log UEFI firmware keeps.
    pub tpm: bool,
    /// Whether it has a USB controller, into which [`Machine::plug_usb_disk`](super::Machine::plug_usb_disk) plugs.
    pub usb: bool,
    /// Whether the switch sends LLDP frames to the machine's NICs.
    pub lldp: bool,
    /// What the clock says at each POST, as `1970-01-02`, if its battery is dead; else the host's time.
    pub dead_clock: Option<&'static str>,
}

/// Firmware of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS.
    Bios,
    /// OVMF, with a variable store per machine that survives power cycles.
    Uefi,
    /// The same with Secure Boot on and Microsoft's keys, as servers are delivered.
    SecureUefi,
    /// UEFI when the boot flags of that POST ask for it, else BIOS. `ipmi_sim` drops that flag, so this is for other BMCs.
    Auto,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSpec {
    /// How it is attached.
    pub kind: DiskKind,
    /// Size in bytes.
    pub bytes: u64,
    /// Serial number.
    pub serial: String,
    /// World-wide name; SATA and SCSI only.
    pub wwn: Option<u64>,
    /// Whether it turns; SATA and SCSI only (virtio always says yes, NVMe always no).
    pub rotational: bool,
    /// What is on it at the start.
    pub content: DiskContent,
}

/// How a disk is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskKind {
    /// `/dev/vdX`: serial only.
    VirtioBlk,
    /// `/dev/nvmeXn1`: serial, EUI-like wwid.
    Nvme,
    /// `/dev/sdX` behind AHCI.
    Sata,
    /// `/dev/sdX` behind virtio-scsi.
    Scsi,
}

/// What is on a disk at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskContent {
    /// Zeros, not stored.
    Zeros,
    /// This byte everywhere, really written: what a previous owner left.
    Fill(u8),
    /// A copy of this file, zeros after its end.
    File(PathBuf),
}

/// A NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NicSpec {
    /// Its model.
    pub model: NicModel,
    /// Its boot ROM.
    pub rom: NicRom,
}

/// Models of NICs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NicModel {
    /// Paravirtual.
    VirtioNet,
    /// Intel 82540EM.
    E1000,
    /// Intel 82574L.
    E1000e,
}

/// Boot ROMs of NICs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NicRom {
    /// QEMU's: iPXE for BIOS and UEFI.
    Ipxe,
    /// None: UEFI boots by its own PXE client as real servers do, BIOS can't boot from this NIC.
    None,
}

/// What SMBIOS tables 1 to 3 say. An empty string leaves QEMU's own value, unless said otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// System UUID; empty means one made from the node's number.
    pub uuid: String,
    /// System, board and chassis serial number; empty means one made from the node's number.
    pub serial: String,
    /// Manufacturer of system, board and chassis.
    pub manufacturer: String,
    /// Product name.
    pub product: String,
    /// Stock keeping unit.
    pub sku: String,
    /// Product family.
    pub family: String,
    /// Chassis asset tag.
    pub asset_tag: String,
}

impl NodeSpec {
    /// A BIOS machine with one blank 1 GiB virtio disk, one virtio NIC, 512 MiB.
    pub fn bios() -> Self {
        Self {
            firmware: Firmware::Bios,
            memory_mib: 512,
            cpus: 1,
            disks: vec![DiskSpec::blank(DiskKind::VirtioBlk, 1 << 30, "VIRT0001")],
            nics: vec![NicSpec::VIRTIO],
            identity: Identity {
                manufacturer: "Ironbeat".into(),
                product: "Virtual Rack Node".into(),
                ..Identity::default()
            },
            in_band_ipmi: false,
            tpm: false,
            usb: false,
            lldp: true,
            dead_clock: None,
        }
    }

    /// The same with UEFI and an NVMe disk.
    pub fn uefi() -> Self {
        let disks = vec![DiskSpec::blank(DiskKind::Nvme, 1 << 30, "NVME0001")];
        Self {
            firmware: Firmware::Uefi,
            disks,
            ..Self::bios()
        }
    }
}

impl DiskSpec {
    /// A disk of zeros.
    pub fn blank(kind: DiskKind, bytes: u64, serial: &str) -> Self {
        let serial = serial.to_owned();
        Self {
            kind,
            bytes,
            serial,
            wwn: None,
            rotational: false,
            content: DiskContent::Zeros,
        }
    }
}

impl NicSpec {
    /// The fastest to emulate, booting by iPXE.
    pub const VIRTIO: Self = Self {
        model: NicModel::VirtioNet,
        rom: NicRom::Ipxe,
    };
}

/// Which device a POST boots from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BootDevice {
    /// Disks in order, then NICs.
    #[default]
    Disk,
    /// NICs, then disks.
    Pxe,
}

/// What the next POST should do (IPMI 2.0 table 28-14, parameter 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BootFlags {
    /// Where to boot from.
    pub device: BootDevice,
    /// Whether it holds for every POST from now on, or for the next one only.
    pub persistent: bool,
    /// Whether to boot as UEFI; means something to [`Firmware::Auto`] alone.
    pub efi: bool,
}
