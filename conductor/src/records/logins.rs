//! How to log in to each BMC: a node's endpoint and the secrets beside its record, put together when they are needed.
//! What is remembered of the secrets is as it lies in the store, sealed. A version never changes, so it is right for as long
//! as a record names that version.
use super::{Store, StoreError};
use bytes::Bytes;
use ironbeat_common::id::NodeId;
use ironbeat_core::id::OpId;
use ironbeat_core::index::Entry;
use ironbeat_core::node::{BmcAccess, BmcEndpoint, BmcSecrets, Node};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// More than any fleet has. When they are reached, all are read again.
const MAX_REMEMBERED: usize = 1 << 18;

#[derive(Clone)]
pub struct Logins {
    store: Store,
    known: Arc<Mutex<HashMap<NodeId, Known>>>,
}

#[derive(Clone)]
struct Known {
    version: OpId,
    endpoint: BmcEndpoint,
    sealed: Bytes,
}

impl Logins {
    pub fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
            known: Arc::default(),
        }
    }

    /// # Errors
    /// When the secrets cannot be read.
    pub async fn of(&self, node: &Node) -> Result<BmcAccess, StoreError> {
        let Some(version) = node.beside.bmc_secrets.as_ref() else {
            return Ok(node.bmc.clone().with(BmcSecrets::none()));
        };
        if let Some(access) = self.known(node.id, version).await {
            return Ok(access);
        }
        let beside = &self.store.beside;
        let (sealed, secrets) = beside.bmc_secrets_sealed(node.id, version).await?;
        let fresh = Known {
            version: version.clone(),
            endpoint: node.bmc.clone(),
            sealed,
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_REMEMBERED {
            known.clear();
        }
        known.insert(node.id, fresh);
        Ok(node.bmc.clone().with(secrets))
    }

    /// As [`Logins::of`], for those who know the node from the view. None: it is gone.
    ///
    /// # Errors
    /// When the record or the secrets cannot be read.
    pub async fn of_entry(&self, entry: &Entry) -> Result<Option<BmcAccess>, StoreError> {
        if let Some(version) = &entry.bmc_secrets
            && let Some(access) = self.known(entry.id, version).await
        {
            return Ok(Some(access));
        }
        match self.store.nodes.load(entry.id).await? {
            Some((node, _)) => Ok(Some(self.of(&node).await?)),
            None => Ok(None),
        }
    }

    /// None, too, when it is sealed with a key that is no more: then it was sealed anew.
    async fn known(&self, id: NodeId, version: &OpId) -> Option<BmcAccess> {
        let known = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.get(&id).filter(|it| it.version == *version)?.clone()
        };
        let beside = &self.store.beside;
        let secrets = beside.open_bmc_secrets(id, version, &known.sealed).await;
        Some(known.endpoint.with(secrets.ok()?))
    }
}
