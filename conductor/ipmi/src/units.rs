//! Words for numbers: units of sensors and types of sensors (IPMI 2.0 tables 43-15 and 42-3).
//! A sensor's record says which of them it has; see `sdr`.
use std::fmt;

/// Table 43-15, in its order.
const UNITS: [&str; 93] = [
    "",
    "°C",
    "°F",
    "K",
    "V",
    "A",
    "W",
    "J",
    "C",
    "VA",
    "nit",
    "lm",
    "lx",
    "cd",
    "kPa",
    "psi",
    "N",
    "CFM",
    "RPM",
    "Hz",
    "µs",
    "ms",
    "s",
    "min",
    "h",
    "d",
    "week",
    "mil",
    "in",
    "ft",
    "in³",
    "ft³",
    "mm",
    "cm",
    "m",
    "cm³",
    "m³",
    "l",
    "fl oz",
    "rad",
    "sr",
    "rev",
    "cycles",
    "g",
    "oz",
    "lb",
    "ft·lb",
    "oz·in",
    "Gs",
    "Gb",
    "H",
    "mH",
    "F",
    "µF",
    "Ω",
    "S",
    "mol",
    "Bq",
    "ppm",
    "?",
    "dB",
    "dBA",
    "dBC",
    "Gy",
    "Sv",
    "K colour",
    "bit",
    "kbit",
    "Mbit",
    "Gbit",
    "B",
    "kB",
    "MB",
    "GB",
    "words",
    "dwords",
    "qwords",
    "lines",
    "hits",
    "misses",
    "retries",
    "resets",
    "overruns",
    "underruns",
    "collisions",
    "packets",
    "messages",
    "characters",
    "errors",
    "correctable errors",
    "uncorrectable errors",
    "fatal errors",
    "gram",
];

const RATES: [&str; 7] = ["", "/µs", "/ms", "/s", "/min", "/h", "/d"];

/// Table 42-3, in its order.
const SENSOR_TYPES: [&str; 0x2d] = [
    "reserved",
    "temperature",
    "voltage",
    "current",
    "fan",
    "physical security",
    "platform security",
    "processor",
    "power supply",
    "power unit",
    "cooling device",
    "other measurement",
    "memory",
    "drive slot",
    "POST memory resize",
    "system firmware progress",
    "event logging disabled",
    "watchdog 1",
    "system event",
    "critical interrupt",
    "button or switch",
    "module or board",
    "microcontroller",
    "add-in card",
    "chassis",
    "chip set",
    "other FRU",
    "cable or interconnect",
    "terminator",
    "system boot initiated",
    "boot error",
    "OS boot",
    "OS stop",
    "slot or connector",
    "ACPI power state",
    "watchdog 2",
    "platform alert",
    "entity presence",
    "monitor ASIC",
    "LAN",
    "management subsystem health",
    "battery",
    "session audit",
    "version change",
    "FRU state",
];

/// What a sensor measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SensorType(pub u8);

impl fmt::Display for SensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SENSOR_TYPES.get(usize::from(self.0)) {
            Some(name) => f.write_str(name),
            None => write!(f, "type {:#04x}", self.0),
        }
    }
}

/// The three unit bytes of a sensor record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    pub(crate) flags: u8,
    pub(crate) base: u8,
    pub(crate) modifier: u8,
}

fn unit(code: u8) -> &'static str {
    UNITS.get(usize::from(code)).copied().unwrap_or("?")
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = if self.flags & 1 != 0 { "% " } else { "" };
        let rate = RATES
            .get(usize::from(self.flags >> 3 & 7))
            .copied()
            .unwrap_or("");
        let base = unit(self.base);
        let text = match self.flags >> 1 & 3 {
            1 => format!("{percent}{base}/{}{rate}", unit(self.modifier)),
            2 => format!("{percent}{base}·{}{rate}", unit(self.modifier)),
            _ => format!("{percent}{base}{rate}"),
        };
        f.write_str(text.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_the_specifications() {
        for (flags, base, modifier, expected) in [
            (0, 1, 0, "°C"),
            (0, 18, 0, "RPM"),
            (0, 4, 0, "V"),
            (0, 6, 0, "W"),
            (1, 0, 0, "%"),
            (0x18, 72, 0, "MB/s"),
            (0x02, 89, 24, "correctable errors/h"),
            (0x04, 45, 28, "lb·in"),
            (0, 92, 0, "gram"),
            (0, 200, 0, "?"),
        ] {
            let unit = Unit {
                flags,
                base,
                modifier,
            };
            assert_eq!(unit.to_string(), expected);
        }
        assert_eq!(SensorType(0x01).to_string(), "temperature");
        assert_eq!(SensorType(0x2c).to_string(), "FRU state");
        assert_eq!(SensorType(0xc0).to_string(), "type 0xc0");
    }
}
