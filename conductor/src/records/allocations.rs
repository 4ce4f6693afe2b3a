//! Allocations as documents: what one has to itself is its name. Which node it has, the node's record says.
//! The core decides who gets a node; `front/allocation` has it done.
use super::document::{Claims, Document};
use super::{Store, StoreError};
use ironbeat_common::id::AllocationId;
use ironbeat_core::allocation::{Allocation, SCHEMA};
use ironbeat_core::id::{AllocationName, OpId};

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
}
