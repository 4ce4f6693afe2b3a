//! Which RMCP+ cipher suites an operator may ask for.
//! The IPMI client does their arithmetic.
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};

/// The RMCP+ cipher suites that protect anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum CipherSuite {
    /// HMAC-SHA1, AES-128.
    Three,
    /// HMAC-SHA256, AES-128.
    Seventeen,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSuite;

impl fmt::Display for BadSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the cipher suite must be 3 or 17")
    }
}

impl core::error::Error for BadSuite {}

impl TryFrom<u8> for CipherSuite {
    type Error = BadSuite;
    fn try_from(id: u8) -> Result<Self, BadSuite> {
        match id {
            3 => Ok(CipherSuite::Three),
            17 => Ok(CipherSuite::Seventeen),
            _ => Err(BadSuite),
        }
    }
}

impl From<CipherSuite> for u8 {
    fn from(suite: CipherSuite) -> u8 {
        match suite {
            CipherSuite::Three => 3,
            CipherSuite::Seventeen => 17,
        }
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for CipherSuite {
    fn schema_name() -> alloc::borrow::Cow<'static, str> {
        "CipherSuite".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "enum": [3, 17] })
    }
}

impl FromStr for CipherSuite {
    type Err = BadSuite;
    fn from_str(text: &str) -> Result<Self, BadSuite> {
        text.parse::<u8>().map_err(|_| BadSuite)?.try_into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_suites_that_protect_anything_are_accepted() {
        assert_eq!(
            serde_json::from_str::<CipherSuite>("17").unwrap(),
            CipherSuite::Seventeen
        );
        assert_eq!(serde_json::to_string(&CipherSuite::Three).unwrap(), "3");
        for wrong in ["0", "99", "256"] {
            assert!(serde_json::from_str::<CipherSuite>(wrong).is_err());
            assert_eq!(wrong.parse::<CipherSuite>(), Err(BadSuite));
        }
    }
}
