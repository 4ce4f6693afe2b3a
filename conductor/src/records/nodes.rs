//! How a decision is stored: first what lies beside the record, then the record; then old versions go.
//! The core decides what is stored; only `drive` calls this, and nothing else writes a node.
use super::kv::{KvError, Revision};
use super::{Store, StoreError};
use ironbeat_core::node::{Beside, BesideKind, Node};

impl Store {
    /// From `before`, the record at that revision (none: there is none yet), to `after` (none: it is forgotten).
    /// `beside`: new versions, which `after` names by its `op`.
    ///
    /// # Errors
    /// As [`super::Records`]; the record and what lies beside it are then as they were.
    pub async fn write(
        &self,
        before: Option<(&Node, Revision)>,
        after: Option<&Node>,
        beside: &[Beside],
    ) -> Result<(), StoreError> {
        let mut put = Vec::new();
        if let Some(after) = after {
            for document in beside {
                let revision = self.beside.put(after.id, &after.op, document).await?;
                put.push((document.kind(), revision));
            }
        }
        let written = match (before, after) {
            (None, Some(after)) => self.nodes.create(after).await.map(drop),
            (Some((before, at)), Some(after)) => self.nodes.save(before, after, at).await.map(drop),
            (Some((before, at)), None) => match self.nodes.remove(before, at).await {
                Ok(end) => {
                    // All of it, with what was put for saves that never came: none can be saved any more.
                    for kind in BesideKind::ALL {
                        self.beside.sweep(before.id, kind, end).await;
                    }
                    Ok(())
                }
                Err(error) => Err(error),
            },
            (None, None) => Ok(()),
        };
        match (&written, after) {
            (Ok(()), _) => self.drop_old(before, after, &put).await,
            // It may have landed, and then the record names them.
            (Err(StoreError::Kv(KvError::Unclear { .. } | KvError::Read { .. })), _) => {}
            (Err(_), None) => {}
            (Err(_), Some(after)) => self.take_back(after, &put).await,
        }
        written
    }

    /// Drops the versions that `before` named and `after` does not. Bounded by what was there when `before` was read:
    /// meanwhile another worker may have put a version that its own record names.
    pub(super) async fn drop_old(
        &self,
        before: Option<(&Node, Revision)>,
        after: Option<&Node>,
        put: &[(BesideKind, Revision)],
    ) {
        let (Some((before, at)), Some(after)) = (before, after) else {
            return;
        };
        for kind in BesideKind::ALL {
            let old = before.beside.of(kind);
            let new = after.beside.of(kind);
            if old.is_some() && old != new {
                let put = put.iter().find(|(put, _)| *put == kind);
                let bound = put.map_or(at, |(_, revision)| *revision);
                self.beside.sweep(before.id, kind, bound).await;
            }
        }
    }

    /// The record was not saved: what was put for it goes, unless the record names it after all. It does when the save
    /// landed, its acknowledgement was lost, and another worker has saved on top of it since.
    async fn take_back(&self, after: &Node, put: &[(BesideKind, Revision)]) {
        let present = match self.nodes.load(after.id).await {
            Ok(present) => present.map(|(node, _)| node),
            // Better a version too many than one too few.
            Err(_) => return,
        };
        for (kind, _) in put {
            let named = present.as_ref().and_then(|node| node.beside.of(*kind));
            if named != Some(&after.op) {
                self.beside.discard(after.id, *kind, &after.op).await;
            }
        }
    }
}
