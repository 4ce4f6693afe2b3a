//! Runbooks as documents: what one has to itself is its name.
//! `front/runbook` writes them.
use super::document::{Claims, Document};
use super::{Store, StoreError};
use ironbeat_common::id::RunbookId;
use ironbeat_core::id::{OpId, RunbookName};
use ironbeat_core::runbook::{Runbook, SCHEMA};

impl Document for Runbook {
    const KIND: &'static str = "runbook";
    const SCHEMA: u32 = SCHEMA;
    type Id = RunbookId;
    /// Nobody follows them.
    type Entry = ();

    fn id(&self) -> RunbookId {
        self.id
    }

    fn schema(&self) -> u32 {
        self.schema
    }

    fn op(&self) -> &OpId {
        &self.op
    }

    fn claims(&self) -> Claims {
        let name = &self.text.name;
        [(name_claim(name), format!("the name {name}"))].into()
    }

    fn claims_as(&self, other: &Self) -> bool {
        self.text.name == other.text.name
    }

    fn entry(&self) {}
}

fn name_claim(name: &RunbookName) -> String {
    format!("name.{name}")
}

impl Store {
    /// The runbook that has this name, as the leader knows it.
    ///
    /// # Errors
    /// When the store is away, or holds something else under its key.
    pub async fn runbook_named(&self, name: &RunbookName) -> Result<Option<Runbook>, StoreError> {
        self.runbooks.holder_of(&name_claim(name)).await
    }
}
