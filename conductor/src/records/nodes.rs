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
            (Some((before, at)), None) => self.nodes.remove(before, at).await,
            (None, None) => Ok(()),
        };
        match &written {
            Ok(()) => self.drop_old(before, after, &put).await,
            // It may have landed, and then the record names them.
            Err(StoreError::Kv(KvError::Unclear { .. } | KvError::Read { .. })) => {}
            Err(_) => {
                for (kind, _) in put {
                    if let Some(after) = after {
                        self.beside.discard(after.id, kind, &after.op).await;
                    }
                }
            }
        }
        written
    }

    async fn drop_old(
        &self,
        before: Option<(&Node, Revision)>,
        after: Option<&Node>,
        put: &[(BesideKind, Revision)],
    ) {
        let Some((before, _)) = before else { return };
        for kind in BesideKind::ALL {
            let old = before.beside.of(kind);
            let new = after.and_then(|after| after.beside.of(kind));
            if old.is_some() && old != new {
                let of_kind =
                    |(it, revision): &(BesideKind, Revision)| (*it == kind).then_some(*revision);
                let since = put.iter().find_map(of_kind);
                self.beside.sweep(before.id, kind, since).await;
            }
        }
    }
}
