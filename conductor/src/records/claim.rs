//! What a document has to itself, each a key that names its owner. The document says what that is.
//! A claim counts while the document that it names exists and lists it; `documents` stores documents.
use super::StoreError;
use super::document::{Claims, Document, words};
use super::documents::Records;
use super::kv::{KvError, Revision};
use futures_util::future::try_join_all;
use std::time::Duration;
use tokio::time::Instant;

/// A claim without a record behind it may belong to a node in the making, which gets this long from the moment it is
/// seen: two writes of a healthy store, even through most of a second of trouble.
const GRACE: Duration = Duration::from_secs(1);
/// How often to look at a claim in the making.
const LOOK: Duration = Duration::from_millis(25);
/// Claims lost to others in a row: each time another claimant moved, and two or three are already rare.
const MAX_RACES: u32 = 16;

/// The holder that a claim's key names.
struct Holder<I> {
    owner: Option<I>,
    revision: Revision,
}

/// `ix.node.mac.020000000001`
fn key_of<T: Document>(claim: &str) -> String {
    format!("ix.{}.{claim}", T::KIND)
}

impl<T: Document> Records<T> {
    /// The document that has this to itself, as the leader knows it.
    ///
    /// # Errors
    /// When the store is away, or holds something under the owner's key that is no document this worker understands.
    pub async fn holder_of(&self, claim: &str) -> Result<Option<T>, StoreError> {
        let Some(owner) = self.holder(claim).await?.owner else {
            return Ok(None);
        };
        let present = self.load(owner).await?.map(|(document, _)| document);
        Ok(present.filter(|document| document.claims().contains_key(claim)))
    }

    /// Makes all of `wanted` ours, or none. What is ours already stays ours. One after the other, in the order of their keys:
    /// of two nodes that want the same ones, the first gets all.
    pub(super) async fn claim_all(&self, id: T::Id, wanted: &Claims) -> Result<(), StoreError> {
        for (claim, what) in wanted {
            // Nearly always nobody has ever had it.
            if let Err(error) = self.claim(id, claim, what, Some(0)).await {
                self.release_unlisted(id, wanted).await;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Looks whether all of `wanted` are still ours, as they should be; as [`Records::claim_all`] otherwise.
    pub(super) async fn hold_all(&self, id: T::Id, wanted: &Claims) -> Result<(), StoreError> {
        let looks = wanted
            .iter()
            .map(|(claim, what)| self.claim(id, claim, what, None));
        let held = try_join_all(looks).await;
        if held.is_err() {
            self.release_unlisted(id, wanted).await;
        }
        held.map(drop)
    }

    /// `guess`: the revision that the claim's key probably has; none: look first.
    async fn claim(
        &self,
        id: T::Id,
        claim: &str,
        what: &str,
        mut guess: Option<Revision>,
    ) -> Result<(), StoreError> {
        let key = key_of::<T>(claim);
        for _ in 0..MAX_RACES {
            if let Some(revision) = guess {
                let value = serde_json::to_vec(&id).expect("an id is a JSON string");
                match self.kv.write(&key, value, revision).await {
                    Ok(_) => return Ok(()),
                    // A look tells who has it now.
                    Err(KvError::Conflict { .. } | KvError::Unclear { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            let held = self.holder(claim).await?;
            match held.owner {
                Some(owner) if owner == id => return Ok(()),
                Some(owner) if !self.is_stale(claim, owner, held.revision).await? => {
                    return Err(StoreError::Claimed {
                        what: what.into(),
                        by: words::<T>(owner),
                    });
                }
                Some(_) | None => {}
            }
            guess = Some(held.revision);
        }
        Err(StoreError::Races { what: what.into() })
    }

    async fn holder(&self, claim: &str) -> Result<Holder<T::Id>, StoreError> {
        let (value, revision) = self.kv.read(&key_of::<T>(claim)).await?;
        let owner = value.as_deref().and_then(|value| {
            // A value that is no id names nobody, and nobody holds no claim.
            serde_json::from_slice::<T::Id>(value).ok()
        });
        Ok(Holder { owner, revision })
    }

    /// Whether nobody has a right to a claim. A claim comes before the record that lists it, so its owner gets some
    /// time; a claim that moves meanwhile is not stale, and the caller has to look at its new owner.
    async fn is_stale(
        &self,
        claim: &str,
        owner: T::Id,
        revision: Revision,
    ) -> Result<bool, StoreError> {
        let until = Instant::now() + GRACE;
        loop {
            match self.load(owner).await {
                Ok(Some((document, _))) if document.claims().contains_key(claim) => {
                    return Ok(false);
                }
                // A record that cannot be read may well list it.
                Err(StoreError::Corrupt { .. }) => return Ok(false),
                Ok(_) => {}
                Err(error) => return Err(error),
            }
            if self.holder(claim).await?.revision != revision || Instant::now() >= until {
                // If it moved, taking it fails by its revision, and the caller looks again.
                return Ok(true);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Gives up those of `claims` that are ours and that our record, if there is one, does not list. What cannot be
    /// given up now is stale, and will be taken over.
    pub(super) async fn release_unlisted(&self, id: T::Id, given_up: &Claims) {
        let listed = match self.load(id).await {
            Ok(Some((document, _))) => document.claims(),
            Ok(None) => Claims::new(),
            Err(error) => {
                tracing::debug!("claims of {} left behind: {error}", words::<T>(id));
                return;
            }
        };
        for (claim, what) in given_up
            .iter()
            .filter(|(claim, _)| !listed.contains_key(*claim))
        {
            let Ok(held) = self.holder(claim).await else {
                continue;
            };
            if held.owner == Some(id)
                && let Err(error) = self.kv.delete(&key_of::<T>(claim), held.revision).await
            {
                tracing::debug!(what, "claim left behind: {error}");
            }
        }
    }
}
