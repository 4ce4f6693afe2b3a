//! The steps of jobs: for the BMC, for the agent, or only until an agent appears.
//! `plan` makes the list of steps of a job.
use super::instance::ImageSource;
use super::rescue::RescueLogin;
use alloc::string::String;
use alloc::vec::Vec;
use ironbeat_common::disk::DiskIdentity;
use ironbeat_common::image::{Checksum, ImageFormat};
use ironbeat_common::order::{self, ConfigFile, Order};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// A worker drives the BMC.
    Bmc(BmcAct),
    /// The ramdisk boots and looks up.
    AwaitAgent,
    /// The agent does something.
    Agent(AgentStep),
    /// Nobody does anything until an operator ends the hold.
    Hold,
    /// Nobody does anything for so long.
    Wait { secs: u32 },
}

impl Step {
    pub fn name(&self) -> &'static str {
        match self {
            Step::Bmc(act) => act.name(),
            Step::AwaitAgent => "await_agent",
            Step::Agent(step) => step.name(),
            Step::Hold => "hold",
            Step::Wait { .. } => "wait",
        }
    }
}

/// The agent's work, as the record keeps it; [`AgentStep::order`] puts it into the protocol's words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AgentStep {
    /// Read all hardware again, waiting for LLDP on every NIC that has a carrier.
    Inspect {
        lldp_wait_secs: u32,
    },
    WriteImage(WriteImage),
    /// Make the firmware boot this disk first.
    SetBootEntry {
        disk: DiskIdentity,
        label: String,
    },
    /// Make the old signatures and tables of these disks unreadable.
    EraseMetadata {
        disks: Vec<DiskIdentity>,
    },
    /// Let people in, with a system for them.
    Rescue(RescueSystem),
    /// The ramdisk ends, and the machine goes off.
    PowerOff,
}

/// The archive that a rescue system comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RescueSystem {
    pub source: ImageSource,
    pub checksum: Checksum,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WriteImage {
    pub disk: DiskIdentity,
    pub source: ImageSource,
    pub format: ImageFormat,
    pub checksum: Checksum,
    /// Other disks that are made harmless where they may be taken for this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub neutralise: Vec<DiskIdentity>,
}

/// Where an image comes from at this moment, and what is written beside it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delivery {
    /// To be tried in this order.
    pub urls: Vec<String>,
    /// Files of a `config-2` volume; empty: none.
    pub config_drive: Vec<ConfigFile>,
    /// Who may log in to a rescue system.
    pub login: RescueLogin,
    /// [`Policy::step_stall_secs`](crate::policy::Policy::step_stall_secs).
    pub stall_secs: u32,
}

impl AgentStep {
    /// `image`: what an order to write an image, or to rescue, needs beyond the record.
    pub fn order(&self, image: Delivery) -> Order {
        match self.clone() {
            AgentStep::Inspect { lldp_wait_secs } => Order::Inspect { lldp_wait_secs },
            AgentStep::WriteImage(write) => Order::WriteImage(order::WriteImage {
                disk: write.disk,
                urls: image.urls,
                format: write.format,
                checksum: write.checksum,
                config_drive: image.config_drive,
                stall_secs: image.stall_secs,
                neutralise: write.neutralise,
            }),
            AgentStep::SetBootEntry { disk, label } => Order::SetBootEntry { disk, label },
            AgentStep::EraseMetadata { disks } => Order::EraseMetadata { disks },
            AgentStep::Rescue(system) => Order::Rescue(order::Rescue {
                urls: image.urls,
                checksum: system.checksum,
                stall_secs: image.stall_secs,
                password_hash: image.login.password_hash.map(|hash| hash.reveal().into()),
                ssh_keys: image.login.ssh_keys,
            }),
            AgentStep::PowerOff => Order::PowerOff,
        }
    }

    /// Ironic's name for the step, where it has one.
    pub fn name(&self) -> &'static str {
        match self {
            AgentStep::Inspect { .. } => "inspect",
            AgentStep::WriteImage(_) => "write_image",
            AgentStep::SetBootEntry { .. } => "prepare_instance_boot",
            AgentStep::EraseMetadata { .. } => "erase_devices_metadata",
            AgentStep::Rescue(_) => "rescue",
            AgentStep::PowerOff => "power_off",
        }
    }

    /// Whether it ends the ramdisk's life, so that silence after it is expected.
    pub fn ends_agent(&self) -> bool {
        match self {
            AgentStep::PowerOff => true,
            AgentStep::Inspect { .. }
            | AgentStep::WriteImage(_)
            | AgentStep::SetBootEntry { .. }
            | AgentStep::EraseMetadata { .. }
            | AgentStep::Rescue(_) => false,
        }
    }
}

/// A worker's act on a BMC. Each reads, compares, acts, and so may be done twice, save those of [`BmcAct::is_once`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum BmcAct {
    /// Prove that address and credentials are good, and read the power state.
    Check,
    /// Off (confirmed), every boot from now on from the network, on (confirmed): a ramdisk that dies early comes again, and
    /// the old system does not.
    Netboot,
    /// The ramdisk is left: off (confirmed), by itself within so many seconds, as its agent was told, or else by force.
    /// Nothing else proves it: a kernel that hangs on its way down is as silent as one that is gone.
    LeaveRamdisk { patience_secs: u32 },
    /// Every boot from now on from the disk; on (confirmed).
    BootDisk,
    /// On (confirmed); turned on if it is not.
    EnsureOn,
    /// Off (confirmed).
    PowerOff,
    /// The operating system is asked to switch off; off (confirmed) within so many seconds; then by force, if wanted.
    SoftOff { patience_secs: u32, then_hard: bool },
    /// Off and on by the BMC itself; the machine is on before and after (confirmed).
    Cycle,
    /// The reset line; the power stays on.
    Reset,
    /// A diagnostic interrupt (NMI).
    Diag,
    /// Choose what to boot next, or always; the power is left as it is.
    SetBootDevice {
        device: BootDevice,
        persistent: bool,
    },
    /// The BMC restarts, and answers again (confirmed) within [`BMC_RESTART_SECS`]; the machine goes on.
    ResetBmc,
    /// The BMC gets the password that lies beside the record as the next one; confirmed by a login with it.
    SetPassword,
}

/// The time that a ramdisk has to switch its machine off (Ironic's agent has six looks, 5 s apart).
pub const LEAVE_SECS: u32 = 30;

/// The time that a BMC has to restart. OpenBMC and its like boot a whole Linux from slow flash.
pub const BMC_RESTART_SECS: u32 = 300;

/// The devices that firmware can be told to boot (IPMI 2.0 table 28-14, Ironic's names).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum BootDevice {
    /// Firmware's own choice.
    None,
    Pxe,
    Disk,
    /// The disk, in firmware's safe mode.
    Safe,
    Cdrom,
    /// Firmware's set-up.
    Bios,
}

impl BootDevice {
    pub const ALL: [BootDevice; 6] = [
        BootDevice::None,
        BootDevice::Pxe,
        BootDevice::Disk,
        BootDevice::Safe,
        BootDevice::Cdrom,
        BootDevice::Bios,
    ];

    pub fn name(self) -> &'static str {
        match self {
            BootDevice::None => "none",
            BootDevice::Pxe => "pxe",
            BootDevice::Disk => "disk",
            BootDevice::Safe => "safe",
            BootDevice::Cdrom => "cdrom",
            BootDevice::Bios => "bios",
        }
    }
}

impl BmcAct {
    pub fn name(&self) -> &'static str {
        match self {
            BmcAct::Check => "check_bmc",
            BmcAct::Netboot => "boot_ramdisk",
            BmcAct::LeaveRamdisk { .. } => "tear_down_agent",
            BmcAct::BootDisk => "boot_instance",
            BmcAct::EnsureOn => "ensure_power_on",
            BmcAct::PowerOff => "power_off",
            BmcAct::SoftOff { .. } => "soft_power_off",
            BmcAct::Cycle => "power_cycle",
            BmcAct::Reset => "reset",
            BmcAct::Diag => "diagnostic_interrupt",
            BmcAct::SetBootDevice { .. } => "set_boot_device",
            BmcAct::ResetBmc => "reset_bmc",
            BmcAct::SetPassword => "set_bmc_password",
        }
    }

    /// Twice is more than once: when nobody knows whether it was done, it is not begun again.
    pub fn is_once(self) -> bool {
        match self {
            BmcAct::Cycle | BmcAct::Reset | BmcAct::Diag | BmcAct::ResetBmc => true,
            BmcAct::Check
            | BmcAct::Netboot
            | BmcAct::LeaveRamdisk { .. }
            | BmcAct::BootDisk
            | BmcAct::EnsureOn
            | BmcAct::PowerOff
            | BmcAct::SoftOff { .. }
            | BmcAct::SetBootDevice { .. }
            | BmcAct::SetPassword => false,
        }
    }
}
