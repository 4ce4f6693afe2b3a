//! The serial port of a simulated machine: says hello, then echoes what is typed (IPMI 2.0 §15.9 to §15.11).
//! Leaves attaching it to a session to `commands::app`.
use std::collections::VecDeque;
use std::time::Duration;

/// Characters of one packet.
const CHUNK: usize = 60;
const RETRY: Duration = Duration::from_millis(200);
const TRIES: u32 = 8;
/// Characters that wait to be echoed; what is typed beyond is refused.
const MAX_QUEUE: usize = 4096;
const NACK: u8 = 0x40;
const BREAK_SEEN: u8 = 0x10;

pub(crate) struct Port {
    pub session: u32,
    queue: VecDeque<u8>,
    sequence: u8,
    /// Number, characters, when to send (again), how often it was.
    flight: Option<(u8, usize, Duration, u32)>,
    last: (u8, u8),
    acknowledge: Option<[u8; 3]>,
}

impl Port {
    pub(crate) fn new(session: u32) -> Self {
        Self {
            session,
            queue: b"console ready\r\n".iter().copied().collect(),
            sequence: 0,
            flight: None,
            last: (0, 0),
            acknowledge: None,
        }
    }

    pub(crate) fn receive(&mut self, packet: &[u8], _now: Duration) {
        let [sequence, acknowledged, accepted, operation, typed @ ..] = packet else {
            return;
        };
        if let Some((number, length, ..)) = self.flight
            && number == *acknowledged
        {
            self.queue.drain(..usize::from(*accepted).min(length));
            self.flight = None;
        }
        if *sequence == 0 {
            return;
        }
        if self.last.0 != *sequence {
            let room = MAX_QUEUE.saturating_sub(self.queue.len()).min(255);
            let taken = typed.len().min(room);
            self.queue.extend(&typed[..taken]);
            if operation & BREAK_SEEN != 0 {
                self.queue.extend(b"[break]");
            }
            self.last = (*sequence, taken as u8);
        }
        let refused = usize::from(self.last.1) < typed.len();
        self.acknowledge = Some([*sequence, self.last.1, if refused { NACK } else { 0 }]);
    }

    pub(crate) fn poll(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.flight.is_none() && !self.queue.is_empty() {
            self.sequence = self.sequence % 15 + 1;
            self.flight = Some((self.sequence, self.queue.len().min(CHUNK), now, 0));
        }
        let due = match &mut self.flight {
            Some((_, length, _, tries)) if *tries == TRIES => {
                // Nobody listens: like a real line, forget it.
                self.queue.drain(..*length);
                self.flight = None;
                None
            }
            Some((number, length, at, tries)) if *at <= now => {
                *at = now + RETRY;
                *tries += 1;
                Some((*number, *length))
            }
            Some(_) | None => None,
        };
        let acknowledge = self.acknowledge.take();
        if due.is_none() && acknowledge.is_none() {
            return None;
        }
        let (number, length) = due.unwrap_or_default();
        let [acknowledged, accepted, status] = acknowledge.unwrap_or_default();
        let mut packet = vec![number, acknowledged, accepted, status];
        packet.extend(self.queue.iter().take(length));
        Some(packet)
    }

    pub(crate) fn next_wake(&self) -> Option<Duration> {
        self.flight.map(|(_, _, at, _)| at)
    }
}
