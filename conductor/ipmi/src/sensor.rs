//! Sensor readings and thresholds as numbers with units (IPMI 2.0 §35.5 to §35.14, §36).
//! `sdr` says which sensors there are.
use crate::bmc::Bmc;
use crate::bridge::Bridge;
use crate::error::Error;
use crate::message::{BMC, Request, SENSOR};
use crate::sdr::{Factors, Format, Sdr, SensorRecord, factors};

/// Linearizations from here on differ from reading to reading (table 43-1, byte 24).
const NON_LINEAR: u8 = 0x70;
/// Event/reading type "threshold" (table 42-1).
const THRESHOLD: u8 = 0x01;

/// One reading of a sensor.
#[derive(Clone, Debug, PartialEq)]
pub struct SensorReading {
    pub raw: u8,
    /// In the sensor's unit; none for a sensor that has only states, or no reading at present.
    pub value: Option<f64>,
    pub available: bool,
    /// For a threshold sensor, which thresholds are crossed (bits 0 to 5: lower non-critical, critical,
    /// non-recoverable, then upper), otherwise which states are asserted (bits 0 to 14).
    pub states: u16,
    /// How bad it is; none for a sensor without thresholds.
    pub health: Option<Health>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    Ok,
    NonCritical,
    Critical,
    NonRecoverable,
}

/// In the sensor's unit; none: there is no such threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Thresholds {
    pub lower_non_critical: Option<f64>,
    pub lower_critical: Option<f64>,
    pub lower_non_recoverable: Option<f64>,
    pub upper_non_critical: Option<f64>,
    pub upper_critical: Option<f64>,
    pub upper_non_recoverable: Option<f64>,
}

/// A sensor, and its reading or why there is none.
#[derive(Clone, Debug)]
pub struct Sensor {
    pub record: SensorRecord,
    pub reading: Result<SensorReading, Error>,
}

impl Factors {
    fn convert(&self, raw: u8) -> Option<f64> {
        let x = match self.format {
            Format::Unsigned => f64::from(raw),
            Format::OnesComplement if raw & 0x80 != 0 => -f64::from(!raw),
            Format::OnesComplement => f64::from(raw),
            Format::TwosComplement => f64::from(raw as i8),
        };
        let ten = |exponent: i8| 10f64.powi(i32::from(exponent));
        let linear =
            (f64::from(self.m) * x + f64::from(self.b) * ten(self.b_exp)) * ten(self.r_exp);
        let value = match self.linearization {
            1 => linear.ln(),
            2 => linear.log10(),
            3 => linear.log2(),
            4 => linear.exp(),
            5 => 10f64.powf(linear),
            6 => linear.exp2(),
            7 => linear.recip(),
            8 => linear.powi(2),
            9 => linear.powi(3),
            10 => linear.sqrt(),
            11 => linear.cbrt().recip(),
            _ => linear,
        };
        value.is_finite().then_some(value)
    }
}

pub(crate) fn parse_reading(
    data: &[u8],
    record: &SensorRecord,
    factors: Option<Factors>,
) -> Option<SensorReading> {
    let [raw, flags, states @ ..] = data else {
        return None;
    };
    let low = u16::from(states.first().copied().unwrap_or(0));
    let high = u16::from(states.get(1).copied().unwrap_or(0) & 0x7f);
    let is_threshold = record.reading_type == THRESHOLD;
    let states = if is_threshold {
        low & 0x3f
    } else {
        high << 8 | low
    };
    // Bit 5: no reading at present; bit 6 clear: scanning is off.
    let available = flags & 0x60 == 0x40;
    let value = factors
        .filter(|_| available)
        .and_then(|factors| factors.convert(*raw));
    let health = match states {
        s if s & 0b100_100 != 0 => Health::NonRecoverable,
        s if s & 0b010_010 != 0 => Health::Critical,
        s if s & 0b001_001 != 0 => Health::NonCritical,
        _ => Health::Ok,
    };
    Some(SensorReading {
        raw: *raw,
        value,
        available,
        states,
        health: (is_threshold && available).then_some(health),
    })
}

pub(crate) fn parse_thresholds(data: &[u8], factors: Factors) -> Option<Thresholds> {
    let (readable, rest) = data.split_first()?;
    let values: &[u8; 6] = rest.first_chunk()?;
    let at = |index: usize| {
        (readable & 1 << index != 0)
            .then(|| factors.convert(values[index]))
            .flatten()
    };
    Some(Thresholds {
        lower_non_critical: at(0),
        lower_critical: at(1),
        lower_non_recoverable: at(2),
        upper_non_critical: at(3),
        upper_critical: at(4),
        upper_non_recoverable: at(5),
    })
}

impl Bmc {
    /// All sensors with their current readings. One that cannot be read carries its error; the others are still read.
    ///
    /// # Errors
    /// When the sensors' records cannot be read, or the BMC no longer answers.
    pub async fn sensors(&self) -> Result<Vec<Sensor>, Error> {
        let mut sensors = Vec::new();
        for record in self.sdr_records().await? {
            let Sdr::Sensor(record) = record else {
                continue;
            };
            let reading = self.sensor_reading(&record).await;
            if let Err(error) = &reading
                && error.completion().is_none()
                && record.owner == BMC
            {
                return Err(error.clone());
            }
            sensors.push(Sensor { record, reading });
        }
        Ok(sensors)
    }

    /// # Errors
    /// Whatever prevents an answer; see [`crate::ErrorKind`].
    pub async fn sensor_reading(&self, record: &SensorRecord) -> Result<SensorReading, Error> {
        let attempt = "read a sensor";
        let owner = self.owner_of(record);
        let data = owner.command(attempt, ask(record, 0x2d, &[])).await?;
        let factors = match data.first() {
            Some(raw) => self.factors_at(record, *raw).await?,
            None => None,
        };
        parse_reading(&data, record, factors)
            .ok_or_else(|| self.malformed(attempt, "a sensor reading cut short"))
    }

    /// None: a sensor of states, or one whose numbers cannot be converted.
    ///
    /// # Errors
    /// Whatever prevents an answer; see [`crate::ErrorKind`].
    pub async fn thresholds(&self, record: &SensorRecord) -> Result<Option<Thresholds>, Error> {
        let attempt = "read sensor thresholds";
        // Each threshold of a non-linear sensor would have factors of its own.
        let Some(factors) = record
            .factors
            .filter(|f| f.linearization < NON_LINEAR && record.reading_type == THRESHOLD)
        else {
            return Ok(None);
        };
        let data = self
            .owner_of(record)
            .command(attempt, ask(record, 0x27, &[]))
            .await?;
        parse_thresholds(&data, factors)
            .map(Some)
            .ok_or_else(|| self.malformed(attempt, "thresholds cut short"))
    }

    /// Get Sensor Reading Factors (§35.5), for a sensor whose factors change with the reading.
    async fn factors_at(&self, record: &SensorRecord, raw: u8) -> Result<Option<Factors>, Error> {
        let Some(fixed) = record.factors else {
            return Ok(None);
        };
        if fixed.linearization < NON_LINEAR {
            return Ok(Some(fixed));
        }
        let data = self
            .owner_of(record)
            .command("read sensor factors", ask(record, 0x23, &[raw]))
            .await?;
        let bytes = data.get(1..).and_then(|rest| rest.first_chunk());
        Ok(bytes.map(|bytes| factors(bytes, fixed.format, 0)))
    }

    /// The controller that has the sensor: this BMC, or one behind it.
    fn owner_of(&self, record: &SensorRecord) -> Bmc {
        let is_controller = record.owner & 1 == 0;
        if record.owner == BMC || !is_controller {
            return self.clone();
        }
        self.behind(Bridge::Single {
            channel: record.channel,
            address: record.owner,
        })
    }
}

fn ask(record: &SensorRecord, command: u8, data: &[u8]) -> Request {
    let data = [&[record.number], data].concat();
    Request {
        lun: record.lun,
        ..Request::new(SENSOR, command, &data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{SensorType, Unit};

    fn linear(format: Format, m: i16, b: i16, b_exp: i8, r_exp: i8) -> Factors {
        Factors {
            format,
            linearization: 0,
            m,
            b,
            b_exp,
            r_exp,
        }
    }

    fn record(reading_type: u8) -> SensorRecord {
        SensorRecord {
            id: 1,
            owner: BMC,
            channel: 0,
            lun: 0,
            number: 1,
            entity: (7, 1),
            sensor_type: SensorType(1),
            reading_type,
            unit: Unit::default(),
            name: "t".into(),
            factors: None,
        }
    }

    #[test]
    fn raw_readings_become_numbers() {
        for (factors, raw, expected) in [
            (linear(Format::Unsigned, 1, 0, 0, 0), 41, 41.0),
            (linear(Format::Unsigned, 100, 0, 0, 0), 56, 5600.0),
            (linear(Format::Unsigned, 6, 0, 0, -2), 201, 12.06),
            (linear(Format::TwosComplement, 1, 0, 0, 0), 0xf6, -10.0),
            (linear(Format::OnesComplement, 1, 0, 0, 0), 0xf5, -10.0),
            (linear(Format::Unsigned, 1, -5, 1, 0), 60, 10.0),
        ] {
            let value = factors.convert(raw).unwrap();
            assert!(
                (value - expected).abs() < 1e-9,
                "{factors:?} {raw}: {value}"
            );
        }
        let with = |linearization| Factors {
            linearization,
            ..linear(Format::Unsigned, 1, 0, 0, 0)
        };
        for (linearization, raw, expected) in [
            (1, 1, 0.0),
            (2, 100, 2.0),
            (3, 8, 3.0),
            (4, 0, 1.0),
            (5, 2, 100.0),
            (6, 3, 8.0),
            (7, 4, 0.25),
            (8, 5, 25.0),
            (9, 2, 8.0),
            (10, 9, 3.0),
            (11, 8, 0.5),
        ] {
            let value = with(linearization).convert(raw).unwrap();
            assert!((value - expected).abs() < 1e-9, "{linearization}: {value}");
        }
        // One over zero is no reading.
        assert_eq!(with(7).convert(0), None);
    }

    #[test]
    fn a_reading_tells_its_health() {
        let factors = Some(linear(Format::Unsigned, 1, 0, 0, 0));
        let read = |data: &[u8]| parse_reading(data, &record(THRESHOLD), factors).unwrap();
        let good = read(&[41, 0xc0, 0xc0]);
        assert_eq!((good.value, good.health), (Some(41.0), Some(Health::Ok)));
        assert_eq!(read(&[99, 0xc0, 0xc8]).health, Some(Health::NonCritical));
        assert_eq!(read(&[99, 0xc0, 0xd8]).health, Some(Health::Critical));
        assert_eq!(read(&[99, 0xc0, 0xf8]).health, Some(Health::NonRecoverable));
        let absent = read(&[0, 0xe0, 0xc0]);
        assert_eq!(
            (absent.available, absent.value, absent.health),
            (false, None, None)
        );
        let discrete = parse_reading(&[0, 0xc0, 0x01, 0x82], &record(0x6f), None).unwrap();
        assert_eq!((discrete.states, discrete.health), (0x0201, None));
        assert_eq!(parse_reading(&[1], &record(THRESHOLD), factors), None);
    }

    #[test]
    fn only_existing_thresholds_are_reported() {
        let factors = linear(Format::Unsigned, 2, 0, 0, 0);
        let read = parse_thresholds(&[0x18, 1, 2, 3, 40, 45, 50], factors).unwrap();
        let expected = Thresholds {
            upper_non_critical: Some(80.0),
            upper_critical: Some(90.0),
            ..Thresholds::default()
        };
        assert_eq!(read, expected);
        assert_eq!(parse_thresholds(&[0x18, 1, 2, 3, 40, 45], factors), None);
    }
}
