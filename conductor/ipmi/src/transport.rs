//! Sockets: one UDP socket per address family for all BMCs, and which session gets which datagram.
//! `line` and the files that use it decide what the datagrams say, and when to send them.
use crate::packet::{self, MAX_DATAGRAM};
use crate::random::random;
use socket2::SockRef;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::{OnceCell, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// Datagrams that wait for one BMC's task. More than a few are a flood, and UDP may lose datagrams.
const INBOX: usize = 16;

/// Bytes that the kernel may hold for us in either direction: thousands of BMCs may be asked, and may answer, at the same time.
/// Whatever does not fit is lost, and sent again after a timeout. Linux gives at most `net.core.rmem_max` and `wmem_max`.
const SOCKET_BUFFER: usize = 4 << 20;

/// All BMCs of a process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Transport(Arc<Inner>);

#[derive(Default)]
struct Inner {
    v4: OnceCell<Socket>,
    v6: OnceCell<Socket>,
    routes: Arc<Mutex<Routes>>,
}

/// The pause after an error of the socket itself, so that a broken one does not use up a core.
const AFTER_ERROR: Duration = Duration::from_millis(10);

/// By peer: nearly always one session each. Scope and flow of an IPv6 address do not identify the BMC, so they are left
/// out.
type Routes = HashMap<(IpAddr, u16), Vec<Route>>;

struct Route {
    console_id: u32,
    inbox: mpsc::Sender<Vec<u8>>,
}

fn key(peer: SocketAddr) -> (IpAddr, u16) {
    (peer.ip(), peer.port())
}

struct Socket {
    udp: Arc<UdpSocket>,
    receiver: JoinHandle<()>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.receiver.abort();
    }
}

/// Asks for large buffers; smaller ones work too, if less well.
fn enlarge(udp: &UdpSocket) {
    let socket = SockRef::from(udp);
    let refused = [
        socket.set_recv_buffer_size(SOCKET_BUFFER),
        socket.set_send_buffer_size(SOCKET_BUFFER),
    ];
    for error in refused.into_iter().filter_map(Result::err) {
        tracing::warn!("ipmi socket: ask for buffers of {SOCKET_BUFFER} bytes: {error}");
    }
    // Linux refuses silently. It counts its own overhead, so it reports twice what it gave.
    if let Ok(given) = socket.recv_buffer_size()
        && given < SOCKET_BUFFER
    {
        tracing::info!(
            "ipmi socket: a receive buffer of {given} bytes; for sweeps over thousands of BMCs raise net.core.rmem_max"
        );
    }
}

fn lock(routes: &Mutex<Routes>) -> MutexGuard<'_, Routes> {
    // The map is consistent between any two statements, so a panic elsewhere cannot have broken it.
    routes.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Transport {
    /// A socket is opened when the first BMC of its address family is spoken to.
    pub fn new() -> Self {
        Self::default()
    }

    async fn socket(&self, peer: SocketAddr) -> io::Result<&Socket> {
        let (cell, any) = match peer {
            SocketAddr::V4(_) => (&self.0.v4, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
            SocketAddr::V6(_) => (&self.0.v6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))),
        };
        let routes = Arc::clone(&self.0.routes);
        cell.get_or_try_init(|| async move {
            let udp = Arc::new(UdpSocket::bind(any).await?);
            enlarge(&udp);
            let receiver = tokio::spawn(receive(Arc::clone(&udp), routes));
            Ok(Socket { udp, receiver })
        })
        .await
    }

    pub(crate) async fn send(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        self.socket(to)
            .await?
            .udp
            .send_to(datagram, to)
            .await
            .map(drop)
    }

    /// Sends now or not at all: for goodbyes.
    pub(crate) fn try_send(&self, datagram: &[u8], to: SocketAddr) {
        let cell = if to.is_ipv4() { &self.0.v4 } else { &self.0.v6 };
        if let Some(socket) = cell.get() {
            let _ = socket.udp.try_send_to(datagram, to);
        }
    }

    /// Reserves a session id that is not yet in use with this BMC, and an inbox for its datagrams.
    pub(crate) fn register(&self, peer: SocketAddr) -> io::Result<Inbox> {
        let (sender, receiver) = mpsc::channel(INBOX);
        let mut routes = lock(&self.0.routes);
        let of_peer = routes.entry(key(peer)).or_default();
        let console_id = loop {
            let id = u32::from_le_bytes(random()?);
            if id != 0 && of_peer.iter().all(|route| route.console_id != id) {
                break id;
            }
        };
        of_peer.push(Route {
            console_id,
            inbox: sender,
        });
        Ok(Inbox {
            console_id,
            receiver,
            peer,
            routes: Arc::clone(&self.0.routes),
        })
    }
}

/// One session's datagrams; the id is free again when this is dropped.
pub(crate) struct Inbox {
    pub(crate) console_id: u32,
    receiver: mpsc::Receiver<Vec<u8>>,
    peer: SocketAddr,
    routes: Arc<Mutex<Routes>>,
}

impl Inbox {
    /// The next datagram; none when no more can come. Cancelling it loses nothing.
    pub(crate) async fn next(&mut self) -> Option<Vec<u8>> {
        self.receiver.recv().await
    }

    /// The next datagram, if one comes before `deadline`.
    pub(crate) async fn next_until(&mut self, deadline: Instant) -> Option<Vec<u8>> {
        timeout_at(deadline, self.next()).await.ok().flatten()
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let mut routes = lock(&self.routes);
        if let Some(of_peer) = routes.get_mut(&key(self.peer)) {
            of_peer.retain(|route| route.console_id != self.console_id);
            if of_peer.is_empty() {
                routes.remove(&key(self.peer));
            }
        }
    }
}

/// Which console session a datagram is for: in its header, or in the payload while the session is being opened.
fn console_id(datagram: &[u8]) -> Option<u32> {
    let outer = packet::parse(datagram).ok()?;
    if outer.session_id != 0 {
        return Some(outer.session_id);
    }
    outer
        .payload
        .get(4..8)
        .and_then(|id| id.first_chunk())
        .map(|id| u32::from_le_bytes(*id))
}

async fn receive(udp: Arc<UdpSocket>, routes: Arc<Mutex<Routes>>) {
    let mut buffer = [0; MAX_DATAGRAM + 1];
    loop {
        match udp.recv_from(&mut buffer).await {
            Ok((length, from)) => deliver(&lock(&routes), &buffer[..length], from),
            Err(error) => {
                // Mostly an ICMP error of an earlier send; that BMC's timeout deals with it.
                tracing::trace!("ipmi socket: {error}");
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
}

fn deliver(routes: &Routes, datagram: &[u8], from: SocketAddr) {
    let Some(of_peer) = routes.get(&key(from)) else {
        return;
    };
    // A message outside a session has no id; and a refusal may end before the id, as ipmi_sim's does, or have zero
    // there. Its tag tells the sessions which of them is meant.
    let id = console_id(datagram).filter(|id| *id != 0);
    for route in of_peer {
        if id.is_none_or(|id| id == route.console_id) {
            // Full means flooded: drop it, like any UDP receiver.
            let _ = route.inbox.try_send(datagram.to_vec());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_that_names_no_session_reaches_whoever_is_talking_to_that_bmc() {
        let transport = Transport::new();
        let (bmc, other) = (
            SocketAddr::from(([10, 0, 0, 1], 623)),
            SocketAddr::from(([10, 0, 0, 2], 623)),
        );
        let mut mine = transport.register(bmc).unwrap();
        let mut apart = transport.register(other).unwrap();
        let refusal = |id: u32| {
            let mut payload = vec![1, 0x0d, 0, 0];
            payload.extend(id.to_le_bytes());
            packet::plain(packet::RAKP_2, &payload)
        };
        for (id, arrives) in [
            (mine.console_id, true),
            (0, true),
            (mine.console_id ^ 1, false),
        ] {
            deliver(&lock(&transport.0.routes), &refusal(id), bmc);
            assert_eq!(mine.receiver.try_recv().is_ok(), arrives, "id {id:#x}");
            assert!(apart.receiver.try_recv().is_err());
        }
    }
}
