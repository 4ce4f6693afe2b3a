//! Chassis commands: power and boot options (IPMI 2.0 §28).
//! Leaves what the machine does to `power`.
use super::{Answer, BAD_FIELD, BAD_LENGTH, INVALID_COMMAND, NOT_NOW};
use crate::bmc::Bmc;
use crate::chassis::{BootFlags, Control};
use crate::power::Delays;
use crate::rmcp::Request;
use crate::settings::PowerFault;
use std::time::Duration;

/// "Parameter not supported" (§28.12).
const NO_PARAMETER: u8 = 0x80;

pub(super) fn run(bmc: &mut Bmc, request: &Request, now: Duration) -> Answer {
    match (request.command, request.data.as_slice()) {
        (0x00, _) => Ok(vec![0x00, 0x20, 0x20, 0x20, 0x20]),
        (0x01, _) => {
            bmc.counters.power_reads += 1;
            Ok(status(bmc))
        }
        (0x02, [code, ..]) => control(bmc, code & 0x0f, now),
        (0x04, _) => Ok(Vec::new()),
        (0x06, [policy, ..]) => {
            // 3: no change, only tell what can be.
            if policy & 7 < 3 {
                bmc.restore_policy = policy & 7;
            }
            Ok(vec![0x07])
        }
        // Restart cause: chassis control (§28.11).
        (0x07, _) => Ok(vec![0x01, 0x01]),
        (0x08, [parameter, data @ ..]) => set_option(bmc, parameter & 0x7f, data, now),
        (0x09, [parameter, _, _]) => option(bmc, parameter & 0x7f),
        (0x0f, _) => Ok(vec![60, 0, 0, 0, 0]),
        (0x02 | 0x06 | 0x08 | 0x09, _) => Err(BAD_LENGTH),
        _ => Err(INVALID_COMMAND),
    }
}

fn status(bmc: &mut Bmc) -> Vec<u8> {
    let on = match bmc.faults.power {
        PowerFault::SaysOn => true,
        PowerFault::SaysOff => false,
        PowerFault::None | PowerFault::Ignores | PowerFault::IgnoresSoft => bmc.machine.is_on(),
    };
    vec![u8::from(on) | bmc.restore_policy << 5, 0x00, 0x40, 0x00]
}

/// Chassis Control (IPMI 2.0 table 28-4): the operating system is asked.
const SOFT_SHUTDOWN: u8 = 0x05;

fn control(bmc: &mut Bmc, code: u8, now: Duration) -> Answer {
    let control = Control::from_code(code).ok_or(BAD_FIELD)?;
    let delays = Delays {
        power: bmc.settings.power_delay,
        cycle: bmc.settings.cycle_delay,
        post: bmc.settings.post_delay,
    };
    let deaf = match bmc.faults.power {
        PowerFault::Ignores => true,
        PowerFault::IgnoresSoft => code == SOFT_SHUTDOWN,
        PowerFault::None | PowerFault::SaysOn | PowerFault::SaysOff => false,
    };
    let done = deaf || bmc.machine.control(control, now, delays);
    if !done {
        return Err(NOT_NOW);
    }
    let count = &mut bmc.counters.control[usize::from(code)];
    bmc.counters.control_again += u64::from(*count > 0);
    *count += 1;
    Ok(Vec::new())
}

fn set_option(bmc: &mut Bmc, parameter: u8, data: &[u8], now: Duration) -> Answer {
    match (parameter, data) {
        // Set in progress, and who has read the flags.
        (0 | 4, _) => {}
        (3, [mask, ..]) if !bmc.faults.no_boot_timer => {
            bmc.machine.keep_flags(mask & 0x08 != 0);
        }
        (5, data) => {
            let mut flags = *data.first_chunk().ok_or(BAD_LENGTH)?;
            if bmc.faults.drops_persistent {
                flags = BootFlags(flags).once().0;
            }
            bmc.machine.set_flags(BootFlags(flags), now);
        }
        _ => return Err(NO_PARAMETER),
    }
    Ok(Vec::new())
}

fn option(bmc: &Bmc, parameter: u8) -> Answer {
    let mut answer = vec![0x01, parameter];
    match parameter {
        0 => answer.push(0),
        3 => answer.push(if bmc.machine.keeps_flags() { 0x08 } else { 0 }),
        4 => answer.extend([0, 0]),
        5 => answer.extend(bmc.machine.flags().0),
        _ => return Err(NO_PARAMETER),
    }
    Ok(answer)
}
