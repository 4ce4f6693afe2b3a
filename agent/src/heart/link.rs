//! The connection to NATS: made once and kept for ever; requests in CBOR with a timeout.
//! What to ask, and when to retry, is decided in `beat`.
use super::away;
use super::client::{self, Wanted};
use super::pass::Pass;
use crate::random;
use async_nats::connection::State;
use async_nats::{
    Client, ClientError, ConnectOptions, Event, HeaderMap, Request, RequestErrorKind, ServerAddr,
    Subscriber,
};
use ironbeat_common::codec;
use ironbeat_common::codec::{CONTENT_TYPE, DecodeError};
use ironbeat_common::id::BootId;
use rustls::ClientConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A conductor answers in milliseconds; a busy one, or one that waits for a JetStream leader, in a second or two.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// A dead or hanging server is noticed after two of them.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// For TCP and the NATS greeting, on a link that may have just come up.
/// Thousands that come back at once are all served at the same time, so each is served late: whoever left earlier would have kept
/// the others waiting for nothing.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Retry delay after the first failure, then doubled ...
pub(super) const RETRY_FIRST: Duration = Duration::from_millis(500);
/// ... up to here: a conductor that comes back hears from every agent within half a minute.
pub(super) const RETRY_LIMIT: Duration = Duration::from_secs(30);
/// Between connection attempts: the first at once, then growing from here ...
const RECONNECT_FIRST: Duration = Duration::from_millis(100);
/// ... to here: a restarted server is found within seconds, but not by a whole rack at once.
const RECONNECT_LIMIT: Duration = Duration::from_secs(8);
/// Unread nudges kept: they all mean the same.
const WAITING_NUDGES: usize = 16;
/// How the client says that a server does not accept a login (`ConnectErrorKind::AuthorizationViolation`).
const REFUSED: &str = "authorization violation";
/// One server of a cluster may not have heard of the latest keys; so many refusals in a row are meant.
const REFUSALS: u32 = 3;
/// A connection that ended sooner was not accepted for good.
const SHORT_LIFE: Duration = Duration::from_secs(10);
const CONTENT_TYPE_HEADER: &str = "Content-Type";
/// How a NATS service reports an error (ADR-32).
const SERVICE_ERROR_HEADER: &str = "Nats-Service-Error";

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("not connected to NATS")]
    Offline,
    #[error("no conductor is listening on {subject}")]
    NoConductor { subject: String },
    #[error("no answer on {subject} within {} s", ANSWER_TIMEOUT.as_secs())]
    TimedOut { subject: String },
    #[error("the conductor refused {subject}: {why}")]
    Refused { subject: String, why: String },
    #[error("the answer on {subject} is malformed")]
    Malformed {
        subject: String,
        source: DecodeError,
    },
    #[error("cannot ask on {subject}")]
    Failed {
        subject: String,
        source: async_nats::RequestError,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("{server:?} is not the address of a NATS server")]
    Address {
        server: String,
        source: std::io::Error,
    },
    #[error(transparent)]
    Client(#[from] client::NoClient),
}

#[derive(Clone)]
pub struct Link {
    client: Client,
    events: watch::Receiver<u64>,
    connects: watch::Receiver<u64>,
    refusals: watch::Receiver<u32>,
    _wanted: Wanted,
}

/// Where to connect to, and as what.
#[derive(Clone)]
pub struct Servers {
    pub urls: Vec<String>,
    pub boot: BootId,
    /// As the servers show it.
    pub name: String,
    /// Set whenever there is a connection.
    pub reached: Arc<AtomicBool>,
    /// Whom to believe; then nothing is sent but by TLS. None: what the servers ask for.
    pub tls: Option<ClientConfig>,
}

impl Link {
    /// Starts connecting in the background and returns at once; reconnects until it is dropped.
    ///
    /// # Errors
    /// When an address is invalid, where a retry would not help, or there is no thread.
    pub async fn start(servers: &Servers, pass: Pass) -> Result<Self, LinkError> {
        let Servers {
            urls,
            boot,
            name,
            reached,
            tls,
        } = servers.clone();
        let servers = urls
            .iter()
            .map(|s| {
                s.parse().map_err(|source| LinkError::Address {
                    server: s.clone(),
                    source,
                })
            })
            .collect::<Result<Vec<ServerAddr>, _>>()?;
        let (happened, events) = watch::channel(0);
        let (connected, connects) = watch::channel(0);
        let (refused, refusals) = watch::channel(0);
        let (failed, failures) = watch::channel(0);
        let inbox = pass.inbox(&boot);
        let options = match pass {
            Pass::Nothing => ConnectOptions::new(),
            Pass::Bearer(_) | Pass::Own(_) => ConnectOptions::with_auth_callback(move |nonce| {
                std::future::ready(pass.answer(&nonce))
            }),
        };
        let pace = Arc::new(Pace::default());
        let delay = pace.clone();
        let mut options = options
            .name(name)
            .retry_on_initial_connect()
            .max_reconnects(None)
            .connection_timeout(CONNECT_TIMEOUT)
            .request_timeout(Some(ANSWER_TIMEOUT))
            .ping_interval(PING_INTERVAL)
            .custom_inbox_prefix(inbox)
            .subscription_capacity(WAITING_NUDGES)
            .reconnect_delay_callback(move |attempt| {
                reconnect_delay(attempt.saturating_add(delay.short_lives()))
            })
            .event_callback(move |event| {
                log_event(&event);
                match &event {
                    Event::Connected => {
                        pace.begins();
                        reached.store(true, Ordering::Relaxed);
                        connected.send_modify(|n| *n += 1);
                        refused.send_replace(0);
                    }
                    Event::Disconnected => pace.ends(),
                    Event::ClientError(ClientError::Other(what)) if what == REFUSED => {
                        refused.send_modify(|n| *n += 1);
                    }
                    Event::ClientError(_) => failed.send_modify(|n| *n += 1),
                    _ => {}
                }
                happened.send_modify(|n| *n += 1);
                std::future::ready(())
            });
        // It ends with the client, which has the other end of `failures`.
        tokio::spawn(away::watch(failures, servers.clone(), tls.is_some()));
        if let Some(config) = tls {
            options = options.require_tls(true).tls_client_config(config);
        }
        let (client, wanted) = client::run(options, servers).await?;
        Ok(Self {
            client,
            events,
            connects,
            refusals,
            _wanted: wanted,
        })
    }

    /// Returns when the servers have refused this login so often that they will not take it again.
    pub async fn refused(&self) {
        let mut refusals = self.refusals.clone();
        let over = refusals.wait_for(|n| *n >= REFUSALS).await.is_ok();
        if !over {
            std::future::pending::<()>().await;
        }
    }

    pub fn is_online(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Changes with each new connection from now on.
    pub fn reconnects(&self) -> watch::Receiver<u64> {
        let mut connects = self.connects.clone();
        connects.mark_unchanged();
        connects
    }

    /// Returns when there is a connection.
    pub async fn online(&self) {
        self.until(State::Connected).await;
    }

    async fn until(&self, state: State) {
        // The library drops events when they are read too slowly: check the state now and then.
        const RECHECK: Duration = Duration::from_secs(1);
        let mut events = self.events.clone();
        events.mark_unchanged();
        while self.client.connection_state() != state {
            let _ = tokio::time::timeout(RECHECK, events.changed()).await;
        }
    }

    /// Asks, and waits at most `ANSWER_TIMEOUT`. Fails at once without a connection, so no stale request is sent later.
    ///
    /// # Errors
    /// [`AskError`]; a retry is always right.
    pub async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        subject: String,
        question: &Q,
    ) -> Result<A, AskError> {
        if !self.is_online() {
            return Err(AskError::Offline);
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE_HEADER, CONTENT_TYPE);
        let request = Request::new()
            .headers(headers)
            .payload(codec::encode(question).into());
        let sent = self.client.send_request(subject.clone(), request);
        let answer = tokio::select! {
            answer = sent => answer,
            () = self.until(State::Disconnected) => return Err(AskError::Offline),
        };
        let message = answer.map_err(|e| match e.kind() {
            RequestErrorKind::NoResponders => AskError::NoConductor {
                subject: subject.clone(),
            },
            RequestErrorKind::TimedOut => AskError::TimedOut {
                subject: subject.clone(),
            },
            _ => AskError::Failed {
                subject: subject.clone(),
                source: e,
            },
        })?;
        if let Some(why) = message
            .headers
            .as_ref()
            .and_then(|h| h.get(SERVICE_ERROR_HEADER))
        {
            let why = why.as_str().chars().take(200).collect();
            return Err(AskError::Refused { subject, why });
        }
        codec::decode(&message.payload).map_err(|source| AskError::Malformed { subject, source })
    }

    /// For watchers only: dropped when there is no connection.
    pub async fn publish<M: Serialize>(&self, subject: String, message: &M) {
        if self.is_online()
            && let Err(error) = self
                .client
                .publish(subject, codec::encode(message).into())
                .await
        {
            tracing::debug!(%error, "cannot publish");
        }
    }

    /// # Errors
    /// Only when the connection was closed for good, which does not happen.
    pub async fn listen(&self, subject: String) -> Result<Subscriber, async_nats::SubscribeError> {
        self.client.subscribe(subject).await
    }
}

/// How long connections live. One that is accepted and closed at once, as in the second in which a token's time is over, is
/// no success: the client would make the next without a pause.
#[derive(Default)]
struct Pace {
    began: Mutex<Option<Instant>>,
    short_lives: AtomicUsize,
}

impl Pace {
    fn begins(&self) {
        *self.began.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn ends(&self) {
        let mut began = self.began.lock().unwrap_or_else(PoisonError::into_inner);
        match began.take() {
            Some(began) if began.elapsed() < SHORT_LIFE => {
                self.short_lives.fetch_add(1, Ordering::Relaxed);
            }
            _ => self.short_lives.store(0, Ordering::Relaxed),
        }
    }

    fn short_lives(&self) -> usize {
        self.short_lives.load(Ordering::Relaxed)
    }
}

/// Before this attempt to connect; the first is number 1.
pub fn reconnect_delay(attempt: usize) -> Duration {
    match u32::try_from(attempt).unwrap_or(u32::MAX) {
        0 | 1 => Duration::ZERO,
        n => random::back_off(RECONNECT_FIRST, n - 2, RECONNECT_LIMIT),
    }
}

fn log_event(event: &Event) {
    match event {
        Event::Connected => tracing::info!("connected to NATS"),
        Event::Disconnected => tracing::warn!("NATS connection lost, reconnecting"),
        // A forbidden subject shows up here and nowhere else.
        Event::ServerError(error) => tracing::error!(%error, "NATS server refused"),
        Event::ClientError(error) => tracing::warn!(%error, "NATS connection"),
        Event::SlowConsumer(_) | Event::LameDuckMode | Event::Draining | Event::Closed => {
            tracing::debug!(%event, "NATS connection");
        }
    }
}

/// One line per failure, with its cause.
pub(super) fn log_failure(error: &AskError, what: &str) {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::warn!(%error, cause, "{what} failed, retrying");
}
