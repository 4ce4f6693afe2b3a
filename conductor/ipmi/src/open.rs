//! An open session on the wire: sends its requests, collects their answers, and tells the BMC when it ends.
//! `exchange` finds the right answer; `link` opens and replaces sessions.
use crate::bridge::Bridge;
use crate::clock;
use crate::either::EitherSession;
use crate::error::{CompletionCode, ErrorKind};
use crate::exchange::{Exchange, Heard};
use crate::line::{Line, failed};
use crate::message::{APP, Request, Response};
use crate::received::Incoming;
use crate::transport::{Inbox, Transport};
use std::net::SocketAddr;
use tokio::time::Instant;

/// rqSeq has six bits.
const RQ_SEQS: u8 = 64;
/// Transmissions of Close Session.
const CLOSE_TRIES: u32 = 2;

/// Dropping it tells the BMC, once and without waiting: a BMC has only four to eight session slots.
pub(crate) struct Open {
    session: EitherSession,
    rq_seq: u8,
    inbox: Inbox,
    transport: Transport,
    peer: SocketAddr,
    last_used: Instant,
    closed: bool,
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.closed {
            return;
        }
        let rq_seq = self.next_rq_seq();
        let request = self.session.close_request();
        let datagram = self.session.seal(&request.encode(rq_seq));
        self.transport.try_send(&datagram, self.peer);
    }
}

impl Open {
    pub(crate) fn new(line: &Line, session: EitherSession, inbox: Inbox, now: Instant) -> Self {
        Self {
            session,
            rq_seq: 0,
            inbox,
            transport: line.transport.clone(),
            peer: line.config.address,
            last_used: now,
            closed: false,
        }
    }

    /// When the BMC was last heard in this session.
    pub(crate) fn last_used(&self) -> Instant {
        self.last_used
    }

    /// A number for a new request. Its retransmissions keep it, so that the BMC can tell them from new requests.
    fn next_rq_seq(&mut self) -> u8 {
        self.rq_seq = (self.rq_seq + 1) % RQ_SEQS;
        self.rq_seq
    }

    /// One request and its answer. A cancelled one leaves the session usable.
    pub(crate) async fn exchange(
        &mut self,
        line: &mut Line,
        request: &Request,
        via: Option<Bridge>,
        tries: u32,
    ) -> Result<Response, ErrorKind> {
        let rq_seq = self.next_rq_seq();
        let mut exchange = Exchange::begin(request, via, rq_seq, tries, clock::now());
        loop {
            let at = line.free_at(clock::now());
            if !exchange.may_send(at) {
                return Err(exchange.silence(clock::now()));
            }
            let datagram = self.session.seal(exchange.message());
            let sent = line.send_at(at, &datagram).await?;
            let deadline = exchange.sent(sent, &line.config.timing, &line.pace);
            while let Some(datagram) = self.inbox.next_until(deadline).await {
                let now = clock::now();
                match exchange.receive(self.session.open(&datagram), now, &mut line.pace) {
                    Heard::Unrelated => {}
                    Heard::PassedOn => self.last_used = now,
                    Heard::Over(result) => {
                        self.last_used = now;
                        return result;
                    }
                }
            }
        }
    }

    /// Set Session Privilege Level: a session begins at User (§22.18).
    pub(crate) async fn raise_privilege(&mut self, line: &mut Line) -> Result<(), ErrorKind> {
        let privilege = line.config.privilege;
        let request = Request::new(APP, 0x3b, &[privilege.code()]);
        let tries = line.tries();
        let response = self.exchange(line, &request, None, tries).await?;
        match response.completion {
            0 => Ok(()),
            // 80h and 81h: not available for this user, exceeds the channel's limit.
            0x80 | 0x81 | 0xd4 => Err(ErrorKind::PrivilegeTooLow {
                user: line.config.username.clone(),
                privilege: privilege.name(),
            }),
            code => Err(ErrorKind::Completion(CompletionCode(code))),
        }
    }

    /// Asks the BMC to end the session. Drop this next.
    pub(crate) async fn close(&mut self, line: &mut Line) {
        let request = self.session.close_request();
        // No answer: the BMC is gone, or has ended the session itself. Dropping this tells it once more.
        let answer = self.exchange(line, &request, None, CLOSE_TRIES).await;
        self.closed = answer.is_ok();
    }

    /// Sends a request and does not wait; the answer is among [`Self::incoming`].
    pub(crate) async fn post(&mut self, request: &Request) -> Result<(), ErrorKind> {
        let rq_seq = self.next_rq_seq();
        let datagram = self.session.seal(&request.encode(rq_seq));
        self.send(&datagram).await
    }

    pub(crate) async fn send_sol(&mut self, packet: &[u8]) -> Result<(), ErrorKind> {
        let datagram = self
            .session
            .seal_sol(packet)
            .ok_or(ErrorKind::Unsupported("IPMI 1.5 has no serial console"))?;
        self.send(&datagram).await
    }

    async fn send(&self, datagram: &[u8]) -> Result<(), ErrorKind> {
        self.transport
            .send(datagram, self.peer)
            .await
            .map_err(failed)
    }

    /// The next authentic message. Cancelling it loses nothing.
    pub(crate) async fn incoming(&mut self) -> Result<Incoming, ErrorKind> {
        loop {
            let datagram = self.inbox.next().await.ok_or(ErrorKind::SessionLost)?;
            if let Ok(Some(incoming)) = self.session.open(&datagram) {
                self.last_used = clock::now();
                return Ok(incoming);
            }
        }
    }
}
