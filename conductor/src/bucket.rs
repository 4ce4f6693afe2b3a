//! A token bucket: so much at once, and then one in a while. A moment is all there is to remember of it.
//! What it bounds, and what becomes of the rest, is for whoever takes from it.
use std::time::Duration;
use tokio::time::Instant;

#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// At once ...
    pub burst: u32,
    /// ... and then one in this time.
    pub every: Duration,
}

impl Rate {
    /// Takes one, if there is one left. `full_at`: when all are there again; any moment that is past means that they are.
    pub fn take(self, full_at: &mut Instant, now: Instant) -> bool {
        let next = (*full_at).max(now) + self.every;
        let left = next <= now + self.every * self.burst;
        if left {
            *full_at = next;
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_comes_at_once_and_the_rest_slowly() {
        let rate = Rate {
            burst: 400,
            every: Duration::from_millis(20),
        };
        let begin = Instant::now();
        let mut full_at = begin;
        let mut taken = |at: Instant| (0..10_000).filter(|_| rate.take(&mut full_at, at)).count();
        assert_eq!(taken(begin), 400);
        let later = begin + Duration::from_secs(1);
        assert_eq!(taken(later), 50);
        assert_eq!(taken(later + rate.every * 400), 400);
    }
}
