//! What the BMC is: device id, GUID (IPMI 2.0 §20.1, §22.14), and its reset (§20.2, §20.3).
//! The machine has an identity of its own (SMBIOS; `fru`), though the two often agree.
use crate::bmc::Bmc;
use crate::error::Error;
use crate::message::{APP, Request};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceId {
    pub device: u8,
    pub revision: u8,
    /// IANA enterprise number.
    pub manufacturer: u32,
    pub product: u16,
    /// Major and minor; the minor is BCD.
    pub firmware: (u8, u8),
    /// The firmware is being updated, or the device initialises itself: only a few commands work.
    pub busy: bool,
    /// BCD, the digits swapped: 02h is version 2.0, 51h is 1.5.
    pub ipmi_version: u8,
    /// "Additional device support" (table 20-2): which of SDR, SEL, FRU, chassis … there are.
    pub support: u8,
}

/// How to restart the BMC itself. The machine keeps running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BmcReset {
    Cold,
    Warm,
}

pub(crate) fn parse_device_id(data: &[u8]) -> Option<DeviceId> {
    let [
        device,
        revision,
        firmware,
        minor,
        ipmi_version,
        support,
        m0,
        m1,
        m2,
        p0,
        p1,
        ..,
    ] = *data
    else {
        return None;
    };
    Some(DeviceId {
        device,
        revision: revision & 0x0f,
        // 20 bits (table 20-2).
        manufacturer: u32::from_le_bytes([m0, m1, m2 & 0x0f, 0]),
        product: u16::from_le_bytes([p0, p1]),
        firmware: (firmware & 0x7f, minor),
        busy: firmware & 0x80 != 0,
        ipmi_version,
        support,
    })
}

impl Bmc {
    /// # Errors
    /// Whatever prevents an answer; see [`crate::ErrorKind`].
    pub async fn device_id(&self) -> Result<DeviceId, Error> {
        let attempt = "get device id";
        let data = self.command(attempt, Request::new(APP, 0x01, &[])).await?;
        parse_device_id(&data).ok_or_else(|| self.malformed(attempt, "a device id cut short"))
    }

    /// The 16 bytes as the BMC sends them: vendors disagree about their order.
    ///
    /// # Errors
    /// Whatever prevents an answer; see [`crate::ErrorKind`].
    pub async fn device_guid(&self) -> Result<[u8; 16], Error> {
        self.guid("get device GUID", 0x08).await
    }

    /// The GUID of the machine, usually its SMBIOS UUID (§22.14, Get System GUID).
    ///
    /// # Errors
    /// Whatever prevents an answer; see [`crate::ErrorKind`].
    pub async fn system_guid(&self) -> Result<[u8; 16], Error> {
        self.guid("get system GUID", 0x37).await
    }

    async fn guid(&self, attempt: &'static str, command: u8) -> Result<[u8; 16], Error> {
        let data = self
            .command(attempt, Request::new(APP, command, &[]))
            .await?;
        data.first_chunk()
            .copied()
            .ok_or_else(|| self.malformed(attempt, "a GUID cut short"))
    }

    /// Restarts the BMC, which ends its sessions. It may restart before it answers; then the error is `Unconfirmed`.
    ///
    /// # Errors
    /// Whatever prevents an answer; see [`crate::ErrorKind`].
    pub async fn reset_bmc(&self, reset: BmcReset) -> Result<(), Error> {
        let (command, attempt) = match reset {
            BmcReset::Cold => (0x02, "cold reset of the BMC"),
            BmcReset::Warm => (0x03, "warm reset of the BMC"),
        };
        self.command(attempt, Request::once(APP, command, &[]))
            .await
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_id_is_read() {
        // ipmi_sim's: mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02.
        let data = [
            0x00, 0x03, 0x09, 0x08, 0x02, 0x9f, 0x91, 0x12, 0x00, 0x02, 0x0f,
        ];
        let expected = DeviceId {
            device: 0,
            revision: 3,
            manufacturer: 0x1291,
            product: 0xf02,
            firmware: (9, 8),
            busy: false,
            ipmi_version: 2,
            support: 0x9f,
        };
        assert_eq!(parse_device_id(&data), Some(expected));
        for short in 0..data.len() {
            assert_eq!(parse_device_id(&data[..short]), None);
        }
    }
}
