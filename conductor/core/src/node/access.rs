//! How to reach a BMC: address, credentials, and what its protocol needs to know.
//! Turning these into a session is the conductor's job.
use super::secret::{REDACTED, Secret};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::str::FromStr;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use ironbeat_common::text_form;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How to reach the BMC. One variant per protocol; Redfish comes as another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "protocol", rename_all = "lowercase", deny_unknown_fields)]
pub enum BmcAccess {
    Ipmi {
        address: BmcAddress,
        username: String,
        password: Secret,
        /// Exact RMCP+ cipher suite; none: 17, then 3.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cipher_suite: Option<CipherSuite>,
        /// None: the password serves.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kg: Option<KgKey>,
        /// Speak IPMI 1.5, which protects the password with MD5 and nothing else: for BMCs that know no better.
        #[serde(default, skip_serializing_if = "core::ops::Not::not")]
        ipmi_1_5: bool,
    },
}

impl BmcAccess {
    pub fn address(&self) -> &BmcAddress {
        match self {
            BmcAccess::Ipmi { address, .. } => address,
        }
    }

    /// What the record shows, and what lies beside it.
    pub fn split(self) -> (BmcEndpoint, BmcSecrets) {
        let BmcAccess::Ipmi {
            address,
            username,
            password,
            cipher_suite,
            kg,
            ipmi_1_5,
        } = self;
        let endpoint = BmcEndpoint::Ipmi {
            address,
            username,
            cipher_suite,
            ipmi_1_5,
        };
        (endpoint, BmcSecrets { password, kg })
    }
}

/// How to reach the BMC, without what proves who asks: what a record holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "protocol", rename_all = "lowercase")]
pub enum BmcEndpoint {
    Ipmi {
        address: BmcAddress,
        username: String,
        /// Exact RMCP+ cipher suite; none: 17, then 3.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cipher_suite: Option<CipherSuite>,
        #[serde(default, skip_serializing_if = "core::ops::Not::not")]
        ipmi_1_5: bool,
    },
}

/// What proves to a BMC who asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BmcSecrets {
    pub password: Secret,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kg: Option<KgKey>,
}

impl BmcSecrets {
    /// For a record that names no secrets.
    pub fn none() -> Self {
        Self {
            password: Secret::new(""),
            kg: None,
        }
    }
}

impl BmcEndpoint {
    pub fn address(&self) -> &BmcAddress {
        match self {
            BmcEndpoint::Ipmi { address, .. } => address,
        }
    }

    pub fn with(self, secrets: BmcSecrets) -> BmcAccess {
        let BmcEndpoint::Ipmi {
            address,
            username,
            cipher_suite,
            ipmi_1_5,
        } = self;
        BmcAccess::Ipmi {
            address,
            username,
            password: secrets.password,
            cipher_suite,
            kg: secrets.kg,
            ipmi_1_5,
        }
    }
}

/// RMCP (IPMI 2.0 §13.1.2): an address without a port means this one.
const IPMI_PORT: u16 = 623;

/// Where a BMC listens: `10.77.1.1`, `10.77.1.1:6230`, `fd00::1`, `[fd00::1]:6230`, `bmc-7.rack.example`. There is
/// one spelling for each: the usual port is left out, IPv6 is shortened, names are in lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BmcAddress {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    Ip(IpAddr),
    Name(String),
}

impl BmcAddress {
    pub fn host(&self) -> &Host {
        &self.host
    }
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl From<SocketAddr> for BmcAddress {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: Host::Ip(address.ip()),
            port: address.port(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Ip(ip) => ip.fmt(f),
            Host::Name(name) => name.fmt(f),
        }
    }
}

impl fmt::Display for BmcAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            host if self.port == IPMI_PORT => host.fmt(f),
            Host::Ip(ip) => SocketAddr::new(*ip, self.port).fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAddress(String);

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not the address of a BMC", self.0)
    }
}

impl core::error::Error for BadAddress {}

impl FromStr for BmcAddress {
    type Err = BadAddress;
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let parsed = parse_literal(text).or_else(|| parse_name(text));
        let sound = parsed.filter(|address| address.port != 0);
        sound.ok_or_else(|| BadAddress(text.into()))
    }
}

fn parse_literal(text: &str) -> Option<BmcAddress> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.into());
    }
    let inner = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let ip: IpAddr = inner.unwrap_or(text).parse().ok()?;
    Some(SocketAddr::new(ip, IPMI_PORT).into())
}

fn parse_name(text: &str) -> Option<BmcAddress> {
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, port.parse().ok()?),
        None => (text, IPMI_PORT),
    };
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    // `10.0.0.256` is a mistyped address and no name.
    let last = name.rsplit('.').next()?;
    let numeric = last.bytes().all(|b| b.is_ascii_digit());
    let sound = name.len() <= 253 && name.split('.').all(label) && !numeric;
    sound.then(|| BmcAddress {
        host: Host::Name(name.to_ascii_lowercase()),
        port,
    })
}

text_form!(BmcAddress);

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

/// The BMC's own key K_g, in hex wherever it is written. It has at most 160 bits (IPMI 2.0 §13.31). Shows itself nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct KgKey(Vec<u8>);

ironbeat_common::text_schema!(KgKey);

const MAX_KG_BYTES: usize = 20;

impl KgKey {
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

/// Does not quote what it met.
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

    #[test]
    fn an_address_has_one_spelling() {
        for (text, shown, port) in [
            ("10.77.1.1", "10.77.1.1", 623),
            ("10.77.1.1:623", "10.77.1.1", 623),
            ("10.77.1.1:6230", "10.77.1.1:6230", 6230),
            ("FD00:0:0::1", "fd00::1", 623),
            ("[fd00::1]", "fd00::1", 623),
            ("[fd00::1]:6230", "[fd00::1]:6230", 6230),
            ("bmc7.Rack-2.example", "bmc7.rack-2.example", 623),
            ("bmc-7:6230", "bmc-7:6230", 6230),
        ] {
            let address: BmcAddress = text.parse().unwrap();
            assert_eq!(
                (address.to_string().as_str(), address.port()),
                (shown, port)
            );
            assert_eq!(shown.parse(), Ok(address));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for wrong in [
            "",
            "[bmc]",
            "host:port",
            "10.0.0.256",
            "10.0.0.1:0",
            "10.0.0.1:70000",
            "a..b",
            "ünknown *>",
            "a b",
            ":623",
        ] {
            assert!(wrong.parse::<BmcAddress>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_key_is_read_once_and_no_error_quotes_it() {
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
