//! Sensor readings and thresholds (IPMI 2.0 §35).
//! Leaves the default sensors to `records`.
use super::{Answer, BAD_LENGTH, INVALID_COMMAND, NOT_PRESENT};
use crate::bmc::Bmc;
use crate::rmcp::Request;

pub(super) fn run(bmc: &mut Bmc, request: &Request) -> Answer {
    let Some(number) = request.data.first() else {
        return Err(BAD_LENGTH);
    };
    let reading = bmc.settings.readings.iter().find(|(n, _)| n == number);
    let Some((_, raw)) = reading else {
        return Err(NOT_PRESENT);
    };
    match request.command {
        0x2d => Ok(vec![*raw, 0xc0, 0xc0]),
        // Upper thresholds only: 90 %, 95 %, 100 % of the scale.
        0x27 => Ok(vec![0x38, 0, 0, 0, 230, 243, 255]),
        _ => Err(INVALID_COMMAND),
    }
}
