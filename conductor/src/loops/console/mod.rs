//! Serial consoles over NATS: the worker that owns a node holds its one SOL session, any number of people share it.
//! `session` serves one node, `gate` bounds what is asked, `record` keeps the output, `ironbeat_ops::console` has subjects and headers.
mod gate;
pub mod record;
mod session;

use crate::records::presence::Liveness;
use crate::worker::Worker;
use async_nats::{HeaderMap, Message, Subject};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{SelectAll, select_all};
use gate::{Gate, Place};
use ironbeat_common::id::NodeId;
use ironbeat_core::id::WorkerId;
use ironbeat_core::node::Rest;
use ironbeat_ops::console::{Attach, MAX_INPUT_BYTES, Part, read_subject, subject_of_all};
use session::{Input, Need, Session, Watcher, one_line};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// Consoles that one worker serves at once: each is a session with a BMC and 64 KiB.
const MAX_SESSIONS: usize = 2048;
/// A watcher's first answer waits this long for the BMC.
const SETTLE: Duration = Duration::from_secs(8);
/// How often to look for consoles that should be recorded and are not.
const RECORD_LOOK: Duration = Duration::from_secs(5);
/// At shutdown, the time to tell BMCs that their console is free.
const CLOSE_TIME: Duration = Duration::from_secs(5);
/// Longest name of a watcher, and of who asks: a public key has 56 characters.
const MAX_NAME: usize = 64;
/// Of a request to watch; they have some 100.
const MAX_ATTACH_BYTES: usize = 1024;

/// A handle: clones share the consoles.
#[derive(Clone)]
pub struct Consoles {
    worker: Arc<Worker>,
    sessions: Arc<Mutex<HashMap<NodeId, Session>>>,
    gate: Arc<Gate>,
    tasks: TaskTracker,
}

impl Consoles {
    pub fn new(worker: &Arc<Worker>) -> Self {
        Self {
            worker: Arc::clone(worker),
            sessions: Arc::default(),
            gate: Arc::new(Gate::new()),
            tasks: TaskTracker::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, Session>> {
        lock(&self.sessions)
    }

    fn get(&self, node: &NodeId) -> Option<Session> {
        self.lock().get(node).cloned()
    }

    /// Ends all sessions, so that the BMCs' consoles are free.
    pub async fn close(&self) {
        self.lock().values().for_each(Session::stop);
        self.tasks.close();
        let _ = tokio::time::timeout(CLOSE_TIME, self.tasks.wait()).await;
    }
}

fn lock(sessions: &Mutex<HashMap<NodeId, Session>>) -> MutexGuard<'_, HashMap<NodeId, Session>> {
    // The map is whole between any two statements, so a panic elsewhere cannot have torn it.
    sessions.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A session for this node, begun if there is none.
fn open(consoles: &Consoles, node: NodeId, need: Need<'_>) -> Result<Session, &'static str> {
    let mut sessions = consoles.lock();
    if let Some(session) = sessions.get(&node) {
        session.needed(need)?;
        return Ok(session.clone());
    }
    if sessions.len() >= MAX_SESSIONS {
        return Err("this worker serves too many consoles");
    }
    let ended = Arc::clone(&consoles.sessions);
    let on_end = move || {
        lock(&ended).remove(&node);
    };
    let session = Session::start(&consoles.worker, &consoles.tasks, node, need, on_end);
    sessions.insert(node, session.clone());
    Ok(session)
}

/// Opens the record, then serves until the worker stops.
///
/// # Errors
/// When subjects cannot be subscribed or the record cannot be opened.
pub async fn start(
    consoles: &Consoles,
    record_mib: Option<u32>,
) -> anyhow::Result<impl Future<Output = ()> + Send + use<>> {
    let worker = &consoles.worker;
    record::open(&worker.store, record_mib).await?;
    let mut parts = Vec::new();
    for part in Part::TO_WORKER {
        // No queue group: all hear it, and the node's owner answers.
        let messages = worker
            .front
            .subscribe(subject_of_all(&worker.prefix, part))
            .await?;
        parts.push(messages.map(move |message| (part, message)).boxed());
    }
    let messages = select_all(parts);
    Ok(serve(consoles.clone(), messages, record_mib.is_some()))
}

async fn serve(
    consoles: Consoles,
    mut messages: SelectAll<futures_util::stream::BoxStream<'static, (Part, Message)>>,
    records: bool,
) {
    let mut look = tokio::time::interval(RECORD_LOOK);
    loop {
        tokio::select! {
            message = messages.next() => match message {
                Some((part, message)) => heard(&consoles, part, message),
                None => return,
            },
            _ = look.tick(), if records => record_all(&consoles),
        }
    }
}

/// Every node that this worker owns and that was verified.
fn record_all(consoles: &Consoles) {
    let worker = &consoles.worker;
    let owners = worker.presence.owners();
    let mine = worker.view.pick(|node| {
        let verified = node.rest != Some(Rest::Enroll);
        (verified && owners.is_mine(node.id)).then_some(node.id)
    });
    for node in mine {
        if let Err(why) = open(consoles, node, Need::Record) {
            tracing::warn!(%node, "record the serial console: {why}");
            return;
        }
    }
}

fn heard(consoles: &Consoles, part: Part, message: Message) {
    let Some((node, asker)) = read_subject(&message.subject, part) else {
        return;
    };
    match part {
        Part::Attach | Part::Take if consoles.worker.presence.owns(node) => {
            attach(consoles, node, part, asker, &message);
        }
        Part::Attach | Part::Take | Part::Out => {}
        Part::In if message.payload.len() <= MAX_INPUT_BYTES => {
            if let Some(session) = consoles.get(&node) {
                session.input(Input::Bytes(message.payload));
            }
        }
        Part::In => {}
        Part::Break => {
            if let Some(session) = consoles.get(&node) {
                session.input(Input::Break);
            }
        }
        Part::Detach => {
            let name = std::str::from_utf8(&message.payload);
            if let (Some(session), Ok(name)) = (consoles.get(&node), name) {
                session.leave(&Watcher::of(asker, name));
            }
        }
    }
}

/// Why a request to watch is refused: a code, and words.
type Refused = (&'static str, String);

/// Begins to answer, with what is needed of the message alone.
fn attach(consoles: &Consoles, node: NodeId, part: Part, asker: &str, message: &Message) {
    let worker = &consoles.worker;
    let Some(reply) = worker.answer_to(message).cloned() else {
        return;
    };
    let attach = read_attach(asker, &message.payload);
    // Names that are too long take no room at the gate.
    let asker: String = asker.chars().take(MAX_NAME).collect();
    let Some(place) = consoles.gate.admit(&asker) else {
        return;
    };
    let consoles = consoles.clone();
    worker.spawn(async move {
        let watching = match attach {
            Ok(attach) => take_in(&consoles, node, part, &asker, attach, &place).await,
            Err(refused) => Err(refused),
        };
        answer(&consoles, node, reply, watching).await;
        drop(place);
    });
}

fn read_attach(asker: &str, body: &[u8]) -> Result<Attach, Refused> {
    if body.len() > MAX_ATTACH_BYTES {
        let why = format!("a request to watch has at most {MAX_ATTACH_BYTES} bytes");
        return Err(("400", why));
    }
    let attach: Attach =
        serde_json::from_slice(body).map_err(|error| ("400", error.to_string()))?;
    let watcher = &attach.watcher;
    if watcher.is_empty() || watcher.len() > MAX_NAME || asker.len() > MAX_NAME {
        let why = format!("a watcher's name, and who asks, have 1 to {MAX_NAME} bytes");
        return Err(("400", why));
    }
    Ok(attach)
}

async fn answer(
    consoles: &Consoles,
    node: NodeId,
    reply: Subject,
    watching: Result<Session, Refused>,
) {
    let Consoles { worker, gate, .. } = consoles;
    let sent = match watching {
        Ok(session) => {
            let _on_its_way = gate.backlog().await;
            let (headers, body) = session.screen(worker);
            let sent = worker
                .front
                .publish_with_headers(reply, headers, body)
                .await;
            // The client has it now, and the server after this.
            let _ = worker.front.flush().await;
            sent
        }
        Err((code, why)) => {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Service-Error", one_line(&why));
            headers.insert("Nats-Service-Error-Code", code);
            let front = &worker.front;
            front
                .publish_with_headers(reply, headers, Bytes::new())
                .await
        }
    };
    if let Err(error) = sent
        && let Some(untold) = worker.unanswered.told(Instant::now())
    {
        tracing::warn!(%node, untold, "answer a watcher: {error}");
    }
}

async fn take_in(
    consoles: &Consoles,
    node: NodeId,
    part: Part,
    asker: &str,
    attach: Attach,
    place: &Place,
) -> Result<Session, Refused> {
    let worker = &consoles.worker;
    if place.surplus {
        let why = "too many of your requests to watch consoles are under way: ask again";
        return Err(("503", why.into()));
    }
    if worker.view.get(&node).is_none() {
        return Err(("404", format!("there is no node {node}")));
    }
    let Attach { watcher, before } = attach;
    let takes = part == Part::Take && before.is_none_or(|before| is_dead(worker, &before));
    let watcher = Watcher::of(asker, &watcher);
    // The session found may be about to end, because its last watcher has left; the next one is new.
    for _ in 0..2 {
        let session = open(consoles, node, Need::Watcher(&watcher));
        let session = session.map_err(|why| ("503", why.to_owned()))?;
        if takes {
            session.take_over();
        }
        session.settled(SETTLE).await;
        let now = consoles.get(&node);
        if now.is_some_and(|now| now.name == session.name) {
            return Ok(session);
        }
    }
    Err(("503", "the console ended while it was attached".into()))
}

fn is_dead(worker: &Worker, before: &WorkerId) -> bool {
    *before != worker.id && worker.presence.is_live(before) == Liveness::Lapsed
}
