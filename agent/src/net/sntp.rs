//! Asks a time server once (SNTP, RFC 4330, RFC 5905 section 14) and reads its answer.
//! Whether to believe it is decided in `heart::set_clock`.
use crate::random;
use std::io;
use std::net::{ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

const PORT: u16 = 123;
/// A server on the same site answers within milliseconds; one packet may get lost.
const WAIT: Duration = Duration::from_millis(750);
const TRIES: u32 = 2;
/// Addresses of one name that are asked.
const MAX_ADDRESSES: usize = 2;
/// Fixed part, in bytes; keys and extensions may follow.
const HEADER: usize = 48;
/// From 1900, where NTP begins, to 1970, in seconds.
const UNTIL_1970: u64 = 2_208_988_800;
/// The count of seconds begins anew in 2036: what has its highest bit not set is later than that (RFC 4330 section 3).
const ERA: u64 = 1 << 32;

/// The time since 1970, by this server.
///
/// # Errors
/// When it has no address, or none of them answers with a time.
pub fn ask(server: &str) -> io::Result<Duration> {
    ask_at((server, PORT))
}

fn ask_at(server: impl ToSocketAddrs) -> io::Result<Duration> {
    let mut last = io::Error::other("it has no address");
    for address in server.to_socket_addrs()?.take(MAX_ADDRESSES) {
        let any = match address.is_ipv4() {
            true => "0.0.0.0:0",
            false => "[::]:0",
        };
        let socket = UdpSocket::bind(any)?;
        // From here on the kernel takes answers of this server alone.
        socket.connect(address)?;
        for _ in 0..TRIES {
            match ask_once(&socket) {
                Ok(time) => return Ok(time),
                Err(error) => last = error,
            }
        }
    }
    Err(last)
}

fn ask_once(socket: &UdpSocket) -> io::Result<Duration> {
    let nonce = u64::from(random::number()) << 32 | u64::from(random::number());
    let sent = Instant::now();
    socket.send(&request(nonce))?;
    let mut buffer = [0; 512];
    loop {
        let left = WAIT.saturating_sub(sent.elapsed());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"));
        }
        socket.set_read_timeout(Some(left))?;
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        match decode(&buffer[..length], nonce) {
            // It took half of the way there and back to get here.
            Some(Answer::Time(time)) => return Ok(time + sent.elapsed() / 2),
            Some(Answer::Refused) => return Err(io::Error::other("it does not know the time")),
            None => {}
        }
    }
}

/// The time of sending is a random number instead: who does not see it cannot answer, and our clock is nobody's business.
fn request(nonce: u64) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    // Version 4, client.
    out[0] = 4 << 3 | 3;
    out[40..].copy_from_slice(&nonce.to_be_bytes());
    out
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Time(Duration),
    /// It is not synchronised, or wants to be left alone.
    Refused,
}

/// The answer to our request; `None` for whatever else comes.
pub(crate) fn decode(bytes: &[u8], nonce: u64) -> Option<Answer> {
    let header: &[u8; HEADER] = bytes.get(..HEADER)?.try_into().ok()?;
    let (leap, version, mode) = (header[0] >> 6, header[0] >> 3 & 7, header[0] & 7);
    let ours = header[24..32] == nonce.to_be_bytes();
    if !ours || mode != 4 || !(1..=4).contains(&version) {
        return None;
    }
    let stratum = header[1];
    let secs = number(&header[40..44]);
    if leap == 3 || !(1..=15).contains(&stratum) || secs == 0 {
        return Some(Answer::Refused);
    }
    let era: u64 = if secs >= ERA / 2 { 0 } else { ERA };
    let nanos = number(&header[44..48]) * 1_000_000_000 / ERA;
    let Some(since_1970) = (secs + era).checked_sub(UNTIL_1970) else {
        return Some(Answer::Refused);
    };
    let time = Duration::from_secs(since_1970) + Duration::from_nanos(nanos);
    Some(Answer::Time(time))
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |all, byte| all << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_mutate::good::sntp::{NONCE, answer};
    use ironbeat_mutate::mutants;
    use std::thread;

    fn check(change: impl Fn(&mut Vec<u8>), expected: Option<Answer>) {
        let mut bytes = answer();
        change(&mut bytes);
        assert_eq!(decode(&bytes, NONCE), expected, "{bytes:02x?}");
    }

    #[test]
    fn an_answer_is_read_and_others_are_not() {
        let time = |millis| Some(Answer::Time(Duration::from_millis(millis)));
        check(|_| {}, time(1_796_009_753_500));
        check(|bytes| bytes.extend([0; 20]), time(1_796_009_753_500));
        check(|bytes| bytes[0] = 0x1c, time(1_796_009_753_500));
        // The count began anew on 2036-02-07 06:28:16.
        check(
            |bytes| bytes[40..48].copy_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0]),
            time(2_085_978_497_000),
        );
        check(
            |bytes| bytes[40..48].copy_from_slice(&[0x83, 0xaa, 0x7e, 0x80, 0, 0, 0, 0]),
            time(0),
        );
        check(
            |bytes| bytes[40..44].copy_from_slice(&[0x80, 0, 0, 0]),
            Some(Answer::Refused),
        );
        let refused = || Some(Answer::Refused);
        check(|bytes| bytes[1] = 0, refused());
        check(|bytes| bytes[1] = 16, refused());
        check(|bytes| bytes[0] |= 0xc0, refused());
        check(|bytes| bytes[40..44].fill(0), refused());
        check(|bytes| bytes[31] ^= 1, None);
        check(|bytes| bytes[0] = 0x23, None);
        check(|bytes| bytes[0] = 0x3c, None);
        check(|bytes| bytes.truncate(47), None);
    }

    #[test]
    fn any_bytes_are_survived() {
        mutants(&answer(), 50_000, |bytes| {
            if let Some(Answer::Time(time)) = decode(bytes, NONCE) {
                assert!(time.as_secs() < 2 * ERA);
            }
        });
    }

    /// Answers the second request of a client, with these changes.
    fn serve(change: impl Fn(&mut Vec<u8>) + Send + 'static) -> std::net::SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        thread::spawn(move || {
            let mut request = [0; HEADER];
            for n in 0..2 {
                let (length, client) = socket.recv_from(&mut request).unwrap();
                assert_eq!((length, request[0]), (HEADER, 0x23));
                let mut bytes = answer();
                bytes[24..32].copy_from_slice(&request[40..48]);
                change(&mut bytes);
                if n == 1 {
                    // Somebody guesses first.
                    let _ = socket.send_to(&answer(), client);
                    let _ = socket.send_to(&bytes, client);
                }
            }
        });
        address
    }

    #[test]
    fn a_server_is_asked_again_and_a_guess_is_not_believed() {
        let time = ask_at(serve(|_| {})).expect("it answers");
        assert_eq!(time.as_secs(), 1_796_009_753);
        let error = ask_at(serve(|bytes| bytes[1] = 0)).unwrap_err();
        assert_eq!(error.to_string(), "it does not know the time");
    }
}
