//! One BMC's session and what is known of its manners: opens, retransmits, notices losses, opens again.
//! Bytes are `wire`'s affair (and of what is behind it), sockets `transport`'s; whose turn it is decides `bmc`.
use crate::bmc::{BmcConfig, Protocol};
use crate::bridge::Verdict;
use crate::crypto::Suite;
use crate::error::{CompletionCode, ErrorKind};
use crate::handshake::{Fresh, Handshake, Login};
use crate::message::{APP, Repeat, Request, Response};
use crate::pace::{Pace, REMEMBERED};
use crate::presession::{self, AuthCapabilities};
use crate::transport::{Inbox, Transport};
use crate::v15::{Handshake15, Login15};
use crate::wire::{Entry, Incoming, Progress, Wire};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

/// A BMC ends an idle session after 60 s ± 3 s (§6.12.15). One that has been idle for longer than this is not trusted.
const SESSION_IDLE: Duration = Duration::from_secs(45);
/// A session that answered this recently needs no proof of life before a command that must not be sent twice.
const SURELY_ALIVE: Duration = Duration::from_secs(2);
/// Transmissions over a kept session before a fresh one is tried: it costs less to ask than to wait.
const KEPT_TRIES: u32 = 2;
/// Silence to so many requests for a session, and the BMC is asked something else; see `enter`.
const STRANGER_TRIES: u32 = 2;
/// Logins at one go. The second is for a login whose messages crossed; a BMC that needs a third is lost.
const LOGINS: u32 = 3;
/// How often a BMC may say "node busy" to one command, the pause before the first repetition, doubled at each.
const BUSY_TRIES: u32 = 5;
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// Transmissions of Close Session.
const CLOSE_TRIES: u32 = 2;

/// rqSeq has six bits.
const RQ_SEQS: u8 = 64;
const NODE_BUSY: u8 = 0xc0;
/// "Time-out while processing", for a bridged command whose answer never came.
const NO_ANSWER: u8 = 0xc3;
const DUPLICATED_REQUEST: u8 = 0xcf;

#[derive(Default)]
pub(crate) struct Link {
    open: Option<Open>,
    pace: Pace,
    last_sent: Option<Instant>,
    /// What this BMC accepted last.
    suite: Option<Suite>,
    /// It lets somebody in who has asked for its capabilities first; see `enter`.
    greet: bool,
}

/// An open session. Dropping it tells the BMC, once and without waiting: BMCs have four to eight slots.
struct Open {
    wire: Wire,
    rq_seq: u8,
    inbox: Inbox,
    transport: Transport,
    peer: SocketAddr,
    last_used: Instant,
    closed: bool,
}

impl Open {
    /// A number for a new request. Its retransmissions keep it, so that the BMC can tell them from new ones.
    fn next_rq_seq(&mut self) -> u8 {
        self.rq_seq = (self.rq_seq + 1) % RQ_SEQS;
        self.rq_seq
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.closed {
            return;
        }
        let rq_seq = self.next_rq_seq();
        let request = self.wire.close_request();
        let datagram = self.wire.seal(&request.encode(rq_seq));
        self.transport.try_send(&datagram, self.peer);
    }
}

/// A login under way. Dropping it before its end gives the BMC its slot back.
struct Entering {
    handshake: Entry,
    transport: Transport,
    peer: SocketAddr,
    done: bool,
}

impl Drop for Entering {
    fn drop(&mut self) {
        if let (false, Some(datagram)) = (self.done, self.handshake.farewell()) {
            self.transport.try_send(&datagram, self.peer);
        }
    }
}

/// What went wrong, and while doing what, if that was not the command itself.
pub(crate) struct Fault {
    pub attempt: Option<&'static str>,
    pub kind: ErrorKind,
}

impl From<ErrorKind> for Fault {
    fn from(kind: ErrorKind) -> Self {
        Self {
            attempt: None,
            kind,
        }
    }
}

fn entering(kind: ErrorKind) -> Fault {
    Fault {
        attempt: Some("open a session"),
        kind,
    }
}

impl Link {
    /// Sends a command and waits for its answer; opens a session if there is none, and once more if it was lost.
    pub(crate) async fn run(
        &mut self,
        transport: &Transport,
        config: &BmcConfig,
        request: &Request,
    ) -> Result<Response, Fault> {
        let mut pause = BUSY_PAUSE;
        for _ in 1..BUSY_TRIES {
            let response = self.run_once(transport, config, request).await?;
            match (response.completion, request.repeat) {
                // Not carried out: nothing is done twice.
                (NODE_BUSY, _) => {}
                // A retransmission arrived, and this BMC does not keep answers: it was carried out, the answer is lost.
                (DUPLICATED_REQUEST, Repeat::Never) => {
                    return Ok(Response {
                        completion: 0,
                        ..response
                    });
                }
                (DUPLICATED_REQUEST, Repeat::Harmless) => {}
                _ => return Ok(response),
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.run_once(transport, config, request).await
    }

    async fn run_once(
        &mut self,
        transport: &Transport,
        config: &BmcConfig,
        request: &Request,
    ) -> Result<Response, Fault> {
        let tries = config.timing.tries.max(1);
        if let Some(idle) = self.kept(config).await {
            // A fresh session would not know that it sees a repetition; so make sure first that this one lives.
            let proof = Request::new(APP, 0x01, &[]);
            let prove = request.repeat == Repeat::Never && idle >= SURELY_ALIVE;
            let alive = !prove || self.exchange(config, &proof, KEPT_TRIES).await.is_ok();
            let tries = match request.repeat {
                Repeat::Harmless => tries.min(KEPT_TRIES),
                Repeat::Never => tries,
            };
            if alive {
                match (self.exchange(config, request, tries).await, request.repeat) {
                    (Ok(response), _) => return Ok(response),
                    (Err(kind @ ErrorKind::NotPassedOn(_)), _) => return Err(kind.into()),
                    (Err(kind), Repeat::Never) => return Err(self.lost(kind, request)),
                    (Err(_), Repeat::Harmless) => {}
                }
            }
            self.open = None;
        }
        // In a box, as it is large and rare: else every command would carry the room for a login around.
        Box::pin(self.enter(transport, config))
            .await
            .map_err(entering)?;
        self.exchange(config, request, tries)
            .await
            .map_err(|kind| self.lost(kind, request))
    }

    /// An exchange failed for good: the session goes, and a command that may have been carried out is reported as such.
    fn lost(&mut self, kind: ErrorKind, request: &Request) -> Fault {
        if let ErrorKind::NotPassedOn(_) = kind {
            return kind.into();
        }
        self.open = None;
        match (kind, request.repeat) {
            (ErrorKind::Unreachable { tries, waited }, Repeat::Never) => {
                ErrorKind::Unconfirmed { tries, waited }.into()
            }
            (kind, _) => kind.into(),
        }
    }

    /// For how long the session has been idle, if there is one that can be trusted.
    async fn kept(&mut self, config: &BmcConfig) -> Option<Duration> {
        let idle = self.open.as_ref()?.last_used.elapsed();
        if idle < SESSION_IDLE {
            return Some(idle);
        }
        self.close(config).await;
        None
    }

    /// Ends the session, if there is one.
    pub(crate) async fn close(&mut self, config: &BmcConfig) {
        let Some(open) = &self.open else {
            return;
        };
        let request = open.wire.close_request();
        // No answer: the BMC is gone, or it has ended the session itself.
        let answered = self.exchange(config, &request, CLOSE_TRIES).await;
        if let Some(open) = &mut self.open {
            open.closed = answered.is_ok();
        }
        self.open = None;
    }

    async fn enter(&mut self, transport: &Transport, config: &BmcConfig) -> Result<(), ErrorKind> {
        if config.protocol == Protocol::Ipmi15 {
            let tries = config.timing.tries.max(1);
            let open = self.log_in(transport, config, None, tries).await?;
            self.open = Some(open);
            return self.raise_privilege(config).await;
        }
        let suites: &[Suite] = match config.suite.or(self.suite) {
            Some(Suite::Three) => &[Suite::Three],
            Some(Suite::Seventeen) if config.suite.is_some() => &[Suite::Seventeen],
            Some(Suite::Seventeen) | None => &[Suite::Seventeen, Suite::Three],
        };
        let tries = config.timing.tries.max(1);
        let mut greeted = self.greet && self.capabilities(transport, config, 1).await.is_ok();
        let mut refused = None;
        for suite in suites {
            let first_tries = match greeted {
                true => tries,
                false => tries.min(STRANGER_TRIES),
            };
            let begin = Instant::now();
            let mut entered = self
                .log_in(transport, config, Some(*suite), first_tries)
                .await;
            // Silence may mean that it takes us for the last session from our port. Ask something that every BMC
            // answers, and that makes a new caller of us. Noise is no more than silence: anybody can send it.
            if let (Err(ErrorKind::Unreachable { .. } | ErrorKind::Malformed(_)), false) =
                (&entered, greeted)
            {
                greeted = match self.capabilities(transport, config, 1).await {
                    Ok(can) if !can.ipmi_v2 => return Err(ErrorKind::NoRmcpPlus),
                    answer => answer.is_ok(),
                };
                let left = match greeted {
                    true => tries,
                    false => tries - first_tries,
                };
                if left > 0 {
                    entered = self.log_in(transport, config, Some(*suite), left).await;
                }
            }
            match entered {
                Ok(open) => {
                    self.suite = open.wire.suite();
                    self.greet = greeted;
                    self.open = Some(open);
                    return self.raise_privilege(config).await;
                }
                // Some BMCs limit the privilege per suite and call it an invalid role. And some drop what they do not
                // know, though they answer otherwise.
                Err(kind @ (ErrorKind::CipherRefused(_) | ErrorKind::PrivilegeTooLow { .. })) => {
                    refused = Some(kind)
                }
                Err(ErrorKind::Unreachable { .. }) => {
                    let waited = begin.elapsed();
                    let silence = ErrorKind::Unreachable { tries, waited };
                    if !greeted {
                        return Err(silence);
                    }
                    refused = refused.or(Some(silence));
                }
                Err(kind) => return Err(kind),
            }
        }
        // What it accepted once it may refuse after an update of its firmware.
        self.suite = None;
        Err(match refused {
            Some(kind @ (ErrorKind::PrivilegeTooLow { .. } | ErrorKind::Unreachable { .. })) => {
                kind
            }
            _ => {
                let tried: Vec<_> = suites.iter().map(|s| s.number().to_string()).collect();
                ErrorKind::CipherRefused(tried.join(" and "))
            }
        })
    }

    /// `suite`: none for IPMI 1.5. `first_tries`: transmissions of the first request, before anything has answered.
    async fn log_in(
        &mut self,
        transport: &Transport,
        config: &BmcConfig,
        suite: Option<Suite>,
        first_tries: u32,
    ) -> Result<Open, ErrorKind> {
        for _ in 1..LOGINS {
            match self
                .log_in_once(transport, config, suite, first_tries)
                .await
            {
                Err(ErrorKind::SessionLost) => {}
                result => return result,
            }
        }
        self.log_in_once(transport, config, suite, first_tries)
            .await
    }

    async fn log_in_once(
        &mut self,
        transport: &Transport,
        config: &BmcConfig,
        suite: Option<Suite>,
        first_tries: u32,
    ) -> Result<Open, ErrorKind> {
        let mut inbox = transport.register(config.address).map_err(io)?;
        let mut entering = Entering {
            handshake: entry(config, suite, inbox.console_id)?,
            transport: transport.clone(),
            peer: config.address,
            done: false,
        };
        let begin = Instant::now();
        let mut nonsense = None;
        let mut answered = false;
        'stage: loop {
            let tries = match answered {
                true => config.timing.tries.max(1),
                false => first_tries,
            };
            for tried in 0..tries {
                let datagram = entering.handshake.datagram();
                let sent = self.send(transport, config, datagram).await?;
                let deadline = sent + self.pace.timeout(&config.timing, tried);
                while let Ok(Some(datagram)) =
                    tokio::time::timeout_at(deadline, inbox.receiver.recv()).await
                {
                    match entering.handshake.receive(&datagram) {
                        Ok(Progress::Ignored) => {}
                        Ok(Progress::Next) => {
                            self.pace.answered(tried, sent.elapsed());
                            answered = true;
                            continue 'stage;
                        }
                        Ok(Progress::Open(wire)) => {
                            entering.done = true;
                            self.pace.answered(tried, sent.elapsed());
                            return Ok(Open {
                                wire,
                                rq_seq: 0,
                                inbox,
                                transport: transport.clone(),
                                peer: config.address,
                                last_used: Instant::now(),
                                closed: false,
                            });
                        }
                        // As in a session: the real answer may follow.
                        Err(ErrorKind::Malformed(why)) => nonsense = Some(why),
                        Err(kind) => {
                            self.pace.answered(tried, sent.elapsed());
                            return Err(kind);
                        }
                    }
                }
            }
            let silence = entering.handshake.silence(tries, begin.elapsed());
            return Err(nonsense.map_or(silence, ErrorKind::Malformed));
        }
    }

    /// A session begins at User privilege (§22.18).
    async fn raise_privilege(&mut self, config: &BmcConfig) -> Result<(), ErrorKind> {
        let request = Request::new(APP, 0x3b, &[config.privilege.code()]);
        let tries = config.timing.tries.max(1);
        let answer = self.exchange(config, &request, tries).await;
        let kind = match answer {
            Ok(Response { completion: 0, .. }) => return Ok(()),
            // 80h and 81h: not available for this user, exceeds the channel's limit.
            Ok(Response {
                completion: 0x80 | 0x81 | 0xd4,
                ..
            }) => ErrorKind::PrivilegeTooLow {
                user: config.username.clone(),
                privilege: config.privilege.name(),
            },
            Ok(response) => ErrorKind::Completion(CompletionCode(response.completion)),
            Err(kind) => kind,
        };
        self.open = None;
        Err(kind)
    }

    /// One request and its answer over the open session. Retransmissions carry the same rqSeq: a BMC runs it once.
    pub(crate) async fn exchange(
        &mut self,
        config: &BmcConfig,
        request: &Request,
        tries: u32,
    ) -> Result<Response, ErrorKind> {
        // Nothing is taken out of `self`, so that a cancelled command leaves the session where it is.
        let Link {
            open: Some(open),
            pace,
            last_sent,
            ..
        } = self
        else {
            return Err(ErrorKind::SessionLost);
        };
        let rq_seq = open.next_rq_seq();
        let message = request.encode(rq_seq);
        let begin = Instant::now();
        let (mut sent_times, mut nonsense, mut accepted) = (0, None, false);
        for tried in 0..tries {
            space(last_sent, config.timing.spacing).await;
            if tried > 0 && request.repeat == Repeat::Never && begin.elapsed() > REMEMBERED {
                break;
            }
            let datagram = open.wire.seal(&message);
            let sent = Instant::now();
            *last_sent = Some(sent);
            sent_times += 1;
            open.transport
                .send(&datagram, open.peer)
                .await
                .map_err(io)?;
            let patience = match request.repeat {
                Repeat::Never if tried + 1 < tries => {
                    pace.timeout_once(&config.timing, tried, sent - begin)
                }
                Repeat::Never | Repeat::Harmless => pace.timeout(&config.timing, tried),
            };
            let deadline = sent + patience;
            while let Ok(Some(datagram)) =
                tokio::time::timeout_at(deadline, open.inbox.receiver.recv()).await
            {
                let response = match open.wire.open(&datagram) {
                    Ok(Some(Incoming::Ipmi(response))) => response,
                    Ok(Some(Incoming::Sol(_)) | None) => continue,
                    // A forged or torn datagram must not end a session: the real answer may follow.
                    Err(why) => {
                        nonsense = Some(why);
                        continue;
                    }
                };
                let verdict = request.judge(rq_seq, response);
                if verdict != Verdict::NotOurs {
                    open.last_used = Instant::now();
                }
                match verdict {
                    // A late answer to an earlier command.
                    Verdict::NotOurs => {}
                    Verdict::Accepted => accepted = true,
                    Verdict::Refused(code) => {
                        return Err(ErrorKind::NotPassedOn(CompletionCode(code)));
                    }
                    Verdict::Answer(response) => {
                        pace.answered(tried, open.last_used - sent);
                        return Ok(response);
                    }
                }
            }
        }
        if accepted {
            return Err(ErrorKind::NotPassedOn(CompletionCode(NO_ANSWER)));
        }
        let silence = ErrorKind::Unreachable {
            tries: sent_times,
            waited: begin.elapsed(),
        };
        match (nonsense, request.repeat) {
            (Some(why), Repeat::Harmless) => Err(ErrorKind::Malformed(why)),
            // That it may have been carried out is worth more than that noise came back.
            (_, Repeat::Never) | (None, Repeat::Harmless) => Err(silence),
        }
    }

    /// Sends a request and does not wait; the answer is among [`Self::incoming`].
    pub(crate) async fn post(&mut self, request: &Request) -> Result<(), ErrorKind> {
        let open = self.open.as_mut().ok_or(ErrorKind::SessionLost)?;
        let rq_seq = open.next_rq_seq();
        let datagram = open.wire.seal(&request.encode(rq_seq));
        open.transport.send(&datagram, open.peer).await.map_err(io)
    }

    pub(crate) async fn send_sol(&mut self, packet: &[u8]) -> Result<(), ErrorKind> {
        let open = self.open.as_mut().ok_or(ErrorKind::SessionLost)?;
        let datagram = open
            .wire
            .seal_sol(packet)
            .ok_or(ErrorKind::Unsupported("IPMI 1.5 has no serial console"))?;
        open.transport.send(&datagram, open.peer).await.map_err(io)
    }

    /// The next authentic message of the open session. Cancelling it loses nothing.
    pub(crate) async fn incoming(&mut self) -> Result<Incoming, ErrorKind> {
        let open = self.open.as_mut().ok_or(ErrorKind::SessionLost)?;
        loop {
            let datagram = open.inbox.receiver.recv().await;
            let datagram = datagram.ok_or(ErrorKind::SessionLost)?;
            if let Ok(Some(incoming)) = open.wire.open(&datagram) {
                open.last_used = Instant::now();
                return Ok(incoming);
            }
        }
    }

    async fn send(
        &mut self,
        transport: &Transport,
        config: &BmcConfig,
        datagram: &[u8],
    ) -> Result<Instant, ErrorKind> {
        space(&self.last_sent, config.timing.spacing).await;
        let sent = Instant::now();
        self.last_sent = Some(sent);
        transport.send(datagram, config.address).await.map_err(io)?;
        Ok(sent)
    }

    /// Get Channel Authentication Capabilities (§22.13), outside a session.
    pub(crate) async fn capabilities(
        &mut self,
        transport: &Transport,
        config: &BmcConfig,
        tries: u32,
    ) -> Result<AuthCapabilities, ErrorKind> {
        let privilege = config.privilege.code();
        let mut response = None;
        for extended in [true, false] {
            let request = presession::auth_capabilities_request(extended, privilege);
            let answer = self.ask_plain(transport, config, &request, tries).await?;
            let refused = answer.completion != 0;
            response = Some(answer);
            if !refused {
                break;
            }
        }
        match response {
            Some(Response {
                completion: 0,
                data,
                ..
            }) => presession::parse_auth_capabilities(&data).ok_or(ErrorKind::Malformed(
                "authentication capabilities cut short",
            )),
            Some(Response { completion, .. }) => {
                Err(ErrorKind::Completion(CompletionCode(completion)))
            }
            None => Err(ErrorKind::SessionLost),
        }
    }

    /// A command outside a session. Everybody can read and forge the answer; nothing secret may depend on it.
    pub(crate) async fn ask_plain(
        &mut self,
        transport: &Transport,
        config: &BmcConfig,
        request: &Request,
        tries: u32,
    ) -> Result<Response, ErrorKind> {
        let mut inbox = transport.register(config.address).map_err(io)?;
        let [random] = random::<1>()?;
        let rq_seq = random & 0x3f;
        let datagram = presession::plain_request(request, rq_seq);
        let begin = Instant::now();
        for tried in 0..tries {
            let sent = self.send(transport, config, &datagram).await?;
            let deadline = sent + self.pace.timeout(&config.timing, tried);
            while let Ok(Some(datagram)) =
                tokio::time::timeout_at(deadline, inbox.receiver.recv()).await
            {
                if let Some(response) = presession::plain_response(&datagram)
                    && response.answers(request, rq_seq)
                {
                    self.pace.answered(tried, sent.elapsed());
                    return Ok(response);
                }
            }
        }
        Err(ErrorKind::Unreachable {
            tries,
            waited: begin.elapsed(),
        })
    }

    /// ASF presence ping: whether something at this address says that it speaks IPMI.
    pub(crate) async fn ping(
        &mut self,
        transport: &Transport,
        config: &BmcConfig,
        tries: u32,
    ) -> Result<Duration, ErrorKind> {
        let mut inbox = transport.register(config.address).map_err(io)?;
        let [tag] = random::<1>()?;
        // FFh would ask for no answer (§13.2.3).
        let tag = tag & 0x7f;
        let begin = Instant::now();
        for tried in 0..tries {
            let sent = self.send(transport, config, &presession::ping(tag)).await?;
            let deadline = sent + self.pace.timeout(&config.timing, tried);
            while let Ok(Some(datagram)) =
                tokio::time::timeout_at(deadline, inbox.receiver.recv()).await
            {
                if presession::pong(&datagram) == Some(tag) {
                    return Ok(sent.elapsed());
                }
            }
        }
        Err(ErrorKind::Unreachable {
            tries,
            waited: begin.elapsed(),
        })
    }

    /// The smoothed round trip, once one was measured.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.pace.round_trip()
    }
}

/// A new login; `suite`: none for IPMI 1.5.
fn entry(config: &BmcConfig, suite: Option<Suite>, console_id: u32) -> Result<Entry, ErrorKind> {
    let Some(suite) = suite else {
        let login = Login15 {
            user: config.username.clone(),
            password: config.password.clone(),
            privilege: config.privilege,
            // As good as any other number that nobody can guess, and never zero.
            first_sequence: console_id,
            rq_seq: 0,
        };
        return Handshake15::begin(login).map(Entry::Old);
    };
    let login = Login {
        user: config.username.clone(),
        password: config.password.clone(),
        kg: config.kg.clone(),
        privilege: config.privilege,
        suite,
    };
    if let Some(what) = login.too_long() {
        return Err(ErrorKind::LoginTooLong(what));
    }
    let fresh = Fresh {
        console_id,
        console_random: random()?,
    };
    Ok(Entry::Plus(Handshake::begin(login, fresh)))
}

async fn space(last_sent: &Option<Instant>, spacing: Duration) {
    if let Some(last) = last_sent
        && !spacing.is_zero()
    {
        tokio::time::sleep_until(*last + spacing).await;
    }
}

pub(crate) fn io(error: std::io::Error) -> ErrorKind {
    ErrorKind::Io(error.to_string())
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], ErrorKind> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| ErrorKind::Io(format!("random bytes: {error}")))?;
    Ok(bytes)
}
