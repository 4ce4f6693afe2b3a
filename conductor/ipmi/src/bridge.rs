//! Commands for a controller behind the BMC: Send Message, once or nested (IPMI 2.0 §6.13, §22.7).
//! A sensor's record says which controller it sits behind; see `sdr`.
use crate::message::{APP, BMC, Request, Response, parse_response};

const SEND_MESSAGE: u8 = 0x34;
/// "Track this request": the BMC remembers whom the answer is for (§6.13.2).
const TRACK: u8 = 0x40;

/// The way to a controller behind the BMC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bridge {
    /// On a bus of the BMC; channel 0 is the primary IPMB.
    Single { channel: u8, address: u8 },
    /// On a bus of a controller that is on a bus of the BMC.
    Dual {
        transit_channel: u8,
        transit_address: u8,
        channel: u8,
        address: u8,
    },
}

/// The meaning of a BMC's answer for a bridged command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It belongs to another request, or is late.
    NotOurs,
    /// It was passed on; the answer will follow.
    Accepted,
    /// It was not passed on, with this completion code.
    Refused(u8),
    Answer(Response),
}

/// The message that brings `request` to the BMC, or to the controller behind it that `via` leads to.
pub(crate) fn encode(via: Option<Bridge>, request: &Request, rq_seq: u8) -> Vec<u8> {
    match via {
        None => request.encode(rq_seq),
        Some(bridge) => bridge.wrap(request, rq_seq).encode(rq_seq),
    }
}

/// Judges the `response` to a request that [`encode`] sent.
pub(crate) fn judge(
    via: Option<Bridge>,
    request: &Request,
    rq_seq: u8,
    response: Response,
) -> Verdict {
    match via {
        None if response.answers(request, rq_seq) => Verdict::Answer(response),
        None => Verdict::NotOurs,
        Some(bridge) => bridge.judge(request, rq_seq, response),
    }
}

fn send_message(channel: u8, message: &[u8]) -> Request {
    let mut data = vec![TRACK | channel & 0x0f];
    data.extend(message);
    Request::new(APP, SEND_MESSAGE, &data)
}

impl Bridge {
    /// The command for the BMC that carries `request`.
    fn wrap(&self, request: &Request, rq_seq: u8) -> Request {
        match *self {
            Bridge::Single { channel, address } => {
                send_message(channel, &request.encode_between(BMC, address, rq_seq))
            }
            Bridge::Dual {
                transit_channel,
                transit_address,
                channel,
                address,
            } => {
                let inner = request.encode_between(transit_address, address, rq_seq);
                let middle = send_message(channel, &inner);
                let outer = middle.encode_between(BMC, transit_address, rq_seq);
                send_message(transit_channel, &outer)
            }
        }
    }

    /// The answer comes separately after the one to Send Message, or inside it.
    fn judge(&self, request: &Request, rq_seq: u8, response: Response) -> Verdict {
        let carrier = Request::new(APP, SEND_MESSAGE, &[]);
        let mut response = response;
        // At most one Send Message inside another, and the answer inside that.
        for _ in 0..3 {
            if response.answers(request, rq_seq) {
                return Verdict::Answer(response);
            }
            if !response.answers(&carrier, rq_seq) {
                return Verdict::NotOurs;
            }
            if response.completion != 0 {
                return Verdict::Refused(response.completion);
            }
            match parse_response(&response.data) {
                Ok(inner) => response = inner,
                Err(_) => return Verdict::Accepted,
            }
        }
        Verdict::NotOurs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINGLE: Bridge = Bridge::Single {
        channel: 0,
        address: 0x30,
    };

    fn response(netfn: u8, command: u8, completion: u8, data: &[u8]) -> Response {
        Response {
            responder: 0x20,
            netfn,
            rq_seq: 5,
            command,
            completion,
            data: data.to_vec(),
        }
    }

    #[test]
    fn a_bridged_request_is_the_bytes_that_ipmitool_sends() {
        let device_id = Request::new(APP, 0x01, &[]);
        let sent = SINGLE.wrap(&device_id, 5);
        assert_eq!((sent.netfn, sent.command), (APP, SEND_MESSAGE));
        assert_eq!(sent.data, [0x40, 0x30, 0x18, 0xb8, 0x20, 0x14, 0x01, 0xcb]);
        let dual = Bridge::Dual {
            transit_channel: 0,
            transit_address: 0x82,
            channel: 7,
            address: 0x72,
        };
        assert_eq!(
            dual.wrap(&device_id, 5).data,
            [
                0x40, 0x82, 0x18, 0x66, 0x20, 0x14, 0x34, 0x47, 0x72, 0x18, 0x76, 0x82, 0x14, 0x01,
                0x69, 0x51
            ]
        );
    }

    #[test]
    fn every_kind_of_answer_is_recognised() {
        let device_id = Request::new(APP, 0x01, &[]);
        let judge = |response: Response| SINGLE.judge(&device_id, 5, response);
        assert_eq!(judge(response(7, 0x34, 0, &[])), Verdict::Accepted);
        assert_eq!(judge(response(7, 0x34, 0x83, &[])), Verdict::Refused(0x83));
        assert_eq!(judge(response(7, 0x02, 0, &[])), Verdict::NotOurs);
        let answer = response(7, 0x01, 0, &[1, 2]);
        assert_eq!(judge(answer.clone()), Verdict::Answer(answer));
        // Inside the answer to Send Message.
        let mut inner = Request::new(7, 0x01, &[0, 9]);
        inner.lun = 0;
        let inside = inner.encode_between(0x30, 0x20, 5);
        let Verdict::Answer(answer) = judge(response(7, 0x34, 0, &inside)) else {
            panic!("not unwrapped");
        };
        assert_eq!((answer.responder, answer.data), (0x30, vec![9]));
    }
}
