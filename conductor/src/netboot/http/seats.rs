//! Who gives way when every connection is taken: whoever has been without a whole request for longest.
//! `serve` accepts connections; what is being answered has places of its kind (`admit`), and gives way there.
use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, SizeHint};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// cloud-init posts a form with the instance's id; with its host keys, as it does unless told, it has some 3 KB.
pub(super) const MAX_BODY_BYTES: usize = 16 * 1024;

/// A machine sends its request as soon as it is connected, so it does not wait here for longer than a round trip.
#[derive(Clone, Default)]
pub(super) struct Seats(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    next: u64,
    /// Those who have waited longest come first.
    cuts: BTreeMap<u64, Cut>,
}

/// Ends a connection.
#[derive(Clone, Default)]
pub(super) struct Cut(CancellationToken);

impl Cut {
    pub(super) fn end(&self) {
        self.0.cancel();
    }

    #[cfg(test)]
    pub(super) fn is_cut(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// One connection's. It waits for a request from the beginning, and again after each answer.
pub(super) struct Seat {
    all: Seats,
    cut: Cut,
    /// None while a request is answered.
    since: Mutex<Option<u64>>,
    /// For the rest of a request whose head is there.
    patience: Duration,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each is whole between any two statements, so a panic elsewhere cannot have torn it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seats {
    pub(super) fn take(&self, patience: Duration) -> Arc<Seat> {
        let seat = Seat {
            all: self.clone(),
            cut: Cut::default(),
            since: Mutex::new(None),
            patience,
        };
        seat.wait();
        Arc::new(seat)
    }

    /// Ends the connection that has waited longest, if any waits.
    pub(super) fn give_way(&self) {
        if let Some((_, cut)) = lock(&self.0).cuts.pop_first() {
            cut.end();
        }
    }
}

impl Seat {
    /// Ends when the connection has to give way.
    pub(super) async fn given_away(&self) {
        self.cut.0.cancelled().await;
    }

    fn wait(&self) {
        // One lock at a time.
        let at = {
            let mut waiting = lock(&self.all.0);
            let at = waiting.next;
            waiting.next += 1;
            waiting.cuts.insert(at, self.cut.clone());
            at
        };
        *lock(&self.since) = Some(at);
    }

    fn go_on(&self) {
        let since = lock(&self.since).take();
        if let Some(at) = since {
            lock(&self.all.0).cuts.remove(&at);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.go_on();
    }
}

/// An answer under way; when it is over, its connection waits again.
struct Answer(Arc<Seat>);

impl Answer {
    fn begin(seat: Arc<Seat>) -> Self {
        seat.go_on();
        Self(seat)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.0.wait();
    }
}

/// The body of an answer.
struct Answered {
    body: Body,
    _answer: Answer,
}

impl HttpBody for Answered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Answers a request when all of it is there.
pub(super) async fn whole(State(seat): State<Arc<Seat>>, request: Request, next: Next) -> Response {
    let (mut head, body) = request.into_parts();
    // For whoever finds later that this one has to give way.
    head.extensions.insert(seat.cut.clone());
    let body = match tokio::time::timeout(seat.patience, to_bytes(body, MAX_BODY_BYTES)).await {
        Ok(Ok(body)) => Body::from(body),
        Ok(Err(_)) => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    let answer = Answer::begin(seat);
    let response = next.run(Request::from_parts(head, body)).await;
    response.map(|body| {
        Body::new(Answered {
            body,
            _answer: answer,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_waited_longest_for_a_request_gives_way() {
        let seats = Seats::default();
        let take = || seats.take(Duration::ZERO);
        let (first, second, third) = (take(), take(), take());
        let is_cut = |seat: &Arc<Seat>| seat.cut.is_cut();
        let answer = Answer::begin(Arc::clone(&first));
        seats.give_way();
        assert!(!is_cut(&first) && is_cut(&second) && !is_cut(&third));
        drop(answer);
        seats.give_way();
        assert!(
            !is_cut(&first) && is_cut(&third),
            "it has just been answered"
        );
        let _answer = Answer::begin(Arc::clone(&first));
        seats.give_way();
        assert!(!is_cut(&first), "nobody waits");
        drop((second, third));
        assert!(lock(&seats.0).cuts.is_empty());
    }
}
