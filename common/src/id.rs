//! Identifiers, each a newtype that is made by parsing: node, boot, step, system UUID, MAC.
//! What they identify is defined elsewhere.
use crate::text_form;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Text that should have been an identifier and is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadId {
    pub kind: &'static str,
    pub input: String,
}

impl fmt::Display for BadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a {}", self.input, self.kind)
    }
}

impl core::error::Error for BadId {}

impl BadId {
    /// Keeps at most 64 characters of the untrusted input: any id fits.
    pub fn new(kind: &'static str, input: &str) -> Self {
        Self {
            kind,
            input: input.chars().take(64).collect(),
        }
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);
        impl $name {
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }
        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                self.as_bytes()
            }
        }
        impl FromStr for $name {
            type Err = BadId;
            fn from_str(s: &str) -> Result<Self, BadId> {
                // Only the hyphenated form: an id is one subject token and one key, and must have one spelling.
                if s.len() != 36 {
                    return Err(BadId::new($kind, s));
                }
                Uuid::try_parse(s).map(Self).map_err(|_| BadId::new($kind, s))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }
        text_form!($name);
    };
}

uuid_id!(
    /// A node, for as long as it is enrolled. The token `<id>` of every subject.
    NodeId, "node id"
);
uuid_id!(
    /// An allocation: somebody's right to a node. No agent hears of it.
    AllocationId, "allocation id"
);
uuid_id!(
    /// What an operator keeps: a runbook, a deploy template. No agent hears of it.
    KeptId, "id of a document"
);
uuid_id!(
    /// An inspection rule. No agent hears of it.
    RuleId, "rule id"
);
uuid_id!(
    /// One boot of a ramdisk: random, made by the agent when it starts, gone when the machine reboots.
    BootId, "boot id"
);
uuid_id!(
    /// The machine's own UUID: SMBIOS type 1, offset 08h (DSP0134 §7.2.1), in the mixed-endian reading.
    SystemUuid, "system uuid"
);

impl SystemUuid {
    /// All zeros and all ones mean "not set" and "not settable" (DSP0134 §7.2.1); some vendors ship the UUID below.
    pub fn is_meaningful(&self) -> bool {
        let bytes = self.as_bytes();
        !(bytes.iter().all(|b| *b == 0) || bytes.iter().all(|b| *b == 0xff))
            && *self != Self(Uuid::from_u128(0x03000200_0400_0500_0006_000700080009))
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac([u8; 6]);

impl Mac {
    pub const fn from_bytes(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }
    pub const fn as_bytes(&self) -> &[u8; 6] {
        &self.0
    }
    /// Twelve lower-case hex digits: how a MAC appears in a KV key.
    pub fn hex(&self) -> String {
        HEXLOWER.encode(&self.0)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = BadId;
    /// Accepts `aa:bb:cc:dd:ee:ff`, `aa-bb-…` (iPXE's hexhyp) and twelve digits.
    fn from_str(s: &str) -> Result<Self, BadId> {
        let bad = || BadId::new("MAC address", s);
        let between = |sign| s.bytes().skip(2).step_by(3).all(|b| b == sign);
        let step = match s.len() {
            12 => 2,
            17 if between(b':') || between(b'-') => 3,
            _ => return Err(bad()),
        };
        let mut bytes = [0; 6];
        for (byte, digits) in bytes.iter_mut().zip(s.as_bytes().chunks(step)) {
            let digits = digits.get(..2).ok_or_else(bad)?;
            let read = HEXLOWER_PERMISSIVE.decode_mut(digits, core::slice::from_mut(byte));
            read.map_err(|_| bad())?;
        }
        Ok(Self(bytes))
    }
}
text_form!(Mac);

/// A step that the conductor wants, unique within a node for ever: it makes repeats recognisable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct StepId(pub u64);

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_have_three_spellings_and_one_meaning() {
        let mac: Mac = "52:54:00:77:01:0a".parse().unwrap();
        for spelling in ["52-54-00-77-01-0A", "52540077010a", "52:54:00:77:01:0A"] {
            assert_eq!(spelling.parse::<Mac>().unwrap(), mac, "{spelling}");
        }
        assert_eq!(
            (mac.to_string(), mac.hex()),
            ("52:54:00:77:01:0a".into(), "52540077010a".into())
        );
        for wrong in [
            "",
            "52:54:00:77:01",
            "52:54:00:77:01:0g",
            "52:54-00:77:01:0a",
            "é2540077010a",
            "52540077010a0",
        ] {
            assert!(wrong.parse::<Mac>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_text_is_read_however_its_encoding_holds_it() {
        let mac: Mac = "52:54:00:77:01:0a".parse().unwrap();
        for json in [r#""52:54:00:77:01:0a""#, r#""\u00352:54:00:77:01:0a""#] {
            assert_eq!(serde_json::from_str::<Mac>(json).unwrap(), mac, "{json}");
        }
        let value = serde_json::Value::from("52:54:00:77:01:0a");
        assert_eq!(serde_json::from_value::<Mac>(value).unwrap(), mac);
        let wrong = serde_json::from_str::<Mac>("7").unwrap_err();
        assert!(wrong.to_string().contains("expected a string"), "{wrong}");
    }

    #[test]
    fn an_id_has_one_spelling() {
        let id = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
        assert_eq!(id.parse::<NodeId>().unwrap().to_string(), id);
        for wrong in [
            "6ba7b8109dad11d180b400c04fd430c8",
            "{6ba7b810-9dad-11d1-80b4-00c04fd430c8}",
            "",
            "*",
            ">",
        ] {
            assert!(wrong.parse::<NodeId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn uuids_that_identify_no_machine_are_recognised() {
        for (uuid, meaningful) in [
            ("00000000-0000-0000-0000-000000000000", false),
            ("ffffffff-ffff-ffff-ffff-ffffffffffff", false),
            ("03000200-0400-0500-0006-000700080009", false),
            ("6ba7b810-9dad-11d1-80b4-00c04fd430c8", true),
        ] {
            assert_eq!(
                uuid.parse::<SystemUuid>().unwrap().is_meaningful(),
                meaningful,
                "{uuid}"
            );
        }
    }
}
