//! What this worker saved or read last, of nodes in the middle of a job: their next event begins there without a read.
//! What other workers saved comes with the view, which is a moment behind.
//! Only the save tells whether that was still the record; `reconcile` reads what it could not save.
use crate::records::Revision;
use ironbeat_common::id::NodeId;
use ironbeat_core::node::Node;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Records in each of two generations, some 3 KB of JSON each: the jobs that one worker drives at once, and some.
const GENERATION: usize = 1024;

#[derive(Default)]
pub(super) struct Recent(Mutex<Generations>);

/// When the young generation is full, it becomes the old one, which is forgotten.
#[derive(Default)]
struct Generations {
    young: HashMap<NodeId, (Arc<Node>, Revision)>,
    old: HashMap<NodeId, (Arc<Node>, Revision)>,
}

impl Recent {
    /// Whoever decides on it puts back what is true. `heard`: the latest revision that this worker knows of; what is older
    /// could not be saved any more.
    pub fn take(&self, id: NodeId, heard: Option<Revision>) -> Option<(Arc<Node>, Revision)> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let old = known.old.remove(&id);
        let known = known.young.remove(&id).or(old);
        known.filter(|(_, at)| heard.is_none_or(|heard| heard <= *at))
    }

    pub fn put(&self, node: &Arc<Node>, at: Revision) {
        if node.job().is_none() {
            return;
        }
        let saved = (Arc::clone(node), at);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.young.len() >= GENERATION {
            known.old = std::mem::take(&mut known.young);
        }
        known.young.insert(node.id, saved);
    }
}
