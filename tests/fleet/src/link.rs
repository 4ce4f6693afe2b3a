//! A NATS connection: an agent's own, one that many share, or one that asks as operators do.
//! What is asked, and when again, is decided by `agent` and by whoever drives a fleet.
use anyhow::{Context, Result};
use async_nats::{Client, ConnectOptions, Event, HeaderMap, Request, RequestErrorKind};
use ironbeat_agent::heart::link::{CONNECT_TIMEOUT, reconnect_delay};
use ironbeat_agent::heart::pass::Pass;
use ironbeat_auth::creds::Creds;
use ironbeat_common::codec::{self, CONTENT_TYPE};
use ironbeat_common::id::BootId;
use ironbeat_common::subject::DEFAULT_PREFIX;
use ironbeat_ops::Question;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;

/// As an agent waits.
const ANSWER: Duration = Duration::from_secs(5);
/// As the agent's: a server that hangs is noticed after two of them.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// As the command line waits: a leader election takes up to 9 s.
const OPERATOR_ANSWER: Duration = Duration::from_secs(15);

/// NATS servers, and how their subjects begin.
#[derive(Clone, Debug)]
pub struct Servers {
    pub urls: Vec<String>,
    pub prefix: String,
    /// Of servers that take TLS only.
    pub ca: Option<PathBuf>,
}

impl Servers {
    /// With the usual prefix, and without TLS.
    pub fn at(urls: Vec<String>) -> Self {
        Self {
            urls,
            prefix: DEFAULT_PREFIX.into(),
            ca: None,
        }
    }
}

/// As whom a connection is made.
pub enum Who<'a> {
    /// Where servers ask nobody.
    Anybody,
    /// Whose login is in this file.
    Person(&'a Path),
    Machine(Pass, BootId),
}

#[derive(Clone)]
pub struct Link {
    pub nats: Client,
    pub prefix: String,
    /// Changes with each new connection.
    pub connects: watch::Receiver<u64>,
}

/// Why a question got no answer. Asking again is always right for an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswered {
    NoWorker,
    TimedOut,
    /// The worker's code and words.
    Refused(u16, String),
    Other(String),
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unanswered::NoWorker => write!(f, "no worker listens"),
            Unanswered::TimedOut => write!(f, "no answer in time"),
            Unanswered::Refused(code, why) => write!(f, "{code}: {why}"),
            Unanswered::Other(why) => write!(f, "{why}"),
        }
    }
}

impl std::error::Error for Unanswered {}

impl Link {
    /// Connects, and reconnects until it is dropped.
    ///
    /// # Errors
    /// When no server can be reached now, or takes this login. A machine goes on trying instead.
    pub async fn connect(servers: &Servers, who: Who<'_>, name: &str) -> Result<Self> {
        let (connected, connects) = watch::channel(0);
        let loud = matches!(who, Who::Person(_));
        let mut options = match who {
            Who::Anybody => ConnectOptions::new(),
            Who::Person(file) => {
                let creds = std::fs::read_to_string(file)
                    .with_context(|| format!("read {}", file.display()))?;
                let creds = Creds::parse(&creds)?;
                let (key, inbox) = (creds.key.clone(), creds.inbox());
                let sign = move |nonce: Vec<u8>| {
                    let signed = key.sign(&nonce).map_err(async_nats::AuthError::new);
                    async move { signed }
                };
                ConnectOptions::with_jwt(creds.jwt, sign).custom_inbox_prefix(inbox)
            }
            Who::Machine(pass, boot) => {
                let inbox = pass.inbox(&boot);
                let answer = move |nonce: Vec<u8>| std::future::ready(pass.answer(&nonce));
                ConnectOptions::with_auth_callback(answer)
                    .custom_inbox_prefix(inbox)
                    .retry_on_initial_connect()
            }
        };
        if let Some(ca) = &servers.ca {
            options = options.add_root_certificates(ca.clone()).require_tls(true);
        }
        let nats = options
            .name(name)
            .max_reconnects(None)
            .ping_interval(PING_INTERVAL)
            .event_callback(move |event| {
                match event {
                    Event::Connected => connected.send_modify(|n| *n += 1),
                    // What a login may not do would be waited for in vain.
                    Event::ServerError(error) if loud => eprintln!("nats-server: {error}"),
                    _ => {}
                }
                std::future::ready(())
            })
            .connection_timeout(CONNECT_TIMEOUT)
            .reconnect_delay_callback(reconnect_delay)
            .connect(&servers.urls)
            .await
            .with_context(|| format!("connect to NATS at {}", servers.urls.join(", ")))?;
        Ok(Self {
            nats,
            prefix: servers.prefix.clone(),
            connects,
        })
    }

    /// Asks as an agent does: in CBOR.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        subject: String,
        question: &Q,
    ) -> Result<A, Unanswered> {
        self.exchange(subject, codec::encode(question), ANSWER)
            .await
    }

    /// Asks as an operator does.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn operate<Q: Question>(&self, question: &Q) -> Result<Q::Reply, Unanswered> {
        let subject = ironbeat_ops::subject::api(&self.prefix, Q::ENDPOINT);
        self.exchange(subject, codec::encode(question), OPERATOR_ANSWER)
            .await
    }

    async fn exchange<A: DeserializeOwned>(
        &self,
        subject: String,
        body: Vec<u8>,
        patience: Duration,
    ) -> Result<A, Unanswered> {
        let mut headers = HeaderMap::new();
        headers.insert("Content-Type", CONTENT_TYPE);
        let request = Request::new()
            .headers(headers)
            .payload(body.into())
            .timeout(Some(patience));
        let message = match self.nats.send_request(subject, request).await {
            Ok(message) => message,
            Err(error) => {
                return Err(match error.kind() {
                    RequestErrorKind::NoResponders => Unanswered::NoWorker,
                    RequestErrorKind::TimedOut => Unanswered::TimedOut,
                    _ => Unanswered::Other(error.to_string()),
                });
            }
        };
        let header = |name: &str| {
            let headers = message.headers.as_ref()?;
            headers.get(name).map(|value| value.as_str().to_string())
        };
        if let Some(why) = header("Nats-Service-Error") {
            let code = header("Nats-Service-Error-Code").and_then(|code| code.parse().ok());
            return Err(Unanswered::Refused(code.unwrap_or_default(), why));
        }
        codec::decode(&message.payload).map_err(|error| Unanswered::Other(error.to_string()))
    }
}
