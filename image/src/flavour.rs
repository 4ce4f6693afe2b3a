//! Two flavours of ramdisk: small for virtual machines, generic for real ones. Data: kernels and modules.
use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Debian's cloud kernel; virtio, NVMe and SCSI.
    Small,
    /// Debian's generic kernel; the NICs, controllers and BMC interfaces of servers.
    Generic,
}

impl Flavour {
    /// The meta package that leads to the newest kernel.
    pub fn kernel_package(self) -> &'static str {
        match self {
            Flavour::Small => "linux-image-cloud-amd64",
            Flavour::Generic => "linux-image-amd64",
        }
    }

    /// Modules that go into the ramdisk with all that they need; one that a kernel has built in, or not at all, is left
    /// out. The agent loads what the machine's devices ask for.
    pub fn modules(self) -> &'static [&'static str] {
        match self {
            Flavour::Small => SMALL,
            Flavour::Generic => GENERIC,
        }
    }

    /// Loaded on every machine, as no device asks for them.
    pub fn always(self) -> &'static [&'static str] {
        match self {
            // Firmware variables (boot entries), packet sockets (LLDP, DHCP).
            Flavour::Small => &["efivarfs", "af_packet"],
            // And the BMC from inside.
            Flavour::Generic => &["efivarfs", "af_packet", "ipmi_devintf", "ipmi_si"],
        }
    }
}

const SMALL: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_scsi",
    "sd_mod",
    "nvme",
    "efivarfs",
    "af_packet",
    // In the cloud kernel only where it has them.
    "ahci",
    "e1000",
    "e1000e",
];

const GENERIC: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_scsi",
    "sd_mod",
    "efivarfs",
    "af_packet",
    // NICs.
    "e1000",
    "e1000e",
    "igb",
    "igc",
    "ixgbe",
    "ixgbevf",
    "i40e",
    "iavf",
    "ice",
    "bnx2",
    "bnx2x",
    "bnxt_en",
    "tg3",
    "mlx4_en",
    "mlx5_core",
    "r8169",
    "ena",
    "be2net",
    "qede",
    "sfc",
    "cxgb4",
    "enic",
    "atlantic",
    "vmxnet3",
    // Storage.
    "ahci",
    "ata_piix",
    "nvme",
    "megaraid_sas",
    "mpt3sas",
    "mpi3mr",
    "hpsa",
    "smartpqi",
    "aacraid",
    "mptsas",
    "isci",
    "vmw_pvscsi",
    "usb_storage",
    "uas",
    "xhci_pci",
    "ehci_pci",
    // The BMC from inside.
    "ipmi_si",
    "ipmi_ssif",
    "ipmi_devintf",
];

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Flavour::Small => "small",
            Flavour::Generic => "generic",
        })
    }
}

impl FromStr for Flavour {
    type Err = anyhow::Error;
    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text {
            "small" => Ok(Flavour::Small),
            "generic" => Ok(Flavour::Generic),
            other => anyhow::bail!("{other:?} is no flavour: small or generic"),
        }
    }
}
