//! Tokens that the operator has signed, by the key that each is about: one document of the bucket.
//! `revoked` has two, and tells the NATS servers of both; what the tokens say is in `ironbeat-auth`.
use super::document::without_values;
use super::kv::{Kv, KvError};
use super::{Store, StoreError};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Tokens by public keys.
pub type Tokens = BTreeMap<String, String>;

/// Races lost in a row: a worker writes its own when it starts.
const MAX_RACES: u32 = 64;

#[derive(Clone)]
pub(super) struct Signed {
    kv: Kv,
    key: &'static str,
}

impl Signed {
    pub fn new(store: &Store, key: &'static str) -> Self {
        let kv = store.nodes.kv.clone();
        Self { kv, key }
    }

    /// # Errors
    /// When the store is away.
    pub async fn all(&self) -> Result<Tokens, StoreError> {
        Ok(self.read().await?.0)
    }

    async fn read(&self) -> Result<(Tokens, u64), StoreError> {
        let (value, at) = self.kv.read(self.key).await?;
        let Some(value) = value else {
            return Ok((Tokens::new(), at));
        };
        let all = serde_json::from_slice::<BTreeMap<String, Value>>(&value);
        let all = all.unwrap_or_else(|error| {
            spoilt(self.key, at, &error);
            BTreeMap::new()
        });
        let token = |(key, token): (String, Value)| Some((key, token.as_str()?.to_string()));
        Ok((all.into_iter().filter_map(token).collect(), at))
    }

    /// Keeps the token of a key; `bound` drops what is of no use, or says that there is no room.
    ///
    /// # Errors
    /// When there is no room, or the store is away.
    pub async fn keep(
        &self,
        key: &str,
        token: &str,
        bound: impl Fn(&mut Tokens) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for _ in 0..MAX_RACES {
            let (mut all, at) = self.read().await?;
            let before = all.clone();
            all.insert(key.into(), token.into());
            bound(&mut all)?;
            if all == before {
                return Ok(());
            }
            let value = serde_json::to_vec(&all).expect("it is JSON");
            match self.kv.write(self.key, value, at).await {
                Ok(_) => return Ok(()),
                Err(KvError::Conflict { .. } | KvError::Unclear { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Races {
            what: self.key.into(),
        })
    }
}

/// Whoever has a worker's login can write what is no list. What it held, the servers know; it is written over when somebody ends next.
pub(super) fn spoilt(key: &str, at: u64, why: &serde_json::Error) {
    static TOLD: AtomicU64 = AtomicU64::new(0);
    if TOLD.swap(at, Ordering::Relaxed) != at {
        let why = without_values(why);
        tracing::warn!(key, "a list that cannot be read is taken for empty: {why}");
    }
}
