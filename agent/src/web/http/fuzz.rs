//! A body that has come whole, for `ironbeat-fuzz`. Nothing that ships calls it.
//! What must hold for it is asserted in `crate::fuzz`.
use super::{Body, Floor, Framing, NEVER, Timeouts};
use crate::web::stream::Stream;
use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

thread_local! {
    /// A connection whose other end is closed.
    static ENDED: Option<TcpStream> = UnixStream::pair().ok().map(|(own, _)| OwnedFd::from(own).into());
}

/// All of a body in chunks, whose connection ends after these bytes.
pub fn read_chunks(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let ended = ENDED.with(|ended| ended.as_ref().map(TcpStream::try_clone));
    let stream = ended.ok_or(io::ErrorKind::NotConnected)??;
    let secs = Duration::from_secs;
    let mut body = Body {
        stream: Stream::Plain(stream),
        timeouts: Timeouts {
            connect: secs(1),
            stall: secs(1),
            floor: Floor {
                bytes: 0,
                waiting: secs(1),
            },
            cancelled: &NEVER,
        },
        address: None,
        waited: Duration::ZERO,
        came: 0,
        early: bytes.to_vec(),
        early_at: 0,
        framing: Framing::Chunk {
            left: 0,
            first: true,
        },
    };
    let (mut all, mut piece) = (Vec::new(), [0; 512]);
    loop {
        match body.read(&mut piece)? {
            0 => return Ok(all),
            count => all.extend(&piece[..count]),
        }
    }
}
