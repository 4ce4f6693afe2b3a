//! The access to a BMC: its endpoint, which the record shows, and the secrets, which lie beside the record.
//! The conductor opens the session; `address`, `cipher` and `kg` parse the parts.
use super::address::BmcAddress;
use super::cipher::CipherSuite;
use super::kg::KgKey;
use super::secret::Secret;
use alloc::string::String;
use serde::{Deserialize, Serialize};

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
        /// Speak IPMI 1.5, which protects the password with MD5 and nothing else: for BMCs that offer nothing better.
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

    /// Splits it into the part in the record and the part beside it.
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
        let secrets = BmcSecrets {
            password,
            kg,
            next: None,
        };
        (endpoint, secrets)
    }
}

/// How to reach the BMC, without the secrets: what a record holds.
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

/// The secrets that prove to a BMC who asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BmcSecrets {
    pub password: Secret,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kg: Option<KgKey>,
    /// The password that the BMC is being given, while it is not known which one it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Secret>,
}

impl BmcSecrets {
    /// For a record that names no secrets.
    pub fn none() -> Self {
        Self {
            password: Secret::new(""),
            kg: None,
            next: None,
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
