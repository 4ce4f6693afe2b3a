//! What can be changed of a node's description; what is not given stays as it is.
//! `decide/set.rs` says when, and what follows.
use crate::hints::Hints;
use crate::id::NodeName;
use crate::node::{BmcAccess, BmcAddress, CipherSuite, KgKey, Secret, Trait};
use alloc::string::String;
use alloc::vec::Vec;
use ironbeat_common::id::{Mac, SystemUuid};
use ironbeat_common::inventory::BootMode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The changes to a node's description; absent fields stay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Patch {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<NodeName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc: Option<BmcPatch>,
    /// These and no others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub macs: Option<Vec<Mac>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_macs: Vec<Mac>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_macs: Vec<Mac>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_uuid: Option<SystemUuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_mode: Option<BootMode>,
    /// Whether UEFI firmware starts signed loaders only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_device: Option<Hints>,
    /// Disks that are neither cleaned nor deployed to: these and no others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_block_devices: Option<Vec<Hints>>,
    /// For people; at most 4,096 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What kind of machine it is, for those who allocate; at most 80 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_class: Option<String>,
    /// Whose machine it is; at most 255 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Who uses it by leave of the owner; at most 255 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lessee: Option<String>,
    /// These and no others; a node has at most 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traits: Option<Vec<Trait>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_traits: Vec<Trait>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_traits: Vec<Trait>,
    /// What the operator says of its hardware, `cpu_arch` or `memory_mb`: these keys change, null takes one away. In all at most
    /// 16,384 bytes of JSON.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub properties: Map<String, Value>,
    /// Whatever else, likewise.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
    /// The reason why its instance is not to be taken away: no undeploy, no rebuild, no delete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected: Option<String>,
    /// The reason why it is to serve nobody else: it is not made available, and not deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired: Option<String>,
    /// Whether it is never to be switched off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable_power_off: Option<bool>,
    /// Whether it is cleaned on its way to `available`, whatever the policy has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub automated_clean: Option<bool>,
    /// What the node shall have no longer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clear: Vec<Clear>,
}

/// The changes to the access to a BMC; absent fields stay, secrets too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "protocol", rename_all = "lowercase", deny_unknown_fields)]
pub enum BmcPatch {
    Ipmi {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<BmcAddress>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        username: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        password: Option<Secret>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cipher_suite: Option<CipherSuite>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kg: Option<KgKey>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ipmi_1_5: Option<bool>,
    },
}

impl From<BmcAccess> for BmcPatch {
    fn from(access: BmcAccess) -> Self {
        let BmcAccess::Ipmi {
            address,
            username,
            password,
            cipher_suite,
            kg,
            ipmi_1_5,
        } = access;
        BmcPatch::Ipmi {
            address: Some(address),
            username: Some(username),
            password: Some(password),
            cipher_suite,
            kg,
            ipmi_1_5: Some(ipmi_1_5),
        }
    }
}

/// What a node can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Clear {
    Name,
    SystemUuid,
    Serial,
    BootMode,
    SecureBoot,
    RootDevice,
    SkipBlockDevices,
    CipherSuite,
    Kg,
    Description,
    ResourceClass,
    Owner,
    Lessee,
    Traits,
    Properties,
    Extra,
    Protected,
    Retired,
    AutomatedClean,
}

impl Clear {
    pub const ALL: [Clear; 19] = [
        Clear::Name,
        Clear::SystemUuid,
        Clear::Serial,
        Clear::BootMode,
        Clear::SecureBoot,
        Clear::RootDevice,
        Clear::SkipBlockDevices,
        Clear::CipherSuite,
        Clear::Kg,
        Clear::Description,
        Clear::ResourceClass,
        Clear::Owner,
        Clear::Lessee,
        Clear::Traits,
        Clear::Properties,
        Clear::Extra,
        Clear::Protected,
        Clear::Retired,
        Clear::AutomatedClean,
    ];

    /// In the operator's words.
    pub fn name(self) -> &'static str {
        match self {
            Clear::Name => "name",
            Clear::SystemUuid => "system UUID",
            Clear::Serial => "serial",
            Clear::BootMode => "boot mode",
            Clear::SecureBoot => "Secure Boot",
            Clear::RootDevice => "root device",
            Clear::SkipBlockDevices => "skip list",
            Clear::CipherSuite => "cipher suite",
            Clear::Kg => "K_g",
            Clear::Description => "description",
            Clear::ResourceClass => "resource class",
            Clear::Owner => "owner",
            Clear::Lessee => "lessee",
            Clear::Traits => "traits",
            Clear::Properties => "properties",
            Clear::Extra => "extra",
            Clear::Protected => "protection",
            Clear::Retired => "retirement",
            Clear::AutomatedClean => "automated cleaning",
        }
    }

    /// It lies beside the record, in the node's [`Notes`](crate::node::Notes).
    pub fn is_of_notes(self) -> bool {
        match self {
            Clear::Description | Clear::Properties | Clear::Extra => true,
            Clear::Name
            | Clear::SystemUuid
            | Clear::Serial
            | Clear::BootMode
            | Clear::SecureBoot
            | Clear::RootDevice
            | Clear::SkipBlockDevices
            | Clear::CipherSuite
            | Clear::Kg
            | Clear::ResourceClass
            | Clear::Owner
            | Clear::Lessee
            | Clear::Traits
            | Clear::Protected
            | Clear::Retired
            | Clear::AutomatedClean => false,
        }
    }

    /// It belongs to the access to the BMC.
    pub fn is_of_bmc(self) -> bool {
        match self {
            Clear::CipherSuite | Clear::Kg => true,
            Clear::Name
            | Clear::SystemUuid
            | Clear::Serial
            | Clear::BootMode
            | Clear::SecureBoot
            | Clear::RootDevice
            | Clear::SkipBlockDevices
            | Clear::Description
            | Clear::ResourceClass
            | Clear::Owner
            | Clear::Lessee
            | Clear::Traits
            | Clear::Properties
            | Clear::Extra
            | Clear::Protected
            | Clear::Retired
            | Clear::AutomatedClean => false,
        }
    }
}

impl Patch {
    pub fn is_of_bmc(&self) -> bool {
        self.bmc.is_some() || self.clear.iter().any(|clear| clear.is_of_bmc())
    }

    /// Something of it lies beside the record, in the node's [`Notes`](crate::node::Notes).
    pub fn is_of_notes(&self) -> bool {
        self.description.is_some()
            || !self.properties.is_empty()
            || !self.extra.is_empty()
            || self.clear.iter().any(|clear| clear.is_of_notes())
    }
}
