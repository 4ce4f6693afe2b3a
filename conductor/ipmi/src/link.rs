//! The session with one BMC: opens it, keeps it, notices when it is lost, and opens another.
//! `login` decides how to get in; `open`, `attempt` and `line` send and wait.
use crate::attempt::log_in;
use crate::bridge::Bridge;
use crate::clock;
use crate::config::BmcConfig;
use crate::error::ErrorKind;
use crate::line::Line;
use crate::login::{Event, Known, Login, Next};
use crate::message::{APP, Repeat, Request, Response};
use crate::open::Open;
use crate::transport::Transport;
use std::sync::Arc;
use std::time::Duration;

/// A BMC ends an idle session after 60 s ± 3 s (§6.12.15). One that has been idle for longer than this is not trusted.
const SESSION_IDLE: Duration = Duration::from_secs(45);
/// A session that answered this recently needs no proof of life before a command that must not be sent twice.
const SURELY_ALIVE: Duration = Duration::from_secs(2);
/// Transmissions over a kept session before a fresh one is tried: asking costs less than waiting.
const KEPT_TRIES: u32 = 2;
/// How often one command may be sent to a BMC that says "node busy", and the pause before it is sent again, doubled
/// each time.
const BUSY_TRIES: u32 = 5;
const BUSY_PAUSE: Duration = Duration::from_millis(100);

const NODE_BUSY: u8 = 0xc0;
const DUPLICATED_REQUEST: u8 = 0xcf;

pub(crate) struct Link {
    line: Line,
    open: Option<Open>,
    known: Known,
}

/// Why a command failed, and what was attempted at that moment, if that was not the command itself.
pub(crate) struct Failed {
    pub attempt: Option<&'static str>,
    pub kind: ErrorKind,
}

impl From<ErrorKind> for Failed {
    fn from(kind: ErrorKind) -> Self {
        Self {
            attempt: None,
            kind,
        }
    }
}

impl Link {
    /// Nothing is sent until a command is.
    pub(crate) fn new(transport: Transport, config: Arc<BmcConfig>) -> Self {
        Self {
            line: Line::new(transport, config),
            open: None,
            known: Known::default(),
        }
    }

    /// For what needs no session.
    pub(crate) fn line(&mut self) -> &mut Line {
        &mut self.line
    }

    /// The open session.
    pub(crate) fn session(&mut self) -> Result<&mut Open, ErrorKind> {
        self.open.as_mut().ok_or(ErrorKind::SessionLost)
    }

    /// Sends a command and waits for its answer; opens a session if there is none, and once more if it was lost.
    /// `via`: to a controller behind the BMC.
    pub(crate) async fn run(
        &mut self,
        request: &Request,
        via: Option<Bridge>,
    ) -> Result<Response, Failed> {
        let mut pause = BUSY_PAUSE;
        for _ in 1..BUSY_TRIES {
            let response = self.run_once(request, via).await?;
            match (response.completion, request.repeat) {
                // It did nothing, so nothing is done twice.
                (NODE_BUSY, _) => {}
                // A retransmission reached a BMC that keeps no answers: the command was executed, its answer lost.
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
        self.run_once(request, via).await
    }

    async fn run_once(
        &mut self,
        request: &Request,
        via: Option<Bridge>,
    ) -> Result<Response, Failed> {
        let tries = self.line.tries();
        if let Some(idle) = self.kept().await {
            let kept_tries = match request.repeat {
                Repeat::Harmless => tries.min(KEPT_TRIES),
                Repeat::Never => tries,
            };
            if self.is_alive_for(request, idle).await {
                let result = self.exchange(request, via, kept_tries).await;
                match (result, request.repeat) {
                    (Ok(response), _) => return Ok(response),
                    (Err(kind @ ErrorKind::NotPassedOn(_)), _) => return Err(kind.into()),
                    (Err(kind), Repeat::Never) => return Err(self.lost(kind, request)),
                    (Err(_), Repeat::Harmless) => {}
                }
            }
            self.open = None;
        }
        // Boxed, as it is large and rare: otherwise every command would carry the room for a login around.
        Box::pin(self.enter()).await.map_err(|kind| Failed {
            attempt: Some("open a session"),
            kind,
        })?;
        self.exchange(request, via, tries)
            .await
            .map_err(|kind| self.lost(kind, request))
    }

    /// How long the session has been idle, if there is one that can be trusted.
    async fn kept(&mut self) -> Option<Duration> {
        let idle = clock::now() - self.open.as_ref()?.last_used();
        if idle < SESSION_IDLE {
            return Some(idle);
        }
        self.close().await;
        None
    }

    /// Whether the kept session may be used for `request`. A fresh session would not recognise a retransmission, so a
    /// command that must not be executed twice is sent only over a session that is surely alive.
    async fn is_alive_for(&mut self, request: &Request, idle: Duration) -> bool {
        if request.repeat == Repeat::Harmless || idle < SURELY_ALIVE {
            return true;
        }
        // Get Device ID (§20.1).
        let proof = Request::new(APP, 0x01, &[]);
        self.exchange(&proof, None, KEPT_TRIES).await.is_ok()
    }

    /// An exchange failed for good: drops the session, and says so if the command may have been executed.
    fn lost(&mut self, kind: ErrorKind, request: &Request) -> Failed {
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

    /// One request and its answer over the open session. Cancelling it leaves the session where it is.
    pub(crate) async fn exchange(
        &mut self,
        request: &Request,
        via: Option<Bridge>,
        tries: u32,
    ) -> Result<Response, ErrorKind> {
        let open = self.open.as_mut().ok_or(ErrorKind::SessionLost)?;
        open.exchange(&mut self.line, request, via, tries).await
    }

    /// Ends the session, if there is one.
    pub(crate) async fn close(&mut self) {
        if let Some(open) = &mut self.open {
            open.close(&mut self.line).await;
        }
        self.open = None;
    }

    async fn enter(&mut self) -> Result<(), ErrorKind> {
        let mut open = self.log_in().await?;
        // Only now is the session kept: a command that is cancelled before leaves none behind at too low a privilege.
        open.raise_privilege(&mut self.line).await?;
        self.open = Some(open);
        Ok(())
    }

    /// Carries out what [`Login`] says until it is done or gives up.
    async fn log_in(&mut self) -> Result<Open, ErrorKind> {
        let (mut login, mut next) = Login::begin(&self.line.config, self.known, clock::now());
        let mut entered = None;
        loop {
            let event = match next {
                Next::Greet => Event::Greeted(self.line.capabilities(1).await.ok()),
                Next::Try { suite, tries } => match log_in(&mut self.line, suite, tries).await {
                    Ok(open) => {
                        entered = Some(open);
                        Event::Entered
                    }
                    Err(kind) => Event::Failed(kind),
                },
                Next::Done => {
                    self.known = login.known();
                    return entered.ok_or(ErrorKind::SessionLost);
                }
                Next::GiveUp(kind) => {
                    self.known = login.known();
                    return Err(kind);
                }
            };
            next = login.on(event, clock::now());
        }
    }
}
