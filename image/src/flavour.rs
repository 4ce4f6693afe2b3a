//! Two flavours of ramdisk: small for virtual machines, generic for real ones. Data: kernels, modules, kernel arguments.
//! Leaves finding what those modules need to `modules`.
use crate::error::Error;
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

    /// Loaded on every machine, in this order: no device asks for them, or it asks too late.
    pub fn always(self) -> &'static [&'static str] {
        match self {
            // Boot entries; packet sockets for LLDP and DHCP where they are a module.
            Flavour::Small => &["efivarfs", "af_packet"],
            // A controller may show its disks long after its driver is loaded: theirs is there by then. And the BMC from
            // inside, which many machines name in SMBIOS only.
            Flavour::Generic => &["efivarfs", "af_packet", "sd_mod", "ipmi_devintf", "ipmi_si"],
        }
    }

    /// Memory that a machine needs to unpack it and to deploy, in MiB. In QEMU's q35 the small flavour looks up with 96, the
    /// generic one with 144; with 128 the kernel runs out of room for it.
    pub fn memory_mib(self) -> u32 {
        match self {
            Flavour::Small => 128,
            Flavour::Generic => 160,
        }
    }

    /// Whether it is for Secure Boot too: modules keep their signatures, on which a kernel insists then, and the demo operating
    /// system has signed loaders. Checking modules is a third of a virtual machine's time for loading them.
    pub fn is_signed(self) -> bool {
        match self {
            Flavour::Small => false,
            Flavour::Generic => true,
        }
    }
}

const SMALL: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_scsi",
    "sd_mod",    // disks behind virtio_scsi
    "nvme",      // built in up to Debian 12
    "efivarfs",  // UEFI boot entries
    "af_packet", // built in up to Debian 13
];

/// Left out on purpose: Fibre Channel and iSCSI adapters (an agent that erases disks has no business in a SAN), and USB
/// networks (a BMC shows itself as one, and it leads nowhere). bnx2, bnx2x and qede need firmware that Debian keeps in
/// `non-free-firmware`; without it they are seen and named, but have no link.
const GENERIC: &[&str] = &[
    // Virtual machines, so that this flavour can be tried.
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_scsi",
    "vmxnet3",
    "vmw_pvscsi",
    // What every machine may need.
    "sd_mod",    // disks behind any SAS, SATA or USB controller
    "efivarfs",  // UEFI boot entries
    "af_packet", // LLDP, DHCP
    // NICs: Intel.
    "e1000",   // 1 GbE up to 2005, and QEMU's
    "e1000e",  // I217…I219, 82574
    "igb",     // I210, I350: most servers' 1 GbE
    "igc",     // I225, I226
    "ixgbe",   // X520, X540, X550
    "ixgbevf", // its virtual function
    "i40e",    // X710, XL710, X722
    "iavf",    // its and E810's virtual function
    "ice",     // E810, E823
    // Broadcom.
    "bnx2",    // NetXtreme II 1 GbE (Dell 11G, HP G7)
    "bnx2x",   // NetXtreme II 10 GbE
    "bnxt_en", // NetXtreme-C and -E
    "tg3",     // BCM5719, BCM5720: Dell's and HPE's 1 GbE
    // NVIDIA, Chelsio, Marvell, AMD, Emulex, Cisco, Amazon, Huawei, Netronome, Aquantia, Realtek.
    "mlx4_en",
    "mlx5_core",
    "cxgb4",
    "qede",
    "sfc",
    "be2net",
    "enic",
    "ena",
    "hinic",
    "nfp",
    "atlantic",
    "r8169",
    // Disks: SATA, NVMe, NVMe behind Intel's VMD, eMMC.
    "ahci",
    "ata_piix",
    "ata_generic", // IDE redirection of remote management, which would count as a controller without a driver
    "nvme",
    "vmd",
    "sdhci_pci",
    "sdhci_acpi",
    "mmc_block",
    // RAID and SAS.
    "megaraid_sas", // Broadcom MegaRAID, Dell PERC, Lenovo
    "mpt3sas",      // Broadcom SAS2, SAS3 (Dell HBA330)
    "mpi3mr",       // Broadcom SAS4
    "mptsas",       // LSI SAS1
    "hpsa",         // HPE Smart Array up to Gen9
    "smartpqi",     // HPE Smart Array from Gen10, Microchip SmartRAID
    "aacraid",      // Adaptec
    "isci",         // Intel C600
    "arcmsr",       // Areca
    // USB disks, and the hosts they hang on.
    "usb_storage",
    "uas",
    "xhci_pci",
    "ehci_pci",
    // The BMC from inside.
    "ipmi_si",
    "ipmi_devintf",
    "ipmi_ssif", // where it hangs on the SMBus …
    "i2c_i801",  // … which is Intel's
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
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "small" => Ok(Flavour::Small),
            "generic" => Ok(Flavour::Generic),
            other => Err(Error::Flavour(other.into())),
        }
    }
}
