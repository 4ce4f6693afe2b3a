//! How to log in to each BMC: a node's endpoint and the secrets beside its record, put together when they are needed.
//! What is remembered of the secrets is as it lies in the store, sealed. A version never changes, so it is right for as long
//! as a record names that version.
use super::{Store, StoreError};
use bytes::Bytes;
use ironbeat_common::id::NodeId;
use ironbeat_core::id::OpId;
use ironbeat_core::index::Entry;
use ironbeat_core::node::{BmcAccess, BmcAddress, BmcEndpoint, BmcSecrets, Candidate, Node};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// More than any fleet has. When they are reached, all are read again.
const MAX_REMEMBERED: usize = 1 << 18;

/// How to log in to a node's BMC, with each password that it may have.
#[derive(Clone, Debug, PartialEq)]
pub struct BmcLogin {
    pub node: NodeId,
    /// Of the secrets. None: the record names none.
    pub version: Option<OpId>,
    pub endpoint: BmcEndpoint,
    pub secrets: BmcSecrets,
}

impl BmcLogin {
    pub fn address(&self) -> &BmcAddress {
        self.endpoint.address()
    }

    /// With the password that the record takes for right.
    pub fn present(&self) -> BmcAccess {
        self.endpoint.clone().with(self.secrets.clone())
    }

    /// With another that the BMC may have; none: there is no such password.
    pub fn with(&self, candidate: Candidate) -> Option<BmcAccess> {
        let password = self.secrets.candidate(candidate)?;
        let kg = self.secrets.kg.clone();
        Some(self.endpoint.clone().with(BmcSecrets {
            password,
            kg,
            next: None,
        }))
    }
}

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
    pub async fn of(&self, node: &Node) -> Result<BmcLogin, StoreError> {
        let Some(version) = node.beside.bmc_secrets.as_ref() else {
            return Ok(BmcLogin {
                node: node.id,
                version: None,
                endpoint: node.bmc.clone(),
                secrets: BmcSecrets::none(),
            });
        };
        if let Some(login) = self.known(node.id, version).await {
            return Ok(login);
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
        Ok(BmcLogin {
            node: node.id,
            version: Some(version.clone()),
            endpoint: node.bmc.clone(),
            secrets,
        })
    }

    /// As [`Logins::of`], for those who know the node from the view. None: it is gone.
    ///
    /// # Errors
    /// When the record or the secrets cannot be read.
    pub async fn of_entry(&self, entry: &Entry) -> Result<Option<BmcLogin>, StoreError> {
        if let Some(version) = &entry.bmc_secrets
            && let Some(login) = self.known(entry.id, version).await
        {
            return Ok(Some(login));
        }
        match self.store.nodes.load(entry.id).await? {
            Some((node, _)) => Ok(Some(self.of(&node).await?)),
            None => Ok(None),
        }
    }

    /// None, too, when it is sealed with a key that is no more: then it was sealed anew.
    async fn known(&self, id: NodeId, version: &OpId) -> Option<BmcLogin> {
        let known = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.get(&id).filter(|it| it.version == *version)?.clone()
        };
        let beside = &self.store.beside;
        let secrets = beside.open_bmc_secrets(id, version, &known.sealed).await;
        Some(BmcLogin {
            node: id,
            version: Some(version.clone()),
            endpoint: known.endpoint,
            secrets: secrets.ok()?,
        })
    }
}
