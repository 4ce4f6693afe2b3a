//! Documents beside the node records, each version under a key of its own: written once, read by those who need it.
//! The record says which version counts; a version that no record names any more is purged.
use super::StoreError;
use super::document::{key_of, without_values};
use super::kv::{Kv, KvError, Revision};
use ironbeat_common::id::NodeId;
use ironbeat_common::inventory::Inventory;
use ironbeat_core::id::OpId;
use ironbeat_core::node::{Beside, BesideKind, BmcSecrets, InstanceData, Node};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::Instant;

#[derive(Clone)]
pub struct Besides {
    kv: Kv,
    ended: mpsc::Sender<(NodeId, Revision)>,
}

/// Nodes that have ended and wait for their sweep. A site that deletes more at once does so on purpose.
const SWEEPS: usize = 10_000;
/// A sweep is by wildcard: nats-server 2.9 walks all keys of the bucket for it, and does nothing else for the bucket
/// meanwhile (0.5 s with 800,000 keys). After each, it is left alone for so many times as long.
const REST: u32 = 10;

/// One at a time, so that records do not wait.
async fn sweep(kv: Kv, mut ended: mpsc::Receiver<(NodeId, Revision)>) {
    while let Some((node, end)) = ended.recv().await {
        let begun = Instant::now();
        for kind in BesideKind::ALL {
            let keys = format!("{}.>", key_of(kind.name(), &node));
            if let Err(error) = kv.purge(&keys, Some(end)).await {
                tracing::warn!(%node, "what lay beside it may be left; delete it once more: {error}");
            }
        }
        tokio::time::sleep(begun.elapsed() * REST).await;
    }
}

/// `inventory.17.<id>.<version>`
fn key(kind: BesideKind, node: NodeId, version: &OpId) -> String {
    format!("{}.{version}", key_of(kind.name(), &node))
}

impl Besides {
    pub(super) fn new(kv: Kv) -> Self {
        let (ended, waiting) = mpsc::channel(SWEEPS);
        tokio::spawn(sweep(kv.clone(), waiting));
        Self { kv, ended }
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

    /// In the background, drops all that was put for a node before `end`, when it ended: what its record named, and what
    /// was put for saves that never came.
    pub fn sweep(&self, node: NodeId, end: Revision) {
        if self.ended.try_send((node, end)).is_err() {
            tracing::warn!(%node, "what lay beside it may be left: {SWEEPS} others wait; delete it once more");
        }
    }

    /// Drops one version.
    pub async fn discard(&self, node: NodeId, kind: BesideKind, version: &OpId) {
        let purged: Result<(), KvError> = self.kv.purge(&key(kind, node, version), None).await;
        if let Err(error) = purged {
            tracing::warn!(%node, "a version that nobody names is left behind: {error}");
        }
    }
}
