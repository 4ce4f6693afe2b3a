//! An operator's question as it travels: bytes to a request, and the reply back into the encoding of the question.
//! `answer` makes the reply; `owner` finds the worker that answers questions to a BMC.
use super::answer::answer;
use super::body::{self, BadBody, Encoding};
use super::refusal::{ApiError, fail};
use crate::loops::power::PowerSync;
use crate::worker::Worker;
use async_nats::Message;
use bytes::Bytes;
use ironbeat_common::codec;
use ironbeat_ops::{Decode, Reply, Request};
use serde::de::DeserializeOwned;
use std::sync::Arc;

pub(super) const JSON: &str = "application/json";

/// A body, and the `Content-Type` that says how to read it.
pub(super) type Body = (Bytes, &'static str);

pub(super) struct Asked {
    /// `noun.verb`.
    pub endpoint: String,
    encoding: Encoding,
    pub bytes: Bytes,
}

impl Asked {
    pub fn of(endpoint: String, message: &Message) -> Self {
        Self {
            endpoint,
            encoding: encoding(message),
            bytes: message.payload.clone(),
        }
    }

    pub fn content_type(&self) -> &'static str {
        match self.encoding {
            Encoding::Json => JSON,
            Encoding::Cbor => codec::CONTENT_TYPE,
        }
    }

    pub fn request(&self) -> Result<Request, ApiError> {
        let endpoint = &self.endpoint;
        let read = Request::read(endpoint, self);
        let request = read.ok_or_else(|| fail(404, format!("no endpoint {endpoint}")))?;
        request.map_err(|bad| fail(400, bad))
    }

    /// Answers it in this worker.
    pub async fn answer(
        &self,
        worker: &Arc<Worker>,
        power: &PowerSync,
        request: Request,
    ) -> Result<Body, ApiError> {
        // What this worker remembers of them is no answer, and nothing is to be written beside it.
        let needs_records = !matches!(request, Request::ListWorkers(_) | Request::ShowPolicy(_));
        if let (true, Some(why)) = (needs_records, worker.view.lost()) {
            return Err(fail(503, why));
        }
        match (answer(worker, power, request).await?, self.encoding) {
            (Reply::ConsoleHistory(bytes), _) => Ok((bytes.into(), "application/octet-stream")),
            (reply, Encoding::Cbor) => Ok((codec::encode(&reply).into(), codec::CONTENT_TYPE)),
            (reply, Encoding::Json) => {
                let body = serde_json::to_vec(&reply).map_err(|error| fail(500, error))?;
                Ok((body.into(), JSON))
            }
        }
    }
}

impl Decode for Asked {
    type Error = BadBody;
    fn decode<T: DeserializeOwned>(&self) -> Result<T, BadBody> {
        body::read(self.encoding, &self.bytes)
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
