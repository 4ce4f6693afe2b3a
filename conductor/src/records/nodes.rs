//! How a decision is stored: first what lies beside the record, then the record; then old versions go.
//! The core decides what is stored; only `drive` calls this, and nothing else writes a node.
use super::document::key;
use super::kv::{KvError, Revision};
use super::{Store, StoreError};
use ironbeat_common::id::NodeId;
use ironbeat_core::node::{Beside, BesideKind, Node, Versions};

impl Store {
    /// From `before`, the record at that revision (none: there is none yet), to `after` (none: it is forgotten).
    /// `beside`: new versions, which `after` names by its `op`. Returns the revision of `after`, or of its end.
    ///
    /// # Errors
    /// As [`super::Records`]; the record and what lies beside it are then as they were.
    pub async fn write(
        &self,
        before: Option<(&Node, Revision)>,
        after: Option<&Node>,
        beside: &[Beside],
    ) -> Result<Revision, StoreError> {
        if let Some(after) = after {
            for document in beside {
                self.beside.put(after.id, &after.op, document).await?;
            }
        }
        let written = match (before, after) {
            (None, Some(after)) => self.nodes.create(after).await,
            (Some((before, at)), Some(after)) => {
                let saved = self.nodes.save(before, after, at).await;
                if saved.is_ok() {
                    self.drop_old(before, &after.beside).await;
                }
                saved
            }
            (Some((before, at)), None) => {
                let end = self.nodes.remove(before, at).await;
                if let Ok(end) = end {
                    self.drop_old(before, &Versions::default()).await;
                    self.beside.sweep(before.id, end);
                }
                end
            }
            (None, None) => Ok(0),
        };
        match (&written, after) {
            // It may have landed, and then the record names them.
            (Err(StoreError::Kv(KvError::Unclear { .. } | KvError::Read { .. })), _) => {}
            (Ok(_), _) | (Err(_), None) => {}
            (Err(_), Some(after)) => self.take_back(after, beside).await,
        }
        written
    }

    /// What a node that is gone left beside it, where a delete was cut short, is dropped in the background.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn finish_delete(&self, id: NodeId) -> Result<(), StoreError> {
        if let (None, end @ 1..) = self.nodes.kv.read(&key::<Node>(id)).await? {
            self.beside.sweep(id, end);
        }
        Ok(())
    }

    /// Drops the versions that `before` named and `now` does not. Each by its key: others may have put newer ones, and a
    /// purge by wildcard makes the server walk all keys of the bucket.
    pub(super) async fn drop_old(&self, before: &Node, now: &Versions) {
        for kind in BesideKind::ALL {
            if let Some(old) = before.beside.of(kind)
                && now.of(kind) != Some(old)
            {
                self.beside.discard(before.id, kind, old).await;
            }
        }
    }

    /// The record was not saved: what was put for it goes, unless the record names it after all. It does when the save
    /// landed, its acknowledgement was lost, and another worker has saved on top of it since.
    async fn take_back(&self, after: &Node, put: &[Beside]) {
        let present = match self.nodes.load(after.id).await {
            Ok(present) => present.map(|(node, _)| node),
            // Better a version too many than one too few.
            Err(_) => return,
        };
        for kind in put.iter().map(Beside::kind) {
            let named = present.as_ref().and_then(|node| node.beside.of(kind));
            if named != Some(&after.op) {
                self.beside.discard(after.id, kind, &after.op).await;
            }
        }
    }
}
