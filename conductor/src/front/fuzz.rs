//! Entrances to what the front reads, for `ironbeat-fuzz`. Nothing that ships calls them.
//! Each says whether the bytes were understood; what must hold for whatever was understood is asserted here.
use super::body::{self, Encoding};
use super::image::{redirected, size};
use super::operator::Parsed;
use hyper::Uri;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, HeaderValue};
use ironbeat_core::index::Filter;
use ironbeat_ops::request::{ENDPOINTS, Request};
use std::cell::Cell;

/// A request of an operator: which endpoint, how it is encoded (0: JSON), and the body.
pub fn request(bytes: &[u8]) -> bool {
    let [endpoint, encoding, body @ ..] = bytes else {
        return false;
    };
    let encoding = match encoding {
        0 => Encoding::Json,
        _ => Encoding::Cbor,
    };
    let endpoint = ENDPOINTS[usize::from(*endpoint) % ENDPOINTS.len()].name;
    let read = body::parse(encoding, body)
        .map(|body| Request::read(endpoint, &Parsed(Cell::new(Some(body)))));
    match read {
        Ok(Some(Ok(request))) => {
            drop(format!("{request:?}"));
            if let Request::ListNodes(ask) = &request {
                let filter = Filter::parse(ask.conditions.iter().map(String::as_str));
                drop(filter.map_err(|bad| bad.to_string()));
            }
            true
        }
        Ok(Some(Err(error))) | Err(error) => {
            drop(error.to_string());
            false
        }
        Ok(None) => false,
    }
}

/// What an image server says: `Location`, `Content-Range` and `Content-Length`, a line each.
pub fn image_head(bytes: &[u8]) -> bool {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let mut headers = HeaderMap::new();
    let to = lines.next().and_then(|line| std::str::from_utf8(line).ok());
    for name in [CONTENT_RANGE, CONTENT_LENGTH] {
        let value = lines
            .next()
            .and_then(|line| HeaderValue::from_bytes(line).ok());
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
    let from = Uri::from_static("https://images.example:8443/os.raw?sig=1");
    let next = to.and_then(|to| redirected(&from, to));
    if let Some(next) = &next {
        assert_eq!(next.scheme_str(), Some("https"), "TLS is left for {next}");
    }
    size(&headers).is_some() && next.is_some()
}
