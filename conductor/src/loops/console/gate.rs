//! How many requests to watch consoles are under way, in all and of one asker, and how many answers with earlier output.
//! `mod` answers them; a session bounds its watchers.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Under way at once: each may wait for a BMC, and is some 8 KB, of which an inbox may have four.
const ALL: usize = 1024;
/// Of one asker. Whoever watches more consoles whose BMCs are away asks again a little later.
const OF_ASKER: usize = 64;
/// Surplus requests of an asker that get an answer at all.
const TOLD: usize = 8;
/// Answers with earlier output, 64 KiB each, on their way to the NATS server.
const BACKLOGS: usize = 64;

pub(super) struct Gate {
    under_way: Arc<Mutex<UnderWay>>,
    backlogs: Semaphore,
}

#[derive(Default)]
struct UnderWay {
    all: usize,
    of_asker: HashMap<String, usize>,
}

/// A request under way, until it is dropped.
pub(super) struct Place {
    asker: String,
    under_way: Arc<Mutex<UnderWay>>,
    /// It is over the asker's bound: to be refused.
    pub surplus: bool,
}

fn lock(under_way: &Mutex<UnderWay>) -> MutexGuard<'_, UnderWay> {
    // It is whole between any two statements, so a panic elsewhere cannot have torn it.
    under_way.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gate {
    pub fn new() -> Self {
        Self {
            under_way: Arc::default(),
            backlogs: Semaphore::new(BACKLOGS),
        }
    }

    /// None: it is not even refused, or a flood would be answered with another.
    pub fn admit(&self, asker: &str) -> Option<Place> {
        let mut under_way = lock(&self.under_way);
        let before = under_way.of_asker.get(asker).copied().unwrap_or_default();
        if under_way.all >= ALL || before >= OF_ASKER + TOLD {
            return None;
        }
        under_way.all += 1;
        under_way.of_asker.insert(asker.into(), before + 1);
        Some(Place {
            asker: asker.into(),
            under_way: Arc::clone(&self.under_way),
            surplus: before >= OF_ASKER,
        })
    }

    /// To be had before earlier output is copied, and held until the NATS server has it.
    pub async fn backlog(&self) -> SemaphorePermit<'_> {
        let place = self.backlogs.acquire().await;
        place.expect("the places are never closed")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut under_way = lock(&self.under_way);
        under_way.all -= 1;
        if let Some(count) = under_way.of_asker.get_mut(&self.asker) {
            *count -= 1;
            if *count == 0 {
                under_way.of_asker.remove(&self.asker);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asker_has_so_many_requests_under_way_and_others_have_theirs() {
        let gate = Gate::new();
        let of_eve: Vec<Place> = (0..1000).filter_map(|_| gate.admit("eve")).collect();
        let surplus = of_eve.iter().filter(|place| place.surplus).count();
        assert_eq!((of_eve.len(), surplus), (OF_ASKER + TOLD, TOLD));
        assert!(gate.admit("ann").is_some_and(|place| !place.surplus));
        drop(of_eve);
        assert!(gate.admit("eve").is_some_and(|place| !place.surplus));
        assert!(lock(&gate.under_way).of_asker.is_empty());
    }

    #[test]
    fn all_askers_have_a_bound_together() {
        let gate = Gate::new();
        let all: Vec<Place> = (0..5000)
            .filter_map(|n| gate.admit(&n.to_string()))
            .collect();
        assert_eq!(all.len(), ALL);
        drop(all);
        assert_eq!(lock(&gate.under_way).all, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn earlier_output_on_its_way_is_bounded() {
        let gate = Gate::new();
        let mut on_their_way = Vec::new();
        for _ in 0..BACKLOGS {
            on_their_way.push(gate.backlog().await);
        }
        let mut next = Box::pin(gate.backlog());
        assert!(futures_util::poll!(&mut next).is_pending());
        on_their_way.pop();
        drop(next.await);
    }
}
