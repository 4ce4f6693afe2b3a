//! Commands: device id, chassis power, boot device (IPMI 2.0 §20 and §28), with the quirks of vendors as data.
//! Sending them and waiting is `bmc`'s affair.
use crate::bmc::Bmc;
use crate::error::{Error, ErrorKind};
use crate::packet::Request;

const CHASSIS: u8 = 0x00;
const APP: u8 = 0x06;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChassisStatus {
    pub power_on: bool,
    pub power_fault: bool,
    pub overload: bool,
}

/// Chassis Control (§28.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChassisControl {
    PowerDown,
    PowerUp,
    PowerCycle,
    HardReset,
    /// Diagnostic interrupt (NMI).
    Diag,
    SoftShutdown,
}

/// Boot device selector, boot flags data 2 bits 5:2 (§28.13, table 28-14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootDevice {
    None,
    Pxe,
    Disk,
    Safe,
    Cdrom,
    Bios,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootFlags {
    pub efi: bool,
    pub persistent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceId {
    /// IANA enterprise number.
    pub manufacturer: u32,
    pub product: u16,
    /// Major and minor; the minor is BCD.
    pub firmware: (u8, u8),
    pub ipmi_version: u8,
}

/// What a vendor's BMC wants instead of the specification.
struct Quirk {
    manufacturer: u32,
    /// Selector byte for "disk" under UEFI; `None`: setting it does harm, so it is left out.
    efi_disk: Option<u8>,
}

/// From Ironic's `ipmitool` management interface: Supermicro (10876, 47488) takes 24h, Lenovo (19046) ignores the disk.
const QUIRKS: [Quirk; 3] = [
    Quirk {
        manufacturer: 10876,
        efi_disk: Some(0x24),
    },
    Quirk {
        manufacturer: 47488,
        efi_disk: Some(0x24),
    },
    Quirk {
        manufacturer: 19046,
        efi_disk: None,
    },
];

impl BootDevice {
    fn selector(self) -> u8 {
        match self {
            BootDevice::None => 0x00,
            BootDevice::Pxe => 0x04,
            BootDevice::Disk => 0x08,
            BootDevice::Safe => 0x0c,
            BootDevice::Cdrom => 0x14,
            BootDevice::Bios => 0x18,
        }
    }
}

/// The five bytes of boot option parameter 5; `None` when this vendor is better left alone.
fn boot_flags(device: BootDevice, flags: BootFlags, manufacturer: u32) -> Option<[u8; 5]> {
    const VALID: u8 = 0x80;
    const PERSISTENT: u8 = 0x40;
    const EFI: u8 = 0x20;
    let first =
        VALID | if flags.persistent { PERSISTENT } else { 0 } | if flags.efi { EFI } else { 0 };
    let quirk = QUIRKS
        .iter()
        .find(|quirk| quirk.manufacturer == manufacturer);
    let selector = match quirk {
        Some(quirk) if flags.efi && device == BootDevice::Disk => quirk.efi_disk?,
        Some(_) | None => device.selector(),
    };
    Some([first, selector, 0, 0, 0])
}

impl Bmc {
    pub async fn chassis_status(&self) -> Result<ChassisStatus, Error> {
        let data = self
            .command("chassis status", request(CHASSIS, 0x01, &[]))
            .await?;
        let state = *data
            .first()
            .ok_or_else(|| self.malformed("chassis status", "an empty chassis status"))?;
        Ok(ChassisStatus {
            power_on: state & 0x01 != 0,
            overload: state & 0x02 != 0,
            power_fault: state & 0x08 != 0,
        })
    }

    pub async fn chassis_control(&self, control: ChassisControl) -> Result<(), Error> {
        let (code, attempt) = match control {
            ChassisControl::PowerDown => (0x00, "power off"),
            ChassisControl::PowerUp => (0x01, "power on"),
            ChassisControl::PowerCycle => (0x02, "power cycle"),
            ChassisControl::HardReset => (0x03, "hard reset"),
            ChassisControl::Diag => (0x04, "diagnostic interrupt"),
            ChassisControl::SoftShutdown => (0x05, "soft shutdown"),
        };
        self.command(attempt, request(CHASSIS, 0x02, &[code]))
            .await
            .map(drop)
    }

    /// Get Device ID (§20.1).
    pub async fn device_id(&self) -> Result<DeviceId, Error> {
        let data = self
            .command("get device id", request(APP, 0x01, &[]))
            .await?;
        let id: &[u8; 11] = data
            .first_chunk()
            .ok_or_else(|| self.malformed("get device id", "a device id cut short"))?;
        Ok(DeviceId {
            manufacturer: u32::from_le_bytes([id[6], id[7], id[8] & 0x0f, 0]),
            product: u16::from_le_bytes([id[9], id[10]]),
            firmware: (id[2] & 0x7f, id[3]),
            ipmi_version: id[4],
        })
    }

    /// What the next boot, or every boot, shall use. The 60 s after which a BMC forgets boot flags are switched off
    /// first (parameter 3, §28.13); a BMC that knows no such parameter is not asked to.
    pub async fn set_boot_device(&self, device: BootDevice, flags: BootFlags) -> Result<(), Error> {
        let manufacturer = match self.device_id().await {
            Ok(id) => id.manufacturer,
            Err(Error {
                kind: ErrorKind::Completion(_),
                ..
            }) => 0,
            Err(error) => return Err(error),
        };
        let Some(bytes) = boot_flags(device, flags, manufacturer) else {
            return Ok(());
        };
        match self
            .command(
                "keep boot flags beyond 60 s",
                request(CHASSIS, 0x08, &[0x03, 0x08]),
            )
            .await
        {
            Ok(_)
            | Err(Error {
                kind: ErrorKind::Completion(_),
                ..
            }) => {}
            Err(error) => return Err(error),
        }
        let mut data = vec![0x05];
        data.extend(bytes);
        self.command("set boot device", request(CHASSIS, 0x08, &data))
            .await
            .map(drop)
    }

    fn malformed(&self, attempt: &'static str, what: &'static str) -> Error {
        Error {
            bmc: self.address(),
            attempt,
            kind: ErrorKind::Malformed(what),
        }
    }
}

fn request(netfn: u8, command: u8, data: &[u8]) -> Request {
    Request {
        netfn,
        command,
        data: data.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_flags_are_ironics_bytes() {
        let once = |efi| BootFlags {
            efi,
            persistent: false,
        };
        let always = |efi| BootFlags {
            efi,
            persistent: true,
        };
        for (device, flags, manufacturer, expected) in [
            (BootDevice::Pxe, once(true), 0, Some([0xa0, 0x04, 0, 0, 0])),
            (BootDevice::Pxe, once(false), 0, Some([0x80, 0x04, 0, 0, 0])),
            (
                BootDevice::Disk,
                always(true),
                0,
                Some([0xe0, 0x08, 0, 0, 0]),
            ),
            (
                BootDevice::Disk,
                always(false),
                10876,
                Some([0xc0, 0x08, 0, 0, 0]),
            ),
            (
                BootDevice::Disk,
                always(true),
                10876,
                Some([0xe0, 0x24, 0, 0, 0]),
            ),
            (BootDevice::Disk, always(true), 19046, None),
            (
                BootDevice::Pxe,
                once(true),
                19046,
                Some([0xa0, 0x04, 0, 0, 0]),
            ),
        ] {
            assert_eq!(
                boot_flags(device, flags, manufacturer),
                expected,
                "{device:?} {flags:?} {manufacturer}"
            );
        }
    }
}
