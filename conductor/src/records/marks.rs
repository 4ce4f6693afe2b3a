//! Which nodes' BMCs have one password in common: the marks of passwords, followed from the bucket. Nothing is opened for it.
//! `secrets` makes a mark; `keys` and `rotate` put it into the header of what they seal.
use super::follow::Followed;
use super::{Depth, Kv, KvError, Store};
use crate::secrets::{DataKey, Mark};
use ironbeat_common::id::NodeId;
use ironbeat_core::id::OpId;
use ironbeat_core::node::{BesideKind, BmcSecrets};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Before following begins anew: nothing waits for it.
const PAUSE: Duration = Duration::from_secs(5);

/// The mark of each node's password, and the version of its secrets that has it.
type Known = HashMap<NodeId, (OpId, Mark)>;

/// It may be a moment behind, and a version that no record names any more may be in it.
#[derive(Clone)]
pub struct Marks(Arc<RwLock<Known>>);

/// What is put into the header of a sealed document: the mark of a BMC's password. None: it has none.
pub(super) fn entry(key: &DataKey, at: &str, json: &[u8]) -> Option<String> {
    let (kind, _) = at.split_once('.')?;
    if kind != BesideKind::BmcSecrets.name() {
        return None;
    }
    let secrets: BmcSecrets = serde_json::from_slice(json).ok()?;
    let password = secrets.password.reveal();
    let mark = (!password.is_empty()).then(|| key.mark(password))?;
    Some(serde_json::to_string(&mark).expect("it is JSON"))
}

impl Marks {
    /// Begins to follow; goes on until the process ends.
    pub fn start(store: &Store) -> Self {
        let known = Arc::default();
        tokio::spawn(follow(store.nodes.kv.clone(), Arc::clone(&known)));
        Self(known)
    }

    /// The others that have this node's password, with the versions that say so, in the order of their ids. None: nobody
    /// knows, since the node's secrets have no mark.
    pub fn others(&self, node: NodeId, version: &OpId) -> Option<Vec<(NodeId, OpId)>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (_, own) = known.get(&node).filter(|(of, _)| of == version)?;
        let same = known
            .iter()
            .filter(|(id, (_, mark))| **id != node && mark == own);
        let mut same: Vec<(NodeId, OpId)> = same
            .map(|(id, (version, _))| (*id, version.clone()))
            .collect();
        same.sort();
        Some(same)
    }
}

async fn follow(kv: Kv, known: Arc<RwLock<Known>>) {
    loop {
        let error = follow_once(&kv, &known).await;
        tracing::debug!("the marks of passwords are interrupted: {error}");
        tokio::time::sleep(PAUSE).await;
    }
}

async fn follow_once(kv: &Kv, known: &RwLock<Known>) -> KvError {
    let keys = format!("{}.>", BesideKind::BmcSecrets.name());
    let mut follow = match kv.follow(&keys, Depth::Entries).await {
        Ok(follow) => follow,
        Err(error) => return error,
    };
    // Gathered apart until all was shown: what was erased meanwhile must go.
    let mut fresh = Some(Known::new());
    loop {
        let change = match follow.next().await {
            Ok(Followed::Change(change)) => change,
            Ok(Followed::Loaded) => {
                if let Some(fresh) = fresh.take() {
                    *known.write().unwrap_or_else(PoisonError::into_inner) = fresh;
                }
                continue;
            }
            Err(error) => return error,
        };
        let Some((node, version)) = about(&change.key) else {
            continue;
        };
        let entry = change.entry.as_deref();
        let mark = entry.and_then(|entry| serde_json::from_str::<Mark>(entry).ok());
        let apply = |known: &mut Known| match mark {
            Some(mark) => drop(known.insert(node, (version, mark))),
            None => drop(known.remove(&node)),
        };
        match &mut fresh {
            Some(fresh) => apply(fresh),
            None => apply(&mut known.write().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}

/// `bmc_secrets.17.<id>.<version>`
fn about(key: &str) -> Option<(NodeId, OpId)> {
    let mut parts = key.splitn(4, '.').skip(2);
    let (id, version) = (parts.next()?, parts.next()?);
    Some((id.parse().ok()?, version.parse().ok()?))
}
