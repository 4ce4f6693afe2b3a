//! A handle for one BMC: takes one command at a time, from any number of clones.
//! `chassis` and its neighbours have the commands; `link` has sessions and retries.
use crate::bridge::Bridge;
use crate::config::BmcConfig;
use crate::error::{CompletionCode, Error, ErrorKind};
use crate::link::{Failed, Link};
use crate::message::{Request, Response};
use crate::transport::Transport;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::{Mutex, MutexGuard};

/// Commands that may wait for one BMC. It answers hundreds a second; a caller with more than this waiting has lost track.
const MAX_WAITING: usize = 64;

/// A handle for one BMC; cheap to clone. Commands queue up: a BMC gets one at a time. Its session is kept for the next
/// command, and closed by [`Bmc::close`] or when the last clone is dropped.
#[derive(Clone)]
pub struct Bmc {
    inner: Arc<Inner>,
    bridge: Option<Bridge>,
}

struct Inner {
    transport: Transport,
    config: Arc<BmcConfig>,
    waiting: AtomicUsize,
    manufacturer: OnceLock<u32>,
    link: Mutex<Link>,
}

/// One place in the queue.
struct Ticket<'a>(&'a AtomicUsize);

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Transport {
    /// A handle for one BMC. Nothing is sent until a command is.
    pub fn bmc(&self, config: BmcConfig) -> Bmc {
        let config = Arc::new(config);
        let inner = Inner {
            transport: self.clone(),
            config: Arc::clone(&config),
            waiting: AtomicUsize::new(0),
            manufacturer: OnceLock::new(),
            link: Mutex::new(Link::new(self.clone(), config)),
        };
        Bmc {
            inner: Arc::new(inner),
            bridge: None,
        }
    }
}

impl Bmc {
    /// A handle for a controller behind this BMC. Its commands use the same session and the same queue.
    pub fn behind(&self, bridge: Bridge) -> Bmc {
        Self {
            inner: Arc::clone(&self.inner),
            bridge: Some(bridge),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.inner.config.address
    }

    pub(crate) fn config(&self) -> &BmcConfig {
        &self.inner.config
    }

    /// For a second session, apart from the one that commands use.
    pub(crate) fn another_link(&self) -> Link {
        Link::new(self.inner.transport.clone(), Arc::clone(&self.inner.config))
    }

    /// Its manufacturer (IANA number), once asked; see `boot`. None behind a bridge.
    pub(crate) fn manufacturer(&self) -> Option<&OnceLock<u32>> {
        self.bridge.is_none().then_some(&self.inner.manufacturer)
    }

    pub(crate) fn error(&self, attempt: &'static str, kind: ErrorKind) -> Error {
        Error {
            bmc: self.address(),
            attempt,
            kind,
        }
    }

    pub(crate) fn malformed(&self, attempt: &'static str, what: &'static str) -> Error {
        self.error(attempt, ErrorKind::Malformed(what))
    }

    /// Waits until no other command is under way.
    pub(crate) async fn turn(&self, attempt: &'static str) -> Result<MutexGuard<'_, Link>, Error> {
        let waiting = self.inner.waiting.fetch_add(1, Ordering::Relaxed);
        let _ticket = Ticket(&self.inner.waiting);
        if waiting >= MAX_WAITING {
            return Err(self.error(attempt, ErrorKind::Overloaded(waiting)));
        }
        Ok(self.inner.link.lock().await)
    }

    /// Sends a command and waits for its answer; opens a session if there is none, and once more if it was lost.
    pub(crate) async fn command(
        &self,
        attempt: &'static str,
        request: Request,
    ) -> Result<Vec<u8>, Error> {
        let response = self.respond(attempt, &request).await?;
        match response.completion {
            0 => Ok(response.data),
            code => Err(self.error(attempt, self.completion(code))),
        }
    }

    async fn respond(&self, attempt: &'static str, request: &Request) -> Result<Response, Error> {
        let mut link = self.turn(attempt).await?;
        link.run(request, self.bridge)
            .await
            .map_err(|failed| self.failed(attempt, failed))
    }

    pub(crate) fn failed(&self, attempt: &'static str, failed: Failed) -> Error {
        self.error(failed.attempt.unwrap_or(attempt), failed.kind)
    }

    pub(crate) fn completion(&self, code: u8) -> ErrorKind {
        match code {
            // "Insufficient privilege level" (table 5-2).
            0xd4 => ErrorKind::PrivilegeTooLow {
                user: self.inner.config.username.clone(),
                privilege: self.inner.config.privilege.name(),
            },
            code => ErrorKind::Completion(CompletionCode(code)),
        }
    }

    /// Any command: network function, logical unit, command number and data as the specification has them. It may be
    /// sent again only while the BMC can tell a repetition from a second command.
    ///
    /// # Errors
    /// Whatever prevents an answer, and every completion code but zero.
    pub async fn raw(
        &self,
        netfn: u8,
        lun: u8,
        command: u8,
        data: &[u8],
    ) -> Result<Vec<u8>, Error> {
        if netfn > 0x3e || netfn & 1 != 0 || lun > 3 || data.len() > MAX_RAW {
            let what = "a request has an even network function below 40h, a unit below 4 and at most 200 bytes";
            return Err(self.error("raw command", ErrorKind::Unsupported(what)));
        }
        let request = Request {
            lun,
            ..Request::once(netfn, command, data)
        };
        self.command("raw command", request).await
    }

    /// Ends the session, so that the BMC gets its slot back. The handle can be used again. Waits for two timeouts at
    /// most; a BMC that does not answer is left alone.
    pub async fn close(&self) {
        let mut link = self.inner.link.lock().await;
        link.close().await;
    }
}

/// Far below what a LAN message can carry (255 bytes with headers), as many BMCs have short buffers.
const MAX_RAW: usize = 200;
