//! A scripted web server on loopback, plain or with TLS: whole answers, cut ones, other tags, wrong ranges, silence, one byte after
//! the other; and a proxy. What a client makes of them is tested in `http`, `disk::fetch` and `disk::write`.
use super::http::Floor;
use super::trust::{Authority, Trust};
use super::way::Web;
use crate::clock::Wall;
use ironbeat_rack::certificates::{self, Certified};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Nothing is too slow.
pub const NO_FLOOR: Floor = Floor {
    bytes: 0,
    waiting: Duration::from_secs(1),
};

/// Without a proxy, and without a CA but the public ones.
pub fn web() -> Web {
    Web::new(Arc::default(), None, &[])
}

/// That believes this CA, and goes by this clock.
pub fn trusting(site: &certificates::Authority, wall: Wall) -> Arc<Trust> {
    let trust = Trust::new(Arc::new(wall));
    trust.wall().was_asked();
    trust.believe(Authority::from_pem(site.pem().as_bytes()).expect("a CA"));
    Arc::new(trust)
}

/// What was asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// From 0: how many requests came before.
    pub number: u32,
    pub target: String,
    pub host: String,
    pub range_from: Option<usize>,
    pub if_range: Option<String>,
}

/// An answer; its fields are those of a well-behaved server unless a test changes them.
pub struct Reply {
    pub status: u16,
    pub fields: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// This many bytes of the body are sent, then the connection is closed.
    pub cut_at: Option<usize>,
    /// After this many bytes of the body nothing more comes, but the connection stays.
    pub silent_at: Option<usize>,
    /// Head and body come one byte after the other, with such pauses.
    pub drip: Option<Duration>,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        let fields = vec![("Content-Length", "0".to_owned())];
        Self {
            status,
            fields,
            body: Vec::new(),
            cut_at: None,
            silent_at: None,
            drip: None,
        }
    }

    /// The object with its tag, or the part of it that was asked for.
    pub fn object(object: &[u8], tag: &str, request: &Request) -> Self {
        let tag = format!("\"{tag}\"");
        let matches = request
            .if_range
            .as_ref()
            .is_none_or(|wanted| *wanted == tag);
        let from = request
            .range_from
            .filter(|from| matches && *from < object.len());
        let mut fields = vec![("ETag", tag)];
        if let Some(from) = from {
            fields.push((
                "Content-Range",
                format!("bytes {from}-{}/{}", object.len() - 1, object.len()),
            ));
        }
        let body = object[from.unwrap_or(0)..].to_vec();
        fields.push(("Content-Length", body.len().to_string()));
        let status = if from.is_some() { 206 } else { 200 };
        Self {
            status,
            fields,
            body,
            cut_at: None,
            silent_at: None,
            drip: None,
        }
    }

    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.fields.retain(|(there, _)| *there != name);
        self.fields.push((name, value.to_owned()));
        self
    }
    pub fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(there, _)| *there != name);
        self
    }
    pub fn cut_at(mut self, bytes: usize) -> Self {
        self.cut_at = Some(bytes);
        self
    }
    pub fn silent_at(mut self, bytes: usize) -> Self {
        self.silent_at = Some(bytes);
        self
    }
    pub fn drip(mut self, pause: Duration) -> Self {
        self.drip = Some(pause);
        self
    }
    /// The body in chunks (RFC 9112 §7.1) of many sizes.
    pub fn chunked(mut self) -> Self {
        let mut body = Vec::new();
        let mut rest = self.body.as_slice();
        for size in (1..).map(|n: usize| (n * 7919) % 100_000 + 1) {
            let size = size.min(rest.len());
            body.extend(format!("{size:x};note=1\r\n").bytes());
            body.extend(&rest[..size]);
            body.extend(b"\r\n");
            rest = &rest[size..];
            if size == 0 {
                break;
            }
        }
        self.body = body;
        self.without("Content-Length")
            .with("Transfer-Encoding", "chunked")
    }
}

type Answer = dyn Fn(&Request) -> Reply + Send + Sync;

pub struct Server {
    scheme: &'static str,
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(None, answer)
    }

    /// That shows this certificate.
    pub fn secure(
        shown: &Certified,
        answer: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let key = PrivateKeyDer::Pkcs8(shown.key.clone().into());
        let config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let config = config
            .with_safe_default_protocol_versions()
            .expect("there are ciphers")
            .with_no_client_auth()
            .with_single_cert(vec![shown.certificate.clone().into()], key);
        Self::start_with(Some(Arc::new(config.expect("its key fits"))), answer)
    }

    fn start_with(
        tls: Option<Arc<ServerConfig>>,
        answer: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = (0..5000)
            .find_map(|_| TcpListener::bind(("127.0.0.1", next_port())).ok())
            .expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let stop = Arc::new(AtomicBool::new(false));
        let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (answer, stopped, all) = (Arc::new(answer) as Arc<Answer>, stop.clone(), seen.clone());
        let accepting = thread::spawn(move || {
            let mut serving = Vec::new();
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let (answer, all, tls) = (answer.clone(), all.clone(), tls.clone());
                // A client may go away at any time.
                serving.push(thread::spawn(move || {
                    drop(match tls {
                        None => serve(stream, &*answer, &all),
                        Some(tls) => ServerConnection::new(tls)
                            .map_err(std::io::Error::other)
                            .and_then(|tls| serve(StreamOwned::new(tls, stream), &*answer, &all)),
                    });
                }));
            }
            serving
                .into_iter()
                .for_each(|thread| thread.join().expect("no answer panics"));
        });
        Self {
            scheme,
            address,
            stop,
            accepting: Some(accepting),
            seen,
        }
    }

    /// A well-behaved server with one object.
    pub fn of(object: Vec<u8>) -> Self {
        Self::start(move |request| Reply::object(&object, "one", request))
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }
    pub fn port(&self) -> u16 {
        self.address.port()
    }
    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().expect("nobody panicked").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let woken = TcpStream::connect(self.address).is_ok();
        if let Some(thread) = self.accepting.take().filter(|_| woken) {
            let _ = thread.join();
        }
    }
}

/// Below 32768, where the kernel takes the ports of outgoing connections from.
fn next_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id() * 37;
    20_000 + ((start + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000) as u16
}

fn serve(
    mut stream: impl Read + Write,
    answer: &Answer,
    seen: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(&mut stream);
    let mut next = || -> std::io::Result<String> {
        let mut line = String::new();
        lines.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    };
    let target = next()?.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut request = Request {
        number: 0,
        target,
        host: String::new(),
        range_from: None,
        if_range: None,
    };
    loop {
        let line = next()?;
        let Some((name, value)) = line.split_once(": ") else {
            break;
        };
        match name {
            "Host" => request.host = value.to_owned(),
            "If-Range" => request.if_range = Some(value.to_owned()),
            "Range" => {
                request.range_from = value
                    .trim_start_matches("bytes=")
                    .trim_end_matches('-')
                    .parse()
                    .ok()
            }
            _ => {}
        }
    }
    {
        let mut seen = seen.lock().expect("nobody panicked");
        request.number = seen.len() as u32;
        seen.push(request.clone());
    }
    let reply = answer(&request);
    let fields: String = reply
        .fields
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let head = format!("HTTP/1.1 {} Whatever\r\n{fields}\r\n", reply.status);
    if let Some(pause) = reply.drip {
        for byte in head.bytes().chain(reply.body) {
            stream.write_all(&[byte])?;
            stream.flush()?;
            thread::sleep(pause);
        }
        return Ok(());
    }
    stream.write_all(head.as_bytes())?;
    let end = reply
        .cut_at
        .or(reply.silent_at)
        .unwrap_or(reply.body.len())
        .min(reply.body.len());
    stream.write_all(&reply.body[..end])?;
    stream.flush()?;
    if reply.silent_at.is_some() {
        // Until the client hangs up.
        stream.read_to_end(&mut Vec::new())?;
    }
    Ok(())
}

/// A proxy that opens connections to this port of loopback, whatever host is asked for. What it was asked.
pub fn proxy(port: u16, status: u16) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let all = asked.clone();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let all = all.clone();
            thread::spawn(move || drop(pass_on(client, port, status, &all)));
        }
    });
    (url, asked)
}

fn pass_on(
    mut client: TcpStream,
    port: u16,
    status: u16,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let line = head.lines().next().unwrap_or_default().to_owned();
    let opens = line.starts_with("CONNECT ");
    asked.lock().expect("nobody panicked").push(line);
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    match opens {
        true => write!(client, "HTTP/1.1 {status} Whatever\r\n\r\n")?,
        false => server.write_all(head.as_bytes())?,
    }
    let (mut back, mut forth) = (server.try_clone()?, client.try_clone()?);
    let copying = thread::spawn(move || std::io::copy(&mut back, &mut forth));
    std::io::copy(&mut client, &mut server)?;
    server.shutdown(std::net::Shutdown::Write)?;
    drop(copying.join());
    Ok(())
}
