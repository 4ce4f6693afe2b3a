//! The key K_g of a BMC, read from hex and never shown.
//! The IPMI client proves with it who asks.
use super::secret::{REDACTED, Secret};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroize;

/// The BMC's own key K_g, in hex wherever it is written. It has at most 160 bits (IPMI 2.0 §13.31). It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct KgKey(Vec<u8>);

/// In a request it may be sealed, as any secret.
#[cfg(feature = "schema")]
impl schemars::JsonSchema for KgKey {
    fn schema_name() -> alloc::borrow::Cow<'static, str> {
        "KgKey".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        generator.subschema_for::<Secret>()
    }
}

const MAX_KG_BYTES: usize = 20;

impl KgKey {
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

/// Does not quote its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadKgKey;

impl fmt::Display for BadKgKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the key K_g must be 1 to {MAX_KG_BYTES} bytes in hex")
    }
}

impl core::error::Error for BadKgKey {}

impl FromStr for KgKey {
    type Err = BadKgKey;
    fn from_str(text: &str) -> Result<Self, BadKgKey> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes());
        let bytes = bytes.map_err(|_| BadKgKey)?;
        match (1..=MAX_KG_BYTES).contains(&bytes.len()) {
            true => Ok(Self(bytes)),
            false => Err(BadKgKey),
        }
    }
}

impl Drop for KgKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for KgKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for KgKey {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&HEXLOWER.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for KgKey {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let hex = Secret::deserialize(d)?;
        hex.reveal().parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    #[test]
    fn a_key_is_read_and_no_error_quotes_it() {
        let key: KgKey = "00Ff".parse().unwrap();
        assert_eq!(key.reveal(), [0x00, 0xff]);
        assert_eq!(serde_json::to_string(&key).unwrap(), "\"00ff\"");
        assert_eq!(serde_json::from_str::<KgKey>("\"00ff\"").unwrap(), key);
        assert_eq!(format!("{key:?}"), "******");
        let long = "5e".repeat(MAX_KG_BYTES + 1);
        for wrong in ["", "0", "5ez", "+1", "éa", &long, "******"] {
            assert_eq!(wrong.parse::<KgKey>(), Err(BadKgKey));
            let error = serde_json::from_str::<KgKey>(&format!("\"{wrong}\"")).unwrap_err();
            assert!(!error.to_string().contains("5e"), "{error}");
        }
        let error = serde_json::from_str::<KgKey>("4711").unwrap_err();
        assert!(!error.to_string().contains("4711"), "{error}");
    }
}
