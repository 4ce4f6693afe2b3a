//! Chassis commands: power state and power control (IPMI 2.0 §28.2, §28.3).
//! `boot` chooses what the machine boots; to learn whether the power really changed, the caller asks again.
use crate::bmc::Bmc;
use crate::error::Error;
use crate::message::{CHASSIS, Request};

/// Get Chassis Status (§28.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChassisStatus {
    pub power_on: bool,
    pub overload: bool,
    pub interlock: bool,
    pub power_fault: bool,
    pub power_control_fault: bool,
    /// What happens when mains power returns; none: the BMC does not say.
    pub restore_policy: Option<RestorePolicy>,
    pub intrusion: bool,
    pub drive_fault: bool,
    pub cooling_fault: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestorePolicy {
    StayOff,
    AsBefore,
    PowerUp,
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

pub(crate) fn parse_status(data: &[u8]) -> Option<ChassisStatus> {
    let [power, _last_event, rest @ ..] = data else {
        return None;
    };
    let misc = rest.first().copied().unwrap_or(0);
    Some(ChassisStatus {
        power_on: power & 0x01 != 0,
        overload: power & 0x02 != 0,
        interlock: power & 0x04 != 0,
        power_fault: power & 0x08 != 0,
        power_control_fault: power & 0x10 != 0,
        restore_policy: match power >> 5 & 3 {
            0 => Some(RestorePolicy::StayOff),
            1 => Some(RestorePolicy::AsBefore),
            2 => Some(RestorePolicy::PowerUp),
            _ => None,
        },
        intrusion: misc & 0x01 != 0,
        drive_fault: misc & 0x04 != 0,
        cooling_fault: misc & 0x08 != 0,
    })
}

impl Bmc {
    /// # Errors
    /// Whatever prevents an answer; see [`crate::ErrorKind`].
    pub async fn chassis_status(&self) -> Result<ChassisStatus, Error> {
        let attempt = "chassis status";
        let data = self
            .command(attempt, Request::new(CHASSIS, 0x01, &[]))
            .await?;
        parse_status(&data).ok_or_else(|| self.malformed(attempt, "a chassis status cut short"))
    }

    /// Returns when the BMC accepts the command; the power may change later. Cycle, reset, diagnostic interrupt and
    /// soft shutdown are sent again only while the BMC can tell a retransmission from a second command.
    ///
    /// # Errors
    /// `Unconfirmed` when one of those four was sent and may or may not have arrived.
    pub async fn chassis_control(&self, control: ChassisControl) -> Result<(), Error> {
        let state = |code| Request::new(CHASSIS, 0x02, &[code]);
        let event = |code| Request::once(CHASSIS, 0x02, &[code]);
        let (request, attempt) = match control {
            ChassisControl::PowerDown => (state(0x00), "power off"),
            ChassisControl::PowerUp => (state(0x01), "power on"),
            ChassisControl::PowerCycle => (event(0x02), "power cycle"),
            ChassisControl::HardReset => (event(0x03), "hard reset"),
            ChassisControl::Diag => (event(0x04), "diagnostic interrupt"),
            ChassisControl::SoftShutdown => (event(0x05), "soft shutdown"),
        };
        self.command(attempt, request).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_bit_by_bit() {
        let quiet = parse_status(&[0x41, 0x00, 0x40, 0x00]).unwrap();
        assert!(quiet.power_on && !quiet.power_fault && !quiet.overload && !quiet.intrusion);
        assert_eq!(quiet.restore_policy, Some(RestorePolicy::PowerUp));
        let loud = parse_status(&[0x7e, 0x10, 0x0d]).unwrap();
        assert!(!loud.power_on && loud.overload && loud.interlock && loud.power_fault);
        assert!(loud.power_control_fault && loud.intrusion && loud.drive_fault);
        assert!(loud.cooling_fault);
        assert_eq!(loud.restore_policy, None);
        assert!(parse_status(&[0x01, 0x00]).unwrap().power_on);
        assert_eq!(parse_status(&[0x01]), None);
    }
}
