//! Owns reading a request's head and choosing its answer (RFC 9110, RFC 9112).
//! Leaves connections, bodies and faults to the parent module.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Longest request head; clients of ours send a few hundred bytes.
const MAX_HEAD_BYTES: u64 = 16 << 10;

/// The parts of a request's head that matter here.
pub(super) struct Head {
    pub method: String,
    pub path: String,
    pub range: Option<String>,
    pub close: bool,
}

/// An answer: head fields, and which bytes of which file follow.
pub(super) struct Answer {
    pub status: u16,
    pub fields: String,
    pub body: Option<(File, u64, u64)>,
}

/// What a request is answered with when nothing goes wrong with its file.
pub(super) fn answer(root: &Path, head: &Head) -> Answer {
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
    let Ok(file) = File::open(root.join(path)) else {
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

impl Answer {
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            fields: "Content-Length: 0\r\n".into(),
            body: None,
        }
    }
}

/// Reads a request's head; `None` when the client is done.
pub(super) fn read_head(reader: &mut BufReader<&TcpStream>) -> std::io::Result<Option<Head>> {
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

pub(super) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        404 => "Not Found",
        405 => "Method Not Allowed",
        416 => "Range Not Satisfiable",
        _ => "Fault",
    }
}
