//! How many lookups a worker answers that do not come with the ticket it expects: enough to discover a rack, too few to wear
//! a worker out. `front` asks; others are never made to wait for them.
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Racks that are switched on together, and look up at once ...
const BURST: u32 = 400;
/// ... and what goes on: 50 a second and worker. Each costs a read of a record and a write.
const EVERY: Duration = Duration::from_millis(20);

pub struct Strangers {
    /// When all of [`BURST`] is there again.
    full_at: Mutex<Instant>,
}

impl Default for Strangers {
    fn default() -> Self {
        Self {
            full_at: Mutex::new(Instant::now()),
        }
    }
}

impl Strangers {
    /// Whether one more may come in.
    pub fn admit(&self, now: Instant) -> bool {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let next = (*full_at).max(now) + EVERY;
        let admitted = next <= now + EVERY * BURST;
        if admitted {
            *full_at = next;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rack_comes_in_at_once_and_a_flood_comes_in_slowly() {
        let strangers = Strangers::default();
        let begin = Instant::now();
        let admitted = |at: Instant, n: u32| (0..n).filter(|_| strangers.admit(at)).count() as u32;
        assert_eq!(admitted(begin, 10_000), BURST);
        let later = begin + Duration::from_secs(1);
        assert_eq!(admitted(later, 10_000), 50);
        let calm = later + EVERY * BURST;
        assert_eq!(admitted(calm, 10_000), BURST);
    }
}
