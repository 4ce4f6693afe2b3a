//! A connection to nats-server that can hold back what the server says, as a slow network or a stopped worker would.
//! The test decides when.
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Returns a URL of `server` for one client, which may connect again. While `hold` is true the client hears nothing; what
/// it says goes through, and may turn the hold on or off: `hears` is shown all of it, before it is sent.
pub async fn hold_back(
    server: SocketAddr,
    hold: watch::Sender<bool>,
    mut hears: impl FnMut(&str) -> Option<bool> + Send + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            // A server that is away is one that closes the connection.
            if let Ok(server) = TcpStream::connect(server).await {
                pass(client, server, &hold, &mut hears).await;
            }
        }
    });
    format!("nats://{address}")
}

/// Until either side closes the connection.
async fn pass(
    client: TcpStream,
    server: TcpStream,
    hold: &watch::Sender<bool>,
    hears: &mut (impl FnMut(&str) -> Option<bool> + Send),
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut held = hold.subscribe();
    let answers = async {
        loop {
            let mut said = Vec::new();
            // What is held back when the server dies is lost.
            while said.is_empty() || *held.borrow() {
                tokio::select! {
                    read = from_server.read_buf(&mut said) => match read {
                        Ok(1..) => {}
                        Ok(0) | Err(_) => return,
                    },
                    Ok(()) = held.changed() => {}
                }
            }
            if to_client.write_all(&said).await.is_err() {
                return;
            }
        }
    };
    let questions = async {
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
    };
    tokio::select! {
        () = answers => {}
        () = questions => {}
    }
}
