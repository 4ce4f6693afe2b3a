//! Owns a static HTTP/1.1 file server for OS images, with faults on request: wrong status, cut or slow connections.
//! Leaves what the files are, and the conductor's own HTTP, to others.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::netns::Netns;
use crate::ports::PortLease;

/// Longest request head; clients of ours send a few hundred bytes.
const MAX_HEAD_BYTES: u64 = 16 << 10;
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

/// The parts of a request's head that matter here.
struct Head {
    method: String,
    path: String,
    range: Option<String>,
    close: bool,
}

/// An answer: head fields, and which bytes of which file follow.
struct Answer {
    status: u16,
    fields: String,
    body: Option<(File, u64, u64)>,
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
                _ => self.answer(&head),
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

    fn answer(&self, head: &Head) -> Answer {
        if head.method != "GET" && head.method != "HEAD" {
            return Answer::empty(405);
        }
        let path = head
            .path
            .split('?')
            .next()
            .unwrap_or_default()
            .trim_start_matches('/');
        if path.split('/').any(|part| part == "..") {
            return Answer::empty(404);
        }
        let Ok(file) = File::open(self.root.join(path)) else {
            return Answer::empty(404);
        };
        let Ok(meta) = file.metadata() else {
            return Answer::empty(404);
        };
        if !meta.is_file() {
            return Answer::empty(404);
        }
        let size = meta.len();
        let common = format!(
            "Accept-Ranges: bytes\r\nETag: \"{:x}-{size:x}-{:x}\"\r\nContent-Type: application/octet-stream\r\n",
            meta.ino(),
            meta.mtime()
        );
        match head.range.as_deref().and_then(parse_range) {
            None => {
                let fields = format!("{common}Content-Length: {size}\r\n");
                Answer {
                    status: 200,
                    fields,
                    body: Some((file, 0, size)),
                }
            }
            Some((from, _)) if from >= size => {
                let fields = format!("Content-Range: bytes */{size}\r\nContent-Length: 0\r\n");
                Answer {
                    status: 416,
                    fields,
                    body: None,
                }
            }
            Some((from, to)) => {
                let to = to.unwrap_or(u64::MAX).min(size - 1);
                let length = to - from + 1;
                let fields = format!(
                    "{common}Content-Range: bytes {from}-{to}/{size}\r\nContent-Length: {length}\r\n"
                );
                Answer {
                    status: 206,
                    fields,
                    body: Some((file, from, length)),
                }
            }
        }
    }
}

impl Answer {
    fn empty(status: u16) -> Self {
        Self {
            status,
            fields: "Content-Length: 0\r\n".into(),
            body: None,
        }
    }
}

/// Reads a request's head; `None` when the client is done.
fn read_head(reader: &mut BufReader<&TcpStream>) -> std::io::Result<Option<Head>> {
    let mut lines = reader.by_ref().take(MAX_HEAD_BYTES).lines();
    let Some(first) = lines.next().transpose()? else {
        return Ok(None);
    };
    let mut words = first.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    let mut head = Head {
        method,
        path,
        range: None,
        close: words.next().as_deref() != Some("HTTP/1.1"),
    };
    for line in lines {
        let line = line?;
        if line.is_empty() {
            return Ok(Some(head));
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        if name.eq_ignore_ascii_case("range") {
            head.range = Some(value.trim().to_owned());
        } else if name.eq_ignore_ascii_case("connection") {
            head.close = value.trim().eq_ignore_ascii_case("close");
        }
    }
    Ok(None)
}

/// `bytes=FROM-` or `bytes=FROM-TO` (RFC 9110 §14.1.2); anything else is served whole, as the RFC allows.
fn parse_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (from, to) = value.strip_prefix("bytes=")?.split_once('-')?;
    let from = from.parse().ok()?;
    let to = if to.is_empty() {
        None
    } else {
        Some(to.parse().ok().filter(|to| *to >= from)?)
    };
    Some((from, to))
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

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        404 => "Not Found",
        405 => "Method Not Allowed",
        416 => "Range Not Satisfiable",
        _ => "Fault",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(server: &HttpServer, head: &str) -> String {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream
            .write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes())
            .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    }

    fn server() -> (tempfile::TempDir, HttpServer) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("image"), "0123456789").unwrap();
        let server = HttpServer::start_loopback(dir.path()).unwrap();
        (dir, server)
    }

    #[test]
    fn files_and_ranges_are_served() {
        let (_dir, server) = server();
        let check = |head: &str, status: &str, body: &str| {
            let answer = get(&server, head);
            assert!(answer.starts_with(status), "{head}: {answer}");
            assert!(
                answer.ends_with(&format!("\r\n\r\n{body}")),
                "{head}: {answer}"
            );
        };
        check("GET /image HTTP/1.1", "HTTP/1.1 200 ", "0123456789");
        check("HEAD /image HTTP/1.1", "HTTP/1.1 200 ", "");
        check(
            "GET /image HTTP/1.1\r\nRange: bytes=4-",
            "HTTP/1.1 206 ",
            "456789",
        );
        check(
            "GET /image HTTP/1.1\r\nrange: bytes=4-5",
            "HTTP/1.1 206 ",
            "45",
        );
        check(
            "GET /image HTTP/1.1\r\nRange: bytes=4-500",
            "HTTP/1.1 206 ",
            "456789",
        );
        check(
            "GET /image HTTP/1.1\r\nRange: bytes=10-",
            "HTTP/1.1 416 ",
            "",
        );
        check(
            "GET /image HTTP/1.1\r\nRange: lines=1-2",
            "HTTP/1.1 200 ",
            "0123456789",
        );
        check("GET /../image HTTP/1.1", "HTTP/1.1 404 ", "");
        check("GET / HTTP/1.1", "HTTP/1.1 404 ", "");
        check("PUT /image HTTP/1.1", "HTTP/1.1 405 ", "");
        let last = server.requests().pop().unwrap();
        assert_eq!(
            (last.method.as_str(), last.path.as_str(), last.status),
            ("PUT", "/image", 405)
        );
    }

    #[test]
    fn one_connection_serves_many_requests() {
        let (_dir, server) = server();
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        for _ in 0..3 {
            stream.write_all(b"GET /image HTTP/1.1\r\n\r\n").unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n0123456789") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                answer.push(byte[0]);
            }
        }
        assert_eq!(server.requests().len(), 3);
    }

    #[test]
    fn faults_happen_until_they_are_healed() {
        let (_dir, server) = server();
        let head = "GET /image HTTP/1.1";
        server.break_file("image", Fault::Status(503));
        assert!(get(&server, head).starts_with("HTTP/1.1 503 "));
        server.break_file("image", Fault::CutAt(6));
        let cut = get(&server, head);
        assert!(
            cut.contains("Content-Length: 10\r\n") && cut.ends_with("\r\n\r\n012345"),
            "{cut}"
        );
        server.break_file("image", Fault::BytesPerSecond(1_000_000));
        assert!(get(&server, head).ends_with("\r\n\r\n0123456789"));
        server.heal("image");
        assert!(get(&server, head).ends_with("\r\n\r\n0123456789"));
    }

    #[test]
    fn a_stalled_answer_stalls_until_the_server_goes() {
        let (_dir, server) = server();
        server.break_file("image", Fault::StallAt(3));
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(b"GET /image HTTP/1.1\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n012") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        drop(server);
        let mut rest = Vec::new();
        // The connection may end orderly or by a reset, but not with more of the file.
        let _ = stream.read_to_end(&mut rest);
        assert_eq!(rest, b"");
    }
}
