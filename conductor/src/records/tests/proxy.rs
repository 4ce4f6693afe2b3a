//! A connection to nats-server that can hold back what the server says, as a slow network or a stopped worker would.
//! The test decides when.
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Returns the URL of one connection to `server`. While `hold` is true the client hears nothing; what it says goes through,
/// and may turn the hold on or off: `hears` is shown all of it, after it was sent.
pub async fn hold_back(
    server: SocketAddr,
    hold: watch::Sender<bool>,
    hears: impl Fn(&str) -> Option<bool> + Send + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let server = TcpStream::connect(server).await.unwrap();
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let mut held = hold.subscribe();
        tokio::spawn(async move {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                let released = held.wait_for(|held| !held).await.is_ok();
                if !released || to_client.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
            }
        });
        let mut buffer = vec![0; 1 << 16];
        while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
            let words = String::from_utf8_lossy(&buffer[..read]).into_owned();
            let wish = hears(&words);
            // Holding begins before the server can answer, and ends after it was asked.
            if wish == Some(true) {
                hold.send_replace(true);
            }
            if to_server.write_all(&buffer[..read]).await.is_err() {
                return;
            }
            if wish == Some(false) {
                hold.send_replace(false);
            }
        }
    });
    format!("nats://{address}")
}
