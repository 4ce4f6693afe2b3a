//! What operators keep under a name, as documents: what one has to itself is its name.
//! `front/kept` writes them.
use super::document::{Claims, Document};
use super::{Records, StoreError};
use ironbeat_common::id::KeptId;
use ironbeat_core::id::OpId;
use ironbeat_core::kept::{Kept, SCHEMA, Text};

impl<T: Text> Document for Kept<T> {
    const KIND: &'static str = T::KIND;
    const SCHEMA: u32 = SCHEMA;
    type Id = KeptId;
    /// Nobody follows them.
    type Entry = ();

    fn id(&self) -> KeptId {
        self.id
    }

    fn schema(&self) -> u32 {
        self.schema
    }

    fn op(&self) -> &OpId {
        &self.op
    }

    fn claims(&self) -> Claims {
        let name = self.text.name();
        [(name_claim::<T>(name), format!("the name {name}"))].into()
    }

    fn claims_as(&self, other: &Self) -> bool {
        self.text.name() == other.text.name()
    }

    fn entry(&self) {}
}

fn name_claim<T: Text>(name: &T::Name) -> String {
    format!("name.{name}")
}

impl<T: Text> Records<Kept<T>> {
    /// The one that has this name, as the leader knows it.
    ///
    /// # Errors
    /// When the store is away, or holds something else under its key.
    pub async fn named(&self, name: &T::Name) -> Result<Option<Kept<T>>, StoreError> {
        self.holder_of(&name_claim::<T>(name)).await
    }
}
