//! Questions to a BMC outside a session: presence ping, capabilities, plain commands. Sends them and waits.
//! `presession` has their bytes; `probe` asks them, and so does `link` on the way to a session.
use crate::clock;
use crate::error::{CompletionCode, ErrorKind};
use crate::line::{Line, failed};
use crate::message::{Repeat, Request, Response};
use crate::presession::{self, AuthCapabilities};
use crate::random::random;
use crate::retransmit::Retransmit;
use std::time::Duration;
use tokio::time::Instant;

/// An answer, when it came, and what was sent for it.
struct Answered<T> {
    answer: T,
    at: Instant,
    retransmit: Retransmit,
}

impl Line {
    /// Get Channel Authentication Capabilities (§22.13).
    pub(crate) async fn capabilities(&mut self, tries: u32) -> Result<AuthCapabilities, ErrorKind> {
        let privilege = self.config.privilege.code();
        let request = presession::auth_capabilities_request(true, privilege);
        let mut response = self.ask_plain(&request, tries).await?;
        if response.completion != 0 {
            let request = presession::auth_capabilities_request(false, privilege);
            response = self.ask_plain(&request, tries).await?;
        }
        match response.completion {
            0 => presession::parse_auth_capabilities(&response.data).ok_or(ErrorKind::Malformed(
                "authentication capabilities cut short",
            )),
            code => Err(ErrorKind::Completion(CompletionCode(code))),
        }
    }

    /// A command outside a session. Anybody can read and forge the answer, so nothing secret may depend on it.
    pub(crate) async fn ask_plain(
        &mut self,
        request: &Request,
        tries: u32,
    ) -> Result<Response, ErrorKind> {
        let [random] = random().map_err(failed)?;
        let rq_seq = random & 0x3f;
        let datagram = presession::plain_request(request, rq_seq);
        let answered = self
            .ask(&datagram, tries, |datagram| {
                presession::plain_response(datagram).filter(|r| r.answers(request, rq_seq))
            })
            .await?;
        answered.retransmit.answered(answered.at, &mut self.pace);
        Ok(answered.answer)
    }

    /// ASF presence ping: how long something at this address takes to say that it speaks IPMI. The pace
    /// learns nothing from a pong, as it is no IPMI message.
    pub(crate) async fn ping(&mut self, tries: u32) -> Result<Duration, ErrorKind> {
        let [random] = random().map_err(failed)?;
        // FFh would ask for no answer (§13.2.3).
        let tag = random & 0x7f;
        let answered = self
            .ask(&presession::ping(tag), tries, |datagram| {
                presession::pong(datagram).filter(|theirs| *theirs == tag)
            })
            .await?;
        Ok(answered.at - answered.retransmit.last_sent())
    }

    async fn ask<T>(
        &mut self,
        question: &[u8],
        tries: u32,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Answered<T>, ErrorKind> {
        let mut inbox = self.inbox()?;
        let mut retransmit = Retransmit::begin(tries, Repeat::Harmless, clock::now());
        let mut noise = false;
        loop {
            let at = self.free_at(clock::now());
            if !retransmit.may_send(at) {
                // As in a login and in a session: something is there, and it is not what it should be.
                return Err(match noise {
                    true => ErrorKind::Malformed("no IPMI message"),
                    false => retransmit.silence(clock::now()),
                });
            }
            let sent = self.send_at(at, question).await?;
            let deadline = retransmit.sent(sent, &self.config.timing, &self.pace);
            while let Some(datagram) = inbox.next_until(deadline).await {
                if let Some(answer) = read(&datagram) {
                    return Ok(Answered {
                        answer,
                        at: clock::now(),
                        retransmit,
                    });
                }
                noise |= presession::is_noise(&datagram);
            }
        }
    }
}
