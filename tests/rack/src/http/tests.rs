//! Owns the HTTP server's tests, over real connections.
//! Leaves nothing to others.

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
