//! A password or a key, and the mask that is shown instead.
//! The conductor decides who may read it.
use alloc::string::String;
use core::fmt;
use serde::Serialize;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use zeroize::Zeroize;

/// A password or key. Serialises in clear, for the record alone; everywhere else only the mask is seen.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Secret(String);

/// Shown instead of a secret.
pub const REDACTED: &str = "******";
/// Kept instead of a secret where a decision is kept, to be decided again: it does for a password.
pub const KEPT_BACK: &str = "kept-back";

impl Secret {
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Its bytes are wiped, where a core dump or swap would show them later.
impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

/// Refuses the mask: a record that was shown and sent back would lose its password. No error quotes the value.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        // `any`, because serde quotes a value that has not the type asked for.
        d.deserialize_any(SecretVisitor)
    }
}

/// In a request, a secret may be sealed.
#[cfg(feature = "schema")]
impl schemars::JsonSchema for Secret {
    fn schema_name() -> alloc::borrow::Cow<'static, str> {
        "Secret".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "anyOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "description": "Sealed to the key of secrets.key: <to>:<from>:<base64>.",
                    "properties": { "sealed": { "type": "string" } },
                    "required": ["sealed"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}

struct SecretVisitor;

fn no_string<E: de::Error>() -> Result<Secret, E> {
    Err(E::custom("a secret must be a string"))
}

impl Visitor<'_> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret, which is a string")
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
        match text {
            REDACTED => Err(E::custom("this is the mask, not a secret")),
            text => Ok(Secret::new(text)),
        }
    }
    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
        no_string()
    }
    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
        no_string()
    }
    fn visit_i128<E: de::Error>(self, _: i128) -> Result<Secret, E> {
        no_string()
    }
    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
        no_string()
    }
    fn visit_u128<E: de::Error>(self, _: u128) -> Result<Secret, E> {
        no_string()
    }
    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
        no_string()
    }
    fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<Secret, E> {
        no_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_is_no_secret_and_no_error_quotes_one() {
        let read = |json| serde_json::from_str::<Secret>(json);
        assert_eq!(read("\"hush\"").unwrap(), Secret::new("hush"));
        let mask = read("\"******\"").unwrap_err().to_string();
        assert!(mask.starts_with("this is the mask, not a secret"), "{mask}");
        for wrong in [
            "4711",
            "-4711",
            "4711.5",
            "true",
            "[4711]",
            "{\"4711\":1}",
            "null",
        ] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(
                !error.contains("4711") && !error.contains("true"),
                "{error}"
            );
        }
    }
}
