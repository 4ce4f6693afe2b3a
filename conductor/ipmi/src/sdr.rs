//! Sensor data records: what sensors and parts a machine has (IPMI 2.0 §33 and §43). Reads the whole repository.
//! `sensor` reads what a sensor measures now.
use crate::bmc::Bmc;
use crate::error::{Error, ErrorKind};
use crate::message::{Request, SENSOR, STORAGE};
use crate::text;
use crate::units::{SensorType, Unit};
use std::collections::HashSet;

/// Records read from one machine; big ones have a few hundred.
const MAX_RECORDS: usize = 4096;
/// Bytes per read, at first; halved while the BMC finds it too much.
const CHUNK: usize = 32;
const MIN_CHUNK: usize = 4;
/// Reservations for one record. One is cancelled whenever the repository changes, which is not often.
const MAX_RESERVATIONS: u32 = 8;
/// Record id, version, type, length of the rest (§43).
const HEADER: usize = 5;
const LAST_RECORD: u16 = 0xffff;

#[derive(Clone, Debug, PartialEq)]
pub enum Sdr {
    Sensor(SensorRecord),
    /// A part with an inventory of its own (type 11h).
    Fru(FruLocator),
    /// A management controller (type 12h): its slave address and name.
    Controller {
        address: u8,
        name: String,
    },
    Other {
        id: u16,
        kind: u8,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FruLocator {
    /// The controller that holds it; 20h is the BMC.
    pub address: u8,
    /// The FRU device id to read, if it is a logical one.
    pub device: u8,
    pub logical: bool,
    pub name: String,
}

/// A full (01h) or compact (02h) sensor record.
#[derive(Clone, Debug, PartialEq)]
pub struct SensorRecord {
    pub id: u16,
    /// Slave address of the controller that has the sensor (odd: system software), and the channel to it.
    pub owner: u8,
    pub channel: u8,
    pub lun: u8,
    pub number: u8,
    pub entity: (u8, u8),
    pub sensor_type: SensorType,
    /// 01h: thresholds; otherwise states (§42.1).
    pub reading_type: u8,
    pub unit: Unit,
    pub name: String,
    /// How a raw reading becomes a number; only full records of analog sensors say.
    pub(crate) factors: Option<Factors>,
}

/// y = L[(M·x + B·10^B_exp) · 10^R_exp] (§36.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Factors {
    pub format: Format,
    pub linearization: u8,
    pub m: i16,
    pub b: i16,
    pub b_exp: i8,
    pub r_exp: i8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Unsigned,
    OnesComplement,
    TwosComplement,
}

fn sign_extend(value: u16, bits: u32) -> i16 {
    let shift = 16 - bits;
    ((value << shift) as i16) >> shift
}

/// M, B and the exponents, as laid out in a record and in Get Sensor Reading Factors.
pub(crate) fn factors(bytes: &[u8; 6], format: Format, linearization: u8) -> Factors {
    let ten = |low: u8, high: u8| sign_extend(u16::from(low) | u16::from(high & 0xc0) << 2, 10);
    let four = |nibble: u8| sign_extend(u16::from(nibble), 4) as i8;
    Factors {
        format,
        linearization,
        m: ten(bytes[0], bytes[1]),
        b: ten(bytes[2], bytes[3]),
        b_exp: four(bytes[5] & 0x0f),
        r_exp: four(bytes[5] >> 4),
    }
}

/// A type/length byte and what follows.
fn id_string(bytes: &[u8]) -> String {
    let Some((kind, rest)) = bytes.split_first() else {
        return String::new();
    };
    let length = usize::from(kind & 0x1f).min(rest.len());
    text::decode(kind >> 6, &rest[..length])
}

/// A whole record, header included.
pub(crate) fn parse(record: &[u8]) -> Option<Sdr> {
    let (head, _) = record.split_first_chunk::<HEADER>()?;
    let id = u16::from_le_bytes([head[0], head[1]]);
    let kind = head[3];
    Some(match kind {
        0x01 => Sdr::Sensor(sensor(id, record, 47)?),
        0x02 => Sdr::Sensor(sensor(id, record, 31)?),
        0x11 => Sdr::Fru(FruLocator {
            address: *record.get(5)? & 0xfe,
            device: *record.get(6)?,
            logical: *record.get(7)? & 0x80 != 0,
            name: id_string(record.get(15..)?),
        }),
        0x12 => Sdr::Controller {
            address: *record.get(5)? & 0xfe,
            name: id_string(record.get(15..)?),
        },
        kind => Sdr::Other { id, kind },
    })
}

fn sensor(id: u16, record: &[u8], name_at: usize) -> Option<SensorRecord> {
    let head: &[u8; 23] = record.first_chunk()?;
    let unit = Unit {
        flags: head[20],
        base: head[21],
        modifier: head[22],
    };
    let format = match unit.flags >> 6 {
        0 => Some(Format::Unsigned),
        1 => Some(Format::OnesComplement),
        2 => Some(Format::TwosComplement),
        _ => None,
    };
    let is_full = head[3] == 0x01;
    let factors = match (is_full, format) {
        (true, Some(format)) => {
            let linearization = *record.get(23)? & 0x7f;
            Some(factors(
                record.get(24..)?.first_chunk()?,
                format,
                linearization,
            ))
        }
        _ => None,
    };
    Some(SensorRecord {
        id,
        owner: head[5],
        channel: head[6] >> 4,
        lun: head[6] & 0x03,
        number: head[7],
        entity: (head[8], head[9]),
        sensor_type: SensorType(head[12]),
        reading_type: head[13] & 0x7f,
        unit,
        name: id_string(record.get(name_at..)?),
        factors,
    })
}

/// Where records are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    /// The BMC's repository.
    Repository,
    /// A controller's own (device SDRs, §35.3), for one without a repository.
    Device,
}

impl Store {
    fn reserve(self) -> Request {
        match self {
            Store::Repository => Request::new(STORAGE, 0x22, &[]),
            Store::Device => Request::new(SENSOR, 0x22, &[]),
        }
    }

    fn read(self, data: &[u8]) -> Request {
        match self {
            Store::Repository => Request::new(STORAGE, 0x23, data),
            Store::Device => Request::new(SENSOR, 0x21, data),
        }
    }
}

impl Bmc {
    /// All sensor data records, in the order of the repository.
    ///
    /// # Errors
    /// Whatever prevents an answer. A malformed record is left out.
    pub async fn sdr_records(&self) -> Result<Vec<Sdr>, Error> {
        match self.records(Store::Repository).await {
            // No repository: a controller may have its own records.
            Err(error) if error.completion().is_some() => match self.records(Store::Device).await {
                Err(other) if other.completion().is_some() => Err(error),
                result => result,
            },
            result => result,
        }
    }

    async fn records(&self, store: Store) -> Result<Vec<Sdr>, Error> {
        let mut records = Vec::new();
        let mut seen = HashSet::new();
        let mut reader = Reader {
            bmc: self,
            store,
            reservation: 0,
            chunk: CHUNK,
        };
        reader.reserve().await?;
        let mut id = 0;
        while id != LAST_RECORD && seen.insert(id) && records.len() < MAX_RECORDS {
            let (next, record) = match reader.record(id).await {
                // CBh: no such record; the repository is empty.
                Err(error) if error.completion().is_some_and(|c| c.0 == 0xcb) => break,
                result => result?,
            };
            records.extend(parse(&record));
            id = next;
        }
        Ok(records)
    }
}

struct Reader<'a> {
    bmc: &'a Bmc,
    store: Store,
    reservation: u16,
    chunk: usize,
}

impl Reader<'_> {
    async fn reserve(&mut self) -> Result<(), Error> {
        let data = self
            .bmc
            .command("reserve the SDR repository", self.store.reserve())
            .await;
        self.reservation = match data {
            Ok(data) => data.first_chunk().map_or(0, |id| u16::from_le_bytes(*id)),
            // A repository that never changes need not support reservations (§33.11).
            Err(error) if error.completion().is_some_and(|c| c.0 == 0xc1) => 0,
            Err(error) => return Err(error),
        };
        Ok(())
    }

    /// The id of the next record, and the bytes of this one.
    async fn record(&mut self, id: u16) -> Result<(u16, Vec<u8>), Error> {
        for _ in 1..MAX_RESERVATIONS {
            match self.record_once(id).await {
                // C5h: the reservation is cancelled.
                Err(error) if error.completion().is_some_and(|c| c.0 == 0xc5) => {
                    self.reserve().await?;
                }
                result => return result,
            }
        }
        self.record_once(id).await
    }

    async fn record_once(&mut self, id: u16) -> Result<(u16, Vec<u8>), Error> {
        let (next, mut record) = self.read(id, 0, HEADER).await?;
        let total = HEADER + record.get(4).copied().map_or(0, usize::from);
        while record.len() < total {
            let wanted = (total - record.len()).min(self.chunk);
            match self.read(id, record.len(), wanted).await {
                Ok((_, bytes)) => record.extend(bytes),
                // CAh: more than it can return at once; others say C7h, C8h or FFh.
                Err(error)
                    if self.chunk > MIN_CHUNK
                        && error
                            .completion()
                            .is_some_and(|c| matches!(c.0, 0xca | 0xc7 | 0xc8 | 0xff)) =>
                {
                    self.chunk /= 2;
                }
                Err(error) => return Err(error),
            }
        }
        Ok((next, record))
    }

    async fn read(&self, id: u16, offset: usize, count: usize) -> Result<(u16, Vec<u8>), Error> {
        let attempt = "read a sensor data record";
        let [r0, r1] = self.reservation.to_le_bytes();
        let [i0, i1] = id.to_le_bytes();
        let request = self
            .store
            .read(&[r0, r1, i0, i1, offset as u8, count as u8]);
        let data = self.bmc.command(attempt, request).await?;
        let Some((next, bytes)) = data.split_first_chunk::<2>() else {
            return Err(self
                .bmc
                .malformed(attempt, "a record without the id of the next"));
        };
        if bytes.is_empty() || bytes.len() > count {
            let what = "more or fewer bytes of a record than asked for";
            return Err(self.bmc.error(attempt, ErrorKind::Malformed(what)));
        }
        Ok((u16::from_le_bytes(*next), bytes.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_mutate::Mutator;
    use ironbeat_mutate::good::bmc::sdr as full;

    #[test]
    fn a_full_record_is_read() {
        let Some(Sdr::Sensor(sensor)) = parse(&full()) else {
            panic!("no sensor");
        };
        assert_eq!((sensor.id, sensor.owner, sensor.channel), (0x11, 0x20, 1));
        assert_eq!((sensor.number, sensor.lun), (0x42, 0));
        assert_eq!(sensor.name, "CPU Temp");
        assert_eq!(sensor.unit.to_string(), "°C");
        let expected = Factors {
            format: Format::TwosComplement,
            linearization: 0,
            m: -3,
            b: -512,
            b_exp: 2,
            r_exp: -1,
        };
        assert_eq!(sensor.factors, Some(expected));
    }

    #[test]
    fn a_compact_record_and_locators_are_read() {
        let mut compact = full();
        compact[3] = 0x02;
        compact.truncate(31);
        compact.extend([0xc3, b'P', b'S', b'U']);
        let Some(Sdr::Sensor(sensor)) = parse(&compact) else {
            panic!("no sensor");
        };
        assert_eq!((sensor.name.as_str(), sensor.factors), ("PSU", None));
        let mut fru = vec![0x12, 0, 0x51, 0x11, 13, 0x20, 0x05, 0x80];
        fru.extend([0, 0, 0x10, 0, 0, 0, 0, 0xc3, b'P', b'1', b'x']);
        let expected = FruLocator {
            address: 0x20,
            device: 5,
            logical: true,
            name: "P1x".into(),
        };
        assert_eq!(parse(&fru), Some(Sdr::Fru(expected)));
        fru[3] = 0x12;
        assert!(matches!(
            parse(&fru),
            Some(Sdr::Controller { address: 0x20, .. })
        ));
        fru[3] = 0xc0;
        assert_eq!(
            parse(&fru),
            Some(Sdr::Other {
                id: 0x12,
                kind: 0xc0
            })
        );
    }

    #[test]
    fn mutants_never_panic() {
        let mut mutator = Mutator::seeded("sdr");
        for _ in 0..50_000 {
            let _ = parse(&mutator.mutate(&full()));
        }
    }
}
