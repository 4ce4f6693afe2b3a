//! NATS servers by the names that may be printed, and why each is not reached.
//! The NATS client connects, and names none of those that it could not reach.
use async_nats::ServerAddr;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;

/// For one server.
const PATIENCE: Duration = Duration::from_secs(3);
/// The first line of a server has some 400 bytes, and more in a large cluster.
const MAX_LINE: u64 = 64 << 10;

/// Host and port: a URL may hold a password.
pub fn plain(server: &str) -> String {
    match server.parse::<ServerAddr>() {
        Ok(server) => format!("{}:{}", server.host(), server.port()),
        Err(_) => "a server whose URL cannot be read".into(),
    }
}

/// How each of them is, as anybody sees who comes without a login.
pub async fn tried(servers: &[String]) -> String {
    let tries = servers
        .iter()
        .map(|server| async { format!("{}: {}", plain(server), said(server).await) });
    futures_util::future::join_all(tries).await.join("; ")
}

async fn said(server: &str) -> String {
    let Ok(address) = server.parse::<ServerAddr>() else {
        return "it must look like nats://host:4222".into();
    };
    if address.is_websocket() {
        return "WebSockets are not looked at".into();
    }
    match tokio::time::timeout(PATIENCE, hello(&address)).await {
        Ok(Ok(true)) => {
            "it greets: the login or TLS does not fit, or it is too slow to answer them".into()
        }
        Ok(Ok(false)) => "what answers is no NATS server".into(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
    }
}

/// Whether it greets as NATS servers do, before any login and any TLS.
async fn hello(server: &ServerAddr) -> std::io::Result<bool> {
    let stream = TcpStream::connect((server.host(), server.port())).await?;
    let mut line = Vec::new();
    let mut reader = BufReader::new(stream).take(MAX_LINE);
    reader.read_until(b'\n', &mut line).await?;
    Ok(line.starts_with(b"INFO "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    async fn greeting(with: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(with).await.unwrap();
        });
        format!("127.0.0.1:{port}")
    }

    #[tokio::test]
    async fn each_server_is_named_with_its_reason_and_without_its_login() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
        drop(listener);
        let (nats, other) = (
            greeting(b"INFO {}\r\n").await,
            greeting(b"SSH-2.0\r\n").await,
        );
        let servers = [
            format!("nats://user:hush@{closed}"),
            format!("nats://hush@{nats}"),
            other.clone(),
            "http://user:hush@h".into(),
        ];
        let said = tried(&servers).await;
        for words in [
            format!("{closed}: Connection refused"),
            format!("{nats}: it greets: the login or TLS does not fit, or it is too slow"),
            format!("{other}: what answers is no NATS server"),
            "a server whose URL cannot be read: it must look like".into(),
        ] {
            assert!(said.contains(&words), "{said}");
        }
        assert!(!said.contains("hush"), "{said}");
    }
}
