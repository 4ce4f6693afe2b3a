//! How a decision is stored: first what lies beside the record, then the record; then old versions go.
//! The core decides what is stored; only `drive` calls this, and nothing else writes a node.
use super::kv::Revision;
use super::{Store, StoreError};
use ironbeat_common::id::NodeId;
use ironbeat_core::id::OpId;
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
        let id = after.or(before.map(|(node, _)| node)).map(|node| node.id);
        let written = self.put_and_write(before, after, beside).await;
        // It may have landed, and then the record names what was put; or it is still on its way.
        if let (Err(StoreError::Kv(_)), Some(id)) = (&written, id) {
            self.sweeper.soon(id);
        }
        written
    }

    async fn put_and_write(
        &self,
        before: Option<(&Node, Revision)>,
        after: Option<&Node>,
        beside: &[Beside],
    ) -> Result<Revision, StoreError> {
        // From before the puts: should the node come and go meanwhile, they may have been swept.
        let at = match (before, after) {
            (Some((_, at)), _) => at,
            (None, Some(after)) => self.nodes.vacancy(after.id).await?,
            (None, None) => return Ok(0),
        };
        let Some(after) = after else {
            let Some((before, _)) = before else {
                return Ok(0);
            };
            self.nodes.remove(before, at).await?;
            self.drop_old(before, &Versions::default()).await;
            // And what was put for saves that never came.
            self.sweeper.now(before.id);
            return Ok(at);
        };
        for document in beside {
            if let Err(error) = self.beside.put(after.id, &after.op, document).await {
                self.sweeper.soon(after.id);
                return Err(error);
            }
        }
        let written = match before {
            None => self.nodes.create(after, at).await,
            Some((before, _)) => self.nodes.save(before, after, at).await,
        };
        match (&written, before) {
            (Ok(_), Some((before, _))) => {
                self.drop_old(before, &after.beside).await;
                // An older password may lie there since a worker died.
                if after.beside.bmc_secrets != before.beside.bmc_secrets {
                    self.sweeper.now(after.id);
                }
            }
            (Ok(_), None) | (Err(StoreError::Kv(_)), _) => {}
            (Err(_), before) => {
                self.take_back(after, beside).await;
                // It may have landed unheard, and was saved on top of: then nobody has dropped what it replaced.
                if before.is_some_and(|(before, _)| before.beside != after.beside) {
                    self.sweeper.soon(after.id);
                }
            }
        }
        written
    }

    /// What a node that is gone left beside it, where a delete was cut short, is dropped in the background.
    pub fn finish_delete(&self, id: NodeId) {
        self.sweeper.now(id);
    }

    /// Drops the versions that `before` named and `now` does not. Each by its key: others may have put newer ones.
    pub(super) async fn drop_old(&self, before: &Node, now: &Versions) {
        for kind in BesideKind::ALL {
            if let Some(old) = before.beside.of(kind)
                && now.of(kind) != Some(old)
            {
                self.discard(before.id, kind, old).await;
            }
        }
    }

    async fn discard(&self, node: NodeId, kind: BesideKind, version: &OpId) {
        if let Err(error) = self.beside.discard(node, kind, version).await {
            tracing::warn!(%node, "dropped a little later: {error}");
            self.sweeper.soon(node);
        }
    }

    /// The record was not saved: what was put for it goes, unless the record names it after all. It does when the save
    /// landed, its acknowledgement was lost, and another worker has saved on top of it since.
    async fn take_back(&self, after: &Node, put: &[Beside]) {
        let present = match self.nodes.load(after.id).await {
            Ok(present) => present.map(|(node, _)| node),
            // Better a version too many than one too few.
            Err(_) => return self.sweeper.soon(after.id),
        };
        for kind in put.iter().map(Beside::kind) {
            let named = present.as_ref().and_then(|node| node.beside.of(kind));
            if named != Some(&after.op) {
                self.discard(after.id, kind, &after.op).await;
            }
        }
    }
}
