//! One node's serial console: attached while somebody watches or it is recorded, attached again when it is lost.
//! `mod` decides who may have one; `ironbeat_ipmi` moves the bytes between BMC and us.
use crate::clock;
use crate::worker::Worker;
use async_nats::HeaderMap;
use bytes::Bytes;
use ironbeat_common::id::NodeId;
use ironbeat_ipmi::{Console, ErrorKind};
use ironbeat_ops::console::{LEASE_SECS, Part, header, subject};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Earlier output that a new watcher sees: some screens full.
const BACKLOG: usize = 64 * 1024;
/// Watchers of one console; more is a mistake.
const MAX_WATCHERS: usize = 32;
/// Watchers of one asker, so that nobody alone keeps others out.
const MAX_OF_ASKER: usize = 4;
/// Messages of input that wait for the machine; any more are dropped, as on a serial line without flow control.
const INPUTS: usize = 64;
/// Published at once.
const CHUNK: usize = 4096;
/// Before another try to attach: first this long, then doubled each time up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// For the machine to take what was typed.
const TYPE_TIME: Duration = Duration::from_secs(5);
/// How often to look for watchers and for the node's owner.
const LOOK: Duration = Duration::from_secs(1);

pub(super) enum Input {
    Bytes(Bytes),
    Break,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Opening,
    Attached,
    /// Not attached, and why.
    Trouble(String),
}

/// A name, of whoever chose it: nobody else renews or ends its lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Watcher {
    asker: String,
    name: String,
}

impl Watcher {
    pub fn of(asker: &str, name: &str) -> Self {
        let (asker, name) = (asker.into(), name.into());
        Self { asker, name }
    }
}

/// Those with a lease, and when they renewed it.
#[derive(Default)]
struct Watchers(HashMap<Watcher, Instant>);

impl Watchers {
    /// Renews a lease, or takes it out if there is a place.
    fn renew(&mut self, watcher: &Watcher, now: Instant) -> Result<(), &'static str> {
        let Self(all) = self;
        if !all.contains_key(watcher) {
            if all.len() >= MAX_WATCHERS {
                return Err("too many watchers of this console");
            }
            let of_asker = all.keys().filter(|it| it.asker == watcher.asker);
            if of_asker.count() >= MAX_OF_ASKER {
                return Err("you watch this console in too many places");
            }
        }
        all.insert(watcher.clone(), now);
        Ok(())
    }

    fn expire(&mut self, now: Instant) {
        let lease = Duration::from_secs(LEASE_SECS);
        self.0.retain(|_, renewed| now - *renewed < lease);
    }
}

/// Why a console is served.
#[derive(Clone, Copy)]
pub(super) enum Need<'a> {
    /// This watcher has, or renews, a lease.
    Watcher(&'a Watcher),
    Record,
}

/// The outside of a session. Cheap to clone.
#[derive(Clone)]
pub(super) struct Session {
    pub name: String,
    inputs: mpsc::Sender<Input>,
    shared: Arc<Shared>,
}

struct Shared {
    state: watch::Sender<State>,
    log: Mutex<Log>,
    watchers: Mutex<Watchers>,
    recorded: AtomicBool,
    /// The next attempt takes the console from whoever has it.
    take_over: AtomicBool,
    /// Ends the pause before the next attempt.
    hurry: Notify,
    stop: CancellationToken,
}

#[derive(Default)]
struct Log {
    /// Bytes so far.
    offset: u64,
    /// The last of them.
    backlog: VecDeque<u8>,
}

impl Log {
    /// Returns the offset before it.
    fn push(&mut self, bytes: &[u8]) -> u64 {
        let before = self.offset;
        self.offset += bytes.len() as u64;
        self.backlog.extend(bytes);
        let surplus = self.backlog.len().saturating_sub(BACKLOG);
        self.backlog.drain(..surplus);
        before
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each is whole between any two statements, so a panic elsewhere cannot have torn it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    /// Begins to serve a node; `ended` runs when nobody needs it any more.
    pub fn start(
        worker: &Arc<Worker>,
        tasks: &TaskTracker,
        node: NodeId,
        need: Need<'_>,
        ended: impl FnOnce() + Send + 'static,
    ) -> Self {
        let (inputs, waiting) = mpsc::channel(INPUTS);
        let session = Self {
            name: uuid::Uuid::new_v4().simple().to_string(),
            inputs,
            shared: Arc::new(Shared {
                state: watch::Sender::new(State::Opening),
                log: Mutex::default(),
                watchers: Mutex::default(),
                recorded: AtomicBool::new(false),
                take_over: AtomicBool::new(false),
                hurry: Notify::new(),
                stop: CancellationToken::new(),
            }),
        };
        // It is new, and has room for the first.
        let _ = session.needed(need);
        let serving = Serving {
            worker: Arc::clone(worker),
            node,
            name: session.name.clone(),
            shared: Arc::clone(&session.shared),
        };
        tasks.spawn(async move {
            serving.run(waiting).await;
            ended();
        });
        session
    }

    /// Why not: too many watchers.
    pub fn needed(&self, need: Need<'_>) -> Result<(), &'static str> {
        let watcher = match need {
            Need::Record => {
                self.shared.recorded.store(true, Ordering::Relaxed);
                return Ok(());
            }
            Need::Watcher(watcher) => watcher,
        };
        lock(&self.shared.watchers).renew(watcher, Instant::now())
    }

    pub fn leave(&self, watcher: &Watcher) {
        lock(&self.shared.watchers).0.remove(watcher);
    }

    /// Takes the console from whoever has it, unless it is ours already.
    pub fn take_over(&self) {
        if *self.shared.state.borrow() != State::Attached {
            self.shared.take_over.store(true, Ordering::Relaxed);
            self.shared.state.send_replace(State::Opening);
            self.shared.hurry.notify_one();
        }
    }

    pub fn input(&self, input: Input) {
        // Full: the machine takes no input.
        let _ = self.inputs.try_send(input);
    }

    pub fn stop(&self) {
        self.shared.stop.cancel();
    }

    /// Waits until the console is attached or refused, or until the time is over.
    pub async fn settled(&self, time: Duration) {
        let mut state = self.shared.state.subscribe();
        let settled = state.wait_for(|state| *state != State::Opening);
        let _ = tokio::time::timeout(time, settled).await;
    }

    /// The last output, with headers that say where it belongs.
    pub fn screen(&self, worker: &Worker) -> (HeaderMap, Bytes) {
        let log = lock(&self.shared.log);
        let mut headers = headers(&self.name, log.offset - log.backlog.len() as u64);
        headers.insert(header::WORKER, worker.id.as_str());
        let watchers = lock(&self.shared.watchers).0.len();
        headers.insert(header::WATCHERS, watchers.to_string());
        match &*self.shared.state.borrow() {
            State::Attached => {}
            State::Opening => headers.insert(header::TROUBLE, "it is being attached"),
            // A header is one line of visible characters.
            State::Trouble(why) => headers.insert(header::TROUBLE, one_line(why)),
        }
        let (front, back) = log.backlog.as_slices();
        (headers, [front, back].concat().into())
    }
}

fn headers(session: &str, offset: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::SESSION, session);
    headers.insert(header::OFFSET, offset.to_string());
    headers
}

pub(super) fn one_line(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(visible).take(1000).collect()
}

/// The inside of a session.
struct Serving {
    worker: Arc<Worker>,
    node: NodeId,
    name: String,
    shared: Arc<Shared>,
}

/// Why an attached console was lost.
enum End {
    /// Nobody needs it here.
    Done,
    Lost,
}

impl Serving {
    async fn run(self, mut inputs: mpsc::Receiver<Input>) {
        let mut pause = FIRST_PAUSE;
        let mut said = String::new();
        while self.is_needed() {
            let take_over = self.shared.take_over.swap(false, Ordering::Relaxed);
            let why = match self.attach(take_over).await {
                Ok(mut console) => {
                    self.shared.state.send_replace(State::Attached);
                    if !said.is_empty() {
                        self.say("the serial console is back").await;
                    }
                    (pause, said) = (FIRST_PAUSE, String::new());
                    let end = self.pump(&mut console, &mut inputs).await;
                    let result = console.close().await;
                    if let End::Done = end {
                        break;
                    }
                    match result {
                        // A console that we had is still ours, whatever the BMC thinks of it.
                        Err(error) => {
                            let ours = error.kind == ErrorKind::SessionLost;
                            self.shared.take_over.store(ours, Ordering::Relaxed);
                            error.to_string()
                        }
                        Ok(()) => "the BMC has ended it".into(),
                    }
                }
                Err(why) => why,
            };
            let trouble = State::Trouble(why.clone());
            self.shared.state.send_replace(trouble);
            if why != said {
                tracing::info!(node = %self.node, "serial console: {why}");
                self.say(&why).await;
                said = why;
            }
            tokio::select! {
                () = self.shared.stop.cancelled() => break,
                () = self.shared.hurry.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn attach(&self, take_over: bool) -> Result<Console, String> {
        let node = self.worker.view.get(&self.node);
        let node = node.ok_or("there is no such node")?;
        let login = self.worker.logins.of_entry(&node).await;
        let login = login.map_err(|error| error.to_string())?;
        let login = login.ok_or("there is no such node")?;
        let lease = self.worker.bmcs.handle(&login).await;
        let lease = lease.map_err(|fault| fault.what)?;
        let console = lease.bmc.console(take_over).await;
        console.map_err(|error| error.to_string())
    }

    async fn pump(&self, console: &mut Console, inputs: &mut mpsc::Receiver<Input>) -> End {
        let mut buffer = vec![0; CHUNK];
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                () = self.shared.stop.cancelled() => return End::Done,
                _ = look.tick() => if !self.is_needed() {
                    return End::Done;
                },
                read = console.read(&mut buffer) => match read {
                    Ok(0) | Err(_) => return End::Lost,
                    Ok(count) => self.publish(&buffer[..count]).await,
                },
                input = inputs.recv() => match input {
                    Some(Input::Bytes(bytes)) => {
                        let typed = console.write_all(&bytes);
                        match tokio::time::timeout(TYPE_TIME, typed).await {
                            Ok(Ok(())) => {}
                            Ok(Err(_)) => return End::Lost,
                            Err(_) => tracing::debug!(node = %self.node, "the machine takes no input"),
                        }
                    }
                    Some(Input::Break) => if console.send_break().await.is_err() {
                        return End::Lost;
                    },
                    None => return End::Done,
                },
            }
        }
    }

    /// Whether anybody wants this node's console, and this worker is the one to serve it.
    fn is_needed(&self) -> bool {
        let mut watchers = lock(&self.shared.watchers);
        watchers.expire(Instant::now());
        let wanted = !watchers.0.is_empty() || self.shared.recorded.load(Ordering::Relaxed);
        wanted
            && !self.shared.stop.is_cancelled()
            && self.worker.presence.owns(self.node)
            && self.worker.view.get(&self.node).is_some()
    }

    async fn publish(&self, bytes: &[u8]) {
        let before = lock(&self.shared.log).push(bytes);
        let subject = subject(&self.worker.prefix, &self.node, Part::Out);
        let headers = headers(&self.name, before);
        let body = Bytes::copy_from_slice(bytes);
        let sent = self
            .worker
            .client
            .publish_with_headers(subject, headers, body);
        if let Err(error) = sent.await {
            tracing::warn!(node = %self.node, "console output: {error}");
        }
    }

    /// A line of our own among the machine's.
    async fn say(&self, what: &str) {
        let line = format!("\r\n[ironbeat {}: {}]\r\n", clock::now(), one_line(what));
        self.publish(line.as_bytes()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watcher_is_its_askers_and_nobody_takes_all_places() {
        let (mut watchers, now) = (Watchers::default(), Instant::now());
        let mut renew =
            |asker: &str, name: &str, now| watchers.renew(&Watcher::of(asker, name), now);
        renew("ann", "one", now).unwrap();
        for n in 0..MAX_OF_ASKER {
            renew("eve", &n.to_string(), now).unwrap();
        }
        // Another one of the same name is another one.
        for name in ["4", "one"] {
            let why = renew("eve", name, now).unwrap_err();
            assert!(why.contains("in too many places"), "{why}");
        }
        renew("ann", "two", now).unwrap();
        let later = now + Duration::from_secs(LEASE_SECS);
        renew("ann", "one", later).unwrap();
        watchers.0.remove(&Watcher::of("eve", "one"));
        watchers.expire(later);
        let left: Vec<_> = watchers.0.keys().collect();
        assert_eq!(left, [&Watcher::of("ann", "one")]);
        for n in watchers.0.len()..MAX_WATCHERS {
            watchers
                .renew(&Watcher::of(&n.to_string(), "x"), later)
                .unwrap();
        }
        let why = watchers
            .renew(&Watcher::of("last", "x"), later)
            .unwrap_err();
        assert!(why.contains("too many watchers"), "{why}");
    }

    #[test]
    fn the_backlog_keeps_the_last_bytes_and_offsets_count_all() {
        let mut log = Log::default();
        assert_eq!(log.push(b"abc"), 0);
        assert_eq!(log.push(&vec![b'x'; BACKLOG]), 3);
        assert_eq!(log.push(b"end"), 3 + BACKLOG as u64);
        assert_eq!(log.backlog.len(), BACKLOG);
        assert!(log.backlog.iter().copied().rev().take(4).eq(*b"dnex"));
    }
}
