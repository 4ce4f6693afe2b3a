//! Runs a NATS client on a thread of its own, so that it can be ended at any moment.
//! How it connects, and what is asked over it, is in `link`.
use async_nats::{Client, ConnectError, ConnectOptions, ServerAddr};
use std::convert::Infallible;
use std::io;
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};

/// The client runs until all clones of this are dropped. By itself it would not end while it connects again: it looks whether
/// somebody still wants it when it has a connection, and one whose login has ended never gets one (async-nats 0.51, `Connector`).
pub type Wanted = mpsc::Sender<Infallible>;

#[derive(Debug, thiserror::Error)]
pub enum NoClient {
    #[error("cannot set up the connection to NATS")]
    Connect(#[source] ConnectError),
    #[error("cannot start a thread for the connection to NATS")]
    Thread(#[source] io::Error),
}

/// # Errors
/// When there is no thread for it, or its options are invalid.
pub async fn run(
    options: ConnectOptions,
    servers: Vec<ServerAddr>,
) -> Result<(Client, Wanted), NoClient> {
    let (wanted, mut until) = mpsc::channel::<Infallible>(1);
    let (made, client) = oneshot::channel();
    let work = move || {
        let runtime = runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return drop(made.send(Err(NoClient::Thread(error)))),
        };
        runtime.block_on(async {
            let client = options.connect(servers).await.map_err(NoClient::Connect);
            // Whoever asked may have gone.
            drop(made.send(client));
            until.recv().await;
        });
    };
    let thread = std::thread::Builder::new().name("nats".into());
    thread.spawn(work).map_err(NoClient::Thread)?;
    let client = client.await.expect("the thread sends it");
    Ok((client?, wanted))
}
