//! Node records in JetStream: loaded from the leader, written by compare-and-swap, unique by claim keys.
//! What is written is decided in the core; only `reconcile` and `api` (for new and forgotten nodes) call this.
use crate::bucket::{Bucket, BucketError, Keep, Revision};
use async_nats::jetstream::{self, stream::StorageType};
use ironbeat_common::id::NodeId;
use ironbeat_common::node::{Node, SCHEMA};
use std::collections::BTreeSet;
use std::time::Duration;

/// Names of buckets and streams, so that several Ironbeats can share a NATS account.
#[derive(Clone, Debug)]
pub struct Names {
    pub prefix: String,
    pub nodes: String,
    pub workers: String,
    pub knocks: String,
    pub events: String,
    pub seen: String,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            prefix: ironbeat_common::wire::subject::DEFAULT_PREFIX.into(),
            nodes: "ib".into(),
            workers: "ib_workers".into(),
            knocks: "ib_knocks".into(),
            events: "IB_EVENTS".into(),
            seen: "IB_SEEN".into(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("node {node}: it was changed by another worker")]
    Conflict { node: NodeId },
    #[error("{what} belongs to node {by}")]
    Claimed { what: String, by: NodeId },
    #[error("understand {key}: {why}")]
    Corrupt { key: String, why: String },
    #[error(transparent)]
    Bucket(#[from] BucketError),
    #[error("{what}: {why}")]
    Stream { what: String, why: String },
}

#[derive(Clone)]
pub struct Store {
    pub(crate) js: jetstream::Context,
    pub(crate) names: Names,
    pub(crate) nodes: Bucket,
}

fn node_key(id: NodeId) -> String {
    format!("node.{id}")
}

/// What a node has to itself: key in the bucket, and the words for it.
fn claims(node: &Node) -> BTreeSet<(String, String)> {
    let mut claims = BTreeSet::new();
    for mac in &node.macs {
        claims.insert((
            format!("ix.mac.{}", mac.hex()),
            format!("MAC address {mac}"),
        ));
    }
    if let Some(name) = &node.name {
        claims.insert((format!("ix.name.{name}"), format!("the name {name}")));
    }
    let bmc = node.bmc.address();
    // Keys have no colons or brackets; addresses that differ only there do not exist.
    let key: String = bmc
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    claims.insert((format!("ix.bmc.{key}"), format!("BMC {bmc}")));
    claims
}

pub(crate) fn parse(key: &str, value: &[u8]) -> Result<Node, StoreError> {
    let corrupt = |why: String| StoreError::Corrupt {
        key: key.into(),
        why,
    };
    let node: Node = serde_json::from_slice(value).map_err(|error| corrupt(error.to_string()))?;
    match node.schema {
        1..=SCHEMA => Ok(node),
        later => Err(corrupt(format!(
            "schema {later} is later than this worker's {SCHEMA}"
        ))),
    }
}

fn json(node: &Node) -> Vec<u8> {
    serde_json::to_vec(node).expect("a node is JSON: its maps have string keys")
}

impl Store {
    /// Opens the bucket, making it if it is not there.
    pub async fn open(client: async_nats::Client, names: &Names) -> Result<Self, StoreError> {
        let mut js = jetstream::new(client);
        // A leader election takes up to 9 s; a request that waits it out is better than one that fails.
        js.set_timeout(Duration::from_secs(10));
        let keep = Keep {
            storage: StorageType::File,
            max_age: Duration::ZERO,
            max_bytes: -1,
        };
        let nodes = Bucket::open(&js, &names.nodes, keep).await?;
        Ok(Self {
            js,
            names: names.clone(),
            nodes,
        })
    }

    /// The record as the leader has it.
    pub async fn load(&self, id: NodeId) -> Result<Option<(Node, Revision)>, StoreError> {
        let key = node_key(id);
        match self.nodes.read(&key).await? {
            (None, _) => Ok(None),
            (Some(value), revision) => Ok(Some((parse(&key, &value)?, revision))),
        }
    }

    /// A new node: its claims first, then its record.
    ///
    /// # Errors
    /// [`StoreError::Claimed`] when something of it belongs to another node, [`StoreError::Conflict`] when the id exists.
    pub async fn create(&self, node: &Node) -> Result<Revision, StoreError> {
        let (present, revision) = self.nodes.read(&node_key(node.id)).await?;
        if present.is_some() {
            return Err(StoreError::Conflict { node: node.id });
        }
        let wanted = claims(node);
        self.claim_all(node.id, &wanted).await?;
        self.write(node, revision).await
    }

    /// Replaces `before` at `revision` by `after`.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when another worker was first.
    pub async fn save(
        &self,
        before: &Node,
        after: &Node,
        revision: Revision,
    ) -> Result<Revision, StoreError> {
        let (old, new) = (claims(before), claims(after));
        if old != new {
            self.claim_all(after.id, &new.difference(&old).cloned().collect())
                .await?;
        }
        let saved = self.write(after, revision).await?;
        self.release(after.id, old.difference(&new)).await;
        Ok(saved)
    }

    /// Forgets a node.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it has changed.
    pub async fn remove(&self, node: &Node, revision: Revision) -> Result<(), StoreError> {
        match self.nodes.delete(&node_key(node.id), revision).await {
            Ok(()) => {}
            Err(BucketError::Conflict { .. }) => {
                return Err(StoreError::Conflict { node: node.id });
            }
            Err(error) => return Err(error.into()),
        }
        self.release(node.id, claims(node).iter()).await;
        Ok(())
    }

    /// After an unclear write the record tells by its `op` whether it landed.
    async fn write(&self, node: &Node, revision: Revision) -> Result<Revision, StoreError> {
        let key = node_key(node.id);
        match self.nodes.write(&key, json(node), revision).await {
            Ok(revision) => Ok(revision),
            // The client repeats a publish whose acknowledgement was lost: then we conflict with ourselves.
            Err(BucketError::Conflict { .. } | BucketError::Unclear { .. }) => {
                match self.load(node.id).await? {
                    Some((present, revision)) if present.op == node.op => Ok(revision),
                    Some(_) | None => Err(StoreError::Conflict { node: node.id }),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn claim_all(
        &self,
        id: NodeId,
        wanted: &BTreeSet<(String, String)>,
    ) -> Result<(), StoreError> {
        let mut done = Vec::new();
        for claim in wanted {
            if let Err(error) = self.claim(id, claim).await {
                self.release(id, done.into_iter()).await;
                return Err(error);
            }
            done.push(claim);
        }
        Ok(())
    }

    /// A claim counts while the node it names exists and lists it; a stale one is taken over.
    async fn claim(&self, id: NodeId, claim: &(String, String)) -> Result<(), StoreError> {
        let (key, what) = claim;
        // Each lost race means that another claimant moved: two or three are already rare.
        for _ in 0..8 {
            let (value, revision) = self.nodes.read(key).await?;
            let owner = value
                .as_deref()
                .and_then(|value| serde_json::from_slice::<NodeId>(value).ok());
            match owner {
                Some(owner) if owner == id => return Ok(()),
                Some(owner) if self.holds(owner, claim).await? => {
                    return Err(StoreError::Claimed {
                        what: what.clone(),
                        by: owner,
                    });
                }
                Some(_) | None => {}
            }
            let value = serde_json::to_vec(&id).expect("an id is a JSON string");
            match self.nodes.write(key, value, revision).await {
                Ok(_) => return Ok(()),
                Err(BucketError::Conflict { .. } | BucketError::Unclear { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict { node: id })
    }

    /// Whether `owner` has a right to a claim. A node in the making has claims before it has a record: it gets the
    /// time that takes.
    async fn holds(&self, owner: NodeId, claim: &(String, String)) -> Result<bool, StoreError> {
        for wait_ms in [0, 50, 200, 750] {
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            if let Some((node, _)) = self.load(owner).await? {
                return Ok(claims(&node).contains(claim));
            }
        }
        Ok(false)
    }

    /// What cannot be released now is stale, and will be taken over.
    async fn release<'a>(&self, id: NodeId, released: impl Iterator<Item = &'a (String, String)>) {
        for (key, what) in released {
            let Ok((Some(value), revision)) = self.nodes.read(key).await else {
                continue;
            };
            if serde_json::from_slice::<NodeId>(&value).is_ok_and(|owner| owner == id)
                && let Err(error) = self.nodes.delete(key, revision).await
            {
                tracing::debug!(node = %id, what, "claim left behind: {error}");
            }
        }
    }
}
