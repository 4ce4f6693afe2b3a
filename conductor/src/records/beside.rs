//! Documents beside the node records, each version under a key of its own: written once, read by those who need it.
//! The record says which version counts; `nodes` and `sweep` drop those that no record names any more.
use super::StoreError;
use super::document::{key_of, without_values};
use super::kv::{Kv, Revision};
use ironbeat_common::id::NodeId;
use ironbeat_common::inventory::Inventory;
use ironbeat_core::id::OpId;
use ironbeat_core::node::{Beside, BesideKind, BmcSecrets, InstanceData, Node};
use serde::de::DeserializeOwned;

#[derive(Clone)]
pub struct Besides {
    kv: Kv,
}

/// `inventory.17.<id>.<version>`
pub(super) fn key(kind: BesideKind, node: NodeId, version: &OpId) -> String {
    format!("{}.{version}", key_of(kind.name(), &node))
}

impl Besides {
    pub(super) fn new(kv: Kv) -> Self {
        Self { kv }
    }

    /// Puts a version that no record names yet. Putting it twice does no harm.
    ///
    /// # Errors
    /// When the store does not take it.
    pub async fn put(
        &self,
        node: NodeId,
        version: &OpId,
        document: &Beside,
    ) -> Result<Revision, StoreError> {
        let json = match document {
            Beside::Inventory(inventory) => serde_json::to_vec(inventory),
            Beside::InstanceData(data) => serde_json::to_vec(data),
            Beside::BmcSecrets(secrets) => serde_json::to_vec(secrets),
        };
        let json = json.expect("documents are JSON: their maps have string keys");
        let key = key(document.kind(), node, version);
        Ok(self.kv.put(&key, json).await?)
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

    /// # Errors
    /// When the store is away, or what the record names is missing or not understood.
    pub async fn instance_data(&self, node: &Node) -> Result<Option<InstanceData>, StoreError> {
        self.read(node, BesideKind::InstanceData).await
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
        let key = key(kind, node.id, version);
        let (Some(value), _) = self.kv.read(&key).await? else {
            return Err(StoreError::Missing { key, node: node.id });
        };
        match serde_json::from_slice(&value) {
            Ok(document) => Ok(Some(document)),
            Err(error) => Err(StoreError::Corrupt {
                key,
                why: without_values(&error),
            }),
        }
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
