//! Places for those who fetch files, so that images never take what scripts and kernels need.
//! The router says which files are which; `serve` bounds connections.
use super::serve::busy;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::StreamExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many at a time; whoever comes later waits in line for this long, if the line is not too long, and is then told to come back.
#[derive(Clone)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    line: Arc<Semaphore>,
    patience: Duration,
}

impl Places {
    pub(super) fn new(places: usize, line: usize, patience: Duration) -> Self {
        let [free, line] =
            [places, line].map(|n| Arc::new(Semaphore::new(n.min(Semaphore::MAX_PERMITS))));
        Self {
            free,
            line,
            patience,
        }
    }

    pub(super) async fn take(&self) -> Option<OwnedSemaphorePermit> {
        let free = Arc::clone(&self.free);
        if let Ok(place) = Arc::clone(&free).try_acquire_owned() {
            return Some(place);
        }
        let _in_line = self.line.try_acquire().ok()?;
        let place = tokio::time::timeout(self.patience, free.acquire_owned());
        place.await.ok()?.ok()
    }
}

/// Lets a request have its file if there is a place, which it keeps until the last byte is sent or the connection ends.
pub(super) async fn admit(State(places): State<Places>, request: Request, next: Next) -> Response {
    // A question about a file is over at once.
    if request.method() != Method::GET {
        return next.run(request).await;
    }
    let Some(place) = places.take().await else {
        return busy("all places are taken\n");
    };
    let response = next.run(request).await;
    if !response.status().is_success() {
        return response;
    }
    response.map(|body| {
        let pieces = body.into_data_stream().map(move |piece| {
            let _held = &place;
            piece
        });
        Body::from_stream(pieces)
    })
}
