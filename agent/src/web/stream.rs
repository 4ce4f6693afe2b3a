//! The bytes of a connection, plain or by TLS. One call waits for the socket once and no longer than its time-out, so that
//! whoever reads can stop a server that sends one byte after the other.
//! What the bytes mean is read in `http`, whom to believe is in `trust`.
use super::trust::{self, Trust};
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

pub enum Stream {
    Plain(TcpStream),
    Tls(Box<Tls>),
}

pub struct Tls {
    connection: ClientConnection,
    socket: TcpStream,
}

impl Stream {
    /// Begins TLS. `wait` is asked before each wait for the server and ends it.
    ///
    /// # Errors
    /// Of kind `InvalidData` when the server is not believed: asking again would not help.
    pub fn secure(
        socket: TcpStream,
        host: &str,
        trust: &Trust,
        wait: &dyn Fn() -> io::Result<()>,
    ) -> io::Result<Self> {
        let name = ServerName::try_from(host.to_string()).map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::new(trust.of_urls()), name);
        let connection = connection.map_err(io::Error::other)?;
        let mut tls = Tls { connection, socket };
        while tls.connection.is_handshaking() {
            tls.flush()?;
            wait()?;
            match tls.receive() {
                Ok(0) => {
                    let why = "the server ended the TLS handshake";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
                }
                Ok(_) => {}
                Err(error) if is_wait(&error) => {}
                Err(error) => return Err(in_words(error, trust)),
            }
        }
        tls.flush()?;
        Ok(Self::Tls(Box::new(tls)))
    }

    /// Sends all of it.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.write_all(bytes),
            Self::Tls(tls) => {
                tls.connection.writer().write_all(bytes)?;
                tls.flush()
            }
        }
    }
}

impl Read for Stream {
    /// Like that of a socket with a time-out: nothing yet is `WouldBlock` or `TimedOut`.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(out),
            Self::Tls(tls) => {
                let ready = tls.connection.reader().read(out);
                if !ready.as_ref().is_err_and(is_wait) {
                    return ready;
                }
                tls.receive()?;
                tls.flush()?;
                tls.connection.reader().read(out)
            }
        }
    }
}

/// Nothing has come yet.
pub fn is_wait(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

impl Tls {
    /// Waits once for the socket; 0 at its end.
    fn receive(&mut self) -> io::Result<usize> {
        let count = self.connection.read_tls(&mut self.socket)?;
        if let Err(error) = self.connection.process_new_packets() {
            // The alert says why; the server may be gone.
            let _ = self.flush();
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.socket)?;
        }
        Ok(())
    }
}

fn in_words(error: io::Error, trust: &Trust) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(refused) => io::Error::new(error.kind(), trust::why(refused, trust.wall())),
        None => error,
    }
}
