//! A connection of a machine, for `ironbeat-fuzz`. Nothing that ships calls it.
//! The router is the worker's own; what it is told to answer is made up here.
use super::seats::Seats;
use super::serve::{Limits, Peer, seated, serve_one};
use super::{BootAnswers, router};
use crate::config::{HttpLimits, Scripts};
use crate::netboot::script::{Access, Workers};
use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use ironbeat_core::boot::Boot;
use std::cell::Cell;
use std::future::ready;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// Answers on one connection, at most; nobody asks more in so few bytes.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// How often a machine that has sent all is looked at for more before it closes, unless it is answered. An answer to whoever
/// has closed already would not be written.
const MAX_LOOKS: u32 = 16;

/// All that a machine sends before it closes; what it is answered is counted.
struct Machine {
    sends: Vec<u8>,
    at: usize,
    looks: u32,
    answered: Rc<Cell<usize>>,
}

impl AsyncRead for Machine {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let waits = self.at == self.sends.len() && self.answered.get() == 0;
        if waits && self.looks < MAX_LOOKS {
            self.looks += 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let count = buffer.remaining().min(self.sends.len() - self.at);
        buffer.put_slice(&self.sends[self.at..self.at + count]);
        self.at += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Machine {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.answered.set(self.answered.get() + bytes.len());
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

thread_local! {
    static WORKER: Option<(Runtime, Router)> = worker();
    /// Requests that came as far as the router.
    static ROUTED: Cell<u32> = const { Cell::new(0) };
}

fn worker() -> Option<(Runtime, Router)> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().build().ok()?;
    let answers = BootAnswers {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
        tls: None,
        names: vec![],
        scripts: Scripts::Http,
        may_fetch: Some(Arc::new(|_| Box::pin(ready(Some(false))))),
        boot_dir: "/nonexistent".into(),
        image_dir: "/nonexistent".into(),
        limits: HttpLimits::default(),
        nats: vec!["nats://n".into()],
        prefix: "ib.v1".into(),
        kernel_args: String::new(),
        ca: Some("hello".into()),
        script_of: Arc::new(|_| Box::pin(ready(Some((Boot::Ramdisk, Access::default()))))),
        workers: Arc::new(Workers::default),
        on_fetch: Arc::new(|_, _| {}),
        on_distrust: Arc::new(|_, _| {}),
        on_confirm: Arc::new(|_, _| Box::pin(ready(StatusCode::NO_CONTENT))),
    };
    let count = middleware::from_fn(|request: Request, next: Next| {
        ROUTED.set(ROUTED.get() + 1);
        next.run(request)
    });
    Some((runtime, router(answers).layer(count)))
}

/// A whole connection: requests, one behind the other.
pub fn connection(bytes: &[u8]) -> bool {
    ROUTED.set(0);
    let answered = Rc::new(Cell::new(0));
    let machine = Machine {
        sends: bytes.to_vec(),
        at: 0,
        looks: 0,
        answered: Rc::clone(&answered),
    };
    WORKER.with(|worker| {
        let Some((runtime, router)) = worker else {
            return;
        };
        let peer = Peer {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 2)),
            tls: false,
        };
        let stop = CancellationToken::new();
        let limits = Limits::default();
        let router = seated(router.clone(), &Seats::default().take(limits.request));
        runtime.block_on(serve_one(machine, peer, router, limits, stop));
    });
    assert!(answered.get() < MAX_ANSWER_BYTES, "{answered:?} bytes");
    ROUTED.get() > 0
}
