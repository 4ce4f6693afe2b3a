//! How to reach a BMC: address, credentials, and what its protocol needs to know.
//! Turning these into a session is the conductor's job.
use super::secret::Secret;
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// How to reach the BMC. One variant per protocol; Redfish comes as another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "protocol", rename_all = "lowercase", deny_unknown_fields)]
pub enum BmcAccess {
    Ipmi {
        /// `10.77.1.1`, `10.77.1.1:6230`, `[fd00::1]:623`.
        address: String,
        username: String,
        password: Secret,
        /// Exact RMCP+ cipher suite; none: 17, then 3.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cipher_suite: Option<u8>,
        /// Key K_g, hex.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kg: Option<Secret>,
        /// Speak IPMI 1.5, which protects the password with MD5 and nothing else at all: for BMCs that know no better.
        #[serde(default, skip_serializing_if = "core::ops::Not::not")]
        ipmi_1_5: bool,
    },
}

impl BmcAccess {
    pub fn address(&self) -> &str {
        match self {
            BmcAccess::Ipmi { address, .. } => address,
        }
    }

    /// The host part of the address: what a machine's own BMC address is compared with.
    pub fn host(&self) -> &str {
        let address = self.address();
        if let Some(inner) = address.strip_prefix('[') {
            return inner.split(']').next().unwrap_or(inner);
        }
        match address.rsplit_once(':') {
            Some((host, _)) if !host.contains(':') => host,
            _ => address,
        }
    }
}
