//! Logins that are ended before their time: agents' by their workers, all others by the operator's order. The NATS servers are
//! told of both, and of the grants of signing keys. `ironbeat-auth` makes of it what servers read; `loops/revoke` hands it to them.
use super::kv::{Kv, KvError};
use super::signed::{Signed, Tokens, spoilt};
use super::{Store, StoreError};
use crate::clock;
use ironbeat_auth::grant::{Grant, MAX_GRANTS};
use ironbeat_auth::revoke::{MAX_REVOKED, Revoked, bound, end};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;

/// In the bucket of the records: agents.
const KEY: &str = "revoked";
/// The same, of all others.
const ORDERS: &str = "orders";
/// The same.
const GRANTS: &str = "grants";
/// Orders that are kept, some 600 bytes each; those that were signed last. The account keeps what they ended.
const MAX_ORDERS: usize = 500;
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
    grants: Signed,
    orders: Signed,
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
            grants: Signed::new(store, GRANTS),
            orders: Signed::new(store, ORDERS),
            client,
            prefix: prefix.into(),
            asked: watch::Sender::new(0),
            pushed: watch::Sender::default(),
        }
    }

    pub fn changed(prefix: &str) -> String {
        format!("{prefix}.{CHANGED}")
    }

    /// Ends agents' logins by their public keys, each with the second since 1970 at which its last token ends by itself.
    /// The servers are told within a second or so by a worker that may.
    ///
    /// # Errors
    /// When the list cannot be written: nothing has ended then.
    pub async fn revoke(&self, logins: &[(String, i64)]) -> Result<(), StoreError> {
        self.change(logins, now()).await?;
        self.tell().await;
        Ok(())
    }

    /// Keeps the operator's order by which a login, or a signing key, ends. `at`: when an order was signed, of those that may be
    /// kept.
    ///
    /// # Errors
    /// When the list cannot be written.
    pub async fn order(
        &self,
        key: &str,
        order: &str,
        at: impl Fn(&str) -> Option<i64>,
    ) -> Result<(), StoreError> {
        let newest = |orders: &mut Tokens| {
            orders.retain(|_, order| at(order).is_some());
            while orders.len() > MAX_ORDERS {
                let oldest = orders.iter().min_by_key(|(_, order)| at(order));
                let oldest = oldest.map(|(key, _)| key.clone());
                oldest.map(|key| orders.remove(&key));
            }
            Ok(())
        };
        self.orders.keep(key, order, newest).await?;
        self.tell().await;
        Ok(())
    }

    /// The account is to have this signing key, by its grant, unless it was revoked. The servers are told as of a revocation.
    ///
    /// # Errors
    /// When there is no room, or the store is away: nothing has changed then.
    pub async fn grant(&self, key: &str, grant: &str) -> Result<(), StoreError> {
        let orders = self.orders().await?;
        let by = Grant::read(grant).map(|grant| grant.iss).ok();
        // Whoever can write records can put in what is none.
        let is_grant = |token: &str| Grant::read(token).ok().map(|it| it.iss) == by;
        let bounded = |grants: &mut Tokens| {
            grants.retain(|key, token| !orders.contains_key(key) && is_grant(token));
            match grants.len() > MAX_GRANTS {
                true => Err(StoreError::Full {
                    what: "the list of signing keys",
                    why: format!("there is room for {MAX_GRANTS}: revoke workers that are no more"),
                }),
                false => Ok(()),
            }
        };
        self.grants.keep(key, grant, bounded).await?;
        self.tell().await;
        Ok(())
    }

    /// All that were granted.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn grants(&self) -> Result<Tokens, StoreError> {
        self.grants.all().await
    }

    /// All that are kept; nobody has looked who signed them.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn orders(&self) -> Result<Tokens, StoreError> {
        self.orders.all().await
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

    /// Agents, as any worker may have written them.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn agents(&self) -> Result<Revoked, StoreError> {
        Ok(self.read().await?.0)
    }

    async fn read(&self) -> Result<(Revoked, u64), StoreError> {
        let (value, at) = self.kv.read(KEY).await?;
        let Some(value) = value else {
            return Ok((Revoked::new(), at));
        };
        let list = parse(&value).unwrap_or_else(|error| {
            spoilt(KEY, at, &error);
            Revoked::new()
        });
        Ok((list, at))
    }

    /// Puts agents on the list, and drops those whose tokens have ended.
    async fn change(&self, logins: &[(String, i64)], now: i64) -> Result<(), StoreError> {
        for _ in 0..MAX_RACES {
            let (mut list, at) = self.read().await?;
            let before = list.clone();
            for (key, until) in logins {
                end(&mut list, key, *until);
            }
            for key in bound(&mut list, now) {
                tracing::warn!(
                    key,
                    "more than {MAX_REVOKED} logins are revoked: this one ends by itself"
                );
            }
            if list == before {
                return Ok(());
            }
            let value = serde_json::to_vec(&list).expect("it is JSON");
            match self.kv.write(KEY, value, at).await {
                Ok(_) => return Ok(()),
                Err(KvError::Conflict { .. } | KvError::Unclear { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Races { what: KEY.into() })
    }
}

/// Lists of before have something else beside the keys.
pub(super) fn parse(value: &[u8]) -> Result<Revoked, serde_json::Error> {
    let all: BTreeMap<String, Value> = serde_json::from_slice(value)?;
    let of_keys = |(key, until): (String, Value)| Some((key, until.as_i64()?));
    Ok(all.into_iter().filter_map(of_keys).collect())
}

/// By the servers' clock, as tokens have it.
pub fn now() -> i64 {
    clock::now().unix_ms() as i64 / 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::tests::{connect, server, store};

    /// As whoever has a worker's login can.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_list_that_was_spoilt_is_empty_and_written_over_when_somebody_ends_next() {
        let server = server();
        let store = store(&server).await;
        let client = connect(&server.url()).await;
        let revocations = Revocations::new(&store, client, "ib.v1");
        for key in [KEY, ORDERS, GRANTS] {
            store.nodes.kv.put(key, b"x".to_vec()).await.unwrap();
        }
        assert_eq!(revocations.agents().await.unwrap(), Revoked::new());
        assert!(revocations.grants().await.unwrap().is_empty());
        let agent = ("U1".to_string(), i64::MAX);
        revocations
            .revoke(std::slice::from_ref(&agent))
            .await
            .unwrap();
        assert_eq!(revocations.agents().await.unwrap(), Revoked::from([agent]));
        revocations
            .order("U2", "signed", |_| Some(1))
            .await
            .unwrap();
        assert!(revocations.orders().await.unwrap().contains_key("U2"));
    }
}
