//! Serves connections within bounds: how many, how long they may be silent, how long they may last, how they end.
//! The router answers.
use super::idle::Idle;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The server's bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections at a time; more wait in the listen queue. A download holds two descriptors, and a process has 1,024
    /// unless somebody raised that.
    pub connections: usize,
    /// A request must be complete after this long, as machines send theirs in one packet.
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

/// Who sent a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub SocketAddr);

/// Serves until `stop`, then lets what is in flight end in its grace.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        let full = connections.len() >= limits.connections;
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if !full => match accepted {
                Ok((stream, peer)) => {
                    // A connection works without it too, a little slower.
                    let _ = stream.set_nodelay(true);
                    let router = router.clone();
                    let stop = stop.clone();
                    connections.spawn(async move {
                        let serve = serve_one(stream, peer, router, limits, stop);
                        if tokio::time::timeout(limits.life, serve).await.is_err() {
                            tracing::warn!(%peer, "a connection was cut after {} s", limits.life.as_secs());
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
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.grace, ended).await.is_err() {
        connections.shutdown().await;
    }
}

async fn serve_one(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let router = router.layer(axum::Extension(Peer(peer)));
    let io = TokioIo::new(Idle::new(stream, limits.silence));
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
        tracing::debug!(%peer, "http connection: {error}");
    }
}
