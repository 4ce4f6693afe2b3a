//! How often one NIC's way to the ramdisk is told, and gets a ticket: a machine that boots in a loop, or says so, must not fill
//! the stream of events, or keep a node's record busy. `boots` tells, and hands out tickets.
use crate::bucket::Rate;
use ironbeat_common::id::Mac;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A boot is told in about eight events: firmware's and iPXE's leases, script, kernel, ramdisk. Four boots in a row are
/// told in full, and a machine that goes on has an event a minute: 43,200 a month, where half a million are kept.
const EVENTS: Rate = Rate {
    burst: 32,
    every: Duration::from_secs(60),
};

/// A machine asks for a script once in a boot, and a few times when a worker is slow.
const SCRIPTS: Rate = Rate {
    burst: 10,
    every: Duration::from_secs(5),
};

pub struct Budgets {
    rate: Rate,
    full_at: Mutex<HashMap<Mac, Instant>>,
}

impl Budgets {
    pub fn of_events() -> Self {
        Self::new(EVENTS)
    }

    pub fn of_scripts() -> Self {
        Self::new(SCRIPTS)
    }

    fn new(rate: Rate) -> Self {
        let full_at = Mutex::default();
        Self { rate, full_at }
    }

    /// Takes one of this NIC's budget, if there is one left.
    pub fn take(&self, mac: Mac, now: Instant) -> bool {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        // Who has its whole budget need not be remembered.
        if full_at.len() >= full_at.capacity() {
            full_at.retain(|_, full| *full > now);
        }
        self.rate.take(full_at.entry(mac).or_insert(now), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(n: u8) -> Mac {
        Mac::from_bytes([2, 0, 0, 0, 0, n])
    }

    #[test]
    fn a_machine_in_a_loop_is_told_now_and_then_and_costs_no_other_its_events() {
        let budgets = Budgets::of_events();
        let begin = Instant::now();
        // A script every second, for an hour.
        let told = (0..3600).filter(|n| budgets.take(mac(1), begin + Duration::from_secs(*n)));
        assert_eq!(told.count() as u32, EVENTS.burst + 59);
        let hour = begin + Duration::from_secs(3600);
        assert!(budgets.take(mac(2), hour));
        // It calms down, and has its whole budget again.
        let later = hour + EVENTS.every * EVENTS.burst;
        let told = (0..EVENTS.burst + 5).filter(|_| budgets.take(mac(1), later));
        assert_eq!(told.count() as u32, EVENTS.burst);
    }

    #[test]
    fn machines_that_are_calm_are_forgotten() {
        let budgets = Budgets::of_events();
        let begin = Instant::now();
        for n in 0..100_u32 {
            for last in 0..=255 {
                assert!(budgets.take(mac(last), begin + n * EVENTS.every));
            }
        }
        let now = begin + EVENTS.every * 1000;
        for n in 0..10_000_u32 {
            let [_, _, a, b] = n.to_be_bytes();
            budgets.take(Mac::from_bytes([2, 0, 0, 1, a, b]), now + n * EVENTS.every);
        }
        let remembered = budgets.full_at.lock().unwrap().len();
        assert!(remembered < 2000, "{remembered}");
    }
}
