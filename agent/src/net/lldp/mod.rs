//! The LLDP neighbour on each interface: listens from the moment a link is up and keeps the newest announcement.
//! Frames are parsed in `tlv`; only an inspection waits for them.
pub mod tlv;

use super::packet;
use ironbeat_common::inventory::LldpNeighbour;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

const ETHER_TYPE: u16 = 0x88cc;
/// "Nearest bridge": the switch port and nothing behind it (IEEE 802.1AB-2016 table 7-1).
const NEAREST_BRIDGE: [u8; 6] = [0x01, 0x80, 0xc2, 0x00, 0x00, 0x0e];
/// Longest payload accepted, in bytes: an Ethernet frame with room for a tag.
const FRAME: usize = 1600;
/// Interfaces kept; more than any machine has.
const MAX_INTERFACES: usize = 256;

/// The neighbours by interface index.
#[derive(Default)]
pub struct Neighbours {
    /// Opened with the first interface: before that, its driver may not be loaded.
    socket: OnceLock<OwnedFd>,
    heard: Mutex<BTreeMap<i32, Heard>>,
    changed: Condvar,
}

struct Heard {
    neighbour: LldpNeighbour,
    until: Instant,
}

impl Neighbours {
    /// Starts listening on this interface; one thread serves all of them.
    ///
    /// # Errors
    /// Without the right to listen, which an ordinary process lacks.
    pub fn listen_on(self: &Arc<Self>, interface: i32) -> io::Result<()> {
        if self.socket.get().is_none() && self.socket.set(packet::open(ETHER_TYPE)?).is_ok() {
            let listener = self.clone();
            std::thread::Builder::new()
                .name("lldp".to_string())
                .spawn(move || listener.listen())?;
        }
        self.socket.get().map_or(Ok(()), |socket| {
            packet::join(socket, interface, NEAREST_BRIDGE)
        })
    }

    pub fn get(&self, interface: i32) -> Option<LldpNeighbour> {
        let heard = self.lock();
        heard
            .get(&interface)
            .filter(|heard| heard.until > Instant::now())
            .map(|heard| heard.neighbour.clone())
    }

    /// Returns when all `wanted` interfaces have a neighbour, after `limit`, or soon after `cancelled` is set.
    pub fn wait_for(&self, wanted: &dyn Fn() -> Vec<i32>, limit: Duration, cancelled: &AtomicBool) {
        /// How long a cancellation or a new link may go unnoticed.
        const SLICE: Duration = Duration::from_millis(200);
        let deadline = Instant::now() + limit;
        let mut heard = self.lock();
        while self.socket.get().is_some()
            && !cancelled.load(Ordering::Relaxed)
            && !wanted()
                .iter()
                .all(|interface| heard.contains_key(interface))
        {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(heard, left.min(SLICE));
            heard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn listen(&self) {
        let Some(socket) = self.socket.get() else {
            return;
        };
        let mut buffer = [0u8; FRAME];
        loop {
            match packet::receive(socket, &mut buffer) {
                Ok(frame) if frame.outgoing => {}
                Ok(frame) => self.hear(frame.interface, &buffer[..frame.length]),
                // The kernel reports an interface going down here, once.
                Err(error)
                    if matches!(error.raw_os_error(), Some(libc::EINTR | libc::ENETDOWN)) => {}
                Err(error) => {
                    tracing::warn!(%error, "no longer listening for LLDP");
                    return;
                }
            }
        }
    }

    fn hear(&self, interface: i32, payload: &[u8]) {
        let neighbour = match tlv::parse(payload) {
            Ok(neighbour) => neighbour,
            Err(error) => {
                tracing::debug!(%error, interface, "LLDP frame rejected");
                return;
            }
        };
        let mut heard = self.lock();
        if neighbour.ttl_secs == 0 {
            // "Forget me" (802.1AB-2016 clause 9.1.2.2).
            heard.remove(&interface);
        } else if heard.len() < MAX_INTERFACES || heard.contains_key(&interface) {
            let until = Instant::now() + Duration::from_secs(u64::from(neighbour.ttl_secs));
            heard.insert(interface, Heard { neighbour, until });
        }
        self.changed.notify_all();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<i32, Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chassis `a`, port `b`.
    fn frame(ttl: u8) -> Vec<u8> {
        vec![2, 2, 7, b'a', 4, 2, 7, b'b', 6, 2, 0, ttl, 0, 0]
    }

    #[test]
    fn the_newest_announcement_counts_until_it_is_withdrawn() {
        let neighbours = Neighbours::default();
        neighbours.hear(3, &frame(120));
        assert_eq!(neighbours.get(3).unwrap().port_id, "b");
        assert_eq!(neighbours.get(4), None);
        neighbours.hear(3, b"nonsense");
        assert!(
            neighbours.get(3).is_some(),
            "a broken frame changes nothing"
        );
        neighbours.hear(3, &frame(0));
        assert_eq!(neighbours.get(3), None);
    }

    #[test]
    fn interfaces_are_bounded() {
        let neighbours = Neighbours::default();
        for interface in 0..1000 {
            neighbours.hear(interface, &frame(120));
        }
        assert_eq!(neighbours.lock().len(), MAX_INTERFACES);
    }
}
