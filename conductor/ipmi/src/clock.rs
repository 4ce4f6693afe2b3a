//! The only place in this crate that reads the clock.
//! All that decides is handed the time: `login`, `exchange`, `retransmit`, `pace` and `sol` never ask for it.
use tokio::time::Instant;

pub(crate) fn now() -> Instant {
    Instant::now()
}
