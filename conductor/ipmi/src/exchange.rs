//! One request and its answer in an open session: which message is the answer, and what silence means.
//! It sends nothing and is handed the time; `retransmit` says when to send again, `open` sends.
use crate::bridge::{self, Bridge, Verdict};
use crate::config::Timing;
use crate::error::{CompletionCode, ErrorKind};
use crate::message::{Repeat, Request, Response};
use crate::pace::Pace;
use crate::received::Incoming;
use crate::retransmit::Retransmit;
use tokio::time::Instant;

/// "Time-out while processing", for a bridged command whose answer never came.
const NO_ANSWER: u8 = 0xc3;

/// A request under way. Its retransmissions carry the same rqSeq, so that the BMC executes it once.
pub(crate) struct Exchange<'a> {
    request: &'a Request,
    via: Option<Bridge>,
    rq_seq: u8,
    message: Vec<u8>,
    retransmit: Retransmit,
    /// What was wrong with the last unreadable datagram.
    unreadable: Option<&'static str>,
    /// The BMC has passed it on to the controller behind it.
    passed_on: bool,
}

/// The meaning of a datagram for a request under way.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing.
    Unrelated,
    /// The BMC has passed it on; the answer will follow.
    PassedOn,
    Over(Result<Response, ErrorKind>),
}

impl<'a> Exchange<'a> {
    pub(crate) fn begin(
        request: &'a Request,
        via: Option<Bridge>,
        rq_seq: u8,
        tries: u32,
        now: Instant,
    ) -> Self {
        Self {
            request,
            via,
            rq_seq,
            message: bridge::encode(via, request, rq_seq),
            retransmit: Retransmit::begin(tries, request.repeat, now),
            unreadable: None,
            passed_on: false,
        }
    }

    pub(crate) fn message(&self) -> &[u8] {
        &self.message
    }

    /// Whether the message may be sent at `at`, for the first time or again.
    pub(crate) fn may_send(&self, at: Instant) -> bool {
        self.retransmit.may_send(at)
    }

    /// It was sent at `at`. Returns until when to wait for the answer.
    pub(crate) fn sent(&mut self, at: Instant, timing: &Timing, pace: &Pace) -> Instant {
        self.retransmit.sent(at, timing, pace)
    }

    /// A datagram came, and the session has opened it or not.
    pub(crate) fn receive(
        &mut self,
        opened: Result<Option<Incoming>, &'static str>,
        now: Instant,
        pace: &mut Pace,
    ) -> Heard {
        let response = match opened {
            Ok(Some(Incoming::Ipmi(response))) => response,
            Ok(Some(Incoming::Sol(_)) | None) => return Heard::Unrelated,
            // A forged or damaged datagram must not end a session: the real answer may follow.
            Err(why) => {
                self.unreadable = Some(why);
                return Heard::Unrelated;
            }
        };
        match bridge::judge(self.via, self.request, self.rq_seq, response) {
            Verdict::NotOurs => Heard::Unrelated,
            Verdict::Accepted => {
                self.passed_on = true;
                Heard::PassedOn
            }
            Verdict::Refused(code) => Heard::Over(Err(not_passed_on(code))),
            Verdict::Answer(response) => {
                self.retransmit.answered(now, pace);
                Heard::Over(Ok(response))
            }
        }
    }

    /// The error when no answer came.
    pub(crate) fn silence(&self, now: Instant) -> ErrorKind {
        if self.passed_on {
            return not_passed_on(NO_ANSWER);
        }
        match (self.unreadable, self.request.repeat) {
            (Some(why), Repeat::Harmless) => ErrorKind::Malformed(why),
            // That the command may have been executed matters more than that noise came back.
            (_, Repeat::Never) | (None, Repeat::Harmless) => self.retransmit.silence(now),
        }
    }
}

fn not_passed_on(code: u8) -> ErrorKind {
    ErrorKind::NotPassedOn(CompletionCode(code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{APP, CHASSIS};
    use std::time::Duration;

    const RQ_SEQ: u8 = 5;
    const BEHIND: Option<Bridge> = Some(Bridge::Single {
        channel: 0,
        address: 0x30,
    });

    fn response(netfn: u8, command: u8, completion: u8) -> Response {
        Response {
            responder: 0x20,
            netfn,
            rq_seq: RQ_SEQ,
            command,
            completion,
            data: Vec::new(),
        }
    }

    fn ipmi(response: Response) -> Result<Option<Incoming>, &'static str> {
        Ok(Some(Incoming::Ipmi(response)))
    }

    /// Sends `request` once, hands in each of `datagrams`, and ends in silence after a second.
    fn after(
        request: &Request,
        via: Option<Bridge>,
        datagrams: Vec<Result<Option<Incoming>, &'static str>>,
    ) -> (Vec<Heard>, ErrorKind) {
        let begin = Instant::now();
        let mut pace = Pace::default();
        let mut exchange = Exchange::begin(request, via, RQ_SEQ, 1, begin);
        assert!(exchange.may_send(begin));
        let deadline = exchange.sent(begin, &Timing::default(), &pace);
        let heard = datagrams
            .into_iter()
            .map(|datagram| exchange.receive(datagram, begin, &mut pace))
            .collect();
        assert!(!exchange.may_send(deadline));
        (heard, exchange.silence(deadline))
    }

    #[test]
    fn the_answer_is_the_message_with_our_number() {
        let request = Request::new(CHASSIS, 0x01, &[]);
        let answer = response(CHASSIS | 1, 0x01, 0);
        let late = Response {
            rq_seq: RQ_SEQ - 1,
            ..answer.clone()
        };
        let datagrams = vec![
            Ok(None),
            Ok(Some(Incoming::Sol(vec![1]))),
            Err("noise"),
            ipmi(late),
            ipmi(answer.clone()),
        ];
        let (heard, _) = after(&request, None, datagrams);
        let (last, before) = heard.split_last().unwrap();
        assert!(before.iter().all(|heard| *heard == Heard::Unrelated));
        assert_eq!(*last, Heard::Over(Ok(answer)));
    }

    #[test]
    fn what_came_before_explains_silence() {
        let unreachable = ErrorKind::Unreachable {
            tries: 1,
            waited: Duration::from_secs(1),
        };
        let read = Request::new(APP, 0x01, &[]);
        let power = Request::once(CHASSIS, 0x02, &[2]);
        let accepted = || ipmi(response(APP | 1, 0x34, 0));
        for (request, via, datagrams, expected) in [
            (&read, None, vec![], unreachable.clone()),
            (
                &read,
                None,
                vec![Err("noise")],
                ErrorKind::Malformed("noise"),
            ),
            (&power, None, vec![Err("noise")], unreachable.clone()),
            (&read, BEHIND, vec![], unreachable.clone()),
            (&read, BEHIND, vec![accepted()], not_passed_on(NO_ANSWER)),
            (&power, BEHIND, vec![accepted()], not_passed_on(NO_ANSWER)),
        ] {
            assert_eq!(after(request, via, datagrams).1, expected);
        }
    }

    #[test]
    fn a_bridged_request_is_over_when_the_bmc_cannot_pass_it_on() {
        let request = Request::new(CHASSIS, 0x01, &[]);
        let datagrams = vec![
            ipmi(response(APP | 1, 0x34, 0)),
            ipmi(response(APP | 1, 0x34, 0x83)),
        ];
        let (heard, _) = after(&request, BEHIND, datagrams);
        let refused = Heard::Over(Err(not_passed_on(0x83)));
        assert_eq!(heard, [Heard::PassedOn, refused]);
    }
}
