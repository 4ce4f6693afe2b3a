//! Which workers keep a dnsmasq, and how it is: one document, for all to read when a machine does not come.
//! It outlives its workers: a dead host's dnsmasq has nobody else to tell of it. `netboot::stage` writes it.
use super::kv::{Kv, KvError};
use super::{Store, StoreError};
use ironbeat_core::id::WorkerId;
use ironbeat_core::time::Time;
use ironbeat_ops::reply::WorkerInfo;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// In the bucket of the records.
const KEY: &str = "dhcp";
/// Races lost in a row: workers with a dnsmasq are few, and write when something has changed.
const MAX_RACES: u32 = 16;

#[derive(Clone)]
pub struct Dhcp(Kv);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// The worker beside it, as it was when it wrote this.
    pub info: WorkerInfo,
    pub host: String,
    /// Why machines may get no address, or an old rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// By worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Servers(BTreeMap<WorkerId, Server>);

impl Dhcp {
    pub fn new(store: &Store) -> Self {
        Self(store.nodes.kv.clone())
    }

    /// # Errors
    /// When the store is away.
    pub async fn all(&self) -> Result<Servers, StoreError> {
        Ok(self.read().await?.0)
    }

    async fn read(&self) -> Result<(Servers, u64), StoreError> {
        let (value, at) = self.0.read(KEY).await?;
        let Some(value) = value else {
            return Ok((Servers::default(), at));
        };
        let corrupt = |error: serde_json::Error| StoreError::Corrupt {
            key: KEY.into(),
            why: error.to_string(),
        };
        Ok((serde_json::from_slice(&value).map_err(corrupt)?, at))
    }

    /// Says how the dnsmasq of a worker is; none: it has none any more.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn tell(&self, worker: &WorkerId, server: Option<Server>) -> Result<(), StoreError> {
        for _ in 0..MAX_RACES {
            let (mut servers, at) = self.read().await?;
            let before = servers.clone();
            match server.clone() {
                Some(server) => drop(servers.0.insert(worker.clone(), server)),
                None => drop(servers.0.remove(worker)),
            }
            if servers == before {
                return Ok(());
            }
            let value = serde_json::to_vec(&servers).expect("it is JSON");
            match self.0.write(KEY, value, at).await {
                Ok(_) => return Ok(()),
                Err(KvError::Conflict { .. } | KvError::Unclear { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Races { what: KEY.into() })
    }
}

/// What whoever answers has heard of another worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    Lately,
    /// It has not listened for long enough to tell.
    NotYet,
    /// For so long that the worker is not running; when it was last heard, if ever.
    NotSince(Option<Time>),
}

impl Servers {
    fn trouble(server: &Server, is_live: bool) -> Option<String> {
        match is_live {
            true => server.trouble.clone(),
            false => Some(
                "the worker is not running: nobody keeps its rules, unless another one shares its files"
                    .into(),
            ),
        }
    }

    /// Each worker beside a dnsmasq, with `dnsmasq` saying how that is. Those that do not live are among them, and lack all.
    pub fn workers(&self, heard: &dyn Fn(&WorkerId) -> Heard) -> Vec<WorkerInfo> {
        let worker = |server: &Server| {
            let heard = heard(&server.info.id);
            let is_live = !matches!(heard, Heard::NotSince(_));
            let trouble = Self::trouble(server, is_live);
            let lacks = match heard {
                Heard::Lately => server.info.lacks.clone(),
                Heard::NotYet => vec!["everything, perhaps: it was not heard yet".into()],
                Heard::NotSince(None) => vec!["everything: it is not running".into()],
                Heard::NotSince(Some(at)) => {
                    vec![format!("everything: it is not running, last heard {at}")]
                }
            };
            WorkerInfo {
                dnsmasq: Some(trouble.unwrap_or_else(|| "ok".into())),
                lacks,
                ..server.info.clone()
            }
        };
        self.0.values().map(worker).collect()
    }

    /// Why no machine can be sure of an address and of what it boots; none: some dnsmasq is well, or none is ours.
    pub fn doubt(&self, is_live: &dyn Fn(&WorkerId) -> bool) -> Option<String> {
        let mut all = Vec::new();
        for server in self.0.values() {
            let trouble = Self::trouble(server, is_live(&server.info.id))?;
            let (worker, host) = (&server.info.id, &server.host);
            all.push(format!("dnsmasq of worker {worker} on {host}: {trouble}"));
        }
        (!all.is_empty()).then(|| all.join("; "))
    }
}
