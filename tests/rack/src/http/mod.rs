//! Owns a static HTTP/1.1 file server for OS images, with faults on request: wrong status, cut or slow connections.
//! Leaves requests and answers to `answer`, and what the files are to others.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};

mod answer;

use self::answer::{Answer, Head, read_head, reason};
use crate::netns::Netns;
use crate::ports::PortLease;

/// A connection with nothing to do for this long is closed.
const IDLE: Duration = Duration::from_secs(60);
/// Bytes between two looks at the clock while a connection is slowed down.
const SLOW_STEP_BYTES: u64 = 16 << 10;

/// What goes wrong with a file. Each applies to every request for it until [`HttpServer::heal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answers with this status and no body.
    Status(u16),
    /// Announces everything and closes the connection after this many bytes of the answer's body.
    CutAt(u64),
    /// Sends this many bytes of the answer's body and then nothing more, with the connection open.
    StallAt(u64),
    /// Sends no more than this many bytes a second.
    BytesPerSecond(u64),
}

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET` or `HEAD`, or what else was tried.
    pub method: String,
    /// The path, as sent.
    pub path: String,
    /// The value of the Range header.
    pub range: Option<String>,
    /// The status it was answered with.
    pub status: u16,
}

/// A server of the files in one directory (no listings, no sub-requests above it). Stopped on drop.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Arc<TcpListener>,
    thread: Option<JoinHandle<()>>,
    _lease: Option<PortLease>,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    faults: HashMap<String, Fault>,
    requests: Vec<Request>,
    /// Open connections by number, to be closed at the end.
    connections: HashMap<u64, TcpStream>,
    next_connection: u64,
}

impl HttpServer {
    /// Serves `root` on 127.0.0.1 and a free port ≤ 32767.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start_loopback(root: &Path) -> Result<Self> {
        let lease = PortLease::take()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, lease.port()));
        let listener = TcpListener::bind(address).with_context(|| format!("bind {address}"))?;
        Self::serve(listener, root, Some(lease))
    }

    /// Serves `root` at `address` inside a namespace.
    ///
    /// # Errors
    /// When the address can't be bound.
    pub fn start_inside(netns: &Netns, address: SocketAddr, root: &Path) -> Result<Self> {
        let listener = netns
            .inside(|| TcpListener::bind(address).with_context(|| format!("bind {address}")))?;
        Self::serve(listener, root, None)
    }

    fn serve(listener: TcpListener, root: &Path, lease: Option<PortLease>) -> Result<Self> {
        let address = listener
            .local_addr()
            .context("ask for the server's address")?;
        let shared = Arc::new(Shared {
            root: root.to_owned(),
            state: Mutex::default(),
        });
        let listener = Arc::new(listener);
        let (accept, sharing) = (Arc::clone(&listener), Arc::clone(&shared));
        let work = move || {
            while let Ok((stream, _)) = accept.accept() {
                let shared = Arc::clone(&sharing);
                thread::spawn(move || shared.serve_connection(stream));
            }
        };
        let thread = thread::Builder::new()
            .name("http".into())
            .spawn(work)
            .context("start a thread")?;
        Ok(Self {
            address,
            shared,
            listener,
            thread: Some(thread),
            _lease: lease,
        })
    }

    /// The URL of a file.
    pub fn url(&self, file: &str) -> String {
        format!("http://{}/{}", self.address, file.trim_start_matches('/'))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets something go wrong with `file` from now on.
    pub fn break_file(&self, file: &str, fault: Fault) {
        self.shared
            .state()
            .faults
            .insert(format!("/{}", file.trim_start_matches('/')), fault);
    }

    /// Ends the faults of `file`.
    pub fn heal(&self, file: &str) {
        self.shared
            .state()
            .faults
            .remove(&format!("/{}", file.trim_start_matches('/')));
    }

    /// Every request so far, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state().requests.clone()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        // On Linux this wakes the thread in accept(2) with an error.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        for stream in self.shared.state().connections.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve_connection(&self, stream: TcpStream) {
        let Ok(clone) = stream.try_clone() else {
            return;
        };
        let number = {
            let mut state = self.state();
            state.next_connection += 1;
            let number = state.next_connection;
            state.connections.insert(number, clone);
            number
        };
        // An error is a client that went away or talks nonsense; either way the connection is over.
        let _ = self.serve_requests(&stream);
        let _ = stream.shutdown(Shutdown::Both);
        self.state().connections.remove(&number);
    }

    fn serve_requests(&self, stream: &TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(IDLE))?;
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream);
        while let Some(head) = read_head(&mut reader)? {
            let fault = self.state().faults.get(&head.path).copied();
            let answer = match fault {
                Some(Fault::Status(status)) => Answer::empty(status),
                _ => answer::answer(&self.root, &head),
            };
            let Head {
                method,
                path,
                range,
                close,
            } = head;
            let is_head = method == "HEAD";
            self.state().requests.push(Request {
                method,
                path,
                range,
                status: answer.status,
            });
            let mut out = stream;
            write!(
                out,
                "HTTP/1.1 {} {}\r\n{}\r\n",
                answer.status,
                reason(answer.status),
                answer.fields
            )?;
            if let (Some((file, from, length)), false) = (answer.body, is_head) {
                send_body(stream, file, from, length, fault)?;
            }
            if close {
                break;
            }
        }
        Ok(())
    }
}

fn send_body(
    stream: &TcpStream,
    mut file: File,
    from: u64,
    length: u64,
    fault: Option<Fault>,
) -> std::io::Result<()> {
    file.seek(SeekFrom::Start(from))?;
    let mut out = stream;
    match fault {
        None | Some(Fault::Status(_)) => {
            // sendfile(2) underneath: the server should not be what a deployment waits for.
            std::io::copy(&mut file.take(length), &mut out)?;
        }
        Some(Fault::CutAt(bytes)) if bytes < length => {
            std::io::copy(&mut file.take(bytes), &mut out)?;
            return Err(std::io::ErrorKind::ConnectionAborted.into());
        }
        Some(Fault::StallAt(bytes)) if bytes < length => {
            std::io::copy(&mut file.take(bytes), &mut out)?;
            // Until the client gives up or the server is dropped; both end the read.
            let _ = out.read(&mut [0]);
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        Some(Fault::CutAt(_) | Fault::StallAt(_)) => {
            std::io::copy(&mut file.take(length), &mut out)?;
        }
        Some(Fault::BytesPerSecond(rate)) => {
            let mut left = length;
            while left > 0 {
                let now = left.min(SLOW_STEP_BYTES);
                std::io::copy(&mut (&file).take(now), &mut out)?;
                left -= now;
                thread::sleep(Duration::from_micros(now * 1_000_000 / rate.max(1)));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
