//! Says why a NATS server is not reached, which the client does not tell: where it looked, and what it found there.
//! Why a certificate is not believed says `web::trust`.
use async_nats::ServerAddr;
use std::io;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// For one look at one server.
const PATIENCE: Duration = Duration::from_secs(5);
/// A server's greeting, in bytes: some have a list of all others.
const MAX_GREETING: usize = 16 * 1024;
/// The same again only after so many looks.
const AGAIN: u32 = 30;

/// Looks whenever `failures` changes; ends with the client. `needs_tls`: nothing else is spoken.
pub async fn watch(mut failures: watch::Receiver<u64>, servers: Vec<ServerAddr>, needs_tls: bool) {
    let (mut said, mut looks) = (String::new(), 0);
    while failures.changed().await.is_ok() {
        let mut found = Vec::new();
        for server in &servers {
            if let Some(why) = look(server, needs_tls).await {
                found.push(format!("{}:{}: {why}", server.host(), server.port()));
            }
        }
        let found = found.join("; ");
        looks += 1;
        if !found.is_empty() && (found != said || looks >= AGAIN) {
            tracing::warn!("no NATS server is reached: {found}");
            (said, looks) = (found, 0);
        }
        sleep(LOOK_EVERY).await;
        failures.mark_unchanged();
    }
}

/// None: it is there, and speaks as it should.
async fn look(server: &ServerAddr, needs_tls: bool) -> Option<String> {
    let greeting = timeout(PATIENCE, greeting(server)).await;
    match greeting {
        Err(_) => Some(format!("no answer within {} s", PATIENCE.as_secs())),
        Ok(Err(error)) => Some(error.to_string()),
        Ok(Ok(text)) if !text.starts_with("INFO ") => Some("it is no NATS server".into()),
        Ok(Ok(text)) if needs_tls && !offers_tls(&text) => Some(
            "it offers no TLS, and without it nothing is sent: a CA was named, or tls:// was"
                .into(),
        ),
        Ok(Ok(_)) => None,
    }
}

async fn greeting(server: &ServerAddr) -> io::Result<String> {
    let mut socket = TcpStream::connect((server.host(), server.port())).await?;
    let (mut bytes, mut piece) = (Vec::new(), [0; 1024]);
    while bytes.len() < MAX_GREETING && !bytes.ends_with(b"\n") {
        match socket.read(&mut piece).await? {
            0 => break,
            count => bytes.extend(&piece[..count]),
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn offers_tls(greeting: &str) -> bool {
    let plain: String = greeting.split_ascii_whitespace().collect();
    plain.contains("\"tls_required\":true") || plain.contains("\"tls_available\":true")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn what_a_server_greets_with_tells_whether_it_can_be_spoken_to() {
        let look_at = async |greeting: &'static str, needs_tls| {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = format!("nats://{}", listener.local_addr().unwrap());
            let serve = async {
                let (mut socket, _) = listener.accept().await.unwrap();
                socket.write_all(greeting.as_bytes()).await.unwrap();
            };
            let address = address.parse().unwrap();
            tokio::join!(look(&address, needs_tls), serve).0
        };
        let plain = "INFO {\"server_id\":\"x\",\"proto\":1}\r\n";
        let secure = "INFO {\"tls_required\": true}\r\n";
        assert_eq!(look_at(plain, false).await, None);
        assert_eq!(look_at(secure, true).await, None);
        let why = look_at(plain, true).await.unwrap();
        assert!(why.contains("it offers no TLS"), "{why}");
        let why = look_at("SSH-2.0-x\r\n", false).await.unwrap();
        assert_eq!(why, "it is no NATS server");
        let nobody = "nats://127.0.0.1:1".parse().unwrap();
        let why = look(&nobody, true).await.unwrap();
        assert!(why.contains("refused"), "{why}");
    }
}
