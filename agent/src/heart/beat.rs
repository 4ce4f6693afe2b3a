//! The agent's loop once it has a network: look up until welcomed, then send heartbeats and start the step each reply names.
//! Running a step is left to `steps`; which step to run is the conductor's decision.
use super::link::{Link, RETRY_FIRST, RETRY_LIMIT, Servers, log_failure};
use super::login::{Access, Renewing};
use super::pass::Pass;
use super::steps::{Ending, Runner, Taken};
use crate::clock::Timings;
use crate::log::Lines;
use crate::random;
use futures_util::{FutureExt, StreamExt};
use ironbeat_common::codec;
use ironbeat_common::heartbeat::{Heartbeat, HeartbeatReply, NudgeLatency, Status};
use ironbeat_common::id::{BootId, NodeId};
use ironbeat_common::inventory::Inventory;
use ironbeat_common::login::Login;
use ironbeat_common::lookup::{Lookup, LookupReply};
use ironbeat_common::measured::Measurements;
use ironbeat_common::subject;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

/// Reads the inventory, and what the TPM has of this boot; called on its own thread.
pub type ReadMachine = dyn Fn() -> (Inventory, Option<Measurements>) + Send + Sync;

/// Timeouts a conductor may set, in seconds: less would be a storm, more a forgotten machine.
const TIMEOUT_SECS: std::ops::RangeInclusive<u32> = 1..=3600;
/// Heartbeats in a row without a pause: a nudge, a start and an end often come together ...
const BURST: u32 = 8;
/// ... but a conductor that keeps changing its mind gets five a second.
const SPACING: Duration = Duration::from_millis(200);
/// Progress and log lines are published at most this often.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// A step without news is told again after this long: whoever watches can tell a slow disk from a dead machine.
const TELL_AGAIN: Duration = Duration::from_secs(5);
/// How long an agent tries to say that it reboots or powers off. An election of servers takes up to 9 s, and a new try
/// some more; whoever leaves unheard is waited for until its heartbeat timeout, and then switched off and on by its BMC.
pub const FINAL_BEAT: Duration = Duration::from_secs(60);
/// After a step, while the conductor is at something else, the next beats come no later than this, then twice and four times
/// this: a nudge that got lost on its way costs seconds, and not half of the heartbeat timeout.
const EXPECTANT: Duration = Duration::from_secs(20);
/// After a new connection, the first beat comes within this: a nudge may have been lost meanwhile. Ten thousand agents of
/// one server do not come in the same moment.
const RECONNECT_SPREAD: Duration = Duration::from_secs(3);

/// Everything the loop needs.
pub struct Heart {
    pub link: Link,
    /// For another connection, when it has a login, and when it has none any more.
    pub servers: Servers,
    pub access: Access,
    pub prefix: String,
    pub boot: BootId,
    pub runner: Runner,
    pub machine: Arc<ReadMachine>,
    pub timings: Arc<Timings>,
    pub lines: Lines,
    /// [`FINAL_BEAT`], but for tests.
    pub final_beat: Duration,
}

struct Welcome {
    node: NodeId,
    timeout: Duration,
    login: Option<Login>,
}

/// Why the heartbeats stopped.
enum Stopped {
    /// The conductor does not want this boot.
    LookUpAgain,
    /// The servers do not take its login any more. Whether its boot is over, or only who made the login, a lookup says.
    Refused,
    Ends(Ending),
}

/// Runs until an order ends this agent.
pub async fn run(mut heart: Heart) -> Ending {
    let mut seq = 0;
    let mut node = None;
    loop {
        let welcome = heart.look_up().await;
        if node.is_some_and(|node| node != welcome.node) {
            heart.runner.forget();
        }
        node = Some(welcome.node);
        let renewing = heart.log_in(&welcome).await;
        let stopped = heart.beat(&welcome, &mut seq).await;
        let had_login = renewing.is_some();
        drop(renewing);
        match stopped {
            Stopped::LookUpAgain => {
                tracing::warn!("no record names this boot: its step ends, and it looks up again");
                heart.runner.forget();
            }
            Stopped::Refused => tracing::warn!(
                "the servers do not take this agent's login any more: it looks up again. Unless the conductor still waits for it, \
                 this machine has to boot from the network anew"
            ),
            Stopped::Ends(ending) => return ending,
        }
        if had_login {
            heart.connect(heart.access.bootstrap()).await;
        }
    }
}

impl Heart {
    /// Goes on over another connection; the one before it ends.
    async fn connect(&mut self, pass: Pass) {
        match Link::start(&self.servers, pass).await {
            Ok(link) => self.link = link,
            Err(error) => tracing::error!(%error, "cannot set up another connection"),
        }
    }

    /// Goes on with the login that it got, and keeps it fresh.
    async fn log_in(&mut self, welcome: &Welcome) -> Option<Renewing> {
        let login = welcome.login.as_ref()?;
        let own = self.access.login(login)?;
        self.connect(Pass::Own(own.clone())).await;
        tokio::select! {
            () = self.link.online() => {}
            () = self.link.refused() => {}
        }
        let (link, node) = (self.link.clone(), welcome.node);
        let (boot, lives_secs) = (self.boot, login.lives_secs);
        Some(Renewing::start(
            link,
            own,
            &self.prefix,
            boot,
            node,
            lives_secs,
        ))
    }

    /// Looks up until welcomed. A step that runs goes on until it is clear that nobody waits for it.
    async fn look_up(&mut self) -> Welcome {
        let mut failures = 0;
        loop {
            tokio::select! {
                () = self.link.online() => {}
                () = self.link.refused() => {
                    self.runner.forget();
                    self.link.online().await;
                }
            }
            let (inventory, measured) = self.read_machine().await;
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
                login: self.access.request(&self.boot),
                measured,
            };
            let wait = match self.link.ask(subject::lookup(&self.prefix), &lookup).await {
                Ok(LookupReply::Welcome {
                    node,
                    heartbeat_timeout_secs,
                    login,
                }) => {
                    let has_login = login.is_some();
                    tracing::info!(%node, heartbeat_timeout_secs, has_login, "welcome");
                    return Welcome {
                        node,
                        timeout: seconds(heartbeat_timeout_secs),
                        login,
                    };
                }
                Ok(LookupReply::Wait { retry_secs }) => {
                    tracing::info!(retry_secs, "the conductor asks to wait");
                    self.runner.forget();
                    failures = 0;
                    random::jittered(seconds(retry_secs), 0.5, 1.5)
                }
                Err(error) => {
                    log_failure(&error, "lookup");
                    failures += 1;
                    random::back_off(RETRY_FIRST, failures - 1, RETRY_LIMIT)
                }
            };
            sleep(wait).await;
        }
    }

    async fn read_machine(&self) -> (Inventory, Option<Measurements>) {
        let read = self.machine.clone();
        match tokio::task::spawn_blocking(move || read()).await {
            Ok(machine) => machine,
            Err(error) => {
                tracing::error!(%error, "reading the inventory");
                Default::default()
            }
        }
    }

    /// Sends heartbeats until it has to look up again or end. `seq` counts the heartbeats of this boot.
    async fn beat(&mut self, welcome: &Welcome, seq: &mut u64) -> Stopped {
        let Heart { link, runner, .. } = self;
        let node = welcome.node;
        let mut nudges = match link.listen(subject::nudge(&self.prefix, &node)).await {
            Ok(nudges) => nudges.map(drop).left_stream(),
            Err(error) => {
                tracing::error!(%error, "cannot listen for nudges: continuing without them");
                futures_util::stream::pending().right_stream()
            }
        };
        let mut reconnects = link.reconnects();
        // Answers without an order since the last step.
        let mut idles = 0;
        let mut budget = Budget::new();
        let mut watch = interval(WATCH_INTERVAL);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut published = Published::default();
        let mut due = Instant::now();
        let mut failures = 0;
        let mut nudged: Option<std::time::Instant> = None;
        let mut latency: Option<NudgeLatency> = None;
        let mut final_beat_until: Option<Instant> = None;
        loop {
            // If the last try failed for lack of a connection, wait for the connection.
            let offline = failures > 0 && !link.is_online();
            tokio::select! {
                biased;
                _ = runner.ended() => {
                    idles = 0;
                    final_beat_until = runner.ending().map(|_| Instant::now() + self.final_beat);
                }
                Some(()) = nudges.next() => {
                    nudged = Some(std::time::Instant::now());
                    while let Some(Some(())) = nudges.next().now_or_never() {}
                }
                Ok(()) = reconnects.changed(), if !offline => {
                    due = due.min(Instant::now() + random::jittered(RECONNECT_SPREAD, 0.0, 1.0));
                    continue;
                }
                () = link.refused() => {
                    return match runner.ending() {
                        Some(ending) => Stopped::Ends(ending),
                        None => Stopped::Refused,
                    };
                }
                () = link.online(), if offline => {}
                () = sleep_until(final_beat_until.unwrap_or(due)), if final_beat_until.is_some() => {}
                () = sleep_until(due), if !offline => {}
                _ = watch.tick() => {
                    published.publish(link, &self.prefix, &node, runner, &self.lines).await;
                    continue;
                }
            }
            if let (Some(ending), Some(until)) = (runner.ending(), final_beat_until)
                && Instant::now() >= until
            {
                tracing::warn!("no answer to the final heartbeat");
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
                    // The nudge counts from now, although its heartbeat follows this one.
                    Some(()) = nudges.next() => nudged = nudged.or(Some(std::time::Instant::now())),
                    // A conductor that is slow to answer is no reason to fall silent.
                    _ = watch.tick() => published.publish(link, &self.prefix, &node, runner, &self.lines).await,
                }
            };
            if reply.is_ok() {
                failures = 0;
                latency = None;
                due = Instant::now();
                if nudged.is_none() {
                    due += pause(welcome.timeout, idles);
                }
                if let Some(ending) = runner.ending() {
                    return Stopped::Ends(ending);
                }
            }
            match reply {
                Ok(HeartbeatReply::Idle) => {
                    idles = idles.saturating_add(1);
                    runner.want_nothing_new();
                }
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
                    log_failure(&error, "heartbeat");
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

/// What watchers know.
#[derive(Default)]
struct Published(Option<(Status, Instant)>);

impl Published {
    /// Publishes new log lines, and the status of a running step if it changed or was not told for a while.
    async fn publish(
        &mut self,
        link: &Link,
        prefix: &str,
        node: &NodeId,
        runner: &Runner,
        lines: &Lines,
    ) {
        if !link.is_online() {
            return;
        }
        let new_lines = lines.take();
        if !new_lines.is_empty() {
            link.publish(subject::agent(prefix, node, "log"), &new_lines)
                .await;
        }
        let (status, now) = (runner.status(), Instant::now());
        let known = self.0.as_ref();
        let is_news = known.is_none_or(|(known, at)| *known != status || now - *at >= TELL_AGAIN);
        if !is_news {
            return;
        }
        if runner.is_running() {
            link.publish(subject::agent(prefix, node, "progress"), &status)
                .await;
        }
        self.0 = Some((status, now));
    }
}

/// Until the next beat, if nothing happens.
fn pause(timeout: Duration, idles: u32) -> Duration {
    let expectant = EXPECTANT.saturating_mul(2u32.saturating_pow(idles));
    random::jittered(timeout, 0.3, 0.6).min(random::jittered(expectant, 0.5, 1.0))
}

fn seconds(secs: u32) -> Duration {
    Duration::from_secs(u64::from(
        secs.clamp(*TIMEOUT_SECS.start(), *TIMEOUT_SECS.end()),
    ))
}

/// A token bucket for heartbeats.
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

    /// Takes one token and returns when it may be used.
    fn next(&mut self) -> Instant {
        let now = Instant::now();
        self.full_at = self.full_at.max(now) + SPACING;
        self.full_at
            .checked_sub(SPACING * BURST)
            .unwrap_or(now)
            .max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_nudge_after_a_step_costs_seconds_and_a_resting_agent_beats_as_told() {
        let timeout = Duration::from_secs(300);
        for _ in 0..100 {
            assert!(pause(timeout, 0) <= EXPECTANT);
            assert!(pause(timeout, 1) <= EXPECTANT * 2);
            for rests in [5, 40, u32::MAX] {
                let pause = pause(timeout, rests);
                assert!((90..=180).contains(&pause.as_secs()), "{rests}: {pause:?}");
            }
        }
    }
}
