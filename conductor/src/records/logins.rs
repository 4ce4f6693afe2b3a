//! How to log in to each BMC: a node's endpoint and the secrets beside its record, put together and remembered.
//! A version of secrets never changes, so a remembered login is right for as long as a record names that version.
use super::{Store, StoreError};
use ironbeat_common::id::NodeId;
use ironbeat_core::id::OpId;
use ironbeat_core::index::Entry;
use ironbeat_core::node::{BmcAccess, BmcSecrets, Node};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// More than any fleet has. When they are reached, all are read again.
const MAX_REMEMBERED: usize = 1 << 18;

#[derive(Clone)]
pub struct Logins {
    store: Store,
    known: Arc<Mutex<HashMap<NodeId, (OpId, BmcAccess)>>>,
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
        let version = node.beside.bmc_secrets.as_ref();
        if let Some(known) = version.and_then(|version| self.known(node.id, version)) {
            return Ok(known);
        }
        let secrets = self.store.beside.bmc_secrets(node).await?;
        let access = node
            .bmc
            .clone()
            .with(secrets.unwrap_or_else(BmcSecrets::none));
        if let Some(version) = version {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= MAX_REMEMBERED {
                known.clear();
            }
            known.insert(node.id, (version.clone(), access.clone()));
        }
        Ok(access)
    }

    /// As [`Logins::of`], for those who know the node from the view. None: it is gone.
    ///
    /// # Errors
    /// When the record or the secrets cannot be read.
    pub async fn of_entry(&self, entry: &Entry) -> Result<Option<BmcAccess>, StoreError> {
        let version = entry.bmc_secrets.as_ref();
        if let Some(known) = version.and_then(|version| self.known(entry.id, version)) {
            return Ok(Some(known));
        }
        match self.store.nodes.load(entry.id).await? {
            Some((node, _)) => Ok(Some(self.of(&node).await?)),
            None => Ok(None),
        }
    }

    fn known(&self, id: NodeId, version: &OpId) -> Option<BmcAccess> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, access) = known.get(&id)?;
        (of == version).then(|| access.clone())
    }
}
