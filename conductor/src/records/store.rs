//! The store as a whole: which buckets and streams there are, what can go wrong with them.
//! `documents` writes records, `beside` what lies beside them; only `drive` has node records written.
use super::beside::Besides;
use super::documents::Records;
use super::keys::Keyring;
use super::node::{mac_claim, name_claim};
use super::stream::{Replicas, ensure, is_refusal, no_stream};
use super::sweep::Sweeper;
use super::{Keep, Kv, KvError};
use crate::secrets::{Broken, MasterKeys};
use async_nats::jetstream;
use async_nats::jetstream::stream::{Config, Stream};
use ironbeat_auth::streams;
use ironbeat_common::id::{Mac, NodeId};
use ironbeat_core::allocation::Allocation;
use ironbeat_core::id::NodeName;
use ironbeat_core::kept::Kept;
use ironbeat_core::node::Node;
use ironbeat_core::rules::Rule;
use ironbeat_core::runbook::Runbook;
use ironbeat_core::template::DeployTemplate;
use ironbeat_core::time::Time;
use std::time::Duration;

/// A leader election takes up to 9 s; a request that waits it out is better than one that fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// Names of buckets and streams, so that several Ironbeats can share a NATS account, and how often each is kept.
#[derive(Clone, Debug)]
pub struct Names {
    pub prefix: String,
    pub nodes: String,
    pub workers: String,
    pub lookups: String,
    pub events: String,
    pub seen: String,
    pub consoles: String,
    pub replicas: Replicas,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            prefix: ironbeat_common::subject::DEFAULT_PREFIX.into(),
            nodes: streams::NODES.into(),
            workers: streams::WORKERS.into(),
            lookups: streams::LOOKUPS.into(),
            events: streams::EVENTS.into(),
            seen: streams::SEEN.into(),
            consoles: streams::CONSOLES.into(),
            replicas: Replicas::AsServersAllow,
        }
    }
}

/// The NATS client's error.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{what}: it was changed by another worker")]
    Conflict { what: String },
    #[error("{what} belongs to {by}")]
    Claimed { what: String, by: String },
    #[error("claim {what}: too many others claim it at the same time")]
    Races { what: String },
    #[error("{what} is full: {why}")]
    Full { what: &'static str, why: String },
    #[error("understand {key}: {why}")]
    Corrupt { key: String, why: String },
    #[error(
        "stream {stream} has {field} {found}, needs {needed}: it was made by something else, or changed by hand"
    )]
    Config {
        stream: String,
        field: &'static str,
        found: String,
        needed: String,
    },
    #[error(
        "stream {stream} has {field} {found}, with which servers write or send messages that no login may, and which Ironbeat \
         never sets: somebody else did. `ironbeat auth strangers` shows what else is foreign in JetStream, and puts it right \
         with --delete"
    )]
    Carries {
        stream: String,
        field: &'static str,
        found: String,
    },
    #[error(
        "bucket {bucket} is not the one that {worker} remembers, which was made {made}: the NATS servers have lost \
         it, or these are other servers. `ironbeat restore` brings back a backup; to begin with an empty one, stop all \
         workers first"
    )]
    Emptied {
        bucket: String,
        worker: String,
        made: Time,
    },
    #[error(transparent)]
    Kv(#[from] KvError),
    #[error("{what}: {source}")]
    Stream { what: String, source: Cause },
    #[error("open {key}: {why}")]
    Sealed { key: String, why: Broken },
    #[error(
        "this worker has no master key, and seals nothing: give it one as docs/conductor.md says, under secrets"
    )]
    NoMasterKey,
    /// The record names it, and it is not there.
    #[error("{key} is missing, though the record of node {node} names it")]
    Missing { key: String, node: NodeId },
}

impl StoreError {
    /// Other workers can open it: they have another master key.
    pub fn is_foreign(&self) -> bool {
        matches!(
            self,
            Self::Sealed {
                why: Broken::OtherMaster { .. },
                ..
            }
        )
    }

    /// The servers have no such stream.
    pub(super) fn no_stream(&self) -> bool {
        let StoreError::Kv(KvError::Read { source, .. } | KvError::Follow { source, .. }) = self
        else {
            return false;
        };
        no_stream(source)
    }

    /// Whether the same may succeed in a moment: the servers elect a leader, or do not answer.
    pub fn may_pass(&self) -> bool {
        match self {
            StoreError::Kv(KvError::Read { source, .. }) | StoreError::Stream { source, .. } => {
                !is_refusal(source)
            }
            StoreError::Kv(KvError::Refused { .. })
            | StoreError::Conflict { .. }
            | StoreError::Claimed { .. }
            | StoreError::Races { .. }
            | StoreError::Full { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Config { .. }
            | StoreError::Carries { .. }
            | StoreError::Emptied { .. }
            | StoreError::Sealed { .. }
            | StoreError::NoMasterKey
            | StoreError::Missing { .. } => false,
            StoreError::Kv(_) => true,
        }
    }
}

/// Everything that NATS keeps for all workers: the records, what lies beside them, and the way to the other streams.
#[derive(Clone)]
pub struct Store {
    pub(crate) js: jetstream::Context,
    pub(crate) names: Names,
    pub nodes: Records<Node>,
    pub allocations: Records<Allocation>,
    pub runbooks: Records<Kept<Runbook>>,
    pub templates: Records<Kept<DeployTemplate>>,
    pub rules: Records<Rule>,
    pub beside: Besides,
    pub keys: Keyring,
    pub(super) sweeper: Sweeper,
}

impl Store {
    /// Opens the bucket, making it if it is not there. `masters` open the secrets in it.
    ///
    /// # Errors
    /// When NATS does not answer, or the bucket that is there is another kind of bucket.
    pub async fn open(
        client: async_nats::Client,
        names: &Names,
        masters: &MasterKeys,
    ) -> Result<Self, StoreError> {
        Self::open_patiently(client, names, masters, PATIENCE).await
    }

    pub(crate) async fn open_patiently(
        client: async_nats::Client,
        names: &Names,
        masters: &MasterKeys,
        patience: Duration,
    ) -> Result<Self, StoreError> {
        let mut js = jetstream::new(client);
        js.set_timeout(patience);
        let bucket = Kv::open(&js, &names.nodes, Keep::RECORDS, names.replicas).await?;
        let nodes = Records::new(bucket.clone());
        let keys = Keyring::new(bucket.clone(), masters);
        Ok(Self {
            sweeper: Sweeper::start(nodes.clone()),
            nodes,
            allocations: Records::new(bucket.clone()),
            runbooks: Records::new(bucket.clone()),
            templates: Records::new(bucket.clone()),
            rules: Records::new(bucket.clone()),
            beside: Besides::new(bucket.clone(), keys.clone()),
            keys,
            js,
            names: names.clone(),
        })
    }

    /// Opens another bucket, as [`Kv::open`].
    pub(crate) async fn bucket(&self, name: &str, keep: Keep) -> Result<Kv, StoreError> {
        Kv::open(&self.js, name, keep, self.names.replicas).await
    }

    /// Opens a stream, as [`ensure`].
    pub(crate) async fn stream(&self, wanted: Config) -> Result<Stream, StoreError> {
        ensure(&self.js, wanted, self.names.replicas).await
    }

    /// The node that this NIC belongs to, as the leader knows it.
    ///
    /// # Errors
    /// When the store is away, or holds something under the node's key that is no record this worker understands.
    pub async fn of_mac(&self, mac: Mac) -> Result<Option<Node>, StoreError> {
        self.nodes.holder_of(&mac_claim(&mac)).await
    }

    /// The node that has this name, as the leader knows it.
    ///
    /// # Errors
    /// When the store is away, or holds something under the node's key that is no record this worker understands.
    pub async fn named(&self, name: &NodeName) -> Result<Option<NodeId>, StoreError> {
        let node = self.nodes.holder_of(&name_claim(name)).await?;
        Ok(node.map(|node| node.id))
    }
}
