//! Images that are not everybody's: who asks for one shows a token.
//! `secrets` has the tokens; whether what one is for still goes on is the caller's to say.
use super::MayFetch;
use super::serve::busy;
use crate::netboot::mirrors::QUERY;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// A request for a file of the image directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// As the path has it: names of images need no percent signs.
    pub file: String,
    pub token: String,
    /// It is about the file, and gets at most a byte of it.
    pub is_look: bool,
}

/// A worker that is refused HEAD asks for the first byte, as some servers sign one method alone.
const FIRST_BYTE: &str = "bytes=0-0";

pub(super) async fn ask(
    State(may): State<Arc<MayFetch>>,
    request: Request,
    next: Next,
) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let token = query
        .split('&')
        .find_map(|pair| pair.strip_prefix(QUERY)?.strip_prefix('='));
    let range = request.headers().get(header::RANGE);
    let first_byte = range.is_some_and(|range| range.as_bytes() == FIRST_BYTE.as_bytes());
    let wish = token.map(|token| Wish {
        file: request.uri().path().trim_start_matches('/').into(),
        token: token.into(),
        is_look: *request.method() == Method::HEAD || first_byte,
    });
    let allowed = match wish {
        Some(wish) => may(wish).await,
        None => Some(false),
    };
    match allowed {
        Some(true) => next.run(request).await,
        Some(false) => {
            let why = "images are sent to nodes that are to write them now, and with the URL that those are given\n";
            (StatusCode::FORBIDDEN, why).into_response()
        }
        None => busy("whether this may be sent cannot be looked up at the moment\n"),
    }
}
