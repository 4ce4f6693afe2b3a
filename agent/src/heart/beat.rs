//! The agent's life once it has a network: knock until welcome, then beat, say what goes on, and take up what is wanted.
//! What a step does is `steps`' affair; whether it should be done was decided by the conductor.
use super::link::{AskError, Link};
use super::steps::{Ending, Runner, Taken};
use crate::clock::Timings;
use crate::log::Lines;
use crate::random;
use futures_util::{FutureExt, StreamExt};
use ironbeat_common::codec;
use ironbeat_common::heartbeat::{Heartbeat, HeartbeatReply, NudgeLatency, Status};
use ironbeat_common::id::{BootId, NodeId};
use ironbeat_common::inventory::Inventory;
use ironbeat_common::lookup::{Lookup, LookupReply};
use ironbeat_common::subject;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

/// Reads the inventory; called on a thread of its own.
pub type ReadInventory = dyn Fn() -> Inventory + Send + Sync;

/// After the first failure to get an answer, then doubled ...
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// ... up to here: a conductor that comes back finds every agent within half a minute.
const RETRY_LIMIT: Duration = Duration::from_secs(30);
/// What a conductor may ask for, in seconds: less would be a storm, more a machine forgotten.
const TIMEOUT_SECS: std::ops::RangeInclusive<u32> = 1..=3600;
/// Beats in a row without a pause: a nudge, a start and an end come together often enough ...
const BURST: u32 = 8;
/// ... but a conductor that changes its mind for ever gets five a second.
const SPACING: Duration = Duration::from_millis(200);
/// Watchers are told at most this often.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// The last word before a reboot is waited for this long.
const LAST_WORD: Duration = Duration::from_secs(5);

/// Everything a life needs.
pub struct Heart {
    pub link: Link,
    pub prefix: String,
    pub boot: BootId,
    pub runner: Runner,
    pub inventory: Arc<ReadInventory>,
    pub timings: Arc<Timings>,
    pub lines: Lines,
}

struct Welcome {
    node: NodeId,
    timeout: Duration,
}

/// Why beating stopped.
enum Stopped {
    LookUpAgain,
    Ends(Ending),
}

/// Runs until an order ends this agent.
pub async fn run(mut heart: Heart) -> Ending {
    let mut seq = 0;
    let mut known_as = None;
    loop {
        let welcome = heart.knock().await;
        if known_as.is_some_and(|node| node != welcome.node) {
            tracing::warn!(node = %welcome.node, "this machine is another node now");
            heart.runner.forget();
        }
        known_as = Some(welcome.node);
        match heart.beat(&welcome, &mut seq).await {
            Stopped::LookUpAgain => {
                tracing::warn!("the conductor does not know this boot: looking up again")
            }
            Stopped::Ends(ending) => return ending,
        }
    }
}

impl Heart {
    /// Looks up until welcome.
    async fn knock(&self) -> Welcome {
        let mut failures = 0;
        loop {
            self.link.online().await;
            let inventory = self.read_inventory().await;
            self.timings.note(|t, now| t.lookup_ms = now);
            let timings = self.timings.get();
            tracing::info!(
                agent_ms = timings.agent_ms,
                modules_ms = timings.modules_ms,
                network_ms = timings.network_ms,
                inventory_ms = timings.inventory_ms,
                lookup_ms = timings.lookup_ms,
                "looking up"
            );
            let lookup = Lookup {
                version: codec::VERSION,
                boot: self.boot,
                agent: env!("CARGO_PKG_VERSION").to_string(),
                inventory,
                timings,
            };
            let wait = match self.link.ask(subject::lookup(&self.prefix), &lookup).await {
                Ok(LookupReply::Welcome {
                    node,
                    heartbeat_timeout_secs,
                }) => {
                    tracing::info!(%node, heartbeat_timeout_secs, "welcome");
                    return Welcome {
                        node,
                        timeout: seconds(heartbeat_timeout_secs),
                    };
                }
                Ok(LookupReply::Wait { retry_secs }) => {
                    tracing::info!(retry_secs, "told to wait");
                    failures = 0;
                    random::jittered(seconds(retry_secs), 0.5, 1.5)
                }
                Err(error) => {
                    say(&error, "lookup");
                    failures += 1;
                    random::back_off(RETRY_FIRST, failures - 1, RETRY_LIMIT)
                }
            };
            sleep(wait).await;
        }
    }

    async fn read_inventory(&self) -> Inventory {
        let read = self.inventory.clone();
        match tokio::task::spawn_blocking(move || read()).await {
            Ok(inventory) => inventory,
            Err(error) => {
                tracing::error!(%error, "reading the inventory");
                Inventory::default()
            }
        }
    }

    /// Beats until told to look up again or to end. `seq` counts the beats of this boot.
    async fn beat(&mut self, welcome: &Welcome, seq: &mut u64) -> Stopped {
        let Heart { link, runner, .. } = self;
        let node = welcome.node;
        let mut nudges = match link.listen(subject::nudge(&self.prefix, &node)).await {
            Ok(nudges) => nudges.map(drop).left_stream(),
            Err(error) => {
                tracing::error!(%error, "cannot listen for nudges: beating without them");
                futures_util::stream::pending().right_stream()
            }
        };
        let mut budget = Budget::new();
        let mut watch = interval(WATCH_INTERVAL);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = Status::Idle;
        let mut due = Instant::now();
        let mut failures = 0;
        let mut nudged: Option<std::time::Instant> = None;
        let mut latency: Option<NudgeLatency> = None;
        let mut last_word_until: Option<Instant> = None;
        loop {
            // Was the last try in vain for want of a connection, then the connection is what is waited for.
            let offline = failures > 0 && !link.is_online();
            tokio::select! {
                biased;
                _ = runner.ended() => last_word_until = runner.ending().map(|_| Instant::now() + LAST_WORD),
                Some(()) = nudges.next() => {
                    nudged = Some(std::time::Instant::now());
                    while let Some(Some(())) = nudges.next().now_or_never() {}
                }
                () = link.online(), if offline => {}
                () = sleep_until(last_word_until.unwrap_or(due)), if last_word_until.is_some() => {}
                () = sleep_until(due), if !offline => {}
                _ = watch.tick() => {
                    told = tell(link, &self.prefix, &node, runner, &self.lines, told).await;
                    continue;
                }
            }
            if let (Some(ending), Some(until)) = (runner.ending(), last_word_until)
                && Instant::now() >= until
            {
                tracing::warn!("nobody took the last word");
                return Stopped::Ends(ending);
            }
            sleep_until(budget.next()).await;
            *seq += 1;
            let status = runner.status();
            let heartbeat = Heartbeat {
                version: codec::VERSION,
                boot: self.boot,
                seq: *seq,
                status,
                nudge: latency,
            };
            let asked_for_by = nudged.take();
            let mut answer = pin!(link.ask(subject::heartbeat(&self.prefix, &node), &heartbeat));
            let reply = loop {
                tokio::select! {
                    reply = &mut answer => break reply,
                    // Its time is now, although the beat it asks for comes after this one.
                    Some(()) = nudges.next() => nudged = nudged.or(Some(std::time::Instant::now())),
                }
            };
            if reply.is_ok() {
                failures = 0;
                latency = None;
                due = Instant::now();
                if nudged.is_none() {
                    due += random::jittered(welcome.timeout, 0.3, 0.6);
                }
                if let Some(ending) = runner.ending() {
                    return Stopped::Ends(ending);
                }
            }
            match reply {
                Ok(HeartbeatReply::Idle) => runner.want_nothing_new(),
                Ok(HeartbeatReply::LookUp) => return Stopped::LookUpAgain,
                Ok(HeartbeatReply::Step { id, order }) => {
                    if let Taken::Started(at) = runner.want(id, order) {
                        due = Instant::now();
                        latency = asked_for_by.map(|nudged| {
                            let micros =
                                u64::try_from((at - nudged).as_micros()).unwrap_or(u64::MAX);
                            NudgeLatency { step: id, micros }
                        });
                    }
                }
                Err(error) => {
                    say(&error, "heartbeat");
                    failures += 1;
                    due = Instant::now()
                        + random::back_off(
                            RETRY_FIRST,
                            failures - 1,
                            RETRY_LIMIT.min(welcome.timeout),
                        );
                    nudged = asked_for_by.or(nudged);
                }
            }
        }
    }
}

/// Tells watchers the log lines and the status, where it changed. Returns what they know now.
async fn tell(
    link: &Link,
    prefix: &str,
    node: &NodeId,
    runner: &Runner,
    lines: &Lines,
    told: Status,
) -> Status {
    if !link.is_online() {
        return told;
    }
    let new_lines = lines.take();
    if !new_lines.is_empty() {
        link.tell(subject::agent(prefix, node, "log"), &new_lines)
            .await;
    }
    let status = runner.status();
    if status != told && runner.is_running() {
        link.tell(subject::agent(prefix, node, "progress"), &status)
            .await;
    }
    status
}

fn seconds(secs: u32) -> Duration {
    Duration::from_secs(u64::from(
        secs.clamp(*TIMEOUT_SECS.start(), *TIMEOUT_SECS.end()),
    ))
}

/// Once per failure, with its cause.
fn say(error: &AskError, what: &str) {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::warn!(%error, cause, "{what} failed, trying again");
}

/// A token bucket over beats.
struct Budget {
    /// When the bucket would be full.
    full_at: Instant,
}

impl Budget {
    fn new() -> Self {
        Self {
            full_at: Instant::now(),
        }
    }

    /// Takes one token, and says when it may be used.
    fn next(&mut self) -> Instant {
        let now = Instant::now();
        self.full_at = self.full_at.max(now) + SPACING;
        self.full_at
            .checked_sub(SPACING * BURST)
            .unwrap_or(now)
            .max(now)
    }
}
