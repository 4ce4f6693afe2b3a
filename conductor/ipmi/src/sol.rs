//! Serial over LAN as a state machine without sockets or clocks: numbering, acknowledgement, repetition (IPMI 2.0 §15.9
//! to §15.11). `console` opens the payload and moves the bytes.
use std::collections::VecDeque;
use std::time::Duration;

/// Characters typed but not yet taken by the BMC. A paste that is longer has to wait.
const MAX_QUEUE: usize = 16 * 1024;
/// Most characters in one packet, whatever the BMC allows: many have small buffers.
const MAX_CHUNK: usize = 128;
/// Repetitions of one packet, and the pause before each (§15.11 leaves them to the console).
const TRIES: u32 = 10;
const RETRY: Duration = Duration::from_millis(500);
/// When to try again after a refusal for lack of room, as the BMC need not report room (§15.11.2).
const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// Sequence numbers are 1 to 15; 0 is a bare acknowledgement.
const MAX_SEQUENCE: u8 = 15;
const HEADER: usize = 4;

/// Operation byte, console to BMC.
const BREAK: u8 = 0x10;
/// Status byte, BMC to console.
const NACK: u8 = 0x40;
const DEACTIVATED: u8 = 0x10;

/// Why a console ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The BMC said so: somebody else took it, or it was switched off.
    Deactivated,
    /// A packet was never acknowledged.
    Silent,
}

#[derive(Debug)]
struct Flight {
    sequence: u8,
    /// How many characters from the head of the queue it carries.
    length: usize,
    operation: u8,
    next_try: Duration,
    tries: u32,
}

#[derive(Debug)]
pub(crate) struct Sol {
    queue: VecDeque<u8>,
    chunk: usize,
    sequence: u8,
    flight: Option<Flight>,
    not_before: Duration,
    send_break: bool,
    /// Output that came and is not yet delivered; it is acknowledged once it is.
    received: Vec<u8>,
    last_received: u8,
    last_length: usize,
    acknowledge: Option<(u8, usize)>,
    ended: Option<Ended>,
}

impl Sol {
    /// `room`: bytes of a packet that the BMC can take, header included.
    pub(crate) fn new(room: u16) -> Self {
        Self {
            queue: VecDeque::new(),
            chunk: usize::from(room).saturating_sub(HEADER).clamp(1, MAX_CHUNK),
            sequence: 0,
            flight: None,
            not_before: Duration::ZERO,
            send_break: false,
            received: Vec::new(),
            last_received: 0,
            last_length: 0,
            acknowledge: None,
            ended: None,
        }
    }

    /// How many characters can be typed now.
    pub(crate) fn room(&self) -> usize {
        MAX_QUEUE - self.queue.len()
    }

    /// At most [`Self::room`] of them are taken.
    pub(crate) fn type_in(&mut self, characters: &[u8]) {
        let taken = characters.len().min(self.room());
        self.queue.extend(&characters[..taken]);
    }

    pub(crate) fn send_break(&mut self) {
        self.send_break = true;
    }

    /// Everything typed has been taken by the BMC.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.flight.is_none() && !self.send_break
    }

    pub(crate) fn ended(&self) -> Option<Ended> {
        self.ended
    }

    /// Output to be delivered.
    pub(crate) fn received(&self) -> &[u8] {
        &self.received
    }

    /// `count` characters were delivered.
    pub(crate) fn delivered(&mut self, count: usize) {
        self.received.drain(..count.min(self.received.len()));
    }

    /// A packet came from the BMC. A malformed one is ignored: it is authentic, but BMCs have bugs.
    pub(crate) fn receive(&mut self, packet: &[u8], now: Duration) {
        let [sequence, acknowledged, accepted, status, characters @ ..] = packet else {
            return;
        };
        if status & DEACTIVATED != 0 {
            self.ended = Some(Ended::Deactivated);
        }
        self.acknowledged(
            acknowledged & 0x0f,
            usize::from(*accepted),
            status & NACK != 0,
            now,
        );
        let sequence = sequence & 0x0f;
        if sequence == 0 || !self.received.is_empty() {
            // A bare acknowledgement; or we have no room, and the BMC will repeat it.
            return;
        }
        // A repetition may carry more than the first did (§15.11).
        let known = match sequence == self.last_received {
            true => self.last_length.min(characters.len()),
            false => 0,
        };
        self.received.extend(&characters[known..]);
        self.last_received = sequence;
        self.last_length = characters.len();
        self.acknowledge = Some((sequence, characters.len()));
    }

    fn acknowledged(&mut self, sequence: u8, accepted: usize, refused: bool, now: Duration) {
        let Some(flight) = &self.flight else {
            return;
        };
        if sequence == 0 || sequence != flight.sequence {
            return;
        }
        let accepted = accepted.min(flight.length);
        self.queue.drain(..accepted);
        if refused && flight.operation & BREAK != 0 {
            self.send_break = true;
        }
        if refused || accepted < flight.length {
            self.not_before = now + REFUSED_PAUSE;
        }
        self.flight = None;
    }

    /// The next packet to send now, if any.
    pub(crate) fn poll(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.ended.is_some() {
            return None;
        }
        self.start_flight(now);
        let due = match &mut self.flight {
            Some(flight) if now >= flight.next_try => {
                if flight.tries == TRIES {
                    self.ended = Some(Ended::Silent);
                    return None;
                }
                flight.tries += 1;
                flight.next_try = now + RETRY;
                Some((flight.sequence, flight.length, flight.operation))
            }
            Some(_) | None => None,
        };
        let acknowledge = match self.received.is_empty() {
            true => self.acknowledge.take(),
            false => None,
        };
        if due.is_none() && acknowledge.is_none() {
            return None;
        }
        let (sequence, length, operation) = due.unwrap_or_default();
        let (acknowledged, count) = acknowledge.unwrap_or_default();
        let mut packet = vec![sequence, acknowledged, count.min(255) as u8, operation];
        packet.extend(self.queue.iter().take(length));
        Some(packet)
    }

    fn start_flight(&mut self, now: Duration) {
        let something = !self.queue.is_empty() || self.send_break;
        if self.flight.is_some() || !something || now < self.not_before {
            return;
        }
        self.sequence = self.sequence % MAX_SEQUENCE + 1;
        self.flight = Some(Flight {
            sequence: self.sequence,
            length: self.queue.len().min(self.chunk),
            operation: if self.send_break { BREAK } else { 0 },
            next_try: now,
            tries: 0,
        });
        self.send_break = false;
    }

    /// When to call `poll` again even if nothing happens.
    pub(crate) fn next_timeout(&self) -> Option<Duration> {
        match &self.flight {
            Some(flight) => Some(flight.next_try),
            None if !self.queue.is_empty() || self.send_break => Some(self.not_before),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_mutate::Mutator;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn typed_characters_go_out_numbered_and_one_packet_at_a_time() {
        let mut sol = Sol::new(4 + 3);
        sol.type_in(b"hello");
        assert_eq!(sol.poll(ms(0)), Some(b"\x01\0\0\0hel".to_vec()));
        assert_eq!(sol.poll(ms(0)), None);
        assert_eq!(sol.next_timeout(), Some(RETRY));
        // Unanswered: the same again.
        assert_eq!(sol.poll(RETRY), Some(b"\x01\0\0\0hel".to_vec()));
        sol.receive(&[0, 1, 3, 0], ms(600));
        assert_eq!(sol.poll(ms(600)), Some(b"\x02\0\0\0lo".to_vec()));
        // Taken in part: the rest follows, in a packet of its own.
        sol.receive(&[0, 2, 1, NACK], ms(600));
        assert_eq!(sol.poll(ms(600)), None);
        assert_eq!(sol.next_timeout(), Some(ms(700)));
        assert_eq!(sol.poll(ms(700)), Some(b"\x03\0\0\0o".to_vec()));
        sol.receive(&[0, 3, 1, 0], ms(700));
        assert!(sol.is_idle());
        assert_eq!(sol.next_timeout(), None);
    }

    #[test]
    fn what_comes_is_acknowledged_when_it_is_delivered() {
        let mut sol = Sol::new(100);
        sol.receive(b"\x05\0\0\0login:", ms(0));
        assert_eq!(sol.received(), b"login:");
        assert_eq!(sol.poll(ms(0)), None, "not delivered yet");
        sol.delivered(4);
        assert_eq!(sol.poll(ms(0)), None);
        sol.delivered(2);
        assert_eq!(sol.poll(ms(0)), Some(vec![0, 5, 6, 0]));
        // The acknowledgement was lost, and more has come meanwhile.
        sol.receive(b"\x05\0\0\0login: x", ms(0));
        assert_eq!(sol.received(), b" x");
        sol.delivered(2);
        sol.type_in(b"r");
        assert_eq!(sol.poll(ms(0)), Some(vec![1, 5, 8, 0, b'r']));
    }

    #[test]
    fn a_break_and_an_end_are_passed_on() {
        let mut sol = Sol::new(100);
        sol.send_break();
        assert_eq!(sol.poll(ms(0)), Some(vec![1, 0, 0, BREAK]));
        sol.receive(&[0, 1, 0, DEACTIVATED], ms(0));
        assert_eq!(sol.ended(), Some(Ended::Deactivated));
        assert_eq!(sol.poll(ms(9999)), None);
        let mut sol = Sol::new(100);
        sol.type_in(b"x");
        let mut now = ms(0);
        let mut sent = 0;
        while sol.ended().is_none() {
            sent += u32::from(sol.poll(now).is_some());
            now = sol.next_timeout().unwrap_or(now);
        }
        assert_eq!((sol.ended(), sent), (Some(Ended::Silent), TRIES));
    }

    /// Two of these machines over a line that loses, repeats and delays: what is typed here arrives there, once.
    #[test]
    fn nothing_is_lost_or_doubled_on_a_bad_line() {
        for round in 0..200 {
            let mut dice = Mutator::seeded(&format!("sol line, round {round}"));
            let (mut here, mut there) = (Sol::new(20), Sol::new(9));
            let typed: Vec<u8> = (0..200 + dice.below(400)).map(|n| n as u8).collect();
            let echoed: Vec<u8> = typed.iter().rev().copied().collect();
            here.type_in(&typed);
            there.type_in(&echoed);
            let (mut arrived, mut returned) = (Vec::new(), Vec::new());
            let mut now = ms(0);
            while !(here.is_idle() && there.is_idle()) {
                assert!(here.ended().is_none() && there.ended().is_none());
                for _ in 0..2 {
                    let packets = [here.poll(now), there.poll(now)];
                    for (target, packet) in [&mut there, &mut here].into_iter().zip(packets) {
                        // One in sixteen is lost, one in sixteen repeated.
                        for _ in 0..[0, 2].get(dice.below(16)).copied().unwrap_or(1) {
                            target.receive(packet.as_deref().unwrap_or_default(), now);
                        }
                    }
                    for (side, end) in [(&mut there, &mut arrived), (&mut here, &mut returned)] {
                        let count = dice.below(side.received().len() + 1);
                        end.extend(&side.received()[..count]);
                        side.delivered(count);
                    }
                }
                now += ms(50);
            }
            arrived.extend(there.received());
            returned.extend(here.received());
            assert_eq!((arrived, returned), (typed, echoed));
        }
    }

    #[test]
    fn mutants_never_panic() {
        let mut dice = Mutator::seeded("sol");
        for _ in 0..20_000 {
            let mut sol = Sol::new(dice.random() as u16);
            sol.type_in(b"some text");
            let mut longest = 0;
            for step in 0..8 {
                let packet = dice.mutate(b"\x01\x01\x04\0data");
                longest = longest.max(packet.len());
                sol.receive(&packet, ms(step));
                let _ = sol.poll(ms(step * 300));
                sol.delivered(dice.below(9));
                // Never more than one packet.
                assert!(sol.received().len() <= longest);
            }
        }
    }
}
