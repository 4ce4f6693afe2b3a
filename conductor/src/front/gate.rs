//! How many requests of one kind this worker works on at once, and how many bytes of them wait; the rest is refused.
//! `nats` brings the requests. Each kind has a gate of its own, so that no flood of one delays another.
use super::refusal::{ApiError, fail};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// A request that waits costs its bytes and about as much as this for its task, headers and subject.
const TICKET_BYTES: usize = 1024;
const MIB: usize = 1 << 20;
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
            // A BMC has a queue of its own, of 64 commands; beyond these somebody asks in a loop.
            Kind::Bmc => (1024, 4 * MIB),
            Kind::Record => (256, 32 * MIB),
        };
        let patience = match self {
            Kind::Heartbeat | Kind::Lookup => Some(AGENT_PATIENCE),
            Kind::Bmc | Kind::Record => None,
        };
        Bounds {
            at_once,
            waiting_bytes,
            patience,
        }
    }
}

#[derive(Clone, Copy)]
struct Bounds {
    at_once: usize,
    waiting_bytes: usize,
    patience: Option<Duration>,
}

pub(super) struct Gate {
    places: Arc<Semaphore>,
    room: Arc<Semaphore>,
    patience: Option<Duration>,
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
            patience: bounds.patience,
        }
    }

    /// Takes a request of so many bytes, or refuses it at once.
    pub fn admit(&self, bytes: usize) -> Result<Ticket, ApiError> {
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
    pub async fn place(self) -> Result<OwnedSemaphorePermit, ApiError> {
        let place = self.places.acquire_owned().await;
        drop(self.room);
        match self.until {
            Some(until) if Instant::now() > until => {
                Err(fail(503, "this worker is overloaded: ask again"))
            }
            Some(_) | None => Ok(place.expect("the places are never closed")),
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
            patience: Some(AGENT_PATIENCE),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_are_worked_on_so_many_wait_and_the_rest_is_refused() {
        let gate = gate();
        let mut working = Vec::new();
        for _ in 0..2 {
            working.push(gate.admit(10).unwrap().place().await.unwrap());
        }
        // Those who work no longer take room.
        let waiting: Vec<Ticket> = (0..4).map(|_| gate.admit(10).unwrap()).collect();
        assert_eq!(gate.admit(10).err().unwrap().code, 503);
        assert_eq!(gate.admit(0).err().unwrap().code, 503);
        let mut waiting = waiting.into_iter().map(Ticket::place);
        let mut first = Box::pin(waiting.next().unwrap());
        assert!((&mut first).now_or_never().is_none());
        working.pop();
        working.push(first.await.unwrap());
        gate.admit(10).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_waited_longer_than_the_agent_is_not_worked_on() {
        let gate = gate();
        let working = [
            gate.admit(1).unwrap().place().await.unwrap(),
            gate.admit(1).unwrap().place().await.unwrap(),
        ];
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
