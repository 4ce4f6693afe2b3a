//! Another data key: it becomes current, all secrets are sealed anew with it, and the old keys go. All runs meanwhile.
//! `keys` seals and opens; whoever is killed in the middle of this loses nothing, and begins again.
//!
//! 1. One compare-and-swap of the document of all keys makes a new key current, wrapped by the first master key, and wraps
//!    the others by it, too.
//! 2. Each document that an old key has sealed, or none, is sealed anew by compare-and-swap at its own revision. Its list is
//!    the leader's and was made after step 1. Whoever put a document before that finds it in the list; whoever puts one later
//!    looks at the current key afterwards, and seals with that before any record names the document (`Keyring::put`).
//! 3. The old keys that no document needs go from the document of all keys.
//!
//! Two rotations at once: neither touches what a key has sealed that was not old when it began.
use super::beside::is_secret;
use super::keys::{KEY, Keyring};
use super::kv::{Kv, KvError};
use super::{Store, StoreError, marks};
use crate::secrets::{Broken, DataKey, Envelope};
use futures_util::{StreamExt, stream};
use ironbeat_core::node::BesideKind;
use std::collections::BTreeSet;

/// Another worker's rotation, or its first key.
const TRIES: u32 = 20;
/// Documents that are sealed anew at once. More would only wait at the server.
const AT_ONCE: usize = 16;

/// Documents that no key opens are named up to here, in the log and in the reply.
pub const MAX_NAMED: usize = 100;

/// What was done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rotated {
    /// The data key that seals from now on.
    pub key: String,
    /// The master key that wraps it.
    pub master: String,
    pub sealed: u64,
    /// Data keys that are no more.
    pub dropped: Vec<String>,
    /// Keys of documents that no key opens. They are as they were, and so is the data key that they name.
    pub unreadable: Vec<String>,
}

enum Renewed {
    /// It was erased, or another key than an old one has sealed it.
    AsItWas,
    Anew,
    /// The data key that it names, and why it does not open.
    Unreadable(Option<String>, Broken),
}

impl Store {
    /// # Errors
    /// When this worker has no master key, or the store is away. What was done by then is done.
    pub async fn rotate(&self) -> Result<Rotated, StoreError> {
        let (key, master, mut old) = self.keys.advance().await?;
        let mut rotated = Rotated {
            key: key.id.clone(),
            master,
            ..Rotated::default()
        };
        let kv = &self.nodes.kv;
        let mut documents = Vec::new();
        for kind in BesideKind::ALL.into_iter().filter(|kind| is_secret(*kind)) {
            documents.extend(kv.keys(&format!("{}.>", kind.name())).await?);
        }
        let renewing = stream::iter(documents).map(|at| {
            let (key, old) = (&key, &old);
            async move { (renew(kv, &self.keys, key, old, &at).await, at) }
        });
        let mut renewing = renewing.buffer_unordered(AT_ONCE);
        let mut needed = BTreeSet::new();
        while let Some((renewed, at)) = renewing.next().await {
            match renewed? {
                Renewed::AsItWas => {}
                Renewed::Anew => rotated.sealed += 1,
                Renewed::Unreadable(key, why) => {
                    if rotated.unreadable.len() < MAX_NAMED {
                        tracing::warn!(key = at, "it is not sealed anew: {why}");
                    }
                    needed.extend(key);
                    rotated.unreadable.push(at);
                }
            }
        }
        drop(renewing);
        rotated.unreadable.sort();
        old.retain(|key| !needed.contains(key));
        rotated.dropped = self.keys.forget(&old).await?;
        Ok(rotated)
    }
}

async fn renew(
    kv: &Kv,
    keys: &Keyring,
    key: &DataKey,
    old: &BTreeSet<String>,
    at: &str,
) -> Result<Renewed, StoreError> {
    for _ in 0..TRIES {
        let (Some(stored), revision) = kv.read(at).await? else {
            return Ok(Renewed::AsItWas);
        };
        let named = match Envelope::read(&stored) {
            Ok(None) => None,
            Ok(Some(envelope)) if !old.contains(&envelope.key) => return Ok(Renewed::AsItWas),
            Ok(Some(envelope)) => Some(envelope.key),
            Err(_) => return Ok(Renewed::Unreadable(None, Broken::Shape)),
        };
        let json = match keys.open(at, &stored).await {
            Ok(json) => json,
            Err(StoreError::Sealed { why, .. }) => return Ok(Renewed::Unreadable(named, why)),
            Err(error) => return Err(error),
        };
        let entry = marks::entry(key, at, &json);
        let sealed = key.seal(at, json).to_json();
        match kv.write_entry(at, sealed, entry.as_deref(), revision).await {
            Ok(_) => return Ok(Renewed::Anew),
            Err(KvError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::Races {
        what: format!("seal {at} anew"),
    })
}

impl Keyring {
    /// A new data key is current. Returns it, the id of the master key that wraps it, and the keys that are old now.
    async fn advance(&self) -> Result<(DataKey, String, BTreeSet<String>), StoreError> {
        let Some(master) = self.masters().first() else {
            return Err(StoreError::NoMasterKey);
        };
        let (new, seal) = (DataKey::generate(), DataKey::sealing());
        for _ in 0..TRIES {
            self.ready().await?;
            let (Some(mut keys), at) = self.load().await? else {
                continue;
            };
            let old: BTreeSet<String> = keys.data.keys().cloned().collect();
            let sealing = keys.sealing.clone();
            keys.seals.retain(|public, _| *public == sealing);
            let found = keys.clone();
            for (id, wrapped) in keys.data.iter_mut().chain(&mut keys.seals) {
                match self.open_key(&found, id) {
                    Ok(key) => *wrapped = key.wrap(master),
                    // What it has sealed stays as it is, and so does the key.
                    Err(error) => tracing::warn!("{error}"),
                }
            }
            keys.seals.insert(seal.id.clone(), seal.wrap(master));
            keys.sealing = seal.id.clone();
            keys.current = new.id.clone();
            keys.data.insert(new.id.clone(), new.wrap(master));
            match self.save(&keys, at).await {
                Ok(_) => {}
                Err(KvError::Conflict { .. }) => continue,
                Err(error) => return Err(error.into()),
            }
            tracing::info!(key = new.id, ?master, "another data key is current");
            return Ok((new, master.id().into(), old));
        }
        Err(StoreError::Races {
            what: "make another data key".into(),
        })
    }

    /// Drops those of the keys that are there; returns them.
    async fn forget(&self, old: &BTreeSet<String>) -> Result<Vec<String>, StoreError> {
        for _ in 0..TRIES {
            let (Some(mut keys), at) = self.load().await? else {
                break;
            };
            let mut dropped = Vec::new();
            for id in old.iter().filter(|id| **id != keys.current) {
                if keys.data.remove(id).is_some() {
                    dropped.push(id.clone());
                }
            }
            if dropped.is_empty() {
                return Ok(dropped);
            }
            match self.save(&keys, at).await {
                Ok(_) => {
                    self.forget_opened(&dropped);
                    return Ok(dropped);
                }
                Err(KvError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Races {
            what: format!("drop old keys from {KEY}"),
        })
    }
}
