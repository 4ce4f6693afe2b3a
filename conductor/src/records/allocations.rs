//! Allocations as documents: what one has to itself is its name. Which node it has, the node's record says.
//! The core decides who gets a node; `front/allocation` has it done.
use super::document::{Claims, Document, id_of};
use super::{Records, Store, StoreError};
use futures_util::{StreamExt, TryStreamExt, stream};
use ironbeat_common::id::AllocationId;
use ironbeat_core::allocation::{Allocation, SCHEMA};
use ironbeat_core::id::{AllocationName, OpId};

/// Read at once for a list.
const AT_ONCE: usize = 32;

impl Document for Allocation {
    const KIND: &'static str = "allocation";
    const SCHEMA: u32 = SCHEMA;
    type Id = AllocationId;
    /// Nobody follows them.
    type Entry = ();

    fn id(&self) -> AllocationId {
        self.id
    }

    fn schema(&self) -> u32 {
        self.schema
    }

    fn op(&self) -> &OpId {
        &self.op
    }

    fn claims(&self) -> Claims {
        let name = self.name.iter();
        name.map(|name| (name_claim(name), format!("the name {name}")))
            .collect()
    }

    fn claims_as(&self, other: &Self) -> bool {
        self.name == other.name
    }

    fn entry(&self) {}
}

fn name_claim(name: &AllocationName) -> String {
    format!("name.{name}")
}

impl Store {
    /// The allocation that has this name, as the leader knows it.
    ///
    /// # Errors
    /// When the store is away, or holds something else under its key.
    pub async fn allocation_named(
        &self,
        name: &AllocationName,
    ) -> Result<Option<Allocation>, StoreError> {
        self.allocations.holder_of(&name_claim(name)).await
    }

    /// In the order of their ids. One that cannot be read is left out, and told in the log.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn all_allocations(&self) -> Result<Vec<Allocation>, StoreError> {
        let keys = format!("{}.>", Allocation::KIND);
        let keys = self.allocations.kv.keys(&keys).await?;
        let ids = keys.iter().filter_map(|key| id_of::<Allocation>(key));
        let reads: Vec<_> = ids.map(|id| load(self.allocations.clone(), id)).collect();
        let read = stream::iter(reads);
        let read = read.buffer_unordered(AT_ONCE);
        let found: Vec<Option<Allocation>> = read.try_collect().await?;
        let mut found: Vec<Allocation> = found.into_iter().flatten().collect();
        found.sort_by_key(|allocation| allocation.id);
        Ok(found)
    }
}

async fn load(
    allocations: Records<Allocation>,
    id: AllocationId,
) -> Result<Option<Allocation>, StoreError> {
    match allocations.load(id).await {
        Ok(found) => Ok(found.map(|(allocation, _)| allocation)),
        Err(error @ StoreError::Corrupt { .. }) => {
            tracing::warn!(%id, "an allocation cannot be read: {error}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
