//! Signing keys that the operator has granted the account since it was made: one document, of which the NATS servers are told.
//! `ironbeat-auth` says what a grant is; `revoked` has those that were ended, and tells of both.
use super::kv::{Kv, KvError};
use super::{Store, StoreError};
use ironbeat_auth::grant::{Grants as All, MAX_GRANTS};
use ironbeat_auth::revoke::Revoked;

/// In the bucket of the records.
const KEY: &str = "grants";
/// Races lost in a row: a worker writes its own when it starts.
const MAX_RACES: u32 = 64;

#[derive(Clone)]
pub(super) struct Grants(Kv);

impl Grants {
    pub fn new(store: &Store) -> Self {
        Self(store.nodes.kv.clone())
    }

    /// # Errors
    /// When the store is away.
    pub async fn all(&self) -> Result<All, StoreError> {
        Ok(self.read().await?.0)
    }

    async fn read(&self) -> Result<(All, u64), StoreError> {
        let (value, at) = self.0.read(KEY).await?;
        let Some(value) = value else {
            return Ok((All::new(), at));
        };
        let corrupt = |error: serde_json::Error| StoreError::Corrupt {
            key: KEY.into(),
            why: error.to_string(),
        };
        Ok((serde_json::from_slice(&value).map_err(corrupt)?, at))
    }

    /// Keeps the grant of a key; those of keys that are revoked go.
    ///
    /// # Errors
    /// When there is no room, or the store is away.
    pub async fn keep(&self, key: &str, grant: &str, revoked: &Revoked) -> Result<(), StoreError> {
        for _ in 0..MAX_RACES {
            let (mut all, at) = self.read().await?;
            let before = all.clone();
            all.insert(key.into(), grant.into());
            all.retain(|key, _| !revoked.contains_key(key));
            if all.len() > MAX_GRANTS {
                return Err(StoreError::Full {
                    what: "the list of signing keys",
                    why: format!("there is room for {MAX_GRANTS}: revoke workers that are no more"),
                });
            }
            if all == before {
                return Ok(());
            }
            let value = serde_json::to_vec(&all).expect("it is JSON");
            match self.0.write(KEY, value, at).await {
                Ok(_) => return Ok(()),
                Err(KvError::Conflict { .. } | KvError::Unclear { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Races { what: KEY.into() })
    }
}
