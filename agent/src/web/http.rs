//! One HTTP/1.1 GET (RFC 9110, 9112), its body read as it comes.
//! Which URL to ask, and when to retry, is decided in `disk::fetch`; by which way it goes, in `way`.
pub mod fuzz;

use super::stream::{Stream, is_wait};
use super::url::Url;
use super::way::{Reach, Web};
use std::io::{self, Read};
use std::net::{IpAddr, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

/// Bytes of status line and header fields together; servers themselves stop at 8 to 16 KiB.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// A connection with TLS waits at most this long for the clock, which is asked for when the network comes up.
const CLOCK_LIMIT: Duration = Duration::from_secs(30);
/// Interim answers (100 Continue, 103 Early Hints) before the real one.
const MAX_INTERIM: usize = 4;
/// Bytes of a chunk-size line with its extensions.
const MAX_CHUNK_LINE_BYTES: usize = 256;
/// A head must be there after so many times the wait for a single byte, and so must a connection with TLS.
const HEAD_STALLS: u32 = 2;
/// How often a waiting read checks for cancellation.
const CANCEL_POLL: Duration = Duration::from_millis(200);

/// The timeouts of a request, and the flag that cancels it.
#[derive(Clone, Copy)]
pub struct Timeouts<'a> {
    pub connect: Duration,
    /// Without a single byte.
    pub stall: Duration,
    pub floor: Floor,
    pub cancelled: &'a AtomicBool,
}

/// Of requests that nobody cancels.
pub static NEVER: AtomicBool = AtomicBool::new(false);

/// How slow a server may be: whenever it has made us wait for `waiting` in all, so much must have come meanwhile. Time in
/// which we were busy with what had come is not counted.
#[derive(Clone, Copy)]
pub struct Floor {
    pub bytes: u64,
    pub waiting: Duration,
}

/// The parts of an answer's head that `fetch` needs.
#[derive(Debug, Default, PartialEq)]
pub struct Head {
    pub status: u16,
    pub length: Option<u64>,
    pub chunked: bool,
    /// First byte, last byte, and size of the whole where it is known.
    pub content_range: Option<(u64, u64, Option<u64>)>,
    pub etag: Option<String>,
    pub last_modified: Option<String>,
    pub location: Option<String>,
    /// Of a server that is busy now: ask again after so many seconds. The form with a date is not read.
    pub retry_after: Option<u64>,
    /// The server's time, since 1970.
    pub date: Option<Duration>,
}

/// Which part of the object to ask for; all of it by default.
#[derive(Default)]
pub struct ByteRange<'a> {
    /// From this byte to the end.
    pub from: u64,
    /// Only if the entity still has this strong tag.
    pub if_range: Option<&'a str>,
}

pub struct Body<'a> {
    stream: Stream,
    timeouts: Timeouts<'a>,
    /// Where the host of the URL was found; none: a proxy looked for it.
    address: Option<IpAddr>,
    /// Since the server's speed was judged last.
    waited: Duration,
    came: u64,
    /// Bytes that arrived together with the head.
    early: Vec<u8>,
    early_at: usize,
    framing: Framing,
}

enum Framing {
    Length(u64),
    /// Bytes left of this chunk; 0 before a chunk-size line.
    Chunk {
        left: u64,
        first: bool,
    },
    Ended,
}

/// Sends the request and reads the answer up to its body. Refuses an answer with neither length nor chunks: a cut
/// connection would look like its end.
pub fn get<'a>(
    web: &Web,
    url: &Url,
    reach: Reach,
    range: &ByteRange<'_>,
    timeouts: Timeouts<'a>,
) -> io::Result<(Head, Body<'a>)> {
    let mut body = connect(web, url, reach, timeouts)?;
    let by_proxy = web.proxy_for(url).is_some() && !url.is_secure();
    let target = if by_proxy {
        url.absolute()
    } else {
        url.target()
    };
    let mut request = format!(
        "GET {target} HTTP/1.1\r\nHost: {}\r\n{AGENT}Accept: */*\r\nAccept-Encoding: identity\r\nConnection: close\r\n",
        url.authority(),
    );
    if range.from > 0 {
        request += &format!("Range: bytes={}-\r\n", range.from);
    }
    if let Some(tag) = range.if_range {
        request += &format!("If-Range: {tag}\r\n");
    }
    body.stream.send((request + "\r\n").as_bytes())?;

    let until = Instant::now() + timeouts.stall * HEAD_STALLS;
    for _ in 0..=MAX_INTERIM {
        let head = body.read_head(until)?;
        if (100..200).contains(&head.status) {
            continue;
        }
        body.framing = match (head.chunked, head.length) {
            (true, _) => Framing::Chunk {
                left: 0,
                first: true,
            },
            (false, Some(length)) => Framing::Length(length),
            (false, None) if head.status != 200 && head.status != 206 => Framing::Ended,
            (false, None) => {
                return Err(malformed(
                    "the answer has neither a Content-Length nor chunks",
                ));
            }
        };
        return Ok((head, body));
    }
    Err(malformed("too many interim answers"))
}

const AGENT: &str = concat!(
    "User-Agent: ironbeat-agent/",
    env!("CARGO_PKG_VERSION"),
    "\r\n"
);

/// A connection on which the request can be sent.
fn connect<'a>(web: &Web, url: &Url, reach: Reach, timeouts: Timeouts<'a>) -> io::Result<Body<'a>> {
    let proxy = web.proxy_for(url);
    if let Some(ip) = url.address().filter(|ip| !reach.allows(*ip)) {
        return Err(not_there(url, ip));
    }
    let (socket, address) = match proxy {
        // It looks for the host, and answers for where that is.
        Some(proxy) => open(proxy, Reach::Anywhere, timeouts)
            .map(|(socket, _)| (socket, url.address()))
            .map_err(|e| io::Error::new(e.kind(), format!("by the proxy {proxy}: {e}")))?,
        None => open(url, reach, timeouts).map(|(socket, ip)| (socket, Some(ip)))?,
    };
    let mut body = Body {
        stream: Stream::Plain(socket),
        timeouts,
        address,
        waited: Duration::ZERO,
        came: 0,
        early: Vec::new(),
        early_at: 0,
        framing: Framing::Ended,
    };
    if url.is_secure() {
        let until = Instant::now() + timeouts.stall * HEAD_STALLS;
        if let Some(proxy) = proxy {
            body.ask_for_way(proxy, url, until)?;
        }
        body.secure(url, web, until)?;
    }
    Ok(body)
}

fn open(url: &Url, reach: Reach, timeouts: Timeouts<'_>) -> io::Result<(TcpStream, IpAddr)> {
    let mut last = io::Error::other(format!("{} has no address", url.host()));
    for address in (url.host(), url.port()).to_socket_addrs()? {
        check_cancelled(timeouts)?;
        if !reach.allows(address.ip()) {
            last = not_there(url, address.ip());
            continue;
        }
        match TcpStream::connect_timeout(&address, timeouts.connect) {
            Ok(socket) => {
                socket.set_read_timeout(Some(CANCEL_POLL))?;
                socket.set_write_timeout(Some(timeouts.stall))?;
                return Ok((socket, address.ip()));
            }
            Err(e) => last = e,
        }
    }
    Err(last)
}

fn not_there(url: &Url, ip: IpAddr) -> io::Error {
    malformed(&format!(
        "a redirect from elsewhere leads to {} ({ip}), which is this machine or its link",
        url.host()
    ))
}

fn check_cancelled(timeouts: Timeouts<'_>) -> io::Result<()> {
    match timeouts.cancelled.load(Ordering::Relaxed) {
        true => Err(io::Error::other("cancelled")),
        false => Ok(()),
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn cut() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the server closed the connection too early",
    )
}

impl Body<'_> {
    /// Where the URL's host was found; none: a proxy looked for it.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Has the proxy open a connection (RFC 9110 §9.3.6).
    fn ask_for_way(&mut self, proxy: &Url, url: &Url, until: Instant) -> io::Result<()> {
        let to = url.host_and_port();
        let request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{AGENT}\r\n");
        self.stream.send(request.as_bytes())?;
        let head = self.read_head(until)?;
        let said = || format!("the proxy {proxy} answers with HTTP status {}", head.status);
        match head.status {
            200..300 if self.early.is_empty() => Ok(()),
            200..300 => Err(malformed("the proxy speaks before the server does")),
            // As those of a server: some may pass.
            408 | 425 | 429 | 500.. => Err(io::Error::other(said())),
            _ => Err(malformed(&said())),
        }
    }

    fn secure(&mut self, url: &Url, web: &Web, until: Instant) -> io::Result<()> {
        let Stream::Plain(socket) = &self.stream else {
            return Ok(());
        };
        // A clock that is set a moment later would end this for good.
        web.trust.wall().wait(CLOCK_LIMIT);
        let timeouts = self.timeouts;
        let wait = || {
            check_cancelled(timeouts)?;
            in_time(until, "TLS")
        };
        self.stream = Stream::secure(socket.try_clone()?, url.host(), &web.trust, &wait)?;
        Ok(())
    }

    /// Reads on; 0 only at the true end of the body.
    pub fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if let Framing::Chunk { left: 0, first } = self.framing {
            self.next_chunk(first)?;
        }
        let left = match &mut self.framing {
            Framing::Ended => return Ok(0),
            Framing::Length(left) | Framing::Chunk { left, .. } => *left,
        };
        if left == 0 {
            return Ok(0);
        }
        let wanted = out.len().min(left.try_into().unwrap_or(usize::MAX));
        let count = self.receive(&mut out[..wanted])?;
        if count == 0 && wanted > 0 {
            return Err(cut());
        }
        match &mut self.framing {
            Framing::Ended => {}
            Framing::Length(left) | Framing::Chunk { left, .. } => *left -= count as u64,
        }
        Ok(count)
    }

    /// RFC 9112 §7.1. The trailer section after the last chunk is not read: the connection is not used again.
    fn next_chunk(&mut self, first: bool) -> io::Result<()> {
        if !first && !self.line(2)?.is_empty() {
            return Err(malformed("a chunk is longer than its size"));
        }
        let line = self.line(MAX_CHUNK_LINE_BYTES)?;
        let digits = line.split(';').next().unwrap_or("").trim_end();
        let good = !digits.is_empty()
            && digits.len() <= 16
            && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let size = good.then(|| u64::from_str_radix(digits, 16).ok()).flatten();
        self.framing = match size.ok_or_else(|| malformed("a chunk has no size"))? {
            0 => Framing::Ended,
            left => Framing::Chunk { left, first: false },
        };
        Ok(())
    }

    fn line(&mut self, limit: usize) -> io::Result<String> {
        let mut line = Vec::new();
        loop {
            let mut byte = [0];
            if self.receive(&mut byte)? == 0 {
                return Err(cut());
            }
            line.push(byte[0]);
            if line.ends_with(b"\r\n") {
                line.truncate(line.len() - 2);
                return String::from_utf8(line)
                    .map_err(|_| malformed("a chunk-size line that is not text"));
            }
            if line.len() > limit {
                return Err(malformed("a line without an end between two chunks"));
            }
        }
    }

    /// Reads one head; the bytes after it stay in `early`.
    fn read_head(&mut self, until: Instant) -> io::Result<Head> {
        let mut bytes = self.early.split_off(self.early_at);
        loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                self.early = bytes.split_off(end + 4);
                self.early_at = 0;
                return parse_head(&bytes);
            }
            if bytes.len() > MAX_HEAD_BYTES {
                return Err(malformed("the head of the answer does not end"));
            }
            in_time(until, "the head of the answer")?;
            let mut piece = [0; 4096];
            match self.receive_from_stream(&mut piece)? {
                0 => return Err(cut()),
                count => bytes.extend_from_slice(&piece[..count]),
            }
        }
    }

    fn receive(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let early = &self.early[self.early_at..];
        if early.is_empty() {
            return self.receive_from_stream(out);
        }
        let count = early.len().min(out.len());
        out[..count].copy_from_slice(&early[..count]);
        self.early_at += count;
        Ok(count)
    }

    fn receive_from_stream(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let since = Instant::now();
        loop {
            check_cancelled(self.timeouts)?;
            match self.stream.read(out) {
                Err(e) if is_wait(&e) => {
                    if since.elapsed() >= self.timeouts.stall {
                        let why = format!("no data for {} s", self.timeouts.stall.as_secs());
                        return Err(io::Error::new(io::ErrorKind::TimedOut, why));
                    }
                }
                Ok(count) => {
                    self.judge(count, since.elapsed())?;
                    return Ok(count);
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// So many bytes came after so long.
    fn judge(&mut self, count: usize, waited: Duration) -> io::Result<()> {
        let Floor { bytes, waiting } = self.timeouts.floor;
        self.came += count as u64;
        self.waited += waited;
        if self.waited < waiting {
            return Ok(());
        }
        if self.came < bytes {
            let (came, secs) = (self.came, self.waited.as_secs());
            let why = format!("{came} bytes in {secs} s are too slow");
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        (self.came, self.waited) = (0, Duration::ZERO);
        Ok(())
    }
}

fn in_time(until: Instant, what: &str) -> io::Result<()> {
    match Instant::now() < until {
        true => Ok(()),
        false => {
            let why = format!("{what} takes too long");
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        }
    }
}

/// Reads the status line and the fields of [`Head`]. `bytes` ends with the empty line.
pub fn parse_head(bytes: &[u8]) -> io::Result<Head> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| malformed("the head of the answer is not text"))?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1."));
    let status = status
        .and_then(|line| line.split(' ').nth(1))
        .filter(|digits| digits.len() == 3);
    let status = status
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| malformed("this is not an HTTP answer"))?;
    let mut head = Head {
        status,
        ..Head::default()
    };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                let length = value
                    .parse()
                    .map_err(|_| malformed("a Content-Length that is not a number"))?;
                if head.length.is_some_and(|before| before != length) {
                    return Err(malformed("two different Content-Lengths"));
                }
                head.length = Some(length);
            }
            "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => head.chunked = true,
            "transfer-encoding" => {
                return Err(malformed("a transfer encoding that was not asked for"));
            }
            "content-range" => {
                head.content_range =
                    Some(parse_range(value).ok_or_else(|| malformed("a malformed Content-Range"))?)
            }
            "etag" => head.etag = Some(value.to_owned()),
            "last-modified" => head.last_modified = Some(value.to_owned()),
            "location" => head.location = Some(value.to_owned()),
            "date" => head.date = date(value),
            "retry-after" => head.retry_after = value.parse().ok(),
            _ => {}
        }
    }
    Ok(head)
}

fn date(value: &str) -> Option<Duration> {
    let date = httpdate::parse_http_date(value).ok()?;
    date.duration_since(UNIX_EPOCH).ok()
}

/// `bytes 100-199/200`, or `/*` where the whole is not known. `bytes */200` (of a 416) has no range.
fn parse_range(value: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let total = if total == "*" {
        None
    } else {
        Some(total.parse().ok()?)
    };
    if range == "*" {
        return Some((0, 0, total));
    }
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && total.is_none_or(|total| last < total)).then_some((first, last, total))
}

#[cfg(test)]
mod tests;
