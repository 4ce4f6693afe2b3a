//! A small document, whole: what a ramdisk asks a worker for before it can do anything else.
//! Which one, and whether it is believed, is decided in `heart`.
use super::http::{self, ByteRange, Floor, NEVER, Timeouts};
use super::url::Url;
use super::way::{Reach, Web};
use anyhow::{Context, ensure};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);
/// All of it has to be there when the server has made us wait for so long.
const WHOLE: Duration = Duration::from_secs(20);

/// # Errors
/// When it cannot be had, or has more than `max_bytes`; the error names the URL.
pub fn get(web: &Web, url: &Url, max_bytes: usize) -> anyhow::Result<Vec<u8>> {
    let get = || format!("GET {url}");
    let limits = Timeouts {
        connect: PATIENCE,
        stall: PATIENCE,
        floor: Floor {
            bytes: max_bytes as u64,
            waiting: WHOLE,
        },
        cancelled: &NEVER,
    };
    let answer = http::get(web, url, Reach::Anywhere, &ByteRange::default(), limits);
    let (head, mut body) = answer.with_context(get)?;
    ensure!(head.status == 200, "{}: HTTP status {}", get(), head.status);
    let mut bytes = vec![0; max_bytes + 1];
    let mut length = 0;
    loop {
        match body.read(&mut bytes[length..]).with_context(get)? {
            0 => break,
            count => length += count,
        }
        ensure!(length <= max_bytes, "{}: it is too long", get());
    }
    bytes.truncate(length);
    Ok(bytes)
}
