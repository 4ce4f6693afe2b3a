//! How many BMCs are waited for at once, when thousands are due: silent ones must not keep others waiting.
//! What is done with a BMC is the caller's affair, how long one is waited for `pace`'s.
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};

/// Work begun and neither done nor late. Its answers, all at the same time, fit into the smallest socket buffer in use
/// (208 KiB on Linux, where a small datagram takes 768 bytes of it).
const AT_ONCE: usize = 256;
/// Live BMCs answer within a few milliseconds of network and a few of their own; who needs longer is late.
const PATIENCE: Duration = Duration::from_millis(100);

/// Slots for work with BMCs. Work that is late gives its slot to the next in line *and goes on*: of 10,000 BMCs, 1,000
/// dead ones take slots for 0.1 s each, not for the half minute after which they are given up.
///
/// So what is bounded is the rate at which work is begun, to `at_once` per `patience` at the worst; all of it that is
/// under way is bounded by whoever hands it in. Cheap to clone; clones share the slots.
#[derive(Clone, Debug)]
pub struct Slots {
    free: Arc<Semaphore>,
    patience: Duration,
}

impl Default for Slots {
    /// For any number of BMCs: 256 slots, late after 100 ms.
    fn default() -> Self {
        Self::new(AT_ONCE, PATIENCE)
    }
}

impl Slots {
    /// `at_once`: slots, at least one; `patience`: work that takes longer is late.
    pub fn new(at_once: usize, patience: Duration) -> Self {
        let slots = at_once.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(slots)),
            patience,
        }
    }

    /// Waits for a slot (first come, first served), then does `work` to its end. Cancelling gives the slot back.
    pub async fn run<F: Future>(&self, work: F) -> F::Output {
        let slot = self.slot().await;
        hold(slot, self.patience, work).await
    }

    /// Does `work` for every item, each in a task of its own, and returns when all are done. A task exists from the
    /// moment when it has its slot. Dropping the future stops them all. Work that panics costs its own item.
    pub async fn for_each<I, F>(&self, items: I, mut work: impl FnMut(I::Item) -> F)
    where
        I: IntoIterator,
        F: Future<Output = ()> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        for item in items {
            let slot = self.slot().await;
            tasks.spawn(hold(slot, self.patience, work(item)));
            while let Some(ended) = tasks.try_join_next() {
                notice(ended);
            }
        }
        while let Some(ended) = tasks.join_next().await {
            notice(ended);
        }
    }

    async fn slot(&self) -> OwnedSemaphorePermit {
        let free = Arc::clone(&self.free);
        free.acquire_owned().await.expect("it is never closed")
    }
}

async fn hold<F: Future>(slot: OwnedSemaphorePermit, patience: Duration, work: F) -> F::Output {
    let mut work = pin!(work);
    if let Ok(done) = tokio::time::timeout(patience, &mut work).await {
        return done;
    }
    drop(slot);
    work.await
}

fn notice(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!("work with a BMC: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tokio::time::Instant;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// When each of `takes` was done, in the order of the items.
    async fn ends(slots: &Slots, takes: Vec<Duration>) -> Vec<Duration> {
        let begin = Instant::now();
        let ends = Arc::new(Mutex::new(vec![Duration::ZERO; takes.len()]));
        let work = |(n, takes)| {
            let ends = Arc::clone(&ends);
            async move {
                tokio::time::sleep(takes).await;
                ends.lock().unwrap()[n] = begin.elapsed();
            }
        };
        slots.for_each(takes.into_iter().enumerate(), work).await;
        let ends = ends.lock().unwrap();
        ends.clone()
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_at_once_than_there_are_slots() {
        let slots = Slots::new(2, ms(100));
        let ends = ends(&slots, vec![ms(10); 5]).await;
        assert_eq!(ends, [10, 10, 20, 20, 30].map(ms));
    }

    #[tokio::test(start_paused = true)]
    async fn late_work_gives_up_its_slot_and_is_finished_all_the_same() {
        let slots = Slots::new(2, ms(100));
        let ends = ends(&slots, vec![ms(30_000), ms(30_000), ms(10), ms(10)]).await;
        assert_eq!(ends, [30_000, 30_000, 110, 110].map(ms));
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_dead_among_ten_thousand_cost_a_tenth_of_a_second_each() {
        let dead = |n: usize| n % 10 == 3;
        let takes = |n| if dead(n) { ms(30_000) } else { ms(20) };
        let ends = ends(&Slots::default(), (0..10_000).map(takes).collect()).await;
        let last = (0..10_000).filter(|n| !dead(*n)).map(|n| ends[n]).max();
        // 9,000 of 20 ms and 1,000 of 100 ms in 256 slots take 1.1 s; 1,000 of 30 s would take two minutes.
        assert!(last.is_some_and(|last| last < ms(1_300)), "{last:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_piece_of_work_has_its_own_result_and_a_panic_is_its_own() {
        let slots = Slots::new(0, ms(100));
        let clone = slots.clone();
        assert_eq!(clone.run(async { 7 }).await, 7);
        let done = Arc::new(Mutex::new(Vec::new()));
        let work = |n| {
            let done = Arc::clone(&done);
            async move {
                assert_ne!(n, 1, "the panic that is tried");
                done.lock().unwrap().push(n);
            }
        };
        slots.for_each(0..3, work).await;
        assert_eq!(*done.lock().unwrap(), [0, 2]);
        // Cancelled while it waits, and while it works: the slot is there for the next.
        let held = clone.run(std::future::pending::<()>());
        assert!(tokio::time::timeout(ms(50), held).await.is_err());
        assert_eq!(slots.run(async { 8 }).await, 8);
    }
}
