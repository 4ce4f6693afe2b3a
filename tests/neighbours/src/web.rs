//! One HTTP request, byte for byte as it is told.
//! What the answer should be is for whoever asks.
use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
/// More than any script; images are not read whole.
const MOST: u64 = 1 << 20;

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// # Errors
/// When it cannot be sent, or what comes is no HTTP.
pub fn ask(to: SocketAddr, method: &str, path: &str, more: &str, body: &str) -> Result<Answer> {
    let mut stream = TcpStream::connect(to).with_context(|| format!("reach {to}"))?;
    stream.set_read_timeout(Some(SOON))?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\nContent-Length: {length}\r\n{more}\r\n{body}"
    );
    stream.write_all(request.as_bytes())?;
    let mut bytes = vec![];
    // A server that refuses may close before it has read all.
    let read = stream.take(MOST).read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = match text.split_once("\r\n\r\n") {
        Some(parts) => parts,
        None => {
            read.with_context(|| format!("{method} {path}"))?;
            (text.as_str(), "")
        }
    };
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
    Ok(Answer {
        status: status.with_context(|| format!("{method} {path}: {head:?} is no answer"))?,
        head: head.into(),
        body: body.into(),
    })
}

/// # Errors
/// As [`ask`].
pub fn get(to: SocketAddr, path: &str) -> Result<Answer> {
    ask(to, "GET", path, "", "")
}
