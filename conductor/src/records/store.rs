//! Node records in JetStream: loaded from the leader, written by compare-and-swap, unique by claim keys.
//! What is written is decided in the core; only `reconcile` and `api` (for new and forgotten nodes) call this.
use super::claim::{Claims, claims};
use super::{Keep, Kv, KvError, Revision};
use async_nats::jetstream;
use ironbeat_common::id::NodeId;
use ironbeat_core::node::{Node, SCHEMA};
use serde::Deserialize;
use serde_json::error::Category;
use std::time::Duration;

/// A leader election takes up to 9 s; a request that waits it out is better than one that fails.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a write whose acknowledgement does not come is sent. It is written once at most.
const WRITES: u32 = 3;

/// Names of buckets and streams, so that several Ironbeats can share a NATS account.
#[derive(Clone, Debug)]
pub struct Names {
    pub prefix: String,
    pub nodes: String,
    pub workers: String,
    pub lookups: String,
    pub events: String,
    pub seen: String,
    pub consoles: String,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            prefix: ironbeat_common::subject::DEFAULT_PREFIX.into(),
            nodes: "ib".into(),
            workers: "ib_workers".into(),
            lookups: "ib_lookups".into(),
            events: "IB_EVENTS".into(),
            seen: "IB_SEEN".into(),
            consoles: "IB_CONSOLES".into(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("node {node}: it was changed by another worker")]
    Conflict { node: NodeId },
    #[error("{what} belongs to node {by}")]
    Claimed { what: String, by: NodeId },
    #[error("claim {what}: too many others claim it at the same time")]
    Races { what: String },
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
    #[error(transparent)]
    Kv(#[from] KvError),
    #[error("{what}: {why}")]
    Stream { what: String, why: String },
}

#[derive(Clone)]
pub struct Store {
    pub(crate) js: jetstream::Context,
    pub(crate) names: Names,
    pub(crate) nodes: Kv,
}

pub(crate) fn node_key(id: NodeId) -> String {
    format!("node.{id}")
}

/// Reads a record as it is stored under `key`.
///
/// # Errors
/// [`StoreError::Corrupt`] when it is no record, that of another node, or of a later version than this worker's.
pub(crate) fn parse(key: &str, value: &[u8]) -> Result<Node, StoreError> {
    #[derive(Deserialize)]
    struct Version {
        schema: u32,
    }
    let corrupt = |why: String| StoreError::Corrupt {
        key: key.into(),
        why,
    };
    let version = |schema| {
        corrupt(format!(
            "it has schema {schema}, this worker knows {SCHEMA}"
        ))
    };
    let node: Node = match serde_json::from_slice(value) {
        Ok(node) => node,
        // A later version explains a shape that is not understood.
        Err(error) => match serde_json::from_slice::<Version>(value) {
            Ok(Version { schema }) if schema > SCHEMA => return Err(version(schema)),
            _ => return Err(corrupt(without_values(&error))),
        },
    };
    if !(1..=SCHEMA).contains(&node.schema) {
        return Err(version(node.schema));
    }
    if node_key(node.id) != key {
        return Err(corrupt(format!("it is about node {}", node.id)));
    }
    Ok(node)
}

/// serde quotes a value that it did not expect, and in a record that may be a password: where it is must do.
fn without_values(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match error.classify() {
        Category::Data if !text.starts_with("missing field ") => format!(
            "unexpected value before line {} column {}",
            error.line(),
            error.column()
        ),
        Category::Data | Category::Syntax | Category::Eof | Category::Io => text,
    }
}

fn json(node: &Node) -> Vec<u8> {
    serde_json::to_vec(node).expect("a node is JSON: its maps have string keys")
}

impl Store {
    /// Opens the bucket, making it if it is not there.
    ///
    /// # Errors
    /// When NATS does not answer, or the bucket that is there is another kind of bucket.
    pub async fn open(client: async_nats::Client, names: &Names) -> Result<Self, StoreError> {
        Self::open_patiently(client, names, PATIENCE).await
    }

    pub(super) async fn open_patiently(
        client: async_nats::Client,
        names: &Names,
        patience: Duration,
    ) -> Result<Self, StoreError> {
        let mut js = jetstream::new(client);
        js.set_timeout(patience);
        Ok(Self {
            nodes: Kv::open(&js, &names.nodes, Keep::RECORDS).await?,
            js,
            names: names.clone(),
        })
    }

    /// The record as the leader has it.
    ///
    /// # Errors
    /// When the store is away, or holds something under the node's key that is no record this worker understands.
    pub async fn load(&self, id: NodeId) -> Result<Option<(Node, Revision)>, StoreError> {
        let key = node_key(id);
        match self.nodes.read(&key).await? {
            (None, _) => Ok(None),
            (Some(value), revision) => Ok(Some((parse(&key, &value)?, revision))),
        }
    }

    /// A new node: its claims first, then its record, then another look whether the claims are still its own.
    ///
    /// # Errors
    /// [`StoreError::Claimed`] when something of it belongs to another node, [`StoreError::Conflict`] when the id exists.
    pub async fn create(&self, node: &Node) -> Result<Revision, StoreError> {
        let key = node_key(node.id);
        let (present, revision) = self.nodes.read(&key).await?;
        if present.is_some() {
            return Err(StoreError::Conflict { node: node.id });
        }
        let wanted = claims(node);
        let created = self.write_claimed(node, revision, &wanted).await?;
        if let Err(lost) = self.claim_all(node.id, &wanted).await {
            if let StoreError::Claimed { .. } = lost {
                self.nodes.delete(&key, created).await?;
                self.release_unlisted(node.id, &wanted).await;
            }
            return Err(lost);
        }
        Ok(created)
    }

    /// Replaces `before` at `revision` by `after`.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when another worker was first, [`StoreError::Claimed`] when something that is new in
    /// `after` belongs to another node; then the record is as it was.
    pub async fn save(
        &self,
        before: &Node,
        after: &Node,
        revision: Revision,
    ) -> Result<Revision, StoreError> {
        let (old, new) = (claims(before), claims(after));
        let added = without(&new, &old);
        let saved = self.write_claimed(after, revision, &added).await?;
        if let Err(lost) = self.claim_all(after.id, &added).await {
            if let StoreError::Claimed { .. } = lost {
                self.write(before, saved).await?;
                self.release_unlisted(after.id, &added).await;
            }
            return Err(lost);
        }
        let given_up = without(&old, &new);
        if !given_up.is_empty() {
            self.release_unlisted(after.id, &given_up).await;
        }
        Ok(saved)
    }

    /// Forgets a node.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it has changed.
    pub async fn remove(&self, node: &Node, revision: Revision) -> Result<(), StoreError> {
        match self.nodes.delete(&node_key(node.id), revision).await {
            Ok(()) => {}
            // The acknowledgement may have been lost: what matters is whether it is gone.
            Err(KvError::Conflict { .. } | KvError::Unclear { .. }) => {
                if self.load(node.id).await?.is_some() {
                    return Err(StoreError::Conflict { node: node.id });
                }
            }
            Err(error) => return Err(error.into()),
        }
        self.release_unlisted(node.id, &claims(node)).await;
        Ok(())
    }

    /// Claims, then writes; a write that certainly failed gives its claims back.
    async fn write_claimed(
        &self,
        node: &Node,
        revision: Revision,
        added: &Claims,
    ) -> Result<Revision, StoreError> {
        self.claim_all(node.id, added).await?;
        let written = self.write(node, revision).await;
        let failed = matches!(
            written,
            Err(StoreError::Conflict { .. } | StoreError::Kv(KvError::Refused { .. }))
        );
        if failed && !added.is_empty() {
            self.release_unlisted(node.id, added).await;
        }
        written
    }

    /// After an unclear write the record tells by its `op` whether it landed.
    async fn write(&self, node: &Node, revision: Revision) -> Result<Revision, StoreError> {
        let key = node_key(node.id);
        let mut unclear = None;
        for _ in 0..WRITES {
            let error = match self.nodes.write(&key, json(node), revision).await {
                Ok(written) => return Ok(written),
                Err(error) => error,
            };
            if let KvError::Refused { .. } = error {
                return Err(error.into());
            }
            // A conflict may be with ourselves, when an earlier send came through after all.
            let present = self.load(node.id).await?;
            match (present, error) {
                (Some((present, at)), _) if present.op == node.op => return Ok(at),
                (Some((_, at)), unwritten @ KvError::Unclear { .. }) if at == revision => {
                    unclear = Some(unwritten);
                }
                (None, unwritten @ KvError::Unclear { .. }) => unclear = Some(unwritten),
                (Some(_) | None, _) => return Err(StoreError::Conflict { node: node.id }),
            }
        }
        Err(unclear
            .expect("the loop goes on only after an unclear write")
            .into())
    }
}

fn without(claims: &Claims, others: &Claims) -> Claims {
    let mut rest = claims.clone();
    rest.retain(|key, _| !others.contains_key(key));
    rest
}
