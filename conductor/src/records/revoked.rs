//! Logins that are ended before their time: one document, of which the NATS servers are told.
//! `ironbeat-auth` makes of it what servers read; `loops/revoke` hands it to them.
use super::kv::{Kv, KvError};
use super::{Store, StoreError};
use crate::clock;
use ironbeat_auth::revoke::{FOR_GOOD, MAX_REVOKED, Revoked, bound};
use std::time::Duration;
use tokio::sync::watch;

/// In the bucket of the records.
const KEY: &str = "revoked";
/// Races lost in a row: a rack that is deployed at once retires a boot of each node in the same seconds.
const MAX_RACES: u32 = 64;
/// A worker that waits for the push waits so long.
const PUSHED: Duration = Duration::from_secs(10);
/// Other workers hear here that the list has changed.
const CHANGED: &str = "worker.revoked";

/// The way to end logins, for whoever retires a boot or a person.
#[derive(Clone)]
pub struct Revocations {
    kv: Kv,
    client: async_nats::Client,
    prefix: String,
    /// How often the list was changed here, and up to which change the servers know it.
    asked: watch::Sender<u64>,
    pushed: watch::Sender<u64>,
}

impl Revocations {
    pub fn new(store: &Store, client: async_nats::Client, prefix: &str) -> Self {
        Self {
            kv: store.nodes.kv.clone(),
            client,
            prefix: prefix.into(),
            asked: watch::Sender::new(0),
            pushed: watch::Sender::new(0),
        }
    }

    pub fn changed(prefix: &str) -> String {
        format!("{prefix}.{CHANGED}")
    }

    /// Ends logins by their public keys, each with the second since 1970 at which its last token ends by itself, if it does.
    /// The servers are told within a second or so by a worker that may; returns how many logins are ended so.
    ///
    /// # Errors
    /// When the list cannot be written: nothing has ended then.
    pub async fn revoke(&self, logins: &[(String, Option<i64>)]) -> Result<usize, StoreError> {
        let all = self.add(logins, now()).await?;
        self.asked.send_modify(|asked| *asked += 1);
        let subject = Self::changed(&self.prefix);
        if let Err(error) = self.client.publish(subject, bytes::Bytes::new()).await {
            tracing::warn!("tell other workers of a revocation: {error}");
        }
        Ok(all.len())
    }

    /// Whether this worker has told the servers of all that was revoked here until now.
    pub async fn is_pushed(&self) -> bool {
        let asked = *self.asked.borrow();
        let mut pushed = self.pushed.subscribe();
        let done = pushed.wait_for(|pushed| *pushed >= asked);
        tokio::time::timeout(PUSHED, done)
            .await
            .is_ok_and(|done| done.is_ok())
    }

    /// Grows with each list that was changed here.
    pub fn asked(&self) -> watch::Receiver<u64> {
        self.asked.subscribe()
    }

    /// The servers know the list up to this change.
    pub fn pushed(&self, up_to: u64) {
        self.pushed.send_replace(up_to);
    }

    /// # Errors
    /// When the store is away.
    pub async fn all(&self) -> Result<Revoked, StoreError> {
        Ok(self.read().await?.0)
    }

    async fn read(&self) -> Result<(Revoked, u64), StoreError> {
        let (value, at) = self.kv.read(KEY).await?;
        let Some(value) = value else {
            return Ok((Revoked::new(), at));
        };
        let corrupt = |error: serde_json::Error| StoreError::Corrupt {
            key: KEY.into(),
            why: error.to_string(),
        };
        Ok((serde_json::from_slice(&value).map_err(corrupt)?, at))
    }

    /// Adds logins, and drops those whose tokens have ended. Returns the list.
    ///
    /// # Errors
    /// When the store is away.
    async fn add(&self, logins: &[(String, Option<i64>)], now: i64) -> Result<Revoked, StoreError> {
        for _ in 0..MAX_RACES {
            let (mut all, at) = self.read().await?;
            let before = all.clone();
            all.extend(
                logins
                    .iter()
                    .map(|(key, until)| (key.clone(), until.unwrap_or(FOR_GOOD))),
            );
            for key in bound(&mut all, now) {
                tracing::warn!(
                    key,
                    "more than {MAX_REVOKED} logins are revoked: this one ends by itself"
                );
            }
            if all == before {
                return Ok(all);
            }
            let value = serde_json::to_vec(&all).expect("it is JSON");
            match self.kv.write(KEY, value, at).await {
                Ok(_) => return Ok(all),
                Err(KvError::Conflict { .. } | KvError::Unclear { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Races { what: KEY.into() })
    }
}

/// By the servers' clock, as tokens have it.
pub fn now() -> i64 {
    clock::now().unix_ms() as i64 / 1000
}
