//! A log line that anybody on the network can cause: a few are told at once, then one a second with how many were not.
//! What the line says is for whoever refuses something.
use crate::bucket::Rate;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Enough to see what somebody is at, some 40 KB of log; then 86,400 lines a day from whoever goes on.
const RATE: Rate = Rate {
    burst: 200,
    every: Duration::from_secs(1),
};

pub struct Seldom(Mutex<State>);

struct State {
    full_at: Instant,
    untold: u64,
}

impl Default for Seldom {
    fn default() -> Self {
        Self(Mutex::new(State {
            full_at: Instant::now(),
            untold: 0,
        }))
    }
}

impl Seldom {
    /// Whether this one is told; then how many were not since the last that was.
    pub fn told(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !RATE.take(&mut state.full_at, now) {
            state.untold += 1;
            return None;
        }
        Some(std::mem::take(&mut state.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_in_part_and_counted_in_full() {
        let seldom = Seldom::default();
        let begin = Instant::now();
        let told = (0..10_000).filter(|_| seldom.told(begin).is_some());
        assert_eq!(told.count(), 200);
        let later = begin + RATE.every;
        assert_eq!(seldom.told(later), Some(9_800));
        assert_eq!(seldom.told(later), None);
        let calm = later + RATE.every * 201;
        assert_eq!(seldom.told(calm), Some(1));
        assert_eq!(seldom.told(calm), Some(0));
    }
}
