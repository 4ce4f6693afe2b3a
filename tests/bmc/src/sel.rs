//! The event log of a simulated BMC (IPMI 2.0 §31, §32).
//! Leaves the commands that read it to `commands::storage`.
use std::time::Duration;

pub(crate) const RECORD: usize = 16;
/// Entries it has room for; more are dropped, as in a real one.
const CAPACITY: usize = 512;

pub(crate) struct Sel {
    pub entries: Vec<[u8; RECORD]>,
    pub reservation: u16,
    pub overflowed: bool,
    pub last_added: u32,
    pub last_erased: u32,
    epoch_secs: u32,
    next_id: u16,
}

impl Sel {
    pub(crate) fn new(epoch_secs: u32) -> Self {
        Self {
            entries: Vec::new(),
            reservation: 0,
            overflowed: false,
            last_added: u32::MAX,
            last_erased: u32::MAX,
            epoch_secs,
            next_id: 1,
        }
    }

    pub(crate) fn clock(&self, now: Duration) -> u32 {
        self.epoch_secs.wrapping_add(now.as_secs() as u32)
    }

    pub(crate) fn free_bytes(&self) -> u16 {
        ((CAPACITY - self.entries.len()) * RECORD) as u16
    }

    /// Sensor type, number, direction and event type, data. None when there is no room.
    pub(crate) fn add(&mut self, event: [u8; 6], now: Duration) -> Option<[u8; RECORD]> {
        if self.entries.len() == CAPACITY {
            self.overflowed = true;
            return None;
        }
        let mut record = [0; RECORD];
        record[..2].copy_from_slice(&self.next_id.to_le_bytes());
        record[2] = 0x02;
        self.last_added = self.clock(now);
        record[3..7].copy_from_slice(&self.last_added.to_le_bytes());
        record[7] = 0x20;
        record[9] = 0x04;
        record[10..].copy_from_slice(&event);
        self.entries.push(record);
        self.next_id = self.next_id % 0xfffe + 1;
        // What was reserved is no longer what is there (§31.4).
        self.reservation = 0;
        Some(record)
    }

    pub(crate) fn erase(&mut self, now: Duration) {
        self.entries.clear();
        self.overflowed = false;
        self.last_erased = self.clock(now);
        self.reservation = 0;
    }
}
