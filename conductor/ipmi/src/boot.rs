//! Boot flags, which choose what the machine boots next (IPMI 2.0 §28.12 to §28.14), with the quirks of vendors as data.
//! The caller chooses the device.
use crate::bmc::Bmc;
use crate::error::{Error, ErrorKind};
use crate::message::{CHASSIS, Request};

/// Boot option parameters (table 28-14).
const KEEP_FLAGS: u8 = 3;
const BOOT_FLAGS: u8 = 5;
/// Of parameter 3: do not clear the flags when no reset follows within 60 s.
const NO_TIMEOUT: u8 = 0x08;
/// Of boot flags, data 1.
const VALID: u8 = 0x80;
const PERSISTENT: u8 = 0x40;
const EFI: u8 = 0x20;

/// Boot device selector, boot flags data 2 bits 5:2 (table 28-14).
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

/// The boot flags that a BMC reports. Do not rely on them: `ipmi_sim` and others report less than they were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootSelection {
    /// The flags have not been used up or timed out.
    pub valid: bool,
    pub flags: BootFlags,
    /// None: a selector that is no [`BootDevice`].
    pub device: Option<BootDevice>,
    pub selector: u8,
}

/// What a vendor's BMC wants in place of the specification.
struct Quirk {
    manufacturer: u32,
    /// Selector byte for "disk" under UEFI; `None`: setting it does harm, so we do not.
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

const DEVICES: [BootDevice; 6] = [
    BootDevice::None,
    BootDevice::Pxe,
    BootDevice::Disk,
    BootDevice::Safe,
    BootDevice::Cdrom,
    BootDevice::Bios,
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

/// The five bytes of boot flags; `None` when this vendor is better left alone.
fn encode(device: BootDevice, flags: BootFlags, manufacturer: u32) -> Option<[u8; 5]> {
    let persistent = if flags.persistent { PERSISTENT } else { 0 };
    let efi = if flags.efi { EFI } else { 0 };
    let quirk = QUIRKS
        .iter()
        .find(|quirk| quirk.manufacturer == manufacturer);
    let selector = match quirk {
        Some(quirk) if flags.efi && device == BootDevice::Disk => quirk.efi_disk?,
        Some(_) | None => device.selector(),
    };
    Some([VALID | persistent | efi, selector, 0, 0, 0])
}

/// The answer to Get System Boot Options for parameter 5: version, parameter, then the flags.
pub(crate) fn decode(data: &[u8]) -> Option<BootSelection> {
    let [_version, parameter, first, second, ..] = *data else {
        return None;
    };
    if parameter & 0x7f != BOOT_FLAGS {
        return None;
    }
    let selector = second & 0x3c;
    let quirk = QUIRKS.iter().any(|quirk| quirk.efi_disk == Some(selector));
    let device = match quirk && first & EFI != 0 {
        true => Some(BootDevice::Disk),
        false => DEVICES.into_iter().find(|d| d.selector() == selector),
    };
    Some(BootSelection {
        // Bit 7 of the parameter selector: marked invalid as a whole.
        valid: first & VALID != 0 && parameter & 0x80 == 0,
        flags: BootFlags {
            efi: first & EFI != 0,
            persistent: first & PERSISTENT != 0,
        },
        device,
        selector,
    })
}

impl Bmc {
    /// Sets the device for the next boot, or for every boot. First switches off the 60 s after which a BMC forgets
    /// boot flags; a BMC that does not have this parameter may refuse.
    ///
    /// # Errors
    /// Whatever prevents an answer; see [`ErrorKind`].
    pub async fn set_boot_device(&self, device: BootDevice, flags: BootFlags) -> Result<(), Error> {
        let Some(bytes) = encode(device, flags, self.maker().await?) else {
            return Ok(());
        };
        let keep = self.set_option("keep boot flags beyond 60 s", &[KEEP_FLAGS, NO_TIMEOUT]);
        unless_refused(keep.await)?;
        let mut data = vec![BOOT_FLAGS];
        data.extend(bytes);
        self.set_option("set boot device", &data).await
    }

    /// # Errors
    /// Whatever prevents an answer; see [`ErrorKind`].
    pub async fn boot_flags(&self) -> Result<BootSelection, Error> {
        let attempt = "get boot flags";
        let data = self
            .command(attempt, Request::new(CHASSIS, 0x09, &[BOOT_FLAGS, 0, 0]))
            .await?;
        decode(&data).ok_or_else(|| self.malformed(attempt, "boot flags cut short"))
    }

    async fn set_option(&self, attempt: &'static str, data: &[u8]) -> Result<(), Error> {
        self.command(attempt, Request::new(CHASSIS, 0x08, data))
            .await
            .map(drop)
    }

    /// The IANA number of its manufacturer, asked once; zero when it does not say.
    async fn maker(&self) -> Result<u32, Error> {
        let cache = self.manufacturer();
        if let Some(known) = cache.and_then(|cache| cache.get()) {
            return Ok(*known);
        }
        let maker = unless_refused(self.device_id().await)?.map_or(0, |id| id.manufacturer);
        Ok(cache.map_or(maker, |cache| *cache.get_or_init(|| maker)))
    }
}

/// A BMC that answers "no" has answered; everything else is an error.
fn unless_refused<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error {
            kind: ErrorKind::Completion(_),
            ..
        }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONCE_EFI: BootFlags = BootFlags {
        efi: true,
        persistent: false,
    };
    const ONCE_BIOS: BootFlags = BootFlags {
        efi: false,
        persistent: false,
    };
    const ALWAYS_EFI: BootFlags = BootFlags {
        efi: true,
        persistent: true,
    };
    const ALWAYS_BIOS: BootFlags = BootFlags {
        efi: false,
        persistent: true,
    };

    #[test]
    fn boot_flags_are_ironics_bytes() {
        for (device, flags, manufacturer, expected) in [
            (BootDevice::Pxe, ONCE_EFI, 0, Some([0xa0, 0x04, 0, 0, 0])),
            (BootDevice::Pxe, ONCE_BIOS, 0, Some([0x80, 0x04, 0, 0, 0])),
            (BootDevice::Disk, ALWAYS_EFI, 0, Some([0xe0, 0x08, 0, 0, 0])),
            (
                BootDevice::Disk,
                ALWAYS_BIOS,
                10876,
                Some([0xc0, 0x08, 0, 0, 0]),
            ),
            (
                BootDevice::Disk,
                ALWAYS_EFI,
                10876,
                Some([0xe0, 0x24, 0, 0, 0]),
            ),
            (
                BootDevice::Disk,
                ALWAYS_EFI,
                47488,
                Some([0xe0, 0x24, 0, 0, 0]),
            ),
            (BootDevice::Disk, ALWAYS_EFI, 19046, None),
            (
                BootDevice::Pxe,
                ONCE_EFI,
                19046,
                Some([0xa0, 0x04, 0, 0, 0]),
            ),
            (BootDevice::Bios, ONCE_BIOS, 0, Some([0x80, 0x18, 0, 0, 0])),
            (BootDevice::Cdrom, ONCE_BIOS, 0, Some([0x80, 0x14, 0, 0, 0])),
            (BootDevice::Safe, ONCE_BIOS, 0, Some([0x80, 0x0c, 0, 0, 0])),
            (BootDevice::None, ONCE_BIOS, 0, Some([0x80, 0x00, 0, 0, 0])),
        ] {
            assert_eq!(
                encode(device, flags, manufacturer),
                expected,
                "{device:?} {flags:?} {manufacturer}"
            );
        }
    }

    #[test]
    fn flags_that_were_set_are_read_back() {
        for manufacturer in [0, 10876] {
            for device in DEVICES {
                for flags in [ONCE_EFI, ONCE_BIOS, ALWAYS_EFI, ALWAYS_BIOS] {
                    let Some(bytes) = encode(device, flags, manufacturer) else {
                        panic!("{device:?} {flags:?} of {manufacturer} is not left alone");
                    };
                    let answer = [&[0x01, BOOT_FLAGS][..], &bytes].concat();
                    let read = decode(&answer).unwrap();
                    assert!(read.valid);
                    assert_eq!((read.device, read.flags), (Some(device), flags));
                }
            }
        }
        assert!(!decode(&[0x01, 0x85, 0x80, 0x04, 0, 0, 0]).unwrap().valid);
        assert_eq!(decode(&[0x01, 0x05, 0x80, 0x3c]).unwrap().device, None);
        assert_eq!(decode(&[0x01, 0x05, 0x80]), None);
        assert_eq!(decode(&[0x01, 0x04, 0x80, 0x04, 0, 0, 0]), None);
    }
}
