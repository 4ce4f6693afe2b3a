//! The system event log: reading and clearing it (IPMI 2.0 §31 and §32).
//! The caller decides what an event means for a node.
use crate::bmc::Bmc;
use crate::error::{Error, ErrorKind};
use crate::message::{Request, STORAGE};
use crate::units::SensorType;
use std::time::Duration;

const RECORD: usize = 16;
const LAST_RECORD: u16 = 0xffff;
/// A log has at most as many entries as there are ids; reading stops there even if the log does not end.
const MAX_ENTRIES: usize = 65_536;
/// Erasing takes a BMC seconds: how often to check, and the pause in between.
const ERASE_LOOKS: u32 = 100;
const ERASE_PAUSE: Duration = Duration::from_millis(100);
/// Before this a timestamp counts seconds since the BMC's start (§37.1).
const SINCE_START: u32 = 0x2000_0000;
const NEVER: u32 = 0xffff_ffff;

/// Get SEL Info (§31.2). Times are seconds since 1970 by the BMC's clock, none: never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelInfo {
    pub entries: u16,
    pub free_bytes: u16,
    pub last_added: Option<u32>,
    pub last_erased: Option<u32>,
    /// Events were dropped for lack of space.
    pub overflowed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelEntry {
    pub id: u16,
    /// Seconds since 1970 by the BMC's clock, or since its start; none: not known.
    pub time: Option<SelTime>,
    pub event: SelEvent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelTime {
    SinceEpoch(u32),
    SinceStart(u32),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelEvent {
    /// Record type 02h (table 32-1).
    Sensor {
        /// Slave address or software id of the generator, and channel and LUN.
        generator: [u8; 2],
        sensor_type: SensorType,
        number: u8,
        /// Asserted; otherwise deasserted.
        asserted: bool,
        reading_type: u8,
        data: [u8; 3],
    },
    /// Types C0h to DFh: the manufacturer who defined it (IANA), and six bytes.
    OemTimed {
        kind: u8,
        manufacturer: u32,
        data: [u8; 6],
    },
    /// All others.
    Oem { kind: u8, data: [u8; 13] },
}

fn time(seconds: u32) -> Option<SelTime> {
    match seconds {
        NEVER => None,
        s if s < SINCE_START => Some(SelTime::SinceStart(s)),
        s => Some(SelTime::SinceEpoch(s)),
    }
}

pub(crate) fn parse(record: &[u8; RECORD]) -> SelEntry {
    let r = record;
    let stamp = time(u32::from_le_bytes([r[3], r[4], r[5], r[6]]));
    let kind = r[2];
    let (time, event) = match kind {
        0x02 => (
            stamp,
            SelEvent::Sensor {
                generator: [r[7], r[8]],
                sensor_type: SensorType(r[10]),
                number: r[11],
                asserted: r[12] & 0x80 == 0,
                reading_type: r[12] & 0x7f,
                data: [r[13], r[14], r[15]],
            },
        ),
        0xc0..=0xdf => (
            stamp,
            SelEvent::OemTimed {
                kind,
                manufacturer: u32::from_le_bytes([r[7], r[8], r[9], 0]),
                data: [r[10], r[11], r[12], r[13], r[14], r[15]],
            },
        ),
        _ => {
            let mut data = [0; 13];
            data.copy_from_slice(&r[3..]);
            (None, SelEvent::Oem { kind, data })
        }
    };
    SelEntry {
        id: u16::from_le_bytes([r[0], r[1]]),
        time,
        event,
    }
}

pub(crate) fn parse_info(data: &[u8]) -> Option<SelInfo> {
    let d: &[u8; 14] = data.first_chunk()?;
    let stamp = |at: usize| {
        let seconds = u32::from_le_bytes([d[at], d[at + 1], d[at + 2], d[at + 3]]);
        (seconds != NEVER && seconds != 0).then_some(seconds)
    };
    Some(SelInfo {
        entries: u16::from_le_bytes([d[1], d[2]]),
        free_bytes: u16::from_le_bytes([d[3], d[4]]),
        last_added: stamp(5),
        last_erased: stamp(9),
        overflowed: d[13] & 0x80 != 0,
    })
}

impl Bmc {
    /// # Errors
    /// Whatever prevents an answer; see [`ErrorKind`].
    pub async fn sel_info(&self) -> Result<SelInfo, Error> {
        let attempt = "get SEL information";
        let data = self
            .command(attempt, Request::new(STORAGE, 0x40, &[]))
            .await?;
        parse_info(&data).ok_or_else(|| self.malformed(attempt, "SEL information cut short"))
    }

    /// The event log, oldest first; from the entry after `after` on, or from the beginning.
    ///
    /// # Errors
    /// Whatever prevents an answer. If `after` is no longer there, the BMC says so.
    pub async fn sel(&self, after: Option<u16>) -> Result<Vec<SelEntry>, Error> {
        let mut entries = Vec::new();
        let mut id = match after {
            Some(id) => self.sel_entry(id).await?.0,
            None => 0,
        };
        while id != LAST_RECORD && entries.len() < MAX_ENTRIES {
            let (next, entry) = match self.sel_entry(id).await {
                // CBh: an empty log.
                Err(error) if id == 0 && error.completion().is_some_and(|c| c.0 == 0xcb) => break,
                result => result?,
            };
            entries.push(entry);
            if next == id {
                break;
            }
            id = next;
        }
        Ok(entries)
    }

    /// The id of the next entry, and this one. Whole entries need no reservation (§31.5).
    async fn sel_entry(&self, id: u16) -> Result<(u16, SelEntry), Error> {
        let attempt = "read the event log";
        let [i0, i1] = id.to_le_bytes();
        let request = Request::new(STORAGE, 0x43, &[0, 0, i0, i1, 0, 0xff]);
        let data = self.command(attempt, request).await?;
        let (next, record) = data
            .split_first_chunk::<2>()
            .and_then(|(next, record)| Some((next, record.first_chunk::<RECORD>()?)))
            .ok_or_else(|| self.malformed(attempt, "an event cut short"))?;
        Ok((u16::from_le_bytes(*next), parse(record)))
    }

    /// Erases the log and waits until that is done. The BMC refuses if an event arrives first, which would be lost
    /// unread.
    ///
    /// # Errors
    /// Whatever prevents an answer; `Malformed` when it never gets done.
    pub async fn clear_sel(&self) -> Result<(), Error> {
        let attempt = "clear the event log";
        let reserved = self
            .command(attempt, Request::new(STORAGE, 0x42, &[]))
            .await?;
        let [r0, r1] = *reserved
            .first_chunk()
            .ok_or_else(|| self.malformed(attempt, "a reservation without its number"))?;
        let erase = |action| Request::new(STORAGE, 0x47, &[r0, r1, b'C', b'L', b'R', action]);
        let mut data = self.command(attempt, erase(0xaa)).await?;
        for _ in 0..ERASE_LOOKS {
            if data.first().is_some_and(|progress| progress & 0x0f == 1) {
                return Ok(());
            }
            tokio::time::sleep(ERASE_PAUSE).await;
            data = self.command(attempt, erase(0x00)).await?;
        }
        Err(self.error(attempt, ErrorKind::Malformed("an erasure that never ends")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_mutate::good::bmc::SEL;

    #[test]
    fn entries_are_read() {
        let sensor = SEL;
        let entry = parse(&sensor);
        assert_eq!(entry.id, 1);
        assert_eq!(entry.time, Some(SelTime::SinceEpoch(0x5e68_2f00)));
        let expected = SelEvent::Sensor {
            generator: [0x20, 0],
            sensor_type: SensorType(1),
            number: 0x30,
            asserted: false,
            reading_type: 1,
            data: [0x57, 0x5a, 0x50],
        };
        assert_eq!(entry.event, expected);
        let mut oem = sensor;
        oem[2] = 0xc1;
        assert!(matches!(
            parse(&oem).event,
            SelEvent::OemTimed {
                kind: 0xc1,
                manufacturer: 0x04_0020,
                ..
            }
        ));
        oem[2] = 0xe0;
        let entry = parse(&oem);
        assert!(matches!(entry.event, SelEvent::Oem { kind: 0xe0, .. }));
        assert_eq!(entry.time, None);
        assert_eq!(time(5), Some(SelTime::SinceStart(5)));
    }

    #[test]
    fn information_is_read() {
        let data = [
            0x51, 2, 0, 0x80, 0x3e, 0, 0x2f, 0x68, 0x5e, 0xff, 0xff, 0xff, 0xff, 0x82,
        ];
        let expected = SelInfo {
            entries: 2,
            free_bytes: 16_000,
            last_added: Some(0x5e68_2f00),
            last_erased: None,
            overflowed: true,
        };
        assert_eq!(parse_info(&data), Some(expected));
        assert_eq!(parse_info(&data[..13]), None);
    }
}
