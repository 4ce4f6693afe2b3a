//! Power sync: which worker asks which BMC for the power state, and when.
//! The core decides what a reading means; a dead BMC costs only its own task here.
use crate::clock;
use crate::drive::ReconcileError;
use crate::fnv::fnv1a;
use crate::worker::Worker;
use ironbeat_common::id::NodeId;
use ironbeat_core::decide::{BmcFault, BmcReport, Event, Policy, is_news, power_is_read};
use ironbeat_core::index::Entry;
use ironbeat_core::node::Node;
use ironbeat_core::time::Time;
use ironbeat_ipmi::Slots;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How often to look through the view for nodes that are due: so many times a period, within limits. Those of one
/// look are asked together, which costs less than one by one.
const LOOKS: u32 = 24;
const SHORTEST_TICK: Duration = Duration::from_secs(1);
const LONGEST_TICK: Duration = Duration::from_secs(5);
/// Readings under way at once, at most: memory for a data centre whose BMCs are all dead.
const MAX_UNDER_WAY: usize = 8192;
/// A worker that takes over a node makes up for what the former owner missed since it fell silent: two presence
/// intervals of 10 s.
const MISSED: Duration = Duration::from_secs(20);
/// A node in maintenance for its power is asked ever more seldom, up to so many recovery periods.
const MAX_RECOVERY_PERIODS: u32 = 8;
/// How often to look for sessions that nobody uses any more.
const JANITOR: Duration = Duration::from_secs(5);

/// This worker's memory of a node's readings. It is lost with the worker, and begins anew with the next owner.
#[derive(Default)]
struct Watch {
    /// Readings in a row that failed or differed.
    troubles: u32,
    /// When the node was last asked.
    asked: Option<Instant>,
    under_way: bool,
    trouble: Option<Trouble>,
}

struct Trouble {
    /// When the first of them was, and the last one.
    since: Time,
    last: Time,
    /// What the last one said.
    what: String,
}

#[derive(Default)]
pub struct PowerSync {
    watches: Mutex<HashMap<NodeId, Watch>>,
    /// When many are due at once, as after a start, they begin as fast as the live ones answer.
    slots: Slots,
}

impl PowerSync {
    /// Since when, how often and why a node's readings are no good; only its owner knows. What was put right after the last one is
    /// none.
    pub fn trouble(&self, node: &Node) -> Option<String> {
        let watches = self.lock();
        let watch = watches.get(&node.id)?;
        let trouble = watch.trouble.as_ref()?;
        let seen = node.power.as_ref().filter(|power| power.confirmed());
        if seen.is_some_and(|power| power.at > trouble.last) {
            return None;
        }
        let times = match watch.troubles {
            1 => "once".into(),
            n => format!("{n} times in a row"),
        };
        let Trouble { since, what, .. } = trouble;
        Some(format!("no good reading since {since}, {times}: {what}"))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, Watch>> {
        // The map is whole between any two statements, so a panic elsewhere cannot have torn it.
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs until the worker stops.
pub async fn run(worker: Arc<Worker>, sync: Arc<PowerSync>) {
    worker.view.ready().await;
    let tick = period(&worker.policy) / LOOKS;
    let mut ticks = tokio::time::interval(tick.clamp(SHORTEST_TICK, LONGEST_TICK));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut swept = Instant::now();
    loop {
        ticks.tick().await;
        if swept.elapsed() >= JANITOR {
            swept = Instant::now();
            let worker = Arc::clone(&worker);
            tokio::spawn(async move { worker.bmcs.close_idle().await });
        }
        if worker.policy.power_sync_secs == 0 || !worker.presence.may_act() {
            continue;
        }
        for node in due(&worker, &sync) {
            let (worker, sync) = (Arc::clone(&worker), Arc::clone(&sync));
            // Not among the tasks that a worker finishes before it ends: a lost reading does no harm.
            tokio::spawn(async move {
                let reading = read(&worker, &sync, &node);
                if let Err(error) = sync.slots.run(reading).await {
                    tracing::warn!(node = %node.id, "power sync: {error}");
                }
            });
        }
    }
}

/// The nodes to ask now, marked as under way.
fn due(worker: &Worker, sync: &PowerSync) -> Vec<Arc<Entry>> {
    let owners = worker.presence.owners();
    let (now, unix_ms) = (Instant::now(), clock::now().unix_ms());
    let period = period(&worker.policy);
    let is_mine = |node: &Entry| power_is_read(node) && owners.is_mine(node.id);
    let mut watches = sync.lock();
    let mut room = MAX_UNDER_WAY.saturating_sub(watches.values().filter(|w| w.under_way).count());
    let mut mine = 0;
    let due = worker.view.pick(|node| {
        if !is_mine(node) {
            return None;
        }
        mine += 1;
        let watch = watches.entry(node.id).or_default();
        let is_due = match (&node.maintenance, watch.asked) {
            (Some(_), asked) => {
                let pause = recovery_pause(&worker.policy, watch.troubles);
                asked.is_none_or(|asked| now - asked >= pause)
            }
            (None, Some(asked)) => now - asked > since_slot(node.id, unix_ms, period),
            (None, None) => node.power.is_none() || since_slot(node.id, unix_ms, period) <= MISSED,
        };
        if !is_due || watch.under_way || room == 0 {
            return None;
        }
        (watch.asked, watch.under_way) = (Some(now), true);
        room -= 1;
        Some(Arc::clone(node))
    });
    if watches.len() > mine {
        let still_mine = |id: &NodeId| worker.view.get(id).is_some_and(|node| is_mine(&node));
        watches.retain(|id, watch| watch.under_way || still_mine(id));
    }
    due
}

fn period(policy: &Policy) -> Duration {
    Duration::from_secs(policy.power_sync_secs.into())
}

/// How long to leave alone a BMC that was given up, after so many troubles.
fn recovery_pause(policy: &Policy, troubles: u32) -> Duration {
    let over = troubles.saturating_sub(policy.power_sync_max_retries);
    let periods = 1u32.checked_shl(over).unwrap_or(u32::MAX);
    Duration::from_secs(policy.power_recovery_secs.into())
        .saturating_mul(periods.min(MAX_RECOVERY_PERIODS))
}

/// How long ago a node's turn was. Its turns come at the same times for all workers, whoever owns it, spread over
/// the period.
fn since_slot(node: NodeId, unix_ms: u64, period: Duration) -> Duration {
    let period_ms = u64::try_from(period.as_millis()).unwrap_or(u64::MAX).max(1);
    let phase = fnv1a(node.as_bytes());
    let phase = (phase ^ (phase >> 33)) % period_ms;
    Duration::from_millis((unix_ms + period_ms - phase) % period_ms)
}

/// Asks a node's BMC for the power state, delivers the answer as an event, and returns it; none: the node is gone.
///
/// # Errors
/// When the answer could not be recorded; a silent BMC is no error here.
pub async fn read(
    worker: &Worker,
    sync: &PowerSync,
    node: &Entry,
) -> Result<Option<Result<BmcReport, BmcFault>>, ReconcileError> {
    let done = UnderWay {
        sync,
        node: node.id,
    };
    let at = clock::now();
    let Some(login) = worker.logins.of_entry(node).await? else {
        return Ok(None);
    };
    let result = worker.bmcs.read_power(&login).await;
    let troubles = count(&mut done.sync.lock(), node, at, &result);
    match &result {
        Ok(report) => tracing::trace!(node = %node.id, power_on = report.power_on, "power read"),
        // Of a BMC that is dead for good, no more is said than it takes to give it up.
        Err(fault) if troubles <= worker.policy.power_sync_max_retries => {
            tracing::warn!(node = %node.id, troubles, "power sync: {}", fault.what);
        }
        Err(fault) => tracing::debug!(node = %node.id, troubles, "power sync: {}", fault.what),
    }
    // Mostly nothing changes, and then nothing need be loaded.
    let known = worker.view.get(&node.id);
    let known = known.as_deref().unwrap_or(node);
    if !is_news(known, at, &result, troubles, &worker.policy) {
        return Ok(Some(result));
    }
    let event = Event::PowerRead {
        at,
        result: result.clone(),
        troubles,
    };
    // Boxed, because it is large and rare: otherwise every reading would carry the room for it.
    match Box::pin(worker.drive.deliver(node.id, &event)).await {
        Ok(_) | Err(ReconcileError::NoNode(_) | ReconcileError::Rejected(_)) => Ok(Some(result)),
        Err(error) => Err(error),
    }
}

fn count(
    watches: &mut HashMap<NodeId, Watch>,
    node: &Entry,
    at: Time,
    result: &Result<BmcReport, BmcFault>,
) -> u32 {
    let watch = watches.entry(node.id).or_default();
    let known = node.power.as_ref().map(|power| power.on);
    let word = |on| if on { "on" } else { "off" };
    let trouble = match (result, known) {
        (Ok(report), Some(known)) if known != report.power_on => {
            let (said, known) = (word(report.power_on), word(known));
            Some(format!("the BMC says {said}, the record {known}"))
        }
        (Ok(_), _) => None,
        (Err(fault), _) => Some(fault.what.clone()),
    };
    watch.troubles = match trouble {
        Some(_) => watch.troubles.saturating_add(1),
        None => 0,
    };
    let since = watch.trouble.take().map_or(at, |before| before.since);
    watch.trouble = trouble.map(|what| Trouble {
        since,
        last: at,
        what,
    });
    watch.troubles
}

/// Dropped when a reading is over, however it ends.
struct UnderWay<'a> {
    sync: &'a PowerSync,
    node: NodeId,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(watch) = self.sync.lock().get_mut(&self.node) {
            watch.under_way = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::tests::node;
    use ironbeat_core::node::{Power, PowerSource};

    fn id(n: u8) -> NodeId {
        NodeId::from_bytes([n; 16])
    }

    /// A machine that was switched off by hand is on again before its next reading.
    #[test]
    fn what_was_put_right_after_a_bad_reading_is_no_trouble_any_more() {
        let at = |secs: u64| Time::from_unix_ms(secs * 1000);
        let mut node = node(1);
        let power = |on, secs| {
            Some(Power {
                on,
                at: at(secs),
                source: PowerSource::Bmc,
            })
        };
        node.power = power(true, 1);
        let sync = PowerSync::default();
        let off = Ok(BmcReport { power_on: false });
        count(&mut sync.lock(), &Entry::of(&node), at(5), &off);
        let said = sync.trouble(&node).unwrap();
        assert!(said.ends_with("once: the BMC says off, the record on"));
        node.power = power(true, 9);
        assert_eq!(sync.trouble(&node), None);
    }

    #[test]
    fn a_nodes_turn_comes_once_a_period_and_turns_are_spread() {
        let period = Duration::from_secs(120);
        let mut first_minute = 0;
        for n in 0..=255 {
            let since = since_slot(id(n), 1_000_000_000, period);
            assert!(since < period);
            let later = since_slot(id(n), 1_000_000_000 + 120_000, period);
            assert_eq!(since, later);
            let next = since_slot(id(n), 1_000_000_001, period);
            assert!(next == since + Duration::from_millis(1) || next.is_zero());
            first_minute += u32::from(since < period / 2);
        }
        assert!((90..170).contains(&first_minute), "{first_minute} of 256");
    }
}
