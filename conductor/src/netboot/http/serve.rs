//! Serves connections within bounds: how many, how long they may be silent, how long they may last, how they end.
//! The router answers.
use super::OnDistrust;
use super::idle::{Floor, Idle};
use super::seats::{Seat, Seats, whole};
use crate::seldom::Seldom;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::IntoResponse;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// The server's bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections at a time; for more, those give way that have no whole request yet, or they wait in the listen queue. A
    /// download holds two descriptors, and a process has 1,024 unless somebody raised that.
    pub connections: usize,
    /// Connections of one address, or one /64 of IPv6, of which a host has as many addresses as it likes; the next few are told to come back later, and the rest is not listened to.
    pub per_address: usize,
    /// The slowest reader.
    pub floor: Floor,
    /// The head of a request must be complete after this long, as machines send theirs in one packet; so must its body after
    /// as long again.
    pub request: Duration,
    /// No byte sent or received: the machine was switched off, or holds a connection for later.
    pub silence: Duration,
    /// Any one connection: an image of 100 GB at 10 MB/s takes three hours.
    pub life: Duration,
    /// Downloads in flight get this long at shutdown; machines go on with another worker.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 400,
            per_address: 16,
            floor: Floor {
                bytes: 60 * 64 * 1024,
                waiting: Duration::from_secs(60),
            },
            request: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            life: Duration::from_secs(6 * 3600),
            grace: Duration::from_secs(3),
        }
    }
}

/// Largest request line and headers, in bytes; machines send some 200.
const MAX_REQUEST_BYTES: usize = 16 * 1024;
/// A refused accept (no descriptor is free) is tried again after this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Surplus connections of one address that get an answer at all.
pub(super) const TOLD: usize = 4;
/// When to come back after a refusal for want of a place.
pub(super) const RETRY_SECS: u32 = 5;

/// Full at the moment; another worker, or this one a little later, has a place.
pub(super) fn busy(why: &'static str) -> axum::response::Response {
    let headers = [(header::RETRY_AFTER, RETRY_SECS.to_string())];
    (StatusCode::SERVICE_UNAVAILABLE, headers, why).into_response()
}

/// What connections are counted by.
pub(super) fn counted_by(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(it) => Ipv6Addr::from_bits(it.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

/// Connections by address.
#[derive(Clone, Default)]
struct Addresses(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

/// One connection of an address, until it is dropped.
struct Counted {
    all: Addresses,
    of: IpAddr,
}

impl Addresses {
    /// Returns how many it has now, too.
    fn count(&self, of: IpAddr) -> (Counted, usize) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(of).or_default();
        *count += 1;
        let all = self.clone();
        (Counted { all, of }, *count)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.of);
            }
        }
    }
}

/// Who sent a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub address: SocketAddr,
    /// It came in over TLS.
    pub tls: bool,
}

/// What becomes of handshakes that fail; whoever connects can make one.
struct Failures {
    log: Seldom,
    tell: Arc<OnDistrust>,
}

impl Failures {
    fn note(&self, peer: SocketAddr, error: &io::Error) {
        if let Some(untold) = self.log.told(tokio::time::Instant::now()) {
            tracing::info!(%peer, untold, "TLS handshake: {error}");
        }
        (self.tell)(peer.ip().to_canonical(), &error.to_string());
    }
}

/// Where machines come in.
pub(super) struct Doors {
    pub plain: TcpListener,
    pub tls: Option<(TcpListener, TlsAcceptor)>,
}

impl Doors {
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr, Option<TlsAcceptor>)> {
        let over_tls = async {
            let Some((listener, acceptor)) = &self.tls else {
                return std::future::pending().await;
            };
            let accepted = listener.accept().await;
            accepted.map(|(stream, peer)| (stream, peer, Some(acceptor.clone())))
        };
        tokio::select! {
            accepted = self.plain.accept() => accepted.map(|(stream, peer)| (stream, peer, None)),
            accepted = over_tls => accepted,
        }
    }
}

/// Serves until `stop`, then lets what is in flight end in its grace.
pub(super) async fn serve(
    doors: Doors,
    router: Router,
    limits: Limits,
    on_distrust: Arc<OnDistrust>,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    let addresses = Addresses::default();
    let seats = Seats::default();
    let failures = Arc::new(Failures {
        log: Seldom::default(),
        tell: on_distrust,
    });
    let refuse =
        Router::new().fallback(|| async { busy("too many connections of this address\n") });
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = doors.accept() => match accepted {
                Ok((stream, peer, acceptor)) => {
                    let (counted, of_address) = addresses.count(counted_by(peer.ip()));
                    if of_address > limits.per_address + TOLD {
                        continue;
                    }
                    if connections.len() >= limits.connections {
                        seats.give_way();
                        tokio::select! {
                            () = stop.cancelled() => break,
                            _ = connections.join_next() => {}
                        }
                    }
                    let router = match of_address > limits.per_address {
                        true => refuse.clone(),
                        false => router.clone(),
                    };
                    // A connection works without it too, a little slower.
                    let _ = stream.set_nodelay(true);
                    let (stop, failures) = (stop.clone(), Arc::clone(&failures));
                    let seat = seats.take(limits.request);
                    connections.spawn(async move {
                        let _counted = counted;
                        let router = seated(router, &seat);
                        let serve = greet(stream, peer, acceptor, &failures, router, limits, stop);
                        tokio::select! {
                            ended = tokio::time::timeout(limits.life, serve) => if ended.is_err() {
                                tracing::warn!(%peer, "a connection was cut after {} s", limits.life.as_secs());
                            },
                            () = seat.given_away() => {}
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!("accept an HTTP connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(doors);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.grace, ended).await.is_err() {
        connections.shutdown().await;
    }
}

/// Takes whole requests alone, and says when it waits for one.
pub(super) fn seated(router: Router, seat: &Arc<Seat>) -> Router {
    router.layer(middleware::from_fn_with_state(Arc::clone(seat), whole))
}

async fn greet(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    failures: &Failures,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let stream = Idle::new(stream, limits.silence, limits.floor);
    let peer = Peer {
        address,
        tls: acceptor.is_some(),
    };
    let Some(acceptor) = acceptor else {
        return serve_one(stream, peer, router, limits, stop).await;
    };
    let shaken = tokio::time::timeout(limits.request, acceptor.accept(stream)).await;
    match shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(stream) => serve_one(stream, peer, router, limits, stop).await,
        Err(error) => failures.note(address, &error),
    }
}

pub(super) async fn serve_one(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: Peer,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let router = router.layer(axum::Extension(peer));
    let io = TokioIo::new(stream);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.request)
        .max_buf_size(MAX_REQUEST_BYTES)
        .serve_connection(io, TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Machines reset connections at every reboot.
        tracing::debug!(peer = %peer.address, "http connection: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_host_is_counted_by_its_network() {
        for (address, expected) in [
            ("10.0.0.7", "10.0.0.7"),
            ("::ffff:10.0.0.7", "10.0.0.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:3:3:4:5:6", "2001:db8:1:3::"),
        ] {
            let [address, expected] = [address, expected].map(|it| it.parse::<IpAddr>().unwrap());
            assert_eq!(counted_by(address), expected);
        }
    }
}
