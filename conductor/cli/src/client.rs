//! One request to the conductor and its reply, over NATS.
//! The subcommands choose the question and print the answer.
use super::seal;
use crate::connect::{Connect, Connected, Link};
use anyhow::Context;
use async_nats::{HeaderMap, Subscriber};
use futures_util::{Stream, StreamExt};
use ironbeat_auth::refused::Refused;
use ironbeat_auth::sealing::{self, Unproven};
use ironbeat_common::codec;
use ironbeat_common::heartbeat::Status;
use ironbeat_common::id::NodeId;
use ironbeat_ops::happening::{ASKER, Event};
use ironbeat_ops::reply::{SealKey, Summary};
use ironbeat_ops::request::{ListNodes, ShowSealKey};
use ironbeat_ops::{ASK_ANOTHER, Question};
use nkeys::XKey;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A worker answers within milliseconds; a leader election of a NATS cluster takes up to 9 s.
const PATIENCE: Duration = Duration::from_secs(15);
/// A silent BMC is given up after some 40 s.
const BMC_PATIENCE: Duration = Duration::from_secs(60);
/// Each secret of the fleet is read and written once.
const ROTATION_PATIENCE: Duration = Duration::from_secs(900);
/// Workers asked before one that does nothing at present is believed that there is no other: of two, the idle one is
/// chosen so often in a row once in 65,000 times.
pub const ASKED: u32 = 16;
/// While an election is on, no worker does anything; it is over within this.
const IDLE_PATIENCE: Duration = Duration::from_secs(10);
const IDLE_PAUSE: Duration = Duration::from_millis(500);

pub struct Client {
    pub nats: async_nats::Client,
    pub prefix: String,
    pub json: bool,
    /// The key of the login, as subjects have it under which nobody else may publish; without logins, a name of this run.
    pub asker: String,
    refused: watch::Receiver<Vec<Refused>>,
    link: watch::Receiver<Link>,
    who: String,
    /// Whose word is taken for the workers' key.
    believed: Option<String>,
}

impl Client {
    /// # Errors
    /// When there is no login, or no server.
    pub async fn open(to: &Connect) -> anyhow::Result<Self> {
        let Connected {
            nats,
            refused,
            link,
            who,
            believed,
            asker,
        } = to.open().await?;
        Ok(Self {
            nats,
            prefix: to.prefix().into(),
            json: to.json,
            asker,
            refused,
            link,
            who,
            believed,
        })
    }

    /// Returns when the server has refused this; that it was sent says nothing.
    pub async fn refusal(&self, what: &Refused) -> anyhow::Error {
        let mut refused = self.refused.clone();
        // The sender lives as long as the connection.
        let heard = refused.wait_for(|all| all.contains(what)).await;
        if heard.is_err() {
            std::future::pending::<()>().await;
        }
        self.denied(what)
    }

    /// How the connection is, and each change of it.
    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    /// Returns when the servers do not take the login any more. Without this a request waits for a connection that never comes.
    pub async fn ended(&self) -> anyhow::Error {
        let mut link = self.link();
        let ended = link.wait_for(|link| *link == Link::Ended).await;
        if ended.is_err() {
            std::future::pending::<()>().await;
        }
        let who = &self.who;
        anyhow::anyhow!(
            "the NATS servers do not take your login ({who}) any more: it was revoked, or its time is over"
        )
    }

    fn denied(&self, what: &Refused) -> anyhow::Error {
        let who = &self.who;
        match what {
            Refused::Publish(subject) => {
                let api = ironbeat_ops::subject::api(&self.prefix, "");
                let verb = subject.strip_prefix(&api).unwrap_or(subject);
                anyhow::anyhow!("your login ({who}) may not call {verb}")
            }
            Refused::Hear(subject) => {
                anyhow::anyhow!("your login ({who}) may not listen on {subject}")
            }
        }
    }

    /// # Errors
    /// When the server has refused it until now.
    async fn heard(&self, subject: &str) -> anyhow::Result<()> {
        let flushed = self.nats.flush().await;
        flushed.with_context(|| format!("watch {subject}"))?;
        let hear = Refused::Hear(subject.into());
        match self.refused.borrow().contains(&hear) {
            true => Err(self.denied(&hear)),
            false => Ok(()),
        }
    }

    pub async fn ask<Q: Question>(&self, question: &Q) -> anyhow::Result<Q::Reply> {
        self.ask_as(question).await
    }

    /// All pages of `node.list`, by name: the nodes that fit all conditions.
    pub async fn nodes(&self, conditions: &[String]) -> anyhow::Result<Vec<Summary>> {
        let mut nodes = Vec::new();
        let mut ask = ListNodes {
            conditions: conditions.to_vec(),
            ..ListNodes::default()
        };
        loop {
            let page = self.ask(&ask).await?;
            nodes.extend(page.nodes);
            match page.next {
                Some(next) => ask.after = Some(next),
                None => break,
            }
        }
        nodes.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        Ok(nodes)
    }

    /// The reply read as `T`: a command that only prints it takes JSON of any version of worker.
    pub async fn ask_as<Q: Question, T: DeserializeOwned>(
        &self,
        question: &Q,
    ) -> anyhow::Result<T> {
        let reply = self.ask_raw(question).await?;
        serde_json::from_slice(&reply)
            .with_context(|| format!("understand the reply of {}", Q::ENDPOINT))
    }

    /// The reply as plain bytes.
    pub async fn ask_raw<Q: Question>(&self, question: &Q) -> anyhow::Result<bytes::Bytes> {
        let mut body = serde_json::to_value(question)?;
        if seal::has_secrets(Q::ENDPOINT, &body) {
            // For this request alone: nobody can tell two of them to be from the same person. Nobody has asked with its public
            // half before.
            let own = XKey::new();
            match self.seal_key(&own.public_key()).await? {
                Some(key) => seal::seal(Q::ENDPOINT, &mut body, &key, &own)?,
                None => eprintln!(
                    "ironbeat: the workers have no master key: secrets travel and are kept in the clear"
                ),
            }
        }
        self.send::<Q>(&body).await
    }

    /// To which key secrets are sealed, by the word of whoever signed our login.
    async fn seal_key(&self, nonce: &str) -> anyhow::Result<Option<String>> {
        let ask = json!({ "nonce": nonce });
        let asked = self.send::<ShowSealKey>(&ask).await?;
        let answered: SealKey =
            serde_json::from_slice(&asked).context("understand to which key secrets are sealed")?;
        if let Some(believed) = &self.believed {
            sealing::check(&answered, nonce, believed).map_err(not_sent)?;
        }
        Ok(answered.key)
    }

    async fn send<Q: Question>(&self, body: &Value) -> anyhow::Result<bytes::Bytes> {
        let subject = ironbeat_ops::subject::api(&self.prefix, Q::ENDPOINT);
        let mut headers = HeaderMap::new();
        headers.insert("Content-Type", "application/json");
        if self.believed.is_some() {
            let name = self
                .who
                .rsplit_once(", ")
                .map_or(&*self.who, |(name, _)| name);
            let plain = name.chars().filter(|c| !c.is_control());
            headers.insert(ASKER, plain.collect::<String>().as_str());
        }
        let body = bytes::Bytes::from(serde_json::to_vec(body)?);
        let patience = match Q::ENDPOINT {
            "power.sync" => BMC_PATIENCE,
            "secrets.rotate" => ROTATION_PATIENCE,
            bmc if bmc.starts_with("bmc.") => BMC_PATIENCE,
            _ => PATIENCE,
        };
        let mut asked = 1;
        let mut idle_since = None;
        loop {
            let request = async_nats::Request::new()
                .headers(headers.clone())
                .payload(body.clone())
                .timeout(Some(patience));
            let refused = Refused::Publish(subject.clone());
            let reply = tokio::select! {
                // Whoever ends their own login has the answer first.
                biased;
                reply = self.nats.send_request(subject.clone(), request) => reply,
                why = self.refusal(&refused) => return Err(why),
                why = self.ended() => return Err(why),
            };
            let reply = match reply {
                Ok(reply) => reply,
                Err(error) if error.kind() == async_nats::RequestErrorKind::NoResponders => {
                    return Err(Unanswered::Nobody(subject).into());
                }
                Err(source) => {
                    let endpoint = Q::ENDPOINT;
                    return Err(Unanswered::Silence { endpoint, source }.into());
                }
            };
            let header = |name| {
                let value = reply.headers.as_ref()?.get(name)?;
                Some(value.as_str())
            };
            let Some(why) = header("Nats-Service-Error") else {
                return Ok(reply.payload);
            };
            let code = header("Nats-Service-Error-Code").and_then(|code| code.parse().ok());
            if code != Some(ASK_ANOTHER) {
                let why = why.to_string();
                return Err(Refusal { code, why }.into());
            }
            // The server chooses the worker, by chance.
            asked += 1;
            if asked <= ASKED {
                continue;
            }
            let since = *idle_since.get_or_insert_with(|| {
                eprintln!(
                    "ironbeat: {}; asking again for {} s",
                    super::out::visible_line(why),
                    IDLE_PATIENCE.as_secs()
                );
                Instant::now()
            });
            if since.elapsed() >= IDLE_PATIENCE {
                return Err(Unanswered::Idle(why.into()).into());
            }
            tokio::time::sleep(IDLE_PAUSE).await;
        }
    }

    /// What the node's agent says of its step; none when it cannot be understood.
    pub async fn watch_agent(
        &self,
        node: &NodeId,
    ) -> anyhow::Result<impl Stream<Item = Option<Status>> + Unpin + use<>> {
        let subject = ironbeat_common::subject::agent(&self.prefix, node, "progress");
        let watch = self.nats.subscribe(subject.clone()).await;
        let watch = watch.with_context(|| format!("watch {subject}"))?;
        Ok(watch.map(|message| codec::decode(&message.payload).ok()))
    }

    /// Events as they happen; of one node only if its id is given (a name sees all).
    pub async fn watch_events(&self, node: Option<&str>) -> anyhow::Result<EventWatch> {
        let id = node.and_then(|node| node.parse::<NodeId>().ok());
        let token = id.map_or("*".to_string(), |id| id.to_string());
        let subject = format!("{}.event.{token}.>", self.prefix);
        let name = node.filter(|_| id.is_none()).map(Into::into);
        let live = self
            .nats
            .subscribe(subject.clone())
            .await
            .with_context(|| format!("watch {subject}"))?;
        self.heard(&subject).await?;
        Ok(EventWatch { live, name })
    }
}

fn not_sent(why: Unproven) -> anyhow::Error {
    let advice = match why {
        Unproven::NoProof => {
            "; for a site that was made before there was one, run `ironbeat auth worker sign` where its keys are, copy \
             worker/sealing.json to the workers' hosts and restart the workers"
        }
        Unproven::Stranger | Unproven::Forged => "",
    };
    anyhow::anyhow!("the secrets were not sent, for want of a key to seal them to: {why}{advice}")
}

/// A worker has refused, in its words.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct Refusal {
    code: Option<usize>,
    why: String,
}

impl Refusal {
    /// There is no such node.
    pub fn is_unknown(&self) -> bool {
        self.code == Some(404)
    }

    /// Not now, or not by this worker.
    pub fn is_conflict(&self) -> bool {
        self.code == Some(409)
    }
}

/// Nobody answered: whoever waits for something may ask again.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    #[error("no conductor worker listens on {0}: is one running on this NATS?")]
    Nobody(String),
    /// Every worker that was asked does nothing at present, in the words of the last one.
    #[error("{0}")]
    Idle(String),
    #[error(
        "{endpoint} has no answer. It may have been carried out: look (`ironbeat node show`) before you ask again"
    )]
    Silence {
        endpoint: &'static str,
        source: async_nats::RequestError,
    },
}

pub struct EventWatch {
    live: Subscriber,
    name: Option<String>,
}

impl EventWatch {
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            let message = self.live.next().await?;
            let Ok(body) = serde_json::from_slice(&message.payload) else {
                continue;
            };
            let subject = message.subject.to_string();
            let event = Event { subject, body };
            if self.name.is_none() || self.name.as_deref() == event.name() {
                return Some(event);
            }
        }
    }
}
