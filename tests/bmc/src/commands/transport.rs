//! LAN and SOL configuration, read only (IPMI 2.0 §23, §26).
//! The addresses are made up: a simulated BMC is reached at whatever address its datagrams came to.
use super::{Answer, BAD_LENGTH, INVALID_COMMAND};
use crate::bmc::Bmc;
use crate::rmcp::Request;

const NO_PARAMETER: u8 = 0x80;

pub(super) fn run(bmc: &mut Bmc, request: &Request) -> Answer {
    match (request.command, request.data.as_slice()) {
        (0x02, [_channel, parameter, set, _]) => lan(bmc, *parameter, *set),
        (0x22, [_channel, parameter, ..]) => sol(*parameter),
        (0x02 | 0x22, _) => Err(BAD_LENGTH),
        _ => Err(INVALID_COMMAND),
    }
}

fn lan(bmc: &Bmc, parameter: u8, set: u8) -> Answer {
    let mut answer = vec![0x11];
    match parameter {
        0 => answer.push(0),
        3 => answer.extend([192, 0, 2, bmc.settings.guid[15]]),
        4 => answer.push(0x01),
        5 => answer.extend([0x52, 0x54, 0, 0, 0, bmc.settings.guid[15]]),
        6 => answer.extend([255, 255, 255, 0]),
        12 => answer.extend([192, 0, 2, 254]),
        20 => answer.extend([42, 0x80]),
        55 => answer.extend([1, 0, 0x01]),
        56 => {
            // 2001:db8::/32 is for documentation.
            let mut address = [0; 16];
            address[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
            address[15] = bmc.settings.guid[15];
            answer.extend([set, 0x80]);
            answer.extend(address);
            answer.extend([64, 0]);
        }
        _ => return Err(NO_PARAMETER),
    }
    Ok(answer)
}

fn sol(parameter: u8) -> Answer {
    let mut answer = vec![0x11];
    match parameter {
        0 => answer.push(0),
        1 => answer.push(1),
        2 => answer.push(0x02),
        3 => answer.extend([10, 60]),
        4 => answer.extend([7, 20]),
        5 | 6 => answer.push(0x0a),
        7 => answer.push(1),
        8 => answer.extend([0x6f, 0x02]),
        _ => return Err(NO_PARAMETER),
    }
    Ok(answer)
}
