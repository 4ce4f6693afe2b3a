//! Documents beside the record: what is large or secret, read only by those who need it.
//! A version is never changed: a new one is put first, then the record names it. The conductor stores them.
use super::access::BmcSecrets;
use super::instance::InstanceData;
use super::notes::Notes;
use super::rescue::RescueLogin;
use crate::id::OpId;
use alloc::boxed::Box;
use ironbeat_common::inventory::Inventory;
use serde::{Deserialize, Serialize};

/// One document to be stored.
#[derive(Clone, Debug, PartialEq)]
pub enum Beside {
    /// The machine's hardware, as its ramdisk last read it.
    Inventory(Box<Inventory>),
    /// The rest of the instance's config drive, which is not in the record.
    InstanceData(InstanceData),
    /// The secrets that the BMC asks for before it obeys.
    BmcSecrets(BmcSecrets),
    /// Who may log in to the rescue system that is being booted.
    RescueLogin(RescueLogin),
    /// What an operator has written about the node.
    Notes(Notes),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BesideKind {
    Inventory,
    InstanceData,
    BmcSecrets,
    RescueLogin,
    Notes,
}

impl BesideKind {
    pub const ALL: [BesideKind; 5] = [
        BesideKind::Inventory,
        BesideKind::InstanceData,
        BesideKind::BmcSecrets,
        BesideKind::RescueLogin,
        BesideKind::Notes,
    ];

    /// The first token of its keys.
    pub fn name(self) -> &'static str {
        match self {
            BesideKind::Inventory => "inventory",
            BesideKind::InstanceData => "instance_data",
            BesideKind::BmcSecrets => "bmc_secrets",
            BesideKind::RescueLogin => "rescue_login",
            BesideKind::Notes => "notes",
        }
    }
}

impl Beside {
    pub fn kind(&self) -> BesideKind {
        match self {
            Beside::Inventory(_) => BesideKind::Inventory,
            Beside::InstanceData(_) => BesideKind::InstanceData,
            Beside::BmcSecrets(_) => BesideKind::BmcSecrets,
            Beside::RescueLogin(_) => BesideKind::RescueLogin,
            Beside::Notes(_) => BesideKind::Notes,
        }
    }
}

/// Which version of each document the record means, by the write that put it. None: there is no such document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<OpId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_data: Option<OpId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc_secrets: Option<OpId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rescue_login: Option<OpId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<OpId>,
}

impl Versions {
    pub fn of(&self, kind: BesideKind) -> Option<&OpId> {
        match kind {
            BesideKind::Inventory => self.inventory.as_ref(),
            BesideKind::InstanceData => self.instance_data.as_ref(),
            BesideKind::BmcSecrets => self.bmc_secrets.as_ref(),
            BesideKind::RescueLogin => self.rescue_login.as_ref(),
            BesideKind::Notes => self.notes.as_ref(),
        }
    }

    pub fn set(&mut self, kind: BesideKind, version: Option<OpId>) {
        let place = match kind {
            BesideKind::Inventory => &mut self.inventory,
            BesideKind::InstanceData => &mut self.instance_data,
            BesideKind::BmcSecrets => &mut self.bmc_secrets,
            BesideKind::RescueLogin => &mut self.rescue_login,
            BesideKind::Notes => &mut self.notes,
        };
        *place = version;
    }
}
