//! One connection to a nats-server, in the protocol's own words, so that nothing is left out that a client would leave out.
//! What may be said is for whoever speaks.
use anyhow::{Context, Result, bail, ensure};
use data_encoding::BASE64URL_NOPAD;
use ironbeat_auth::creds::{self, Creds};
use nkeys::KeyPair;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// For what takes milliseconds on an idle machine.
pub const SOON: Duration = Duration::from_secs(60);

/// With what one comes.
#[derive(Clone, Debug)]
pub enum Pass {
    /// Nothing, or a field of CONNECT that is no token.
    Words(Value),
    /// A token, and the key that signs the server's nonce.
    Token(String, Option<Box<KeyPair>>),
}

impl Pass {
    pub fn nobody() -> Self {
        Self::Words(json!({}))
    }

    /// A token, and the key that it is bound to.
    pub fn bound(jwt: &str, key: &KeyPair) -> Self {
        Self::Token(jwt.into(), Some(Box::new(key.clone())))
    }

    pub fn of(creds: &Creds) -> Self {
        Self::bound(&creds.jwt, &creds.key)
    }

    /// Where it may hear answers.
    fn inbox(&self) -> String {
        match self {
            Self::Words(_) => "_INBOX.nobody".into(),
            Self::Token(_, Some(key)) => creds::inbox(&key.public_key()),
            Self::Token(_, None) => format!("{}.neighbour", ironbeat_auth::roles::BOOT_INBOX),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Message {
    pub subject: String,
    pub reply: Option<String>,
    pub head: String,
    pub body: Vec<u8>,
}

impl Message {
    /// The server's word that nobody listens.
    pub fn is_unheard(&self) -> bool {
        self.head.starts_with("NATS/1.0 503") && !self.head.contains("Nats-Service-Error")
    }

    /// What a worker refuses with.
    pub fn error(&self) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix("Nats-Service-Error:").map(str::trim))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Why a server has let nobody in, or has ended a connection, in its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shut(pub String);

/// One subject, and what is done with it.
#[derive(Clone, Debug)]
pub enum Act {
    Say(String, Vec<u8>),
    Hear(String),
    /// Hear in the workers' queue group.
    Take(String),
}

impl Act {
    pub fn say(subject: impl Into<String>, body: &str) -> Self {
        Self::Say(subject.into(), body.into())
    }

    pub fn subject(&self) -> &str {
        match self {
            Self::Say(subject, _) | Self::Hear(subject) | Self::Take(subject) => subject,
        }
    }

    pub fn words(&self) -> String {
        match self {
            Self::Say(subject, _) => format!("to publish to {subject}"),
            Self::Hear(subject) => format!("to listen on {subject}"),
            Self::Take(subject) => format!("to take {subject} from the workers"),
        }
    }

    /// JetStream answers whatever it takes.
    fn is_answered(&self) -> bool {
        let subject = self.subject();
        matches!(self, Self::Say(..))
            && (subject.starts_with("$JS.API.") || subject.starts_with("$KV."))
    }
}

pub struct Wire {
    stream: BufReader<TcpStream>,
    inbox: String,
    next: u64,
    /// Messages that came while something else was waited for.
    held: VecDeque<Message>,
}

impl Wire {
    /// Connects. The inner error is what the server says to it.
    ///
    /// # Errors
    /// When there is no server.
    pub fn open(to: SocketAddr, pass: &Pass) -> Result<Result<Self, Shut>> {
        let (mut wire, hello) = Self::greeted(to, pass)?;
        wire.send(&format!("CONNECT {hello}"));
        Ok(match wire.settle() {
            Ok(errors) if errors.is_empty() => Ok(wire),
            Ok(errors) => Err(Shut(errors.join("; "))),
            Err(shut) => Err(shut),
        })
    }

    /// # Errors
    /// When the server does not let it in.
    pub fn login(to: SocketAddr, pass: &Pass) -> Result<Self> {
        match Self::open(to, pass)? {
            Ok(wire) => Ok(wire),
            Err(Shut(why)) => bail!("the NATS server says {why}"),
        }
    }

    fn greeted(to: SocketAddr, pass: &Pass) -> Result<(Self, Value)> {
        let stream =
            TcpStream::connect(to).with_context(|| format!("reach nats-server at {to}"))?;
        stream.set_read_timeout(Some(SOON))?;
        stream.set_nodelay(true)?;
        let mut wire = Self {
            stream: BufReader::new(stream),
            inbox: pass.inbox(),
            next: 0,
            held: VecDeque::new(),
        };
        let info = wire.line().context("a NATS server greets")?;
        let info = info.strip_prefix("INFO ").context("a NATS server greets")?;
        let info: Value = serde_json::from_str(info).context("read the greeting")?;
        let nonce = info["nonce"].as_str().unwrap_or_default();
        let mut hello = json!({
            "verbose": false, "pedantic": false, "lang": "neighbour", "version": "0", "protocol": 1,
            "headers": true, "no_responders": true, "echo": true,
        });
        match pass {
            Pass::Words(more) => {
                let fields = hello.as_object_mut().context("it is an object")?;
                fields.extend(more.as_object().cloned().unwrap_or_default());
            }
            Pass::Token(jwt, key) => {
                hello["jwt"] = jwt.as_str().into();
                if let Some(key) = key {
                    let signature = key.sign(nonce.as_bytes()).context("sign the nonce")?;
                    hello["sig"] = BASE64URL_NOPAD.encode(&signature).into();
                }
            }
        }
        Ok((wire, hello))
    }

    /// Says all of it before the server has said whether it lets anybody in. What it took; none: nothing.
    ///
    /// # Errors
    /// When there is no server.
    pub fn blurt(to: SocketAddr, pass: &Pass, act: &Act) -> Result<Option<String>> {
        let (mut wire, hello) = Self::greeted(to, pass)?;
        let mut lines = format!("CONNECT {hello}\r\nSUB {}.1 1\r\n", wire.inbox).into_bytes();
        lines.extend(wire.bytes(act, 1));
        lines.extend(b"PING\r\n");
        let _ = wire.stream.get_mut().write_all(&lines);
        while let Some(line) = wire.line() {
            if line == "PONG" || line.starts_with("MSG ") || line.starts_with("HMSG ") {
                return Ok(Some(format!("the server took it: {line}")));
            }
        }
        Ok(None)
    }

    fn bytes(&self, act: &Act, answer: u64) -> Vec<u8> {
        match act {
            Act::Say(subject, body) => {
                let head = format!("PUB {subject} {}.{answer} {}\r\n", self.inbox, body.len());
                [head.as_bytes(), body, b"\r\n"].concat()
            }
            Act::Hear(subject) => format!("SUB {subject} 77\r\n").into_bytes(),
            Act::Take(subject) => {
                format!("SUB {subject} conductor 77\r\nUNSUB 77\r\n").into_bytes()
            }
        }
    }

    /// The inner error: refused, in the server's words. Else what came of it.
    ///
    /// # Errors
    /// When the server has ended the connection.
    pub fn tries(&mut self, act: &Act, patience: Duration) -> Result<Result<String, String>> {
        let answer = self.hear_answer();
        let bytes = self.bytes(act, answer);
        let _ = self.stream.get_mut().write_all(&bytes);
        let errors = self.settled()?;
        let refused = errors
            .iter()
            .find(|it| it.contains("Permissions Violation"));
        let reply = match (refused, act) {
            (None, Act::Say(..)) => self.answer(answer, patience)?,
            _ => None,
        };
        self.send(&format!("UNSUB {answer}"));
        if matches!(act, Act::Hear(_)) {
            self.send("UNSUB 77");
        }
        if let Some(refused) = refused {
            return Ok(Err(refused.clone()));
        }
        ensure!(
            errors.is_empty(),
            "{}: the server says {errors:?}",
            act.words()
        );
        let unheard = reply.as_ref().is_none_or(Message::is_unheard);
        Ok(Ok(match reply {
            Some(reply) if !unheard => format!(
                "an answer: {} {}",
                reply.head.replace("\r\n", " "),
                reply.text()
            ),
            _ => "the server took it".into(),
        }))
    }

    /// The same where nobody is refused anything: it must be taken, and answered if JetStream is asked.
    ///
    /// # Errors
    /// When it is not.
    pub fn may(&mut self, act: &Act) -> Result<()> {
        let patience = if act.is_answered() {
            SOON
        } else {
            Duration::ZERO
        };
        match self.tries(act, patience)? {
            Ok(came) => {
                let answered = came.starts_with("an answer");
                ensure!(answered || !act.is_answered(), "{}: no answer", act.words());
                Ok(())
            }
            Err(refused) => bail!("{}: {refused}", act.words()),
        }
    }

    fn hear_answer(&mut self) -> u64 {
        self.next += 1;
        let (n, inbox) = (self.next + 100, self.inbox.clone());
        self.send(&format!("SUB {inbox}.{n} {n}"));
        n
    }

    fn answer(&mut self, n: u64, patience: Duration) -> Result<Option<Message>> {
        let subject = format!("{}.{n}", self.inbox);
        self.message_where(patience, |message| message.subject == subject)
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// When it is refused, or nobody answers.
    pub fn ask(&mut self, subject: &str, body: &[u8]) -> Result<Message> {
        let n = self.hear_answer();
        let bytes = self.bytes(&Act::Say(subject.into(), body.into()), n);
        let _ = self.stream.get_mut().write_all(&bytes);
        let errors = self.settled()?;
        ensure!(
            errors.is_empty(),
            "ask {subject}: the server says {errors:?}"
        );
        let answer = self.answer(n, SOON)?;
        self.send(&format!("UNSUB {n}"));
        let answer = answer.with_context(|| format!("ask {subject}: no answer in {SOON:?}"))?;
        ensure!(!answer.is_unheard(), "ask {subject}: nobody listens");
        Ok(answer)
    }

    /// An endpoint of the API; a refusal of the worker is an error.
    ///
    /// # Errors
    /// When it is refused, or nobody answers.
    pub fn api(&mut self, endpoint: &str, body: &Value) -> Result<Value> {
        let answer = self.ask(
            &format!("ib.v1.api.{endpoint}"),
            body.to_string().as_bytes(),
        )?;
        if let Some(error) = answer.error() {
            bail!("{endpoint}: {error}");
        }
        serde_json::from_slice(&answer.body).with_context(|| format!("{endpoint}: read the answer"))
    }

    pub fn publish(&mut self, subject: &str, reply: Option<&str>, body: &[u8]) {
        let reply = reply.map_or(String::new(), |reply| format!("{reply} "));
        let head = format!("PUB {subject} {reply}{}\r\n", body.len());
        // A server that has closed the connection is heard when it is read from.
        let _ = self
            .stream
            .get_mut()
            .write_all(&[head.as_bytes(), body, b"\r\n"].concat());
    }

    pub fn subscribe(&mut self, subject: &str) -> Result<()> {
        self.next += 1;
        self.send(&format!("SUB {subject} {}", self.next + 100));
        let errors = self.settled()?;
        ensure!(errors.is_empty(), "listen on {subject}: {errors:?}");
        Ok(())
    }

    pub fn inbox(&self) -> &str {
        &self.inbox
    }

    /// To write from another thread.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn mouth(&self) -> Result<TcpStream> {
        self.stream
            .get_ref()
            .try_clone()
            .context("duplicate a socket")
    }

    fn send(&mut self, line: &str) {
        let _ = self
            .stream
            .get_mut()
            .write_all(format!("{line}\r\n").as_bytes());
    }

    /// None: the server has closed.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line.trim_end().into()),
        }
    }

    fn body_of(&mut self, line: &str) -> Option<Message> {
        let (with_head, rest) = match line.strip_prefix("HMSG ") {
            Some(rest) => (true, rest),
            None => (false, line.strip_prefix("MSG ")?),
        };
        let parts: Vec<&str> = rest.split(' ').collect();
        let sizes = if with_head { 2 } else { 1 };
        let number = |at: usize| parts.get(at)?.parse::<usize>().ok();
        let all = number(parts.len().checked_sub(1)?)?;
        let head = if with_head {
            number(parts.len() - 2)?
        } else {
            0
        };
        let mut bytes = vec![0; all + 2];
        self.stream.read_exact(&mut bytes).ok()?;
        let reply = (parts.len() > 2 + sizes).then(|| parts[2].to_string());
        Some(Message {
            subject: parts[0].into(),
            reply,
            head: String::from_utf8_lossy(&bytes[..head]).into_owned(),
            body: bytes[head..all].to_vec(),
        })
    }

    /// Errors that the server says of what was sent. The error: it has closed, and why.
    pub fn settle(&mut self) -> Result<Vec<String>, Shut> {
        self.send("PING");
        let mut errors: Vec<String> = vec![];
        loop {
            let Some(line) = self.line() else {
                return Err(Shut(errors.pop().unwrap_or_else(|| "closed".into())));
            };
            if let Some(message) = self.body_of(&line) {
                self.held.push_back(message);
            } else if line == "PONG" {
                return Ok(errors);
            } else if line == "PING" {
                self.send("PONG");
            } else if line.starts_with("-ERR") {
                errors.push(line);
            }
        }
    }

    fn settled(&mut self) -> Result<Vec<String>> {
        match self.settle() {
            Ok(errors) => Ok(errors),
            Err(Shut(why)) => bail!("the NATS server has ended the connection: {why}"),
        }
    }

    /// Waits until the server closes, and returns the last that it said; none: it does not.
    pub fn closed(&mut self, patience: Duration) -> Option<String> {
        let until = Instant::now() + patience;
        let mut last = "closed".to_string();
        while Instant::now() < until {
            match self.settle() {
                Ok(errors) => last = errors.last().cloned().unwrap_or(last),
                Err(Shut(why)) if why == "closed" => return Some(last),
                Err(Shut(why)) => return Some(why),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }

    /// The next message that is one of these; none: none came in time.
    ///
    /// # Errors
    /// When the server has ended the connection.
    pub fn message_where(
        &mut self,
        patience: Duration,
        is_it: impl Fn(&Message) -> bool,
    ) -> Result<Option<Message>> {
        let until = Instant::now() + patience;
        loop {
            if let Some(at) = self.held.iter().position(&is_it) {
                return Ok(self.held.remove(at));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            if !self.is_readable(left)? {
                return Ok(None);
            }
            let line = self
                .line()
                .context("the NATS server has ended the connection")?;
            if let Some(message) = self.body_of(&line) {
                self.held.push_back(message);
            } else if line == "PING" {
                self.send("PONG");
            }
        }
    }

    /// Whether something comes in this time.
    fn is_readable(&mut self, patience: Duration) -> Result<bool> {
        if !self.stream.buffer().is_empty() {
            return Ok(true);
        }
        self.stream.get_ref().set_read_timeout(Some(patience))?;
        let peeked = self.stream.get_ref().peek(&mut [0]);
        self.stream.get_ref().set_read_timeout(Some(SOON))?;
        match peeked {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(false)
            }
            Err(error) => Err(error).context("read from the NATS server"),
        }
    }
}
