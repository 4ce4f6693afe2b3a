//! A log line that anybody on the network can cause: a few are told at once, then one a second with how many were not.
//! What the line says is for whoever refuses something.
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Enough to see what somebody is at: some 40 KB of log ...
const BURST: u32 = 200;
/// ... and 86,400 lines a day from whoever goes on.
const EVERY: Duration = Duration::from_secs(1);

pub struct Seldom(Mutex<State>);

struct State {
    /// When all of [`BURST`] is there again.
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
        let next = state.full_at.max(now) + EVERY;
        if next > now + EVERY * BURST {
            state.untold += 1;
            return None;
        }
        state.full_at = next;
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
        assert_eq!(told.count(), BURST as usize);
        let later = begin + EVERY;
        assert_eq!(seldom.told(later), Some(u64::from(10_000 - BURST)));
        assert_eq!(seldom.told(later), None);
        let calm = later + EVERY * (BURST + 1);
        assert_eq!(seldom.told(calm), Some(1));
        assert_eq!(seldom.told(calm), Some(0));
    }
}
