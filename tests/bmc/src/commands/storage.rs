//! Inventories, sensor data records and the event log (IPMI 2.0 §31, §33, §34).
//! Leaves their contents to `records` and `sel`.
use super::{
    Answer, BAD_FIELD, BAD_LENGTH, CANCELLED, INVALID_COMMAND, NOT_PRESENT, TOO_MANY_BYTES,
};
use crate::bmc::Bmc;
use crate::rmcp::Request;
use std::time::Duration;

/// Bytes of a record or inventory in one answer; real BMCs have small buffers.
const MAX_READ: usize = 24;
const LAST: u16 = 0xffff;

pub(super) fn run(bmc: &mut Bmc, request: &Request, now: Duration) -> Answer {
    match (request.command, request.data.as_slice()) {
        (0x10, [0]) => {
            let [low, high] = (bmc.settings.fru.len() as u16).to_le_bytes();
            Ok(vec![low, high, 0x00])
        }
        (0x11, [0, o0, o1, count]) => {
            let offset = usize::from(u16::from_le_bytes([*o0, *o1]));
            let bytes = part(&bmc.settings.fru, offset, *count)?;
            Ok([&[bytes.len() as u8], bytes].concat())
        }
        (0x10 | 0x11, [_, ..]) => Err(NOT_PRESENT),
        (0x20, _) => {
            let count = bmc.settings.sdr.len() as u16;
            let mut info = vec![0x51];
            info.extend(count.to_le_bytes());
            info.extend([0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x02]);
            Ok(info)
        }
        (0x22, _) => Ok(vec![0x01, 0x00]),
        (0x23, [r0, r1, i0, i1, offset, count]) => {
            let is_reserved = [*r0, *r1] == [0x01, 0x00];
            sdr(
                bmc,
                is_reserved,
                u16::from_le_bytes([*i0, *i1]),
                *offset,
                *count,
            )
        }
        (0x40, _) => Ok(sel_info(bmc)),
        (0x42, _) => {
            bmc.sel.reservation = (bmc.dice.throw() as u16).max(1);
            Ok(bmc.sel.reservation.to_le_bytes().to_vec())
        }
        (0x43, [_, _, i0, i1, 0, 0xff]) => sel_entry(bmc, u16::from_le_bytes([*i0, *i1])),
        (0x47, [r0, r1, b'C', b'L', b'R', action]) => {
            let reservation = u16::from_le_bytes([*r0, *r1]);
            match action {
                0xaa if reservation == 0 || reservation != bmc.sel.reservation => Err(CANCELLED),
                0xaa => {
                    bmc.sel.erase(now);
                    Ok(vec![0x01])
                }
                0x00 => Ok(vec![0x01]),
                _ => Err(BAD_FIELD),
            }
        }
        (0x48, _) => Ok(bmc.sel.clock(now).to_le_bytes().to_vec()),
        (0x10 | 0x11 | 0x23 | 0x43 | 0x47, _) => Err(BAD_LENGTH),
        _ => Err(INVALID_COMMAND),
    }
}

fn part(bytes: &[u8], offset: usize, count: u8) -> Result<&[u8], u8> {
    if usize::from(count) > MAX_READ {
        return Err(TOO_MANY_BYTES);
    }
    let rest = bytes.get(offset..).unwrap_or_default();
    if rest.is_empty() {
        return Err(BAD_FIELD);
    }
    Ok(&rest[..usize::from(count).min(rest.len())])
}

fn sdr(bmc: &Bmc, is_reserved: bool, id: u16, offset: u8, count: u8) -> Answer {
    // A partial read needs a reservation (§33.12).
    if offset > 0 && !is_reserved {
        return Err(CANCELLED);
    }
    let records = &bmc.settings.sdr;
    let id_of = |record: &[u8]| u16::from_le_bytes([record[0], record[1]]);
    let at = match id {
        0 => Some(0).filter(|_| !records.is_empty()),
        id => records.iter().position(|record| id_of(record) == id),
    };
    let at = at.ok_or(NOT_PRESENT)?;
    let next = records.get(at + 1).map_or(LAST, |record| id_of(record));
    let bytes = part(&records[at], usize::from(offset), count)?;
    Ok([&next.to_le_bytes()[..], bytes].concat())
}

fn sel_info(bmc: &Bmc) -> Vec<u8> {
    let sel = &bmc.sel;
    let mut info = vec![0x51];
    info.extend((sel.entries.len() as u16).to_le_bytes());
    info.extend(sel.free_bytes().to_le_bytes());
    info.extend(sel.last_added.to_le_bytes());
    info.extend(sel.last_erased.to_le_bytes());
    // Reservations are known.
    info.push(0x02 | if sel.overflowed { 0x80 } else { 0 });
    info
}

fn sel_entry(bmc: &Bmc, id: u16) -> Answer {
    let entries = &bmc.sel.entries;
    let id_of = |record: &[u8; 16]| u16::from_le_bytes([record[0], record[1]]);
    let at = match id {
        0 => Some(0),
        LAST => entries.len().checked_sub(1),
        id => entries.iter().position(|record| id_of(record) == id),
    };
    let at = at.filter(|at| *at < entries.len()).ok_or(NOT_PRESENT)?;
    let next = entries.get(at + 1).map_or(LAST, id_of);
    Ok([&next.to_le_bytes()[..], &entries[at]].concat())
}
