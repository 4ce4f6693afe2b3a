//! How many BMCs are worked on at once, out of thousands: silent ones must not hold up the others.
//! The caller does the work; `pace` says how long to wait for one answer.
use crate::clock;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};

/// Work that has begun and is neither done nor late. All its answers at once fit into the smallest socket buffer in use
/// (208 KiB on Linux, where a small datagram takes 768 bytes of it).
const AT_ONCE: usize = 256;
/// Work is late when it takes this many times as long as usual, but never before the shortest time, which even an idle
/// host and a near BMC sometimes need, and always after the longest, which bounds the cost where nearly all are dead.
const LATE_AFTER: u32 = 4;
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(100);
/// The latest duration counts for one part in so many of the mean.
const MEMORY: u32 = 16;

/// Slots for work with BMCs. Work that is late gives its slot to the next in line *and goes on*: a dead BMC holds a slot
/// for a few times as long as a live one, at most 0.1 s, not for the half minute until it is given up.
///
/// So this bounds the rate at which work begins; the caller bounds how much is under way.
/// Cheap to clone; clones share the slots.
#[derive(Clone, Debug)]
pub struct Slots {
    free: Arc<Semaphore>,
    /// How long a slot is held on average, in microseconds. Late work counts until the moment when it gave up its slot.
    usual_us: Arc<AtomicU32>,
}

impl Default for Slots {
    /// 256 slots, for any number of BMCs.
    fn default() -> Self {
        Self::new(AT_ONCE)
    }
}

impl Slots {
    /// `at_once`: slots, at least one.
    pub fn new(at_once: usize) -> Self {
        let slots = at_once.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(slots)),
            usual_us: Arc::new(AtomicU32::new(micros(LONGEST / LATE_AFTER))),
        }
    }

    /// Waits for a slot (first come, first served), then does `work` to its end. Cancelling gives the slot back.
    pub async fn run<F: Future>(&self, work: F) -> F::Output {
        let slot = self.slot().await;
        self.clone().hold(slot, work).await
    }

    /// Does `work` for every item, each in a task of its own, and returns when all are done. A task starts
    /// when it has its slot. Dropping the future stops them all. A panic ends only its own item.
    pub async fn for_each<I, F>(&self, items: I, mut work: impl FnMut(I::Item) -> F)
    where
        I: IntoIterator,
        F: Future<Output = ()> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        for item in items {
            let slot = self.slot().await;
            tasks.spawn(self.clone().hold(slot, work(item)));
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

    async fn hold<F: Future>(self, slot: OwnedSemaphorePermit, work: F) -> F::Output {
        let mut work = pin!(work);
        let (begin, patience) = (clock::now(), self.patience());
        let done = tokio::time::timeout_at(begin + patience, &mut work).await;
        self.learn((clock::now() - begin).min(patience));
        drop(slot);
        match done {
            Ok(done) => done,
            Err(_) => work.await,
        }
    }

    fn patience(&self) -> Duration {
        let usual = Duration::from_micros(self.usual_us.load(Ordering::Relaxed).into());
        (usual * LATE_AFTER).clamp(SHORTEST, LONGEST)
    }

    fn learn(&self, took: Duration) {
        let usual = self.usual_us.load(Ordering::Relaxed);
        let mean = (usual * (MEMORY - 1) + micros(took)) / MEMORY;
        // One of two simultaneous updates may be lost: there are thousands.
        self.usual_us.store(mean, Ordering::Relaxed);
    }
}

/// Anything up to `LONGEST` fits, sixteen times over.
fn micros(duration: Duration) -> u32 {
    duration.min(LONGEST).as_micros() as u32
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
        let slots = Slots::new(2);
        let ends = ends(&slots, vec![ms(10); 5]).await;
        assert_eq!(ends, [10, 10, 20, 20, 30].map(ms));
    }

    #[tokio::test(start_paused = true)]
    async fn late_work_gives_up_its_slot_and_is_finished_all_the_same() {
        let slots = Slots::new(2);
        let ends = ends(&slots, vec![ms(30_000), ms(30_000), ms(10), ms(10)]).await;
        assert_eq!(ends, [30_000, 30_000, 110, 110].map(ms));
    }

    #[tokio::test(start_paused = true)]
    async fn dead_bmcs_cost_a_few_times_what_live_ones_do() {
        // (live ones take, dead of ten, time until the last live one is done: by hand, and a quarter)
        for (live, dead_of_ten, at_most) in [
            // 9,000 of 5 ms and 1,000 of 20 ms in 256 slots: 0.25 s; of 30 s it would be two minutes.
            (ms(5), 1, ms(320)),
            (ms(15), 1, ms(950)),
            // The longest patience: 1,000 of 5 ms and 9,000 of 100 ms.
            (ms(5), 9, ms(4400)),
        ] {
            let is_dead = |n: usize| n % 10 < dead_of_ten;
            let takes = |n| if is_dead(n) { ms(30_000) } else { live };
            let ends = ends(&Slots::default(), (0..10_000).map(takes).collect()).await;
            let last = (0..10_000).filter(|n| !is_dead(*n)).map(|n| ends[n]).max();
            assert!(
                last.is_some_and(|last| last < at_most),
                "{live:?}: {last:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn slow_bmcs_are_not_late_where_all_are_slow() {
        let slots = Slots::new(10);
        ends(&slots, vec![ms(5); 100]).await;
        assert!(slots.patience() < ms(40), "{:?}", slots.patience());
        let ends = ends(&slots, vec![ms(60); 200]).await;
        assert!(slots.patience() > ms(90), "{:?}", slots.patience());
        // Only the first few were: 20 rounds of 60 ms and one of less.
        assert!(ends.iter().max() >= Some(&ms(1140)), "{ends:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_piece_of_work_has_its_own_result_and_a_panic_is_its_own() {
        let slots = Slots::new(0);
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
        // Cancelled while it works: the slot is free for the next.
        let held = clone.run(std::future::pending::<()>());
        assert!(tokio::time::timeout(ms(50), held).await.is_err());
        assert_eq!(slots.run(async { 8 }).await, 8);
    }
}
