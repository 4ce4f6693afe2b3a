//! Places for those who fetch files, so that images never take what scripts and kernels need, and nobody what others need.
//! The router says which files are which; `serve` bounds connections.
use super::seats::Cut;
use super::serve::{Peer, busy, counted_by};
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::StreamExt;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// So many at a time. When all are taken, the address that has most of them gives one to whoever has at least two fewer; other
/// requests wait in line for a while, if the line is not too long, and are then told to come back.
#[derive(Clone)]
pub(super) struct Places {
    places: usize,
    line: usize,
    patience: Duration,
    taken: Arc<Mutex<Taken>>,
}

/// By number; whoever came last has the highest.
#[derive(Default)]
struct Taken {
    next: u64,
    places: BTreeMap<u64, Holder>,
    line: BTreeMap<u64, (Holder, oneshot::Sender<()>)>,
}

/// Who has a place, or waits for one.
struct Holder {
    of: IpAddr,
    cut: Cut,
}

/// A place, or one in the line, until it is dropped.
pub(super) struct Place {
    number: u64,
    taken: Arc<Mutex<Taken>>,
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    // It is whole between any two statements, so a panic elsewhere cannot have torn it.
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Places {
    pub(super) fn new(places: usize, line: usize, patience: Duration) -> Self {
        Self {
            places,
            line,
            patience,
            taken: Arc::default(),
        }
    }

    /// `of`: what the connection is counted by, which `cut` ends.
    pub(super) async fn take(&self, of: IpAddr, cut: Cut) -> Option<Place> {
        let (place, turn) = self.ask(Holder { of, cut })?;
        let Some(turn) = turn else {
            return Some(place);
        };
        // A place that is dropped here leaves the line.
        let turn = tokio::time::timeout(self.patience, turn).await;
        turn.is_ok_and(|turn| turn.is_ok()).then_some(place)
    }

    /// A place, and whether it has to be waited for. None: the line is too long.
    fn ask(&self, holder: Holder) -> Option<(Place, Option<oneshot::Receiver<()>>)> {
        let mut taken = lock(&self.taken);
        let number = taken.next;
        let free = taken.places.len() < self.places || taken.give_way(holder.of);
        let turn = match free {
            true => {
                taken.places.insert(number, holder);
                None
            }
            false if taken.line.len() < self.line => {
                let (tell, turn) = oneshot::channel();
                taken.line.insert(number, (holder, tell));
                Some(turn)
            }
            false => return None,
        };
        taken.next += 1;
        let taken = Arc::clone(&self.taken);
        Some((Place { number, taken }, turn))
    }
}

impl Taken {
    /// Places of each address that has any.
    fn counts(&self) -> BTreeMap<IpAddr, usize> {
        let mut counts = BTreeMap::new();
        for holder in self.places.values() {
            *counts.entry(holder.of).or_default() += 1;
        }
        counts
    }

    /// Ends the last connection of the address that has most places, if it has more even then than `of` has now.
    fn give_way(&mut self, of: IpAddr) -> bool {
        let counts = self.counts();
        let count = |of: IpAddr| counts.get(&of).copied().unwrap_or_default();
        let places = self.places.iter();
        let last = places.max_by_key(|(number, holder)| (count(holder.of), **number));
        let last = last.filter(|(_, holder)| count(holder.of) > count(of) + 1);
        let Some(number) = last.map(|(number, _)| *number) else {
            return false;
        };
        if let Some(holder) = self.places.remove(&number) {
            holder.cut.end();
        }
        true
    }

    /// A place is free: it is the turn of the address that has fewest; then of whoever has waited longest.
    fn next_turn(&mut self) {
        let counts = self.counts();
        let count = |of: IpAddr| counts.get(&of).copied().unwrap_or_default();
        let line = self.line.iter();
        let next = line.min_by_key(|(number, (holder, _))| (count(holder.of), **number));
        let next = next.map(|(number, _)| *number);
        if let Some(number) = next
            && let Some((holder, tell)) = self.line.remove(&number)
        {
            self.places.insert(number, holder);
            // Whoever does not wait any more is about to drop it.
            let _ = tell.send(());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.line.remove(&self.number);
        // Not if it had to give way.
        if taken.places.remove(&self.number).is_some() {
            taken.next_turn();
        }
    }
}

/// Lets a request have its file if there is a place, which it keeps until the last byte is sent or the connection ends.
pub(super) async fn admit(
    State(places): State<Places>,
    Extension(peer): Extension<Peer>,
    Extension(cut): Extension<Cut>,
    request: Request,
    next: Next,
) -> Response {
    // A question about a file is over at once.
    if request.method() != Method::GET {
        return next.run(request).await;
    }
    // It is opened here, and read when it has its place: what is not there takes nobody's.
    let response = next.run(request).await;
    if !response.status().is_success() {
        return response;
    }
    let of = counted_by(peer.address.ip());
    let Some(place) = places.take(of, cut).await else {
        return busy("all places are taken\n");
    };
    response.map(|body| {
        let pieces = body.into_data_stream().map(move |piece| {
            let _held = &place;
            piece
        });
        Body::from_stream(pieces)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn address(n: u8) -> IpAddr {
        [127, 0, 0, n].into()
    }

    /// Takes a place that there is, with what would end its connection.
    async fn taken(places: &Places, of: u8) -> (Place, Cut) {
        let cut = Cut::default();
        let place = places.take(address(of), cut.clone()).await;
        (place.expect("there is a place"), cut)
    }

    #[tokio::test(start_paused = true)]
    async fn the_line_for_a_place_has_an_end() {
        let places = Places::new(1, 1, PATIENCE);
        let (place, _) = taken(&places, 1).await;
        let take = |of| places.take(address(of), Cut::default());
        let mut next = Box::pin(take(2));
        assert!(futures_util::poll!(&mut next).is_pending());
        assert!(take(3).await.is_none(), "one waits already");
        drop(place);
        let place = next.await.expect("it is its turn");
        assert!(take(3).await.is_none(), "it has waited for long");
        drop(place);
        assert!(take(3).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_address_with_most_places_gives_its_last_to_whoever_has_fewer() {
        let places = Places::new(5, 1, PATIENCE);
        let mut held = vec![];
        for of in [1, 1, 1, 2, 2] {
            held.push(taken(&places, of).await);
        }
        let cut = |held: &[(Place, Cut)]| -> Vec<usize> {
            let cut = held.iter().enumerate().filter(|(_, it)| it.1.is_cut());
            cut.map(|(n, _)| n).collect()
        };
        held.push(taken(&places, 3).await);
        assert_eq!(cut(&held), [2]);
        held.push(taken(&places, 4).await);
        assert_eq!(cut(&held), [2, 4]);
        // Each has one now, but for the first with two.
        for of in [1, 2, 3] {
            assert!(places.take(address(of), Cut::default()).await.is_none());
        }
        held.push(taken(&places, 5).await);
        assert_eq!(cut(&held), [1, 2, 4]);
        assert!(
            places.take(address(6), Cut::default()).await.is_none(),
            "nobody has two"
        );
        // What had to give way is no place any more.
        held.retain(|it| !it.1.is_cut());
        assert!(places.take(address(6), Cut::default()).await.is_none());
        drop(held);
        let rest = lock(&places.taken);
        assert!(rest.places.is_empty() && rest.line.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_free_place_is_for_whoever_has_fewest_however_long_others_wait() {
        let places = Places::new(2, 2, PATIENCE);
        let (first, _) = taken(&places, 1).await;
        let (_second, _) = taken(&places, 2).await;
        let mut again = Box::pin(places.take(address(2), Cut::default()));
        assert!(futures_util::poll!(&mut again).is_pending());
        let mut third = Box::pin(places.take(address(3), Cut::default()));
        assert!(futures_util::poll!(&mut third).is_pending());
        drop(first);
        let third = third.await.expect("it is its turn");
        assert!(futures_util::poll!(&mut again).is_pending());
        drop(third);
        assert!(again.await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_goes_in_its_turn_leaves_it_to_the_next() {
        let places = Places::new(1, 2, PATIENCE);
        let (place, _) = taken(&places, 1).await;
        let mut gone = Box::pin(places.take(address(2), Cut::default()));
        assert!(futures_util::poll!(&mut gone).is_pending());
        let mut next = Box::pin(places.take(address(3), Cut::default()));
        assert!(futures_util::poll!(&mut next).is_pending());
        drop(place);
        drop(gone);
        assert!(next.await.is_some());
    }
}
