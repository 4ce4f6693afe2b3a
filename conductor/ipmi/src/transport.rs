//! Sockets: one UDP socket per address family for all BMCs, and who gets which datagram.
//! A datagram belongs to whoever has registered the console session id in it, if it comes from that BMC.
use crate::bmc::{Bmc, BmcConfig};
use crate::packet::{self, MAX_DATAGRAM};
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::UdpSocket;
use tokio::sync::{OnceCell, mpsc};
use tokio::task::JoinHandle;

/// Datagrams that wait for one BMC's task. More than a few are a flood, and UDP may lose them.
const INBOX: usize = 16;

/// All BMCs of a process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Transport(Arc<Inner>);

#[derive(Default)]
struct Inner {
    v4: OnceCell<Socket>,
    v6: OnceCell<Socket>,
    routes: Arc<Mutex<Routes>>,
}

type Routes = HashMap<u32, (SocketAddr, mpsc::Sender<Vec<u8>>)>;

struct Socket {
    udp: Arc<UdpSocket>,
    receiver: JoinHandle<()>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.receiver.abort();
    }
}

fn lock(routes: &Mutex<Routes>) -> MutexGuard<'_, Routes> {
    // The map is whole between any two statements, so a panic elsewhere cannot have torn it.
    routes.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Transport {
    /// Sockets are opened when the first BMC of their family is spoken to.
    pub fn new() -> Self {
        Self::default()
    }

    /// A handle for one BMC. Nothing is sent until a command is.
    pub fn bmc(&self, config: BmcConfig) -> Bmc {
        Bmc::new(self.clone(), config)
    }

    async fn socket(&self, peer: SocketAddr) -> io::Result<&Socket> {
        let (cell, any) = match peer {
            SocketAddr::V4(_) => (&self.0.v4, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
            SocketAddr::V6(_) => (&self.0.v6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))),
        };
        let routes = Arc::clone(&self.0.routes);
        cell.get_or_try_init(|| async move {
            let udp = Arc::new(UdpSocket::bind(any).await?);
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

    /// Reserves a session id that nobody else here uses, and an inbox for its datagrams.
    pub(crate) fn register(&self, peer: SocketAddr) -> io::Result<Inbox> {
        let (sender, receiver) = mpsc::channel(INBOX);
        let mut routes = lock(&self.0.routes);
        let console_id = loop {
            let mut bytes = [0; 4];
            getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
            let id = u32::from_le_bytes(bytes);
            if id != 0 && !routes.contains_key(&id) {
                break id;
            }
        };
        routes.insert(console_id, (peer, sender));
        Ok(Inbox {
            console_id,
            receiver,
            routes: Arc::clone(&self.0.routes),
        })
    }
}

/// One session's datagrams; the id is free again when this is dropped.
pub(crate) struct Inbox {
    pub(crate) console_id: u32,
    pub(crate) receiver: mpsc::Receiver<Vec<u8>>,
    routes: Arc<Mutex<Routes>>,
}

impl Drop for Inbox {
    fn drop(&mut self) {
        lock(&self.routes).remove(&self.console_id);
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

/// Scope and flow of an IPv6 address are not the BMC's.
fn same_peer(a: SocketAddr, b: SocketAddr) -> bool {
    (a.ip(), a.port()) == (b.ip(), b.port())
}

async fn receive(udp: Arc<UdpSocket>, routes: Arc<Mutex<Routes>>) {
    let mut buffer = [0; MAX_DATAGRAM + 1];
    loop {
        let (length, from) = match udp.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // An ICMP error of an earlier send; the time-out of that BMC deals with it.
                tracing::trace!("ipmi socket: {error}");
                continue;
            }
        };
        let datagram = &buffer[..length];
        // Full means flooded: like any UDP receiver, drop.
        let deliver = |inbox: &mpsc::Sender<Vec<u8>>| drop(inbox.try_send(datagram.to_vec()));
        let routes = lock(&routes);
        match console_id(datagram).map(|id| routes.get(&id)) {
            Some(Some((peer, inbox))) if same_peer(*peer, from) => deliver(inbox),
            Some(_) => {}
            // A refusal may be cut short before the id (ipmi_sim's is): its tag tells whether it is meant.
            None => routes
                .values()
                .filter(|(peer, _)| same_peer(*peer, from))
                .for_each(|(_, inbox)| deliver(inbox)),
        }
    }
}
