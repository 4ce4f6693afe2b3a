//! What the owner wants to run on a node.
//! Whether a machine can run it is decided in `plan`.
use super::secret::REDACTED;
use crate::hints::Hints;
use alloc::string::String;
use alloc::vec::Vec;
use ironbeat_common::image::{Checksum, ImageFormat};
use serde::{Deserialize, Serialize};

/// What the owner wants to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    pub image: Image,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// cloud-init's user data, as it is to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// OpenStack network_data.json, as it is to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_data: Option<String>,
    #[serde(default)]
    pub ssh_keys: Vec<String>,
    /// Beats the node's own hints.
    #[serde(default, skip_serializing_if = "Hints::is_empty")]
    pub root_device: Hints,
}

impl Instance {
    pub(super) fn redact(&mut self) {
        for secret in [&mut self.user_data, &mut self.network_data] {
            *secret = secret.as_ref().map(|_| REDACTED.into());
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// `http://…`, or a bare name of a file that the workers serve.
    pub source: String,
    pub checksum: Checksum,
    /// None: by the name's extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<ImageFormat>,
}
