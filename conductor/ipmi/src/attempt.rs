//! One attempt to log in: sends the messages of a handshake, again if nothing comes, and waits for the session.
//! `either` has the messages; `login` decides whether to try another way.
use crate::clock;
use crate::crypto::Suite;
use crate::either::{EitherHandshake, EitherSession};
use crate::error::ErrorKind;
use crate::handshake::Fresh;
use crate::line::{Line, failed};
use crate::message::Repeat;
use crate::open::Open;
use crate::random::random;
use crate::received::Progress;
use crate::retransmit::Retransmit;
use crate::transport::{Inbox, Transport};
use std::net::SocketAddr;

/// `suite`: none for IPMI 1.5. `first_tries`: transmissions of the first message, before anything has answered.
pub(crate) async fn log_in(
    line: &mut Line,
    suite: Option<Suite>,
    first_tries: u32,
) -> Result<Open, ErrorKind> {
    let inbox = line.inbox()?;
    let fresh = Fresh {
        console_id: inbox.console_id,
        console_random: random().map_err(failed)?,
    };
    let mut attempt = Attempt {
        handshake: EitherHandshake::begin(&line.config, suite, fresh)?,
        unreadable: None,
        transport: line.transport.clone(),
        peer: line.config.address,
        done: false,
    };
    attempt.run(line, inbox, first_tries).await
}

/// Dropping it before its end gives the BMC its session slot back.
struct Attempt {
    handshake: EitherHandshake,
    /// What was wrong with the last unreadable datagram.
    unreadable: Option<&'static str>,
    transport: Transport,
    peer: SocketAddr,
    done: bool,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let (false, Some(datagram)) = (self.done, self.handshake.abort()) {
            self.transport.try_send(&datagram, self.peer);
        }
    }
}

/// The outcome of one message of the handshake.
enum Answer {
    Next,
    Open(EitherSession),
    Silence,
}

impl Attempt {
    async fn run(
        &mut self,
        line: &mut Line,
        mut inbox: Inbox,
        first_tries: u32,
    ) -> Result<Open, ErrorKind> {
        let begin = clock::now();
        let mut tries = first_tries;
        loop {
            match self.stage(line, &mut inbox, tries).await? {
                Answer::Next => tries = line.tries(),
                Answer::Open(session) => {
                    self.done = true;
                    return Ok(Open::new(line, session, inbox, clock::now()));
                }
                Answer::Silence => {
                    let silence = self.handshake.silence(tries, clock::now() - begin);
                    return Err(self.unreadable.map_or(silence, ErrorKind::Malformed));
                }
            }
        }
    }

    /// Sends the current message of the handshake until it is answered.
    async fn stage(
        &mut self,
        line: &mut Line,
        inbox: &mut Inbox,
        tries: u32,
    ) -> Result<Answer, ErrorKind> {
        let mut retransmit = Retransmit::begin(tries, Repeat::Harmless, clock::now());
        loop {
            let at = line.free_at(clock::now());
            if !retransmit.may_send(at) {
                return Ok(Answer::Silence);
            }
            let sent = line.send_at(at, self.handshake.datagram()).await?;
            let deadline = retransmit.sent(sent, &line.config.timing, &line.pace);
            while let Some(datagram) = inbox.next_until(deadline).await {
                let answer = match self.handshake.receive(&datagram) {
                    Ok(Progress::Ignored) => continue,
                    // As in a session: the real answer may follow.
                    Err(ErrorKind::Malformed(why)) => {
                        self.unreadable = Some(why);
                        continue;
                    }
                    Ok(Progress::Next) => Ok(Answer::Next),
                    Ok(Progress::Open(session)) => Ok(Answer::Open(session)),
                    Err(kind) => Err(kind),
                };
                retransmit.answered(clock::now(), &mut line.pace);
                return answer;
            }
        }
    }
}
