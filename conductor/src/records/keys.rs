//! The data keys, wrapped, in one document of the bucket; and sealing and opening with them.
//! `secrets` has the ciphers, `beside` the documents, `rotate` changes the keys.
use super::kv::{Kv, KvError, Revision};
use super::{StoreError, document::without_values, marks};
use crate::secrets::{Broken, DataKey, Envelope, MasterKey, MasterKeys, Wrapped};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use zeroize::Zeroizing;

/// In the bucket of the records.
pub const KEY: &str = "keys";
/// Rotations that have not come to their end; each leaves one key more.
const MAX_KEYS: usize = 32;
/// Workers that start at the same moment, or a rotation, may be faster.
const TRIES: u32 = 20;

/// All data keys in one document, so that one compare-and-swap makes another one current: at no moment is there a current
/// key that is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// Which of them seals.
    pub current: String,
    pub data: BTreeMap<String, Wrapped>,
    /// The public key that secrets are sealed to on their way to a worker.
    pub sealing: String,
    /// By public key: this one, and the one before, for what is on its way.
    pub seals: BTreeMap<String, Wrapped>,
}

/// The data keys as one worker knows them.
#[derive(Clone)]
pub struct Keyring {
    kv: Kv,
    masters: Arc<MasterKeys>,
    known: Arc<Mutex<Known>>,
    warned: Arc<AtomicBool>,
}

#[derive(Default)]
struct Known {
    current: Option<String>,
    opened: BTreeMap<String, Arc<DataKey>>,
}

fn broken(key: &str, why: Broken) -> StoreError {
    StoreError::Sealed {
        key: key.into(),
        why,
    }
}

impl Keyring {
    pub(super) fn new(kv: Kv, masters: &MasterKeys) -> Self {
        Self {
            kv,
            masters: Arc::new(masters.clone()),
            known: Arc::default(),
            warned: Arc::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn masters(&self) -> &MasterKeys {
        &self.masters
    }

    /// Looks whether this worker can open what is sealed in the bucket. The first worker makes the first data key.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn ready(&self) -> Result<(), StoreError> {
        match self.masters.first() {
            Some(_) => self.current().await.map(drop),
            None => self.unused().await,
        }
    }

    /// Of a worker that seals nothing: that nobody does.
    async fn unused(&self) -> Result<(), StoreError> {
        match self.load().await?.0 {
            None => Ok(()),
            Some(keys) => self.open_key(&keys, &keys.current).map(drop),
        }
    }

    /// The leader's.
    pub(super) async fn load(&self) -> Result<(Option<Keys>, Revision), StoreError> {
        let (value, at) = self.kv.read(KEY).await?;
        let read = value.map(|value| serde_json::from_slice(&value));
        let keys = read.transpose().map_err(|error| StoreError::Corrupt {
            key: KEY.into(),
            why: without_values(&error),
        })?;
        Ok((keys, at))
    }

    pub(super) async fn save(&self, keys: &Keys, at: Revision) -> Result<Revision, KvError> {
        let value = serde_json::to_vec(keys).expect("it is JSON");
        self.kv.write(KEY, value, at).await
    }

    pub(super) fn open_key(&self, keys: &Keys, id: &str) -> Result<Arc<DataKey>, StoreError> {
        if let Some(key) = self.known().opened.get(id) {
            return Ok(Arc::clone(key));
        }
        let wrapped = keys.data.get(id).or_else(|| keys.seals.get(id));
        let wrapped = wrapped.ok_or_else(|| broken(KEY, Broken::NoKey(id.into())))?;
        let key = DataKey::unwrap(id, wrapped, &self.masters);
        let key = Arc::new(key.map_err(|why| broken(KEY, why))?);
        let mut known = self.known();
        if known.opened.len() >= MAX_KEYS {
            known.opened.clear();
        }
        known.opened.insert(id.into(), Arc::clone(&key));
        Ok(key)
    }

    /// The key that seals now, as the leader has it; there is one from now on.
    async fn current(&self) -> Result<Arc<DataKey>, StoreError> {
        let master = self.masters.first();
        let master = master.expect("those without a master key seal nothing");
        for _ in 0..TRIES {
            let (keys, at) = self.load().await?;
            let keys = match keys {
                Some(keys) => keys,
                // Whoever took them away took all secrets with them, unless they come back: another key would seal that.
                None if self.known().current.is_some() => {
                    let known = self.known().current.clone().unwrap_or_default();
                    return Err(broken(KEY, Broken::NoKey(known)));
                }
                None => match self.make(master, at).await {
                    Ok(keys) => keys,
                    Err(KvError::Conflict { .. }) => continue,
                    Err(error) => return Err(error.into()),
                },
            };
            let key = self.open_key(&keys, &keys.current)?;
            self.known().current = Some(keys.current);
            return Ok(key);
        }
        Err(StoreError::Races {
            what: "the first data key".into(),
        })
    }

    async fn make(&self, master: &MasterKey, at: Revision) -> Result<Keys, KvError> {
        let (key, seal) = (DataKey::generate(), DataKey::sealing());
        let keys = Keys {
            current: key.id.clone(),
            data: BTreeMap::from([(key.id.clone(), key.wrap(master))]),
            sealing: seal.id.clone(),
            seals: BTreeMap::from([(seal.id.clone(), seal.wrap(master))]),
        };
        self.save(&keys, at).await?;
        tracing::info!(key = key.id, ?master, "the first data key is made");
        Ok(keys)
    }

    pub(super) fn forget_opened(&self, ids: &[String]) {
        self.known().opened.retain(|id, _| !ids.contains(id));
    }

    /// Whether this worker has keys at all.
    pub fn seals(&self) -> bool {
        self.masters.first().is_some()
    }

    /// The public key that secrets are sealed to.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn seal_key(&self) -> Result<Option<String>, StoreError> {
        if !self.seals() {
            return Ok(None);
        }
        self.current().await?;
        Ok(self.load().await?.0.map(|keys| keys.sealing))
    }

    /// The private half of a public key; none: it is not one of ours.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn sealing(&self, public: &str) -> Result<Option<Arc<DataKey>>, StoreError> {
        if let Some(key) = self.known().opened.get(public) {
            return Ok(Some(Arc::clone(key)));
        }
        match self.load().await?.0 {
            Some(keys) if keys.seals.contains_key(public) => self.open_key(&keys, public).map(Some),
            Some(_) | None => Ok(None),
        }
    }

    /// A key that this worker has met: the current one, unless another was made current since.
    async fn probably_current(&self) -> Result<Arc<DataKey>, StoreError> {
        let known = {
            let known = self.known();
            let current = known.current.as_ref();
            current.and_then(|id| known.opened.get(id).cloned())
        };
        match known {
            Some(key) => Ok(key),
            None => self.current().await,
        }
    }

    /// Puts `json` under `at`, sealed, whatever lay there, and returns when the key that seals it was current after that.
    /// So whoever makes another key current, and then looks for what the old one has sealed, finds it all; see `rotate`.
    pub(super) async fn put(
        &self,
        at: &str,
        json: Zeroizing<Vec<u8>>,
    ) -> Result<Revision, StoreError> {
        if self.masters.first().is_none() {
            self.unused().await?;
            return put_over(&self.kv, at, json.to_vec(), None).await;
        }
        let mut key = self.probably_current().await?;
        for _ in 0..TRIES {
            let entry = marks::entry(&key, at, &json);
            let sealed = key.seal(at, json.clone()).to_json();
            let revision = put_over(&self.kv, at, sealed, entry.as_deref()).await?;
            let now = self.current().await?;
            if now.id == key.id {
                return Ok(revision);
            }
            key = now;
        }
        Err(StoreError::Races {
            what: format!("seal {at}"),
        })
    }

    /// What lies under `at`, in the clear.
    ///
    /// # Errors
    /// When it does not open, or the store is away.
    pub(super) async fn open(
        &self,
        at: &str,
        stored: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let envelope = Envelope::read(stored).map_err(|why| broken(at, why))?;
        let Some(envelope) = envelope else {
            if self.masters.first().is_some() && !self.warned.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    key = at,
                    "a secret lies in the clear, from before secrets were encrypted, and others may: run `ironbeat auth rotate-key`"
                );
            }
            return Ok(Zeroizing::new(stored.to_vec()));
        };
        let known = self.known().opened.get(&envelope.key).cloned();
        let key = match known {
            Some(key) => key,
            None => {
                let none = || broken(at, Broken::NoKey(envelope.key.clone()));
                let keys = self.load().await?.0.ok_or_else(none)?;
                self.open_key(&keys, &envelope.key)?
            }
        };
        key.open(at, &envelope).map_err(|why| broken(at, why))
    }
}

/// Writes whatever was there. By compare-and-swap all the same: should an earlier attempt still be on its way, it does not
/// land on top of this one.
async fn put_over(
    kv: &Kv,
    key: &str,
    value: Vec<u8>,
    entry: Option<&str>,
) -> Result<Revision, StoreError> {
    for _ in 0..TRIES {
        let written = match kv.write_entry(key, value.clone(), entry, 0).await {
            Err(KvError::Conflict { .. }) => {
                let (_, at) = kv.read(key).await?;
                kv.write_entry(key, value.clone(), entry, at).await
            }
            written => written,
        };
        match written {
            Err(KvError::Conflict { .. }) => {}
            written => return Ok(written?),
        }
    }
    Err(StoreError::Races {
        what: format!("put {key}"),
    })
}
