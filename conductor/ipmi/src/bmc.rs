//! One BMC: a session that is kept and reopened, one command in flight, retries with growing time-outs.
//! Which commands there are is in `chassis`; what the bytes are is in `session` and `handshake`.
use crate::Secret;
use crate::crypto::Suite;
use crate::error::{CompletionCode, Error, ErrorKind};
use crate::handshake::{Fresh, Handshake, Login, MAX_USER, Privilege, Progress};
use crate::packet::{Request, Response};
use crate::session::Session;
use crate::transport::{Inbox, Transport};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// A BMC ends an idle session after 60 s ± 3 s (§6.12.15). One that has been idle for longer than this is not trusted.
const SESSION_IDLE: Duration = Duration::from_secs(45);

/// How to reach and enter a BMC.
#[derive(Clone, Debug)]
pub struct BmcConfig {
    pub address: SocketAddr,
    pub username: String,
    pub password: Secret,
    /// Key K_g; none: the password serves.
    pub kg: Option<Secret>,
    pub privilege: Privilege,
    /// None: 17, and 3 when that is refused.
    pub suite: Option<Suite>,
    pub timing: Timing,
}

impl BmcConfig {
    pub fn new(address: SocketAddr, username: impl Into<String>, password: Secret) -> Self {
        Self {
            address,
            username: username.into(),
            password,
            kg: None,
            privilege: Privilege::Administrator,
            suite: None,
            timing: Timing::default(),
        }
    }
}

/// How long to wait and how often to ask.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Before the first retransmission, until a round trip has been measured.
    pub first_timeout: Duration,
    /// The shortest and the longest wait for an answer; in between, four measured round trips, doubled at each try.
    pub min_timeout: Duration,
    pub max_timeout: Duration,
    /// Transmissions of one message.
    pub tries: u32,
    /// Between two commands; some BMCs drop what comes faster.
    pub spacing: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            first_timeout: Duration::from_secs(1),
            min_timeout: Duration::from_millis(250),
            max_timeout: Duration::from_secs(5),
            tries: 5,
            spacing: Duration::ZERO,
        }
    }
}

/// A handle for one BMC; cheap to clone. Commands queue up: a BMC gets one at a time.
#[derive(Clone)]
pub struct Bmc(Arc<Inner>);

struct Inner {
    transport: Transport,
    config: BmcConfig,
    link: Mutex<Link>,
}

#[derive(Default)]
struct Link {
    open: Option<Open>,
    /// Smoothed round trip of this BMC.
    round_trip: Option<Duration>,
    last_sent: Option<Instant>,
    /// What this BMC accepted last.
    suite: Option<Suite>,
}

struct Open {
    session: Session,
    inbox: Inbox,
    last_used: Instant,
}

impl Bmc {
    pub(crate) fn new(transport: Transport, config: BmcConfig) -> Self {
        Self(Arc::new(Inner {
            transport,
            config,
            link: Mutex::new(Link::default()),
        }))
    }

    pub fn address(&self) -> SocketAddr {
        self.0.config.address
    }

    /// Sends a command and waits for its answer; opens a session if there is none, and once more if it was lost.
    pub(crate) async fn command(
        &self,
        attempt: &'static str,
        request: Request,
    ) -> Result<Vec<u8>, Error> {
        let mut link = self.0.link.lock().await;
        let fail = |kind| Error {
            bmc: self.address(),
            attempt,
            kind,
        };
        let was_open = self.drop_idle(&mut link).await;
        if !was_open {
            self.open(&mut link).await?;
        }
        let mut answer = self.exchange(&mut link, &request).await;
        let lost = matches!(
            &answer,
            Err(ErrorKind::Unreachable { .. } | ErrorKind::SessionLost)
        );
        if lost && was_open {
            // The BMC may have forgotten a kept session; a fresh one tells whether it lives.
            link.open = None;
            self.open(&mut link).await?;
            answer = self.exchange(&mut link, &request).await;
        }
        let response = answer.map_err(|kind| {
            link.open = None;
            fail(kind)
        })?;
        match response.completion {
            0 => Ok(response.data),
            code => Err(fail(ErrorKind::Completion(CompletionCode(code)))),
        }
    }

    /// Ends the session, so that the BMC has its slot back. The handle can be used again.
    pub async fn close(&self) {
        let mut link = self.0.link.lock().await;
        self.end_session(&mut link).await;
    }

    async fn end_session(&self, link: &mut Link) {
        let Some(mut open) = link.open.take() else {
            return;
        };
        // Close Session (§22.19); the answer is not waited for, as the BMC may be gone.
        let request = Request {
            netfn: 0x06,
            command: 0x3c,
            data: open.session.bmc_id().to_le_bytes().to_vec(),
        };
        let rq_seq = open.session.next_rq_seq();
        if let Ok(iv) = random::<16>() {
            let datagram = open.session.seal(&request, rq_seq, iv);
            let _ = self.0.transport.send(&datagram, self.address()).await;
        }
    }

    /// Whether an open session is left that can be trusted.
    async fn drop_idle(&self, link: &mut Link) -> bool {
        match &link.open {
            Some(open) if open.last_used.elapsed() < SESSION_IDLE => true,
            Some(_) => {
                self.end_session(link).await;
                false
            }
            None => false,
        }
    }

    async fn open(&self, link: &mut Link) -> Result<(), Error> {
        let config = &self.0.config;
        let fail = |kind| Error {
            bmc: config.address,
            attempt: "open a session",
            kind,
        };
        if config.username.len() > MAX_USER {
            return Err(fail(ErrorKind::UserTooLong(config.username.len())));
        }
        let suites: &[Suite] = match config.suite.or(link.suite) {
            Some(Suite::Three) => &[Suite::Three],
            Some(Suite::Seventeen) if config.suite.is_some() => &[Suite::Seventeen],
            Some(Suite::Seventeen) | None => &[Suite::Seventeen, Suite::Three],
        };
        for suite in suites {
            match self.log_in(link, *suite).await {
                Ok(open) => {
                    link.suite = Some(open.session.suite());
                    link.open = Some(open);
                    return self.raise_privilege(link).await.map_err(fail);
                }
                Err(ErrorKind::CipherRefused(_)) => {}
                Err(kind) => return Err(fail(kind)),
            }
        }
        let tried: Vec<String> = suites
            .iter()
            .map(|suite| suite.number().to_string())
            .collect();
        Err(fail(ErrorKind::CipherRefused(tried.join(" and "))))
    }

    async fn log_in(&self, link: &mut Link, suite: Suite) -> Result<Open, ErrorKind> {
        let config = &self.0.config;
        let mut inbox = self.0.transport.register(config.address).map_err(io)?;
        let fresh = Fresh {
            console_id: inbox.console_id,
            console_random: random()?,
        };
        let login = Login {
            user: config.username.clone(),
            password: config.password.clone(),
            kg: config.kg.clone(),
            privilege: config.privilege,
            suite,
        };
        let mut handshake = Handshake::begin(login, fresh);
        let begin = Instant::now();
        'stage: loop {
            for tried in 0..config.timing.tries {
                let sent = self.send(link, handshake.datagram()).await?;
                let deadline = sent + self.timeout(link, tried);
                while let Ok(Some(datagram)) =
                    tokio::time::timeout_at(deadline, inbox.receiver.recv()).await
                {
                    match handshake.receive(&datagram)? {
                        Progress::Ignored => {}
                        Progress::Next => {
                            self.measured(link, tried, sent);
                            continue 'stage;
                        }
                        Progress::Open(session) => {
                            return Ok(Open {
                                session,
                                inbox,
                                last_used: Instant::now(),
                            });
                        }
                    }
                }
            }
            let tries = config.timing.tries;
            return Err(if handshake.was_answered() {
                ErrorKind::SilentLogin {
                    user: config.username.clone(),
                }
            } else {
                ErrorKind::Unreachable {
                    tries,
                    waited: begin.elapsed(),
                }
            });
        }
    }

    /// A session begins at User privilege (§22.18).
    async fn raise_privilege(&self, link: &mut Link) -> Result<(), ErrorKind> {
        let config = &self.0.config;
        let request = Request {
            netfn: 0x06,
            command: 0x3b,
            data: vec![config.privilege.code()],
        };
        let response = self
            .exchange(link, &request)
            .await
            .inspect_err(|_| link.open = None)?;
        match response.completion {
            0 => Ok(()),
            // 80h and 81h: not available for this user, exceeds the channel's limit.
            0x80 | 0x81 | 0xd4 => {
                self.end_session(link).await;
                let user = config.username.clone();
                Err(ErrorKind::PrivilegeTooLow {
                    user,
                    privilege: config.privilege.name(),
                })
            }
            code => Err(ErrorKind::Completion(CompletionCode(code))),
        }
    }

    /// One request and its answer over the open session. Retransmissions carry the same rqSeq: a BMC runs it once.
    async fn exchange(&self, link: &mut Link, request: &Request) -> Result<Response, ErrorKind> {
        let mut open = link.open.take().ok_or(ErrorKind::SessionLost)?;
        let result = self.exchange_over(link, &mut open, request).await;
        open.last_used = Instant::now();
        link.open = Some(open);
        result
    }

    async fn exchange_over(
        &self,
        link: &mut Link,
        open: &mut Open,
        request: &Request,
    ) -> Result<Response, ErrorKind> {
        let rq_seq = open.session.next_rq_seq();
        let begin = Instant::now();
        let mut nonsense = None;
        for tried in 0..self.0.config.timing.tries {
            let datagram = open.session.seal(request, rq_seq, random()?);
            let sent = self.send(link, &datagram).await?;
            let deadline = sent + self.timeout(link, tried);
            while let Ok(Some(datagram)) =
                tokio::time::timeout_at(deadline, open.inbox.receiver.recv()).await
            {
                match open.session.open(&datagram) {
                    Ok(Some(response)) => {
                        let ours = response.rq_seq == rq_seq
                            && response.command == request.command
                            && response.netfn == request.netfn | 1;
                        if ours {
                            self.measured(link, tried, sent);
                            return Ok(response);
                        }
                    }
                    Ok(None) => {}
                    // A forged or torn datagram must not end a session: the real answer may follow.
                    Err(why) => nonsense = Some(why),
                }
            }
        }
        let silence = ErrorKind::Unreachable {
            tries: self.0.config.timing.tries,
            waited: begin.elapsed(),
        };
        Err(nonsense.map_or(silence, ErrorKind::Malformed))
    }

    async fn send(&self, link: &mut Link, datagram: &[u8]) -> Result<Instant, ErrorKind> {
        if let Some(last) = link.last_sent {
            tokio::time::sleep_until(last + self.0.config.timing.spacing).await;
        }
        self.0
            .transport
            .send(datagram, self.address())
            .await
            .map_err(io)?;
        let sent = Instant::now();
        link.last_sent = Some(sent);
        Ok(sent)
    }

    fn timeout(&self, link: &Link, tried: u32) -> Duration {
        let timing = &self.0.config.timing;
        let base = link.round_trip.map_or(timing.first_timeout, |trip| {
            (trip * 4).max(timing.min_timeout)
        });
        base.saturating_mul(1 << tried.min(8))
            .min(timing.max_timeout)
    }

    /// Only the answer to a first transmission says how long a round trip takes (Karn's rule).
    fn measured(&self, link: &mut Link, tried: u32, sent: Instant) {
        if tried == 0 {
            let sample = sent.elapsed();
            link.round_trip = Some(
                link.round_trip
                    .map_or(sample, |smooth| (smooth * 7 + sample) / 8),
            );
        }
    }
}

fn io(error: std::io::Error) -> ErrorKind {
    ErrorKind::Io(error.to_string())
}

fn random<const N: usize>() -> Result<[u8; N], ErrorKind> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| ErrorKind::Io(format!("random bytes: {error}")))?;
    Ok(bytes)
}
