//! Documents beside the node records, each version under a key of its own: written once, read by those who need it.
//! The record says which version counts; `nodes` and `sweep` drop those that no record names any more.
use super::StoreError;
use super::document::{key_of, without_values};
use super::keys::Keyring;
use super::kv::{Kv, Revision};
use crate::secrets::Broken;
use bytes::Bytes;
use ironbeat_common::id::NodeId;
use ironbeat_common::inventory::Inventory;
use ironbeat_core::id::OpId;
use ironbeat_core::node::{Beside, BesideKind, BmcSecrets, InstanceData, Node, Notes, RescueLogin};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

#[derive(Clone)]
pub struct Besides {
    kv: Kv,
    keys: Keyring,
}

/// Whether documents of this kind are sealed.
pub(super) fn is_secret(kind: BesideKind) -> bool {
    match kind {
        BesideKind::Inventory | BesideKind::Notes => false,
        BesideKind::InstanceData | BesideKind::BmcSecrets | BesideKind::RescueLogin => true,
    }
}

fn to_json(document: &impl Serialize) -> Zeroizing<Vec<u8>> {
    let json = serde_json::to_vec(document);
    Zeroizing::new(json.expect("documents are JSON: their maps have string keys"))
}

/// `inventory.17.<id>.<version>`
pub(super) fn key(kind: BesideKind, node: NodeId, version: &OpId) -> String {
    format!("{}.{version}", key_of(kind.name(), &node))
}

pub(super) fn parse<T: DeserializeOwned>(key: &str, json: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(json).map_err(|error| StoreError::Corrupt {
        key: key.into(),
        why: without_values(&error),
    })
}

impl Besides {
    pub(super) fn new(kv: Kv, keys: Keyring) -> Self {
        Self { kv, keys }
    }

    /// Puts a version that no record names yet: inventory and notes as they are, secrets sealed. Putting it twice does no harm.
    ///
    /// # Errors
    /// When the store does not take it.
    pub async fn put(
        &self,
        node: NodeId,
        version: &OpId,
        document: &Beside,
    ) -> Result<Revision, StoreError> {
        let key = key(document.kind(), node, version);
        match document {
            Beside::Inventory(inventory) => {
                Ok(self.kv.put(&key, to_json(inventory).to_vec()).await?)
            }
            Beside::Notes(notes) => Ok(self.kv.put(&key, to_json(notes).to_vec()).await?),
            Beside::InstanceData(data) => self.keys.put(&key, to_json(data)).await,
            Beside::BmcSecrets(secrets) => self.keys.put(&key, to_json(secrets)).await,
            Beside::RescueLogin(login) => self.keys.put(&key, to_json(login)).await,
        }
    }

    /// One that is missing or not understood counts as none: the next lookup puts another, and must not fail for it.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn inventory(&self, node: &Node) -> Result<Option<Inventory>, StoreError> {
        match self.read(node, BesideKind::Inventory).await {
            Err(error @ (StoreError::Missing { .. } | StoreError::Corrupt { .. })) => {
                tracing::warn!(node = %node.id, "the inventory counts as none: {error}");
                Ok(None)
            }
            read => read,
        }
    }

    /// What is missing or not understood counts as none: an operator can write it anew, and nothing else must fail for it.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn notes(&self, node: &Node) -> Result<Option<Notes>, StoreError> {
        match self.read(node, BesideKind::Notes).await {
            Err(error @ (StoreError::Missing { .. } | StoreError::Corrupt { .. })) => {
                tracing::warn!(node = %node.id, "the notes count as none: {error}");
                Ok(None)
            }
            read => read,
        }
    }

    /// # Errors
    /// When the store is away, or what the record names is missing or not understood.
    pub async fn instance_data(&self, node: &Node) -> Result<Option<InstanceData>, StoreError> {
        self.read(node, BesideKind::InstanceData).await
    }

    /// # Errors
    /// When the store is away, or what the record names is missing or not understood.
    pub async fn rescue_login(&self, node: &Node) -> Result<Option<RescueLogin>, StoreError> {
        self.read(node, BesideKind::RescueLogin).await
    }

    /// # Errors
    /// When the store is away, or what the record names is missing or not understood.
    pub async fn bmc_secrets(&self, node: &Node) -> Result<Option<BmcSecrets>, StoreError> {
        self.read(node, BesideKind::BmcSecrets).await
    }

    async fn read<T: DeserializeOwned>(
        &self,
        node: &Node,
        kind: BesideKind,
    ) -> Result<Option<T>, StoreError> {
        let Some(version) = node.beside.of(kind) else {
            return Ok(None);
        };
        let stored = self.stored(kind, node.id, version).await?;
        let (_, document) = self.open_read(kind, node.id, version, stored).await?;
        Ok(Some(document))
    }

    /// What it says, and how it lies there. `stored` was read a moment ago: if a rotation has dropped its key since, it lies
    /// there anew.
    pub(super) async fn open_read<T: DeserializeOwned>(
        &self,
        kind: BesideKind,
        node: NodeId,
        version: &OpId,
        mut stored: Bytes,
    ) -> Result<(Bytes, T), StoreError> {
        let key = key(kind, node, version);
        loop {
            let opened = match is_secret(kind) {
                true => self.open(&key, &stored).await,
                false => parse(&key, &stored),
            };
            let error = match opened {
                Ok(document) => return Ok((stored, document)),
                Err(error) => error,
            };
            let StoreError::Sealed { why, .. } = &error else {
                return Err(error);
            };
            if !matches!(why, Broken::NoKey(_)) {
                return Err(error);
            }
            let now = self.stored(kind, node, version).await?;
            if now == stored {
                return Err(error);
            }
            stored = now;
        }
    }

    async fn open<T: DeserializeOwned>(&self, key: &str, stored: &[u8]) -> Result<T, StoreError> {
        parse(key, &self.keys.open(key, stored).await?)
    }

    /// As it lies there.
    async fn stored(
        &self,
        kind: BesideKind,
        node: NodeId,
        version: &OpId,
    ) -> Result<Bytes, StoreError> {
        let key = key(kind, node, version);
        match self.kv.read(&key).await? {
            (Some(value), _) => Ok(value),
            (None, _) => Err(StoreError::Missing { key, node }),
        }
    }

    /// The BMC's secrets, and how they lie there: whoever remembers that remembers no secret.
    ///
    /// # Errors
    /// When the store is away, it is not there, or it does not open.
    pub(super) async fn bmc_secrets_sealed(
        &self,
        node: NodeId,
        version: &OpId,
    ) -> Result<(Bytes, BmcSecrets), StoreError> {
        let stored = self.stored(BesideKind::BmcSecrets, node, version).await?;
        self.open_read(BesideKind::BmcSecrets, node, version, stored)
            .await
    }

    /// # Errors
    /// When it does not open, or is not understood.
    pub(super) async fn open_bmc_secrets(
        &self,
        node: NodeId,
        version: &OpId,
        stored: &[u8],
    ) -> Result<BmcSecrets, StoreError> {
        let key = key(BesideKind::BmcSecrets, node, version);
        self.open(&key, stored).await
    }

    /// Drops one version.
    ///
    /// # Errors
    /// When the store does not say that it is gone.
    pub(super) async fn discard(
        &self,
        node: NodeId,
        kind: BesideKind,
        version: &OpId,
    ) -> Result<(), StoreError> {
        Ok(self.kv.erase(&key(kind, node, version)).await?)
    }
}
