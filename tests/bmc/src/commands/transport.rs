//! LAN and SOL configuration, read only (IPMI 2.0 §23, §26).
//! Leaves setting it to whoever starts the BMC.
use super::{Answer, BAD_LENGTH, INVALID_COMMAND};
use crate::bmc::Bmc;
use crate::rmcp::Request;
use std::net::Ipv6Addr;

const NO_PARAMETER: u8 = 0x80;

pub(super) fn run(bmc: &mut Bmc, request: &Request) -> Answer {
    match (request.command, request.data.as_slice()) {
        (0x02, [_channel, parameter, set, _]) => lan(bmc, *parameter, *set),
        (0x22, [_channel, parameter, ..]) => sol(bmc, *parameter),
        (0x02 | 0x22, _) => Err(BAD_LENGTH),
        _ => Err(INVALID_COMMAND),
    }
}

fn lan(bmc: &Bmc, parameter: u8, set: u8) -> Answer {
    let lan = &bmc.settings.lan;
    let mut answer = vec![0x11];
    match parameter {
        0 => answer.push(0),
        3 => answer.extend(lan.address.octets()),
        4 => answer.push(0x01),
        5 => answer.extend(lan.mac),
        6 => answer.extend(lan.mask.octets()),
        12 => answer.extend(lan.gateway.octets()),
        20 => answer.extend([0, 0]),
        // IPv6 can be had beside IPv4, and is, when there is an address.
        50 => answer.push(0x06),
        51 => answer.push(if lan.ipv6.is_some() { 2 } else { 0 }),
        // One static address, no dynamic one.
        55 => answer.extend([1, 0, 0x01]),
        56 if set == 0 => {
            let enabled = if lan.ipv6.is_some() { 0x80 } else { 0 };
            answer.extend([set, enabled]);
            answer.extend(lan.ipv6.unwrap_or(Ipv6Addr::UNSPECIFIED).octets());
            answer.extend([64, 0]);
        }
        _ => return Err(NO_PARAMETER),
    }
    Ok(answer)
}

fn sol(bmc: &Bmc, parameter: u8) -> Answer {
    let mut answer = vec![0x11];
    match parameter {
        0 => answer.push(0),
        1 => answer.push(1),
        2 => answer.push(0x02),
        3 => answer.extend([10, 60]),
        4 => answer.extend([7, 20]),
        5 | 6 => answer.push(0x0a),
        7 => answer.push(1),
        8 => answer.extend(bmc.settings.lan.port.to_le_bytes()),
        _ => return Err(NO_PARAMETER),
    }
    Ok(answer)
}
