//! An operator's question as it travels: bytes to a request, and the reply back into the encoding of the question.
//! `answer` makes the reply; `owner` finds the worker that answers questions to a BMC.
use super::answer::answer;
use super::body::{self, BadBody, Encoding};
use super::refusal::{ApiError, fail};
use super::sealed;
use crate::loops::power::PowerSync;
use crate::worker::Worker;
use async_nats::Message;
use bytes::Bytes;
use ironbeat_auth::roles::INBOXES;
use ironbeat_common::codec;
use ironbeat_core::text::said;
use ironbeat_ops::happening::{ASKER, Asker};
use ironbeat_ops::reply::Shown;
use ironbeat_ops::{Decode, Reply, Request};
use serde::de::DeserializeOwned;
use serde_value::Value;
use std::cell::Cell;
use std::sync::Arc;
use tokio::time::Instant;

pub(super) const JSON: &str = "application/json";

/// A body, and the `Content-Type` that says how to read it.
pub(super) type Body = (Bytes, &'static str);

pub(super) struct Asked {
    /// `noun.verb`.
    pub endpoint: String,
    encoding: Encoding,
    pub bytes: Bytes,
    /// None: nobody says.
    asker: Option<Asker>,
}

impl Asked {
    pub fn of(endpoint: String, message: &Message) -> Self {
        Self {
            endpoint,
            encoding: encoding(message),
            bytes: message.payload.clone(),
            asker: asker(message),
        }
    }

    pub fn content_type(&self) -> &'static str {
        match self.encoding {
            Encoding::Json => JSON,
            Encoding::Cbor => codec::CONTENT_TYPE,
        }
    }

    /// Its secrets are opened.
    pub async fn request(&self, worker: &Worker) -> Result<Question, ApiError> {
        let endpoint = &self.endpoint;
        let mut body = body::parse(self.encoding, &self.bytes).map_err(|bad| fail(400, bad))?;
        let plain = sealed::open(&worker.store.keys, endpoint, &mut body).await?;
        if !plain.is_empty() {
            let fields = plain.join(", ");
            if !worker.policy.accept_plain_secrets {
                return Err(fail(
                    400,
                    format!(
                        "{fields} came in the clear, which policy.accept_plain_secrets forbids: `ironbeat` seals secrets, and docs/api.md says how"
                    ),
                ));
            }
            if let Some(untold) = worker.plain.told(Instant::now()) {
                tracing::warn!(endpoint, fields, untold, "secrets came in the clear");
            }
        }
        let read = Request::read(endpoint, &Parsed(Cell::new(Some(body))));
        let request = read.ok_or_else(|| fail(404, format!("no endpoint {endpoint}")))?;
        Ok(Question {
            request: request.map_err(|bad| fail(400, bad))?,
            plain,
        })
    }

    /// Answers it in this worker.
    pub async fn answer(
        &self,
        worker: &Arc<Worker>,
        power: &PowerSync,
        question: Question,
    ) -> Result<Body, ApiError> {
        let Question { request, plain } = question;
        // What this worker remembers of them is no answer, and nothing is to be written beside it.
        let needs_records = !matches!(request, Request::ListWorkers(_) | Request::ShowPolicy(_));
        if let (true, Some(why)) = (needs_records, worker.view.lost()) {
            return Err(fail(503, why));
        }
        let mut reply = answer(worker, power, request, self.asker.as_ref()).await?;
        if let Some(shown) = shown(&mut reply) {
            let warnings = plain.iter().map(|field| {
                format!("{field} came in the clear: whoever can listen on NATS has seen it")
            });
            shown.warnings.extend(warnings);
        }
        match (reply, self.encoding) {
            (Reply::ConsoleHistory(bytes), _) => Ok((bytes.into(), "application/octet-stream")),
            (reply, Encoding::Cbor) => Ok((codec::encode(&reply).into(), codec::CONTENT_TYPE)),
            (reply, Encoding::Json) => {
                let body = serde_json::to_vec(&reply).map_err(|error| fail(500, error))?;
                Ok((body.into(), JSON))
            }
        }
    }
}

/// A request, and which of its secrets came in the clear.
pub(super) struct Question {
    pub request: Request,
    plain: Vec<&'static str>,
}

/// A reply with a place for warnings, of a request that may have secrets.
fn shown(reply: &mut Reply) -> Option<&mut Shown> {
    if let Reply::Enroll(shown)
    | Reply::SetNode(shown)
    | Reply::Deploy(shown)
    | Reply::Rebuild(shown)
    | Reply::Adopt(shown) = reply
    {
        return Some(shown);
    }
    None
}

/// Of a name that somebody gives himself.
const MAX_NAME: usize = 64;
/// Characters of a public key of nkeys.
const KEY: usize = 56;

/// The login is the one that hears the answer: servers let nobody else listen in its inbox. The name is the asker's own word.
fn asker(message: &Message) -> Option<Asker> {
    let headers = message.headers.as_ref();
    let name = headers.and_then(|headers| headers.get(ASKER));
    let name = name.map(|name| said(name.as_str(), MAX_NAME));
    let inbox = message.reply.as_ref().map(|reply| reply.as_str());
    let inbox = inbox.and_then(|inbox| inbox.strip_prefix(INBOXES)?.split('.').next());
    let login = inbox.filter(|key| key.len() == KEY && key.starts_with('U'));
    let login = login.map(|key| said(key, KEY));
    (name.is_some() || login.is_some()).then_some(Asker { login, name })
}

/// Read once.
pub(super) struct Parsed(pub(super) Cell<Option<Value>>);

impl Decode for Parsed {
    type Error = BadBody;
    fn decode<T: DeserializeOwned>(&self) -> Result<T, BadBody> {
        body::fit(self.0.take().expect("a body is read once"))
    }
}

/// As the header says; without one, by the first byte: JSON documents begin with a bracket, a quote or white space.
fn encoding(message: &Message) -> Encoding {
    let headers = message.headers.as_ref();
    let header = headers.and_then(|headers| headers.get("Content-Type"));
    match header.map(|value| value.as_str()) {
        Some(codec::CONTENT_TYPE) => Encoding::Cbor,
        Some(JSON) => Encoding::Json,
        Some(_) | None => match message.payload.first() {
            None | Some(b'{' | b'[' | b'"' | b' ' | b'\n' | b'\r' | b'\t') => Encoding::Json,
            Some(_) => Encoding::Cbor,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_nats::HeaderMap;

    #[test]
    fn who_asks_is_the_login_that_hears_the_answer_and_a_name_of_its_own_choice() {
        let key = format!("U{}", "A".repeat(KEY - 1));
        let check = |reply: Option<String>, name: Option<&str>, expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(name) = name {
                headers.insert(ASKER, name);
            }
            let message = Message {
                subject: "ib.v1.api.node.deploy".into(),
                reply: reply.map(Into::into),
                payload: Bytes::new(),
                headers: Some(headers),
                status: None,
                description: None,
                length: 0,
            };
            let said = asker(&message).map(|asker| asker.to_string());
            assert_eq!(said.as_deref(), expected);
        };
        let inbox = Some(format!("_INBOX.{key}.7.8"));
        check(inbox.clone(), None, Some(&key));
        check(inbox.clone(), Some("anna"), Some(&format!("anna ({key})")));
        check(Some("_INBOX.boot.x".into()), None, None);
        check(Some(format!("elsewhere.{key}.7")), None, None);
        check(None, Some("anna"), Some("anna"));
        // What a terminal would obey, and what is too long.
        check(None, Some("a\u{1b}[2J"), Some("a\u{fffd}[2J"));
        let long = "n".repeat(MAX_NAME + 1);
        check(None, Some(&long), Some(&long[..MAX_NAME]));
    }
}
