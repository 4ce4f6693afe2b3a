//! Heads and chunks as servers send them, good and bad.
//! Retries and mirrors are tested in `disk::fetch`.
use super::super::testing::{NO_FLOOR, Reply, Server, web};
use super::{Body, ByteRange, Floor, Framing, Head, Reach, Stream, Timeouts, parse_head};
use crate::web::url::Url;
use ironbeat_mutate::good::http::{CHUNKS, HEAD as GOOD};
use ironbeat_mutate::mutants;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

static NEVER: AtomicBool = AtomicBool::new(false);
const TIMEOUTS: Timeouts<'static> = Timeouts {
    connect: Duration::from_secs(5),
    stall: Duration::from_secs(30),
    floor: NO_FLOOR,
    cancelled: &NEVER,
};

#[test]
fn a_head_is_read() {
    let head = parse_head(GOOD.as_bytes()).expect("it is good");
    let wanted = Head {
        status: 206,
        length: Some(5),
        chunked: false,
        content_range: Some((5, 9, Some(10))),
        etag: Some("\"a\"".to_owned()),
        last_modified: Some("Mon".to_owned()),
        location: Some("/x".to_owned()),
        retry_after: Some(7),
        date: Some(Duration::from_secs(784_111_777)),
    };
    assert_eq!(head, wanted);
    let dated = GOOD.replace("After: 7", "After: Sun, 29 Nov 2026 12:00:00 GMT");
    let head = parse_head(dated.as_bytes()).expect("it is good");
    assert_eq!(head.retry_after, None);
    let undated = GOOD.replace("Sun, 06", "soon");
    let head = parse_head(undated.as_bytes()).expect("it is good");
    assert_eq!(head.date, None);
}

#[test]
fn bad_heads_are_refused() {
    for (text, words) in [
        ("SSH-2.0-OpenSSH\r\n\r\n", "not an HTTP answer"),
        ("HTTP/1.1 20 OK\r\n\r\n", "not an HTTP answer"),
        ("HTTP/2 200\r\n\r\n", "not an HTTP answer"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "not a number",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "two different",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "not asked for",
        ),
        (
            "HTTP/1.1 206 OK\r\nContent-Range: bytes 9-5/10\r\n\r\n",
            "malformed Content-Range",
        ),
        (
            "HTTP/1.1 206 OK\r\nContent-Range: bytes 5-10/10\r\n\r\n",
            "malformed Content-Range",
        ),
    ] {
        let error = parse_head(text.as_bytes()).expect_err(text).to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn broken_heads_do_not_panic() {
    mutants(GOOD.as_bytes(), 20_000, |bytes| drop(parse_head(bytes)));
}

fn get(
    url: &Url,
    range: &ByteRange<'_>,
    timeouts: Timeouts<'static>,
) -> std::io::Result<(Head, Body<'static>)> {
    super::get(&web(), url, Reach::Anywhere, range, timeouts)
}

fn read_all(mut body: Body<'_>) -> std::io::Result<Vec<u8>> {
    let (mut all, mut piece) = (Vec::new(), [0; 1000]);
    loop {
        match body.read(&mut piece)? {
            0 => return Ok(all),
            count => all.extend(&piece[..count]),
        }
    }
}

#[test]
fn chunks_are_put_together() {
    let object: Vec<u8> = (0..300_000u32)
        .map(|n| (n.wrapping_mul(n) / 7) as u8)
        .collect();
    let sent = object.clone();
    let server = Server::start(move |request| Reply::object(&sent, "one", request).chunked());
    let url = Url::parse(&server.url("/")).expect("a URL");
    let (head, body) = get(&url, &ByteRange::default(), TIMEOUTS).expect("it answers");
    assert!(head.chunked && head.length.is_none());
    assert!(read_all(body).expect("all of it comes") == object);
}

/// A body whose peer sends this and then closes the connection.
fn body_of(sent: &[u8], framing: Framing) -> Body<'static> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback");
    let mut peer = TcpStream::connect(listener.local_addr().expect("bound")).expect("loopback");
    let (stream, _) = listener.accept().expect("it connected");
    peer.write_all(sent).expect("it fits into the socket");
    Body {
        stream: Stream::Plain(stream),
        address: None,
        waited: Duration::ZERO,
        came: 0,
        timeouts: TIMEOUTS,
        early: Vec::new(),
        early_at: 0,
        framing,
    }
}

#[test]
fn broken_chunks_are_refused() {
    let chunked = || Framing::Chunk {
        left: 0,
        first: true,
    };
    let check = |sent: &[u8], words: &str| {
        let error = read_all(body_of(sent, chunked()))
            .expect_err("this is not a body")
            .to_string();
        assert!(error.contains(words), "{error}");
    };
    check(b"", "too early");
    check(b"5\r\nhel", "too early");
    check(b"5\r\nhello", "too early");
    check(b"5\r\nhello\r\n", "too early");
    check(b"5\r\nhelloo\r\n0\r\n\r\n", "longer than its size");
    check(b"\r\nhello", "a chunk has no size");
    check(b"-5\r\nhello", "a chunk has no size");
    check(b"11111111111111111\r\nhello", "a chunk has no size");
    check(&[b'5'; 1000], "without an end");
    assert_eq!(
        read_all(body_of(b"5\r\nhello\r\n0\r\n\r\n", chunked())).expect("good"),
        b"hello"
    );
    mutants(CHUNKS, 300, |bytes| {
        drop(read_all(body_of(bytes, chunked())))
    });
}

#[test]
fn a_body_without_an_end_is_refused() {
    let server =
        Server::start(|request| Reply::object(b"hello", "one", request).without("Content-Length"));
    let url = Url::parse(&server.url("/")).expect("a URL");
    let error = get(&url, &ByteRange::default(), TIMEOUTS)
        .map(|_| ())
        .expect_err("a cut would look like the end");
    assert!(
        error
            .to_string()
            .contains("neither a Content-Length nor chunks"),
        "{error}"
    );
}

#[test]
fn a_head_without_an_end_is_refused() {
    let server = Server::start(|_| Reply::status(200).with("X", &"y".repeat(40_000)));
    let url = Url::parse(&server.url("/")).expect("a URL");
    let error = get(&url, &ByteRange::default(), TIMEOUTS)
        .map(|_| ())
        .expect_err("it is too long");
    assert!(error.to_string().contains("does not end"), "{error}");
}

#[test]
fn a_server_that_sends_one_byte_after_the_other_is_left() {
    let server = Server::start(|_| {
        let long = Reply::status(200).with("X", &"y".repeat(20_000));
        long.drip(Duration::from_millis(5))
    });
    let url = Url::parse(&server.url("/")).expect("a URL");
    let timeouts = Timeouts {
        stall: Duration::from_millis(200),
        ..TIMEOUTS
    };
    let error = get(&url, &ByteRange::default(), timeouts).map(|_| ());
    let error = error.expect_err("its head does not come").to_string();
    assert_eq!(error, "the head of the answer takes too long");
    let floor = Floor {
        bytes: 10_000,
        waiting: Duration::from_millis(300),
    };
    let slow = Timeouts {
        stall: Duration::from_secs(30),
        floor,
        ..TIMEOUTS
    };
    let object = vec![7; 50_000];
    let server = Server::start(move |request| {
        Reply::object(&object, "one", request).drip(Duration::from_millis(1))
    });
    let url = Url::parse(&server.url("/")).expect("a URL");
    let answer = get(&url, &ByteRange::default(), slow);
    let all = answer.and_then(|(_, body)| read_all(body));
    let error = all.expect_err("it is too slow").to_string();
    assert!(error.ends_with("are too slow"), "{error}");
}
