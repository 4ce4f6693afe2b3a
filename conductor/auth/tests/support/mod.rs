//! A nats-server that asks who is there, and a client that says exactly what it is told to and hears what is refused.
//! The tests say who may what.
use ironbeat_auth::creds::Creds;
use ironbeat_auth::site::Site;
use ironbeat_rack::logins::now;
use ironbeat_rack::nats::{NatsBinary, NatsServer};
use nkeys::KeyPair;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

/// For what takes milliseconds on an idle machine.
const SOON: Duration = Duration::from_secs(60);

pub fn server(binary: NatsBinary, site: &Site) -> NatsServer {
    let lines = site
        .server_lines(Path::new("accounts"), None, now())
        .unwrap();
    NatsServer::start_loopback_with(binary, &lines).unwrap()
}

/// One connection, in the protocol's own words.
pub struct Wire(BufReader<TcpStream>);

impl Wire {
    /// Connects with a token, signing with `key` where there is one. The error is what the server says.
    pub fn open(server: &NatsServer, jwt: &str, key: Option<&KeyPair>) -> Result<Self, String> {
        let stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut wire = Self(BufReader::new(stream));
        let info = wire.line().expect("a server greets");
        let info: serde_json::Value =
            serde_json::from_str(info.strip_prefix("INFO ").unwrap()).unwrap();
        let nonce = info["nonce"].as_str().expect("it asks who is there");
        let signature = key.map_or(String::new(), |key| {
            data_encoding::BASE64URL_NOPAD.encode(&key.sign(nonce.as_bytes()).unwrap())
        });
        let hello = serde_json::json!({
            "verbose": false, "pedantic": false, "lang": "test", "version": "0", "protocol": 1,
            "headers": true, "no_responders": true, "jwt": jwt, "sig": signature,
        });
        wire.send(&format!("CONNECT {hello}"));
        match wire.settle() {
            Ok(said) => {
                assert_eq!(said, Vec::<String>::new());
                Ok(wire)
            }
            Err(why) => Err(why),
        }
    }

    pub fn login(server: &NatsServer, creds: &Creds) -> Result<Self, String> {
        Self::open(server, &creds.jwt, Some(&creds.key))
    }

    pub fn send(&mut self, line: &str) {
        // A server that has closed the connection is heard when it is read from.
        let _ = self.0.get_mut().write_all(format!("{line}\r\n").as_bytes());
    }

    /// None: the server has closed.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line.trim_end().into()),
        }
    }

    /// All that the server has said of what was sent: messages and refusals. The error: it has closed, and why.
    pub fn settle(&mut self) -> Result<Vec<String>, String> {
        self.send("PING");
        let mut said = vec![];
        loop {
            let Some(line) = self.line() else {
                return Err(said.pop().unwrap_or_else(|| "closed".into()));
            };
            if line == "PONG" {
                return Ok(said);
            }
            if let Some(head) = line.strip_prefix("MSG ") {
                let size: usize = head.rsplit(' ').next().unwrap().parse().unwrap();
                let mut body = vec![0; size + 2];
                self.0.read_exact(&mut body).unwrap();
                let body = String::from_utf8_lossy(&body[..size]).into_owned();
                said.push(format!("{line} {body}"));
            } else if line == "PING" {
                self.send("PONG");
            } else if !line.starts_with("INFO ") {
                said.push(line);
            }
        }
    }

    fn refused(&mut self, what: &str) -> bool {
        let said = self.settle().unwrap();
        let refused = said
            .iter()
            .any(|line| line.starts_with("-ERR 'Permissions Violation"));
        let only = said
            .iter()
            .all(|line| line.starts_with("-ERR 'Permissions Violation"));
        assert!(only, "{what}: {said:?}");
        refused
    }

    /// May it publish there? Nothing comes of the message, which has no body.
    pub fn may_say(&mut self, subject: &str) -> bool {
        self.send(&format!("PUB {subject} 0\r\n"));
        !self.refused(subject)
    }

    pub fn may_hear(&mut self, subject: &str) -> bool {
        self.send(&format!("SUB {subject} 77\r\nUNSUB 77"));
        !self.refused(subject)
    }

    pub fn may_take(&mut self, subject: &str, queue: &str) -> bool {
        self.send(&format!("SUB {subject} {queue} 78\r\nUNSUB 78"));
        !self.refused(subject)
    }

    /// Waits until the server closes, and returns the last that it said.
    pub fn closed(&mut self) -> String {
        let mut last = String::new();
        loop {
            let mut line = String::new();
            match self.0.read_line(&mut line) {
                Ok(0) => return last,
                Ok(_) => last = line.trim_end().into(),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return last,
                Err(error) => panic!("the server does not close: {error}"),
            }
        }
    }

    /// The body of the next message.
    pub fn message(&mut self) -> String {
        loop {
            let line = self.line().expect("a message comes");
            if line == "PING" {
                self.send("PONG");
            } else if let Some(head) = line.strip_prefix("MSG ") {
                let size: usize = head.rsplit(' ').next().unwrap().parse().unwrap();
                let mut body = vec![0; size + 2];
                self.0.read_exact(&mut body).unwrap();
                return String::from_utf8_lossy(&body[..size]).into_owned();
            }
        }
    }
}
