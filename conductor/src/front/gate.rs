//! How many requests of one kind this worker works on at once, and how many bytes of them wait or are being read; the rest is
//! refused.
//! `nats` brings the requests. Each kind has a gate of its own, so that no flood of one delays another.
use super::refusal::{ApiError, fail};
use ironbeat_common::codec::MAX_MESSAGE_BYTES;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// A request that waits costs its bytes and about as much as this for its task, headers and subject.
const TICKET_BYTES: usize = 1024;
const MIB: usize = 1 << 20;
/// What a byte of an operator's request becomes while it is read: `[1,1,…` is a value of 32 bytes for every two, or one in CBOR.
const TREE_BYTES: usize = 32;
/// An agent waits 5 s for an answer and then asks again: what has waited longer is work for nobody, and would keep an
/// overloaded worker busy with the past.
const AGENT_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Heartbeat,
    Lookup,
    /// A question to a BMC, which may be dead.
    Bmc,
    /// Anything else that operators ask: records, verbs.
    Record,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Heartbeat, Kind::Lookup, Kind::Bmc, Kind::Record];

    /// Of an operator's endpoint, `noun.verb`.
    pub fn of_api(endpoint: &str) -> Self {
        match endpoint.starts_with("bmc.") || endpoint == "power.sync" {
            true => Kind::Bmc,
            false => Kind::Record,
        }
    }

    fn bounds(self) -> Bounds {
        let (at_once, waiting_bytes) = match self {
            // Some 16,000 beats.
            Kind::Heartbeat => (256, 32 * MIB),
            // Ten thousand machines that are switched on together, with 8 KB of inventory each.
            Kind::Lookup => (64, 128 * MIB),
            // A BMC has a queue of its own, of 64 commands; beyond these somebody asks in a loop. The longest body has room.
            Kind::Bmc => (1024, 32 * MIB),
            // Two of the longest bodies, or some 6,000 usual ones.
            Kind::Record => (256, 64 * MIB),
        };
        let patience = match self {
            Kind::Heartbeat | Kind::Lookup => Some(AGENT_PATIENCE),
            Kind::Bmc | Kind::Record => None,
        };
        let grows = match self {
            Kind::Heartbeat | Kind::Lookup => 1,
            Kind::Bmc | Kind::Record => TREE_BYTES,
        };
        Bounds {
            at_once,
            waiting_bytes,
            grows,
            patience,
        }
    }
}

#[derive(Clone, Copy)]
struct Bounds {
    at_once: usize,
    waiting_bytes: usize,
    /// Bytes that a byte becomes while it is read.
    grows: usize,
    patience: Option<Duration>,
}

pub(super) struct Gate {
    places: Arc<Semaphore>,
    room: Arc<Semaphore>,
    grows: usize,
    patience: Option<Duration>,
}

/// A request that is worked on, until it is dropped.
pub(super) struct Place {
    _place: OwnedSemaphorePermit,
    room: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// The request was read: its bytes, and what they became, are gone.
    pub fn was_read(&mut self) {
        self.room = None;
    }
}

/// The right to wait for a place.
pub(super) struct Ticket {
    places: Arc<Semaphore>,
    room: OwnedSemaphorePermit,
    /// Nobody waits for the answer after this.
    until: Option<Instant>,
}

impl Gate {
    pub fn of(kind: Kind) -> Self {
        Self::new(kind.bounds())
    }

    fn new(bounds: Bounds) -> Self {
        Self {
            places: Arc::new(Semaphore::new(bounds.at_once)),
            room: Arc::new(Semaphore::new(bounds.waiting_bytes)),
            grows: bounds.grows,
            patience: bounds.patience,
        }
    }

    /// Takes a request of so many bytes, or refuses it at once.
    pub fn admit(&self, bytes: usize) -> Result<Ticket, ApiError> {
        // Longer ones are refused unread.
        let bytes = bytes.min(MAX_MESSAGE_BYTES) * self.grows;
        let bytes = u32::try_from(bytes + TICKET_BYTES).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(bytes);
        let full = |_| {
            fail(
                503,
                "too many requests of this kind wait already: ask again",
            )
        };
        Ok(Ticket {
            places: Arc::clone(&self.places),
            room: room.map_err(full)?,
            until: self.patience.map(|patience| Instant::now() + patience),
        })
    }
}

impl Ticket {
    /// Waits for a place, which is free again when it is dropped.
    ///
    /// # Errors
    /// When the place came too late for whoever asked.
    pub async fn place(self) -> Result<Place, ApiError> {
        let place = self.places.acquire_owned().await;
        match self.until {
            Some(until) if Instant::now() > until => {
                Err(fail(503, "this worker is overloaded: ask again"))
            }
            Some(_) | None => Ok(Place {
                _place: place.expect("the places are never closed"),
                room: Some(self.room),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn gate() -> Gate {
        Gate::new(Bounds {
            at_once: 2,
            waiting_bytes: 4 * (TICKET_BYTES + 10),
            grows: 1,
            patience: Some(AGENT_PATIENCE),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_are_worked_on_so_many_wait_and_the_rest_is_refused() {
        let gate = gate();
        let mut working = Vec::new();
        for _ in 0..2 {
            let mut place = gate.admit(10).unwrap().place().await.unwrap();
            place.was_read();
            working.push(place);
        }
        // What was read no longer takes room.
        let waiting: Vec<Ticket> = (0..4).map(|_| gate.admit(10).unwrap()).collect();
        assert_eq!(gate.admit(10).err().unwrap().code, 503);
        assert_eq!(gate.admit(0).err().unwrap().code, 503);
        let mut waiting = waiting.into_iter().map(Ticket::place);
        let mut first = Box::pin(waiting.next().unwrap());
        assert!((&mut first).now_or_never().is_none());
        working.pop();
        let mut first = first.await.unwrap();
        first.was_read();
        working.push(first);
        gate.admit(10).unwrap();
    }

    /// A body of many small values becomes a tree many times its size.
    #[tokio::test(start_paused = true)]
    async fn bodies_that_are_being_read_are_bounded_by_what_they_become() {
        let gate = Gate::of(Kind::Bmc);
        let mut longest = gate
            .admit(MAX_MESSAGE_BYTES)
            .unwrap()
            .place()
            .await
            .unwrap();
        for bytes in [MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES + 1, usize::MAX / 64] {
            assert_eq!(gate.admit(bytes).err().unwrap().code, 503);
        }
        let usual = gate.admit(300).unwrap().place().await.unwrap();
        longest.was_read();
        gate.admit(MAX_MESSAGE_BYTES).unwrap();
        drop(usual);
        let agents = Gate::of(Kind::Lookup);
        let lookups: Vec<Ticket> = (0..10_000)
            .map(|_| agents.admit(8 << 10).unwrap())
            .collect();
        assert_eq!(lookups.len(), 10_000);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waited_longer_than_the_agent_is_not_worked_on() {
        let gate = gate();
        let mut working = [
            gate.admit(1).unwrap().place().await.unwrap(),
            gate.admit(1).unwrap().place().await.unwrap(),
        ];
        working.iter_mut().for_each(Place::was_read);
        let (late, later) = (gate.admit(1).unwrap(), gate.admit(1).unwrap());
        tokio::time::advance(AGENT_PATIENCE + Duration::from_millis(1)).await;
        let fresh = gate.admit(1).unwrap();
        drop(working);
        assert_eq!(late.place().await.err().unwrap().code, 503);
        assert_eq!(later.place().await.err().unwrap().code, 503);
        drop(fresh.place().await.unwrap());
    }

    #[test]
    fn questions_to_bmcs_are_told_from_questions_to_the_records() {
        for endpoint in ironbeat_ops::ENDPOINTS {
            let expected = match endpoint.name.split('.').next() {
                Some("bmc" | "power") => Kind::Bmc,
                _ => Kind::Record,
            };
            assert_eq!(Kind::of_api(endpoint.name), expected, "{}", endpoint.name);
        }
    }
}
