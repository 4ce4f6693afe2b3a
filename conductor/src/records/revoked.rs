//! Logins that are ended before their time: one document, of which the NATS servers are told. So they are of `grants`.
//! `ironbeat-auth` makes of it what servers read; `loops/revoke` hands it to them.
use super::grants::Grants;
use super::kv::{Kv, KvError};
use super::{Store, StoreError};
use crate::clock;
use ironbeat_auth::grant::Grants as AllGrants;
use ironbeat_auth::revoke::{
    FOR_GOOD, Forgotten, List, MAX_REVOKED, SHORTEST_BY_HAND_SECS, bound, by_hand,
};
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

/// The way to end logins, for whoever retires a boot or a person; and to have the account sign with another key.
#[derive(Clone)]
pub struct Revocations {
    kv: Kv,
    grants: Grants,
    client: async_nats::Client,
    prefix: String,
    /// How often the list was changed here, and up to which change the servers know it.
    asked: watch::Sender<u64>,
    pushed: watch::Sender<Pushed>,
}

#[derive(Clone, Default)]
struct Pushed {
    up_to: u64,
    /// Why it failed, and up to which change.
    failed: Option<(u64, String)>,
}

impl Revocations {
    pub fn new(store: &Store, client: async_nats::Client, prefix: &str) -> Self {
        Self {
            kv: store.nodes.kv.clone(),
            grants: Grants::new(store),
            client,
            prefix: prefix.into(),
            asked: watch::Sender::new(0),
            pushed: watch::Sender::default(),
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
        let change = |list: &mut List| {
            for (key, until) in logins {
                list.end(key, until.unwrap_or(FOR_GOOD));
            }
            Ok(())
        };
        let list = self.change(change, now()).await?;
        self.tell().await;
        Ok(list.revoked.len())
    }

    /// The same of one login or signing key, by the operator's order, which may have others forgotten.
    ///
    /// # Errors
    /// When the list is full, a later order has had others forgotten, or the list cannot be written: nothing has ended then.
    pub async fn revoke_by_hand(
        &self,
        key: &str,
        until: Option<i64>,
        forgotten: Option<&Forgotten>,
    ) -> Result<usize, StoreError> {
        let now = now();
        let until = until.map_or(FOR_GOOD, |until| until.max(now + SHORTEST_BY_HAND_SECS));
        let change = |list: &mut List| {
            if let Some(forgotten) = forgotten {
                list.forget(forgotten, now)?;
            }
            let is_new = !list.revoked.contains_key(key);
            list.end(key, until);
            let count = by_hand(&list.revoked, now);
            if is_new && count > MAX_REVOKED {
                let why = format!(
                    "{} logins were ended by hand, and there is room for {MAX_REVOKED}. `ironbeat auth user revoke NAME \
                     --forget-others` ends this one and forgets those that are none of its people and workers",
                    count - 1
                );
                return Err(StoreError::Full {
                    what: "the list of ended logins",
                    why,
                });
            }
            Ok(())
        };
        let list = self.change(change, now).await?;
        self.tell().await;
        Ok(list.revoked.len())
    }

    /// The account is to have this signing key, by its grant, unless it was revoked. The servers are told as of a revocation.
    ///
    /// # Errors
    /// When there is no room, or the store is away: nothing has changed then.
    pub async fn grant(&self, key: &str, grant: &str) -> Result<(), StoreError> {
        let revoked = self.list().await?.revoked;
        self.grants.keep(key, grant, &revoked).await?;
        self.tell().await;
        Ok(())
    }

    /// All that were granted.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn grants(&self) -> Result<AllGrants, StoreError> {
        self.grants.all().await
    }

    async fn tell(&self) {
        self.asked.send_modify(|asked| *asked += 1);
        let subject = Self::changed(&self.prefix);
        if let Err(error) = self.client.publish(subject, bytes::Bytes::new()).await {
            tracing::warn!("tell other workers of a revocation: {error}");
        }
    }

    /// Waits until this worker has told the servers of all that was revoked here until now.
    ///
    /// # Errors
    /// Why it has not.
    pub async fn pushed(&self) -> Result<(), String> {
        let asked = *self.asked.borrow();
        let mut pushed = self.pushed.subscribe();
        let failed = |pushed: &Pushed| {
            let (at, why) = pushed.failed.clone()?;
            (at >= asked).then_some(why)
        };
        let done = pushed.wait_for(|pushed| pushed.up_to >= asked || failed(pushed).is_some());
        match tokio::time::timeout(PUSHED, done).await {
            Ok(Ok(pushed)) if pushed.up_to >= asked => Ok(()),
            Ok(Ok(pushed)) => Err(failed(&pushed).unwrap_or_default()),
            Ok(Err(_)) => Err("the worker stops".into()),
            Err(_) => Err(format!("the NATS servers have not answered for {PUSHED:?}")),
        }
    }

    /// Grows with each list that was changed here.
    pub fn asked(&self) -> watch::Receiver<u64> {
        self.asked.subscribe()
    }

    /// The servers know the list up to this change, or why they do not.
    pub fn told(&self, up_to: u64, told: Result<(), String>) {
        self.pushed.send_modify(|pushed| match told {
            Ok(()) => {
                *pushed = Pushed {
                    up_to,
                    failed: None,
                }
            }
            Err(why) => pushed.failed = Some((up_to, why)),
        });
    }

    /// # Errors
    /// When the store is away.
    pub async fn list(&self) -> Result<List, StoreError> {
        Ok(self.read().await?.0)
    }

    async fn read(&self) -> Result<(List, u64), StoreError> {
        let (value, at) = self.kv.read(KEY).await?;
        let Some(value) = value else {
            return Ok((List::default(), at));
        };
        let corrupt = |error: serde_json::Error| StoreError::Corrupt {
            key: KEY.into(),
            why: error.to_string(),
        };
        Ok((serde_json::from_slice(&value).map_err(corrupt)?, at))
    }

    /// Changes the list, and drops those whose tokens have ended. Returns it.
    ///
    /// # Errors
    /// When the change is none, or the store is away.
    async fn change(
        &self,
        change: impl Fn(&mut List) -> Result<(), StoreError>,
        now: i64,
    ) -> Result<List, StoreError> {
        for _ in 0..MAX_RACES {
            let (mut list, at) = self.read().await?;
            let before = list.clone();
            change(&mut list)?;
            for key in bound(&mut list.revoked, now) {
                tracing::warn!(
                    key,
                    "more than {MAX_REVOKED} logins are revoked: this one ends by itself"
                );
            }
            if list == before {
                return Ok(list);
            }
            let value = serde_json::to_vec(&list).expect("it is JSON");
            match self.kv.write(KEY, value, at).await {
                Ok(_) => return Ok(list),
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
