//! Whom a request takes us for. A page of somebody else's in a browser that reaches us must not read boot scripts, by a name of its own
//! that it lets point here (DNS rebinding): such a name is none of ours.
use super::{BootAnswers, Why};
use axum::extract::{Extension, Request, State};
use axum::http::uri::Authority;
use axum::http::{StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;
use std::sync::Arc;

/// RFC 9110, 15.5.20.
const REFUSED: &str =
    "this name is no worker's: ask by address or by a name of http.url, or say it in http.names";

pub(super) async fn check(
    State(answers): State<Arc<BootAnswers>>,
    request: Request,
    next: Next,
) -> Response {
    let named = match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => {
            let header = request.headers().get(header::HOST);
            header.map(|it| it.to_str().unwrap_or_default())
        }
    };
    // Firmware with HTTP/1.0 names nobody; a browser always does.
    let ours = named.is_none_or(|named| {
        host_of(named).is_some_and(|host| is_nobodys_page(&host) || is_worker(&host, &answers))
    });
    match ours {
        true => next.run(request).await,
        false => {
            let said = (StatusCode::MISDIRECTED_REQUEST, format!("{REFUSED}\n"));
            (Extension(Why(REFUSED)), said).into_response()
        }
    }
}

/// In small letters, without its port and the dot behind it.
fn host_of(authority: &str) -> Option<String> {
    let authority: Authority = authority.parse().ok()?;
    let host = authority.host().trim_end_matches('.');
    Some(host.to_ascii_lowercase())
}

/// An address, which nobody else can let point here, or a name without a dot, which nobody has in the Internet.
fn is_nobodys_page(host: &str) -> bool {
    let bare = host.trim_matches(['[', ']']);
    bare.parse::<IpAddr>().is_ok() || !host.contains('.')
}

fn is_worker(host: &str, answers: &BootAnswers) -> bool {
    let workers = (answers.workers)();
    let mut urls = workers.plain.iter().chain(&workers.boot);
    let named = answers
        .names
        .iter()
        .any(|name| name.eq_ignore_ascii_case(host));
    named
        || urls.any(|url| {
            let uri: Option<Uri> = url.parse().ok();
            let authority = uri.as_ref().and_then(Uri::authority);
            authority.and_then(|it| host_of(it.as_str())).as_deref() == Some(host)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_read_whatever_stands_around_it() {
        for (authority, host) in [
            ("w1.lab", Some("w1.lab")),
            ("W1.Lab.:8081", Some("w1.lab")),
            ("[fd00::1]:81", Some("[fd00::1]")),
            ("10.0.0.1:81", Some("10.0.0.1")),
            ("", None),
            ("a b", None),
        ] {
            assert_eq!(host_of(authority).as_deref(), host, "{authority:?}");
        }
    }

    #[test]
    fn only_a_name_with_a_dot_can_be_somebody_elses() {
        for (host, nobodys) in [
            ("10.0.0.1", true),
            ("[fd00::1]", true),
            ("localhost", true),
            ("w1", true),
            ("w1.lab", false),
            ("10.0.0.1.evil.example", false),
        ] {
            assert_eq!(is_nobodys_page(host), nobodys, "{host}");
        }
    }
}
