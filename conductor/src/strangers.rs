//! How many lookups a worker answers that do not come with the ticket it expects: enough to discover a rack, too few to wear
//! a worker out. `front` asks; others are never made to wait for them.
use crate::bucket::Rate;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Racks that are switched on together look up at once. What goes on is 50 a second and worker: each costs a read of a record
/// and a write.
const RATE: Rate = Rate {
    burst: 400,
    every: Duration::from_millis(20),
};

pub struct Strangers {
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
        RATE.take(&mut full_at, now)
    }
}
