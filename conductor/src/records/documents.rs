//! Documents of one kind in JetStream: loaded from the leader, written by compare-and-swap, unique by claim keys.
//! `document` declares each kind; only `nodes` writes node records, for `drive`.
use super::StoreError;
use super::document::{Claims, Document, id_of, key, parse, words};
use super::kv::{ENTRY, Kv, KvError, Revision};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use std::marker::PhantomData;
use std::time::Duration;

/// How often to send a write whose acknowledgement does not come. It is written once at most.
const WRITES: u32 = 3;
/// Before a store that is away is asked again what became of a write.
const PAUSE: Duration = Duration::from_millis(500);
/// How often a refusal is taken for one that may pass: for half a minute.
const REFUSALS: u32 = 60;

/// Read at once for a list.
const AT_ONCE: usize = 32;

pub struct Records<T> {
    pub(crate) kv: Kv,
    kind: PhantomData<fn() -> T>,
}

impl<T> Clone for Records<T> {
    fn clone(&self) -> Self {
        Self {
            kv: self.kv.clone(),
            kind: PhantomData,
        }
    }
}

impl<T: Document> Records<T> {
    pub(super) fn new(kv: Kv) -> Self {
        Self {
            kv,
            kind: PhantomData,
        }
    }

    /// The document as the leader has it.
    ///
    /// # Errors
    /// When the store is away, or holds something under the key that is no document this worker understands.
    pub async fn load(&self, id: T::Id) -> Result<Option<(T, Revision)>, StoreError> {
        let key = key::<T>(id);
        match self.kv.read(&key).await? {
            (None, _) => Ok(None),
            (Some(value), revision) => Ok(Some((parse(&key, &value)?, revision))),
        }
    }

    /// Whether there are fewer than so many. The keys of those that were deleted are there still, and looked at only where they
    /// may matter.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn has_room(&self, most: usize) -> Result<bool, StoreError> {
        let keys = self.kv.keys(&format!("{}.>", T::KIND)).await?.len();
        Ok(keys < most || self.all().await?.len() < most)
    }

    /// In the order of their keys' ids. One that cannot be read is left out, and told in the log.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn all(&self) -> Result<Vec<T>, StoreError> {
        let keys = self.kv.keys(&format!("{}.>", T::KIND)).await?;
        let mut ids: Vec<T::Id> = keys.iter().filter_map(|key| id_of::<T>(key)).collect();
        ids.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
        let reads: Vec<_> = ids
            .into_iter()
            .map(|id| self.clone().readable(id))
            .collect();
        let read = stream::iter(reads).buffered(AT_ONCE);
        let found: Vec<Option<T>> = read.try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn readable(self, id: T::Id) -> Result<Option<T>, StoreError> {
        match self.load(id).await {
            Ok(found) => Ok(found.map(|(document, _)| document)),
            Err(error @ StoreError::Corrupt { .. }) => {
                let document = words::<T>(id);
                tracing::warn!(document, "it is left out of a list: {error}");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The revision of an id that no document has.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when one has it.
    pub async fn vacancy(&self, id: T::Id) -> Result<Revision, StoreError> {
        match self.kv.read(&key::<T>(id)).await? {
            (None, vacant) => Ok(vacant),
            (Some(_), _) => Err(conflict::<T>(id)),
        }
    }

    /// Stores a new document where nothing has happened since `vacant`: first its claims, then itself, then another look
    /// whether the claims are still its own.
    ///
    /// # Errors
    /// [`StoreError::Claimed`] when something of it belongs to another, [`StoreError::Conflict`] when the id exists.
    pub async fn create(&self, document: &T, vacant: Revision) -> Result<Revision, StoreError> {
        let id = document.id();
        let wanted = document.claims();
        let created = self.write_claimed(document, vacant, &wanted).await?;
        if let Err(lost) = Self::settle(|| self.hold_all(id, &wanted)).await {
            if let StoreError::Claimed { .. } = lost {
                self.kv.delete(&key::<T>(id), created).await?;
                self.release_unlisted(id, &wanted).await;
            }
            return Err(lost);
        }
        Ok(created)
    }

    /// Replaces `before` at `revision` by `after`.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when another worker was first, [`StoreError::Claimed`] when something that is new in
    /// `after` belongs to another; then the document is as it was.
    pub async fn save(
        &self,
        before: &T,
        after: &T,
        revision: Revision,
    ) -> Result<Revision, StoreError> {
        // Nearly always.
        if after.claims_as(before) {
            return self.write(after, revision).await;
        }
        let (old, new) = (before.claims(), after.claims());
        let added = without(&new, &old);
        let saved = self.write_claimed(after, revision, &added).await?;
        if let Err(lost) = Self::settle(|| self.hold_all(after.id(), &added)).await {
            if let StoreError::Claimed { .. } = lost {
                self.write(before, saved).await?;
                self.release_unlisted(after.id(), &added).await;
            }
            return Err(lost);
        }
        let given_up = without(&old, &new);
        if !given_up.is_empty() {
            self.release_unlisted(after.id(), &given_up).await;
        }
        Ok(saved)
    }

    /// Forgets a document.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it has changed.
    pub async fn remove(&self, document: &T, revision: Revision) -> Result<(), StoreError> {
        let id = document.id();
        match self.kv.delete(&key::<T>(id), revision).await {
            Ok(_) => {}
            // The acknowledgement may be lost: what matters is whether the document is gone.
            Err(KvError::Conflict { .. } | KvError::Unclear { .. }) => {
                if Self::settle(|| self.load(id)).await?.is_some() {
                    return Err(conflict::<T>(id));
                }
            }
            Err(error) => return Err(error.into()),
        }
        self.release_unlisted(id, &document.claims()).await;
        Ok(())
    }

    /// Claims, then writes; a write that certainly failed gives its claims back.
    async fn write_claimed(
        &self,
        document: &T,
        revision: Revision,
        added: &Claims,
    ) -> Result<Revision, StoreError> {
        self.claim_all(document.id(), added).await?;
        let written = self.write(document, revision).await;
        let failed = matches!(
            written,
            Err(StoreError::Conflict { .. } | StoreError::Kv(KvError::Refused { .. }))
        );
        if failed && !added.is_empty() {
            self.release_unlisted(document.id(), added).await;
        }
        written
    }

    /// Asks a store that is away until it answers or the worker ends. Whoever has written must know what became of it: an
    /// act that follows from a record would otherwise wait for its alarm. A store that answers that there is no such bucket
    /// has been asked often enough after a while: servers that have just started say so of all that they have not read yet.
    async fn settle<A, F>(ask: impl Fn() -> F) -> Result<A, StoreError>
    where
        F: Future<Output = Result<A, StoreError>>,
    {
        let mut refusals = 0;
        loop {
            let lost = match ask().await {
                Err(lost @ StoreError::Kv(KvError::Read { .. })) => lost,
                told => return told,
            };
            refusals += u32::from(!lost.may_pass());
            if refusals > REFUSALS {
                return Err(lost);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// After an unclear write, the document's `op` tells whether it landed.
    async fn write(&self, document: &T, revision: Revision) -> Result<Revision, StoreError> {
        let id = document.id();
        let key = key::<T>(id);
        let value = Bytes::from(serde_json::to_vec(document).expect("documents are JSON"));
        let entry = serde_json::to_string(&document.entry()).expect("entries are JSON");
        let mut unclear = None;
        for _ in 0..WRITES {
            let headers = [(ENTRY, entry.as_str())];
            let written = self.kv.write_with(&key, value.clone(), &headers, revision);
            let error = match written.await {
                Ok(written) => return Ok(written),
                Err(error) => error,
            };
            if let KvError::Refused { .. } = error {
                return Err(error.into());
            }
            // The conflict may be with ourselves, when an earlier send came through after all.
            let present = Self::settle(|| self.load(id)).await?;
            match (present, error) {
                (Some((present, at)), _) if present.op() == document.op() => return Ok(at),
                (Some((_, at)), unwritten @ KvError::Unclear { .. }) if at == revision => {
                    unclear = Some(unwritten);
                }
                (None, unwritten @ KvError::Unclear { .. }) => unclear = Some(unwritten),
                (Some(_) | None, _) => return Err(conflict::<T>(id)),
            }
        }
        Err(unclear
            .expect("the loop goes on only after an unclear write")
            .into())
    }
}

fn conflict<T: Document>(id: T::Id) -> StoreError {
    StoreError::Conflict {
        what: words::<T>(id),
    }
}

fn without(claims: &Claims, others: &Claims) -> Claims {
    let mut rest = claims.clone();
    rest.retain(|key, _| !others.contains_key(key));
    rest
}
