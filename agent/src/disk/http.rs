//! One HTTP/1.1 GET (RFC 9110, 9112) over a plain TCP connection, its body read as it comes.
//! Which URL to ask, and when to retry, is decided in `fetch`.
use super::url::Url;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Bytes of status line and header fields together; servers themselves stop at 8 to 16 KiB.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Interim answers (100 Continue, 103 Early Hints) before the real one.
const MAX_INTERIM: usize = 4;
/// Bytes of a chunk-size line with its extensions.
const MAX_CHUNK_LINE_BYTES: usize = 256;
/// How often a waiting read checks for cancellation.
const CANCEL_POLL: Duration = Duration::from_millis(200);

/// The timeouts of a request, and the flag that cancels it.
#[derive(Clone, Copy)]
pub struct Timeouts<'a> {
    pub connect: Duration,
    /// Without a single byte.
    pub stall: Duration,
    pub cancelled: &'a AtomicBool,
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
    stream: TcpStream,
    timeouts: Timeouts<'a>,
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
    url: &Url,
    range: &ByteRange<'_>,
    timeouts: Timeouts<'a>,
) -> io::Result<(Head, Body<'a>)> {
    let mut stream = connect(url, timeouts)?;
    stream.set_read_timeout(Some(CANCEL_POLL))?;
    stream.set_write_timeout(Some(timeouts.stall))?;
    let mut request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: ironbeat-agent/{}\r\nAccept: */*\r\nAccept-Encoding: identity\r\nConnection: close\r\n",
        url.target(),
        url.authority(),
        env!("CARGO_PKG_VERSION"),
    );
    if range.from > 0 {
        request += &format!("Range: bytes={}-\r\n", range.from);
    }
    if let Some(tag) = range.if_range {
        request += &format!("If-Range: {tag}\r\n");
    }
    stream.write_all((request + "\r\n").as_bytes())?;

    let mut body = Body {
        stream,
        timeouts,
        early: Vec::new(),
        early_at: 0,
        framing: Framing::Ended,
    };
    for _ in 0..=MAX_INTERIM {
        let head = body.read_head()?;
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

fn connect(url: &Url, timeouts: Timeouts<'_>) -> io::Result<TcpStream> {
    let mut last = io::Error::other(format!("{} has no address", url.host()));
    for address in (url.host(), url.port()).to_socket_addrs()? {
        check_cancelled(timeouts)?;
        match TcpStream::connect_timeout(&address, timeouts.connect) {
            Ok(stream) => return Ok(stream),
            Err(e) => last = e,
        }
    }
    Err(last)
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
    fn read_head(&mut self) -> io::Result<Head> {
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
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::WouldBlock
                            | io::ErrorKind::TimedOut
                            | io::ErrorKind::Interrupted
                    ) =>
                {
                    if since.elapsed() >= self.timeouts.stall {
                        let why = format!("no data for {} s", self.timeouts.stall.as_secs());
                        return Err(io::Error::new(io::ErrorKind::TimedOut, why));
                    }
                }
                other => return other,
            }
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
            "retry-after" => head.retry_after = value.parse().ok(),
            _ => {}
        }
    }
    Ok(head)
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
