//! A BMC as operators see it: what is wrong with it, what it is, what it measures, what it has logged.
//! The conductor asks it; the fields mean what IPMI says (2.0, in brackets).
use ironbeat_common::id::Mac;
use ironbeat_core::node::BootDevice;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Good,
    /// It works, but somebody should know.
    Odd,
    Bad,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Finding {
    pub question: String,
    pub verdict: Verdict,
    pub answer: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Check {
    pub address: String,
    pub findings: Vec<Finding>,
}

impl Check {
    pub fn is_good(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.verdict != Verdict::Bad)
    }

    pub fn note(&mut self, question: &str, verdict: Verdict, answer: impl Into<String>) {
        self.findings.push(Finding {
            question: question.into(),
            verdict,
            answer: answer.into(),
        });
    }
}

/// A part of an answer, or why the BMC did not give it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Part<T> {
    // First, because anything reads as a part whose fields may all be absent.
    Missing { error: String },
    Given(T),
}

/// A BMC's description of itself and of its machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BmcFacts {
    /// The manufacturer's IANA enterprise number.
    pub manufacturer_iana: u32,
    /// The manufacturer's own number for it.
    pub product: u16,
    /// `9.08`.
    pub firmware: String,
    /// `2.0` or `1.5`.
    pub ipmi_version: String,
    /// The machine's GUID in hex, its bytes as the BMC sends them: vendors disagree about their order.
    pub guid: Option<String>,
    /// The machine is on.
    pub power_on: bool,
    /// The power supply or its control has failed (§28.2).
    pub power_fault: bool,
    /// The machine was switched off because it drew too much.
    pub power_overload: bool,
    pub cooling_fault: bool,
    pub drive_fault: bool,
    /// The chassis is open.
    pub intrusion: bool,
    pub boot: Part<BootSelection>,
    pub lan: Part<LanParameters>,
    pub users: Part<Vec<User>>,
}

/// What the machine boots next. Many BMCs report less than they were told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BootSelection {
    /// None: a device that has no name here.
    pub device: Option<BootDevice>,
    /// By UEFI; otherwise as a BIOS.
    pub efi: bool,
    /// Every boot from now on, not only the next one.
    pub persistent: bool,
    /// The choice is neither used up nor timed out.
    pub valid: bool,
}

/// The network channel over which the BMC was asked; none: it does not say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LanParameters {
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub address: Option<Ipv4Addr>,
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub netmask: Option<Ipv4Addr>,
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub gateway: Option<Ipv4Addr>,
    pub source: Option<AddressSource>,
    pub mac: Option<Mac>,
    /// 802.1Q id; none: untagged.
    pub vlan: Option<u16>,
}

/// Where the BMC's address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum AddressSource {
    Unspecified,
    Static,
    Dhcp,
    Bios,
    Other,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct User {
    pub id: u8,
    pub name: String,
    /// None: the BMC does not say.
    pub enabled: Option<bool>,
    /// 1 call-back, 2 user, 3 operator, 4 administrator, 5 OEM, 15 no access over this channel (§22.27).
    pub privilege: u8,
}

/// One sensor, and its reading or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SensorRow {
    pub name: String,
    pub number: u8,
    /// What it measures: `temperature`, `fan`.
    pub kind: String,
    /// Of its value and thresholds: `°C`, `RPM`, `V`; empty where it has only states.
    pub unit: String,
    pub thresholds: Option<Thresholds>,
    #[serde(flatten)]
    pub reading: Part<Reading>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Reading {
    /// In the sensor's unit. None: it has only states, or no reading at present.
    pub value: Option<f64>,
    /// It is watched, and has a reading.
    pub available: bool,
    /// A bit for each threshold that is crossed (lower non-critical, critical, non-recoverable, then upper), or for
    /// each state that is so (§35.14).
    pub states: u16,
    /// None: it has no thresholds.
    pub health: Option<Health>,
}

/// Which of its thresholds a sensor has crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Health {
    Ok,
    NonCritical,
    Critical,
    NonRecoverable,
}

/// In the sensor's unit; none: there is no such threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Thresholds {
    pub lower_non_recoverable: Option<f64>,
    pub lower_critical: Option<f64>,
    pub lower_non_critical: Option<f64>,
    pub upper_non_critical: Option<f64>,
    pub upper_critical: Option<f64>,
    pub upper_non_recoverable: Option<f64>,
}

/// One entry of the event log (§32.1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LogEntry {
    pub id: u16,
    /// When, in seconds by `clock`.
    pub secs: Option<u32>,
    pub clock: LogClock,
    #[serde(flatten)]
    pub event: LogEvent,
}

/// The start from which a time in the event log counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum LogClock {
    /// 1970, by the BMC's own clock, which may be wrong.
    #[serde(rename = "bmc")]
    Bmc,
    #[serde(rename = "since the BMC's start")]
    SinceStart,
    /// There is no time.
    #[serde(rename = "unknown")]
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum LogEvent {
    Sensor {
        /// What the sensor watches.
        kind: String,
        /// The sensor's number.
        sensor: u8,
        /// It became so; otherwise it is over.
        asserted: bool,
        /// 1: thresholds; otherwise which kind of state (§42.1).
        reading_type: u8,
        /// Three bytes in hex (§29.7).
        data: String,
    },
    /// In the manufacturer's own words.
    Oem { oem: OemEvent },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OemEvent {
    /// The record's type: 192 to 223 with a time, 224 to 255 without one.
    pub record_type: u8,
    /// The manufacturer's IANA enterprise number, in records with a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manufacturer_iana: Option<u32>,
    /// Six bytes in hex, thirteen in records without a time.
    pub data: String,
}

/// A BMC's list of its machine's parts; none: it has no such record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FruInventory {
    pub chassis: Option<FruChassis>,
    pub board: Option<FruBoard>,
    pub product: Option<FruProduct>,
    /// What could not be read, or looks wrong; the rest is good.
    pub problems: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FruChassis {
    pub part: String,
    pub serial: String,
    pub custom: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FruBoard {
    pub manufacturer: String,
    pub product: String,
    pub serial: String,
    pub part: String,
    /// Seconds since 1970; none: not given.
    pub made_at_secs: Option<u64>,
    pub custom: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FruProduct {
    pub manufacturer: String,
    pub product: String,
    pub part: String,
    pub version: String,
    pub serial: String,
    pub asset_tag: String,
    pub custom: Vec<String>,
}

/// The answer to a raw command; its completion code was zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawAnswer {
    /// In hex.
    pub data: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};
    use std::fmt::Debug;

    fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(told: T, expected: Value) {
        assert_eq!(serde_json::to_value(&told).unwrap(), expected);
        assert_eq!(serde_json::from_value::<T>(expected).unwrap(), told);
    }

    #[test]
    fn a_part_has_its_facts_or_says_why_not() {
        let lan = LanParameters {
            address: None,
            netmask: None,
            gateway: None,
            source: Some(AddressSource::Dhcp),
            mac: None,
            vlan: None,
        };
        check(
            Part::Given(lan),
            json!({
                "address": null, "netmask": null, "gateway": null, "source": "dhcp", "mac": null, "vlan": null,
            }),
        );
        let missing = Part::<LanParameters>::Missing {
            error: "it is silent".into(),
        };
        check(missing, json!({ "error": "it is silent" }));
        check(Part::<Vec<User>>::Given(vec![]), json!([]));
    }

    #[test]
    fn a_sensor_has_a_reading_or_an_error() {
        let row = |reading| SensorRow {
            name: "Inlet".into(),
            number: 1,
            kind: "temperature".into(),
            unit: "°C".into(),
            thresholds: None,
            reading,
        };
        let reading = Reading {
            value: Some(41.5),
            available: true,
            states: 1,
            health: Some(Health::NonCritical),
        };
        check(
            row(Part::Given(reading)),
            json!({
                "name": "Inlet", "number": 1, "kind": "temperature", "unit": "°C", "thresholds": null,
                "value": 41.5, "available": true, "states": 1, "health": "noncritical",
            }),
        );
        let error = "node busy".into();
        check(
            row(Part::Missing { error }),
            json!({
                "name": "Inlet", "number": 1, "kind": "temperature", "unit": "°C", "thresholds": null,
                "error": "node busy",
            }),
        );
    }

    #[test]
    fn a_log_entry_is_a_sensors_or_the_manufacturers() {
        let sensor = LogEvent::Sensor {
            kind: "fan".into(),
            sensor: 0x30,
            asserted: false,
            reading_type: 1,
            data: "575a50".into(),
        };
        let entry = |secs, clock, event| LogEntry {
            id: 1,
            secs,
            clock,
            event,
        };
        check(
            entry(Some(7), LogClock::SinceStart, sensor),
            json!({
                "id": 1, "secs": 7, "clock": "since the BMC's start", "kind": "fan", "sensor": 48, "asserted": false,
                "reading_type": 1, "data": "575a50",
            }),
        );
        let oem = OemEvent {
            record_type: 0xe0,
            manufacturer_iana: None,
            data: "00".repeat(13),
        };
        check(
            entry(None, LogClock::Unknown, LogEvent::Oem { oem }),
            json!({
                "id": 1, "secs": null, "clock": "unknown",
                "oem": { "record_type": 224, "data": "00000000000000000000000000" },
            }),
        );
    }
}
