//! Load, decide, save: the only place that writes a node record. A lost race is one more decision.
//! `ironbeat_core::decide` decides, `act` carries effects out, `announce` chooses the events.
use super::announce::announce;
use super::ironic::{Change, notifications};
use super::{Clock, Drive, Hands, Records};
use crate::records::StoreError;
use ironbeat_common::id::NodeId;
use ironbeat_core::decide::{Ctx, Decision, Effect, Event, Rejected, decide, needs_inventory};
use ironbeat_core::flight::{Decided, Entry};
use ironbeat_core::id::{OpId, WorkerId};
use ironbeat_core::invariant;
use ironbeat_core::invariant::Broken;
use ironbeat_core::node::{Node, Phase};
use ironbeat_core::rules::Rules;
use ironbeat_core::time::Time;
use ironbeat_ops::happening::{Asked, Asker, Happening, What};
use std::sync::Arc;

/// Races lost in a row before an event is given up: each means that another worker made progress on this node.
const MAX_RACES: u32 = 32;

#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error("there is no node {0}")]
    NoNode(NodeId),
    #[error(transparent)]
    Rejected(Rejected),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("node {0}: {1}")]
    Broken(NodeId, Broken),
    #[error("node {0}: {MAX_RACES} races lost in a row")]
    Races(NodeId),
    /// Nothing was saved: another worker can do it.
    #[error("worker {worker} does nothing for nodes at present: {why}")]
    Idle { worker: WorkerId, why: String },
}

/// Who asks can ask another worker. What has happened is recorded by whoever hears of it: then the fence ends the act that
/// follows, and it is begun again by a worker that may. A machine that was sent away would wait until its step's time is
/// over, were there no other worker.
fn is_asked(event: &Event) -> bool {
    match event {
        Event::Asked { .. } => true,
        Event::Enrolled(_)
        | Event::Booted { .. }
        | Event::Beat { .. }
        | Event::Bmc { .. }
        | Event::Seen { .. }
        | Event::Script { .. }
        | Event::LoginsEnded { .. }
        | Event::Alarm { .. }
        | Event::WorkerLost { .. }
        | Event::Turn { .. }
        | Event::Identified { .. }
        | Event::Confirmed { .. }
        | Event::PasswordFound { .. }
        | Event::PowerRead { .. } => false,
    }
}

fn reads_beside(node: &Node, event: &Event) -> bool {
    needs_inventory(node, event)
        || event.needs_secrets(node)
        || event.needs_instance_data(node)
        || event.needs_notes()
        || event.needs_rules()
}

fn is_act(effect: &Effect) -> bool {
    match effect {
        Effect::Bmc { .. } => true,
        Effect::Nudge | Effect::EndLogins { .. } => false,
    }
}

/// A decision whose save another worker seems to have come before.
struct Lost {
    before: Option<Arc<Node>>,
    after: Option<Arc<Node>>,
    effects: Vec<Effect>,
    because: String,
    op: OpId,
    at: Time,
    entry: Option<Entry>,
}

impl Lost {
    /// Whether it was saved after all, unheard, and another worker has saved on top of it: the act that follows is in the
    /// record, and nobody else will do it.
    fn landed(&self, node: &Node) -> bool {
        let acting = node.job().map(|job| &job.phase);
        self.effects.iter().any(|effect| match effect {
            Effect::Bmc { op, .. } => {
                matches!(acting, Some(Phase::Acting { op: acting, .. }) if acting == op)
            }
            Effect::Nudge | Effect::EndLogins { .. } => false,
        })
    }
}

impl<R: Records, C: Clock, H: Hands> Drive<R, C, H> {
    /// Returns the record after the event (of a forgotten node, the last one), and the effects that are due now that it
    /// is saved.
    pub(super) async fn reconcile(
        &self,
        id: NodeId,
        event: &Event,
        asker: Option<&Asker>,
    ) -> Result<(Arc<Node>, Vec<Effect>), ReconcileError> {
        let mut recent = self.recent.take(id, self.hands.heard(id)).or_else(|| {
            let (node, at) = self.hands.followed(id)?;
            Some((Arc::new(node), at))
        });
        let mut lost: Option<Lost> = None;
        let mut claimed = None;
        for _ in 0..MAX_RACES {
            let saved = recent.take().filter(|(node, _)| !reads_beside(node, event));
            // What is decided on it counts only if it can be saved: then it was the record.
            let is_recent = saved.is_some();
            let before = match saved {
                Some(saved) => Some(saved),
                None => {
                    let loaded = self.records.load(id).await?;
                    loaded.map(|(node, at)| (Arc::new(node), at))
                }
            };
            let known = before.as_ref().map(|(node, at)| (&**node, *at));
            if let (Some(lost), Some((node, _))) = (lost.take(), &before)
                && lost.landed(node)
            {
                let told = Told {
                    before: lost.before.as_deref(),
                    after: lost.after.as_deref(),
                    event,
                    asker,
                    because: &lost.because,
                    op: &lost.op,
                    at: lost.at,
                    entry: lost.entry.as_ref(),
                };
                self.publish(&told);
                return Ok((Arc::clone(node), lost.effects));
            }
            let inventory = match known {
                Some((node, _)) if needs_inventory(node, event) => {
                    self.records.inventory(node).await?
                }
                Some(_) | None => None,
            };
            let secrets = match known {
                Some((node, _)) if event.needs_secrets(node) => self.records.secrets(node).await?,
                Some(_) | None => None,
            };
            let instance_data = match known {
                Some((node, _)) if event.needs_instance_data(node) => {
                    self.records.instance_data(node).await?
                }
                Some(_) | None => None,
            };
            let notes = match known {
                Some((node, _)) if event.needs_notes() => self.records.notes(node).await?,
                Some(_) | None => None,
            };
            let rules = match event.needs_rules() {
                true => Some(self.rules(claimed.as_deref()).await?),
                false => None,
            };
            let op = self.fresh_op();
            let ctx = Ctx {
                now: self.clock.now(),
                op: &op,
                worker: &self.worker,
                incarnation: self.incarnation,
                policy: &self.policy,
                inventory: inventory.as_ref(),
                secrets: secrets.as_ref(),
                instance_data: instance_data.as_ref(),
                notes: notes.as_ref(),
                rules: rules.as_ref(),
            };
            let Decision {
                node: after,
                beside,
                effects,
                because,
            } = match decide(known.map(|(node, _)| node), event, ctx) {
                Ok(decision) => decision,
                Err(_) if is_recent => continue,
                Err(Rejected::NoNode) => return Err(ReconcileError::NoNode(id)),
                Err(why) => {
                    if let Some((node, _)) = known {
                        self.tell_refused(node, event, asker, ctx, &why);
                    }
                    return Err(ReconcileError::Rejected(why));
                }
            };
            if is_asked(event)
                && effects.iter().any(is_act)
                && let Err(why) = self.hands.may_act()
            {
                let worker = self.worker.clone();
                return Err(ReconcileError::Idle { worker, why });
            }
            if after.as_ref() == known.map(|(node, _)| node) {
                if is_recent {
                    continue;
                }
                let (node, at) = before.ok_or(ReconcileError::NoNode(id))?;
                self.recent.put(&node, at);
                return Ok((node, effects));
            }
            if let Some(after) = &after {
                let sound = invariant::check(after);
                sound.map_err(|broken| ReconcileError::Broken(id, broken))?;
            }
            let after = after.map(Arc::new);
            let written = self.records.write(known, after.as_deref(), &beside).await;
            let before = before.map(|(node, _)| node);
            let entry = |revision| {
                let decided = Decided::To {
                    after: after.as_deref(),
                    effects: &effects,
                    because: &because,
                    revision,
                };
                let keeps = self.hands.keeps_flight();
                keeps.then(|| Entry::of(before.as_deref(), event, ctx, decided, &self.decider))
            };
            match written {
                Ok(at) => {
                    if let Some(after) = &after {
                        self.recent.put(after, at);
                    }
                    let entry = entry(Some(at));
                    let told = Told {
                        before: before.as_deref(),
                        after: after.as_deref(),
                        event,
                        asker,
                        because: &because,
                        op: &op,
                        at: ctx.now,
                        entry: entry.as_ref(),
                    };
                    self.publish(&told);
                    let node = after.or(before).ok_or(ReconcileError::NoNode(id))?;
                    return Ok((node, effects));
                }
                Err(StoreError::Conflict { .. }) => {
                    let (at, entry) = (ctx.now, entry(None));
                    lost = Some(Lost {
                        before,
                        after,
                        effects,
                        because,
                        op,
                        at,
                        entry,
                    });
                }
                // A rule has set what is another node's: the inspection fails, rather than be told again for ever.
                Err(error @ StoreError::Claimed { .. })
                    if event.needs_rules() && claimed.is_none() =>
                {
                    claimed = Some(error.to_string());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(ReconcileError::Races(id))
    }

    async fn rules(&self, claimed: Option<&str>) -> Result<Rules, StoreError> {
        let mut rules = self.records.rules().await?;
        if let Some(claimed) = claimed {
            rules.refused = Some(claimed.into());
        }
        Ok(rules)
    }

    /// One log line per transition, and its events.
    fn publish(&self, told: &Told<'_>) {
        let Some(node) = told.after.or(told.before) else {
            return;
        };
        let state = |node: &Node| node.state.provision_state();
        tracing::info!(
            node = %node.id,
            name = node.name.as_ref().map(|name| name.as_str()),
            from = told.before.map(state),
            to = told.after.map(state),
            step = told.after.and_then(Node::job).map(|job| job.step().name()),
            because = told.because,
            "node"
        );
        let (before, after) = (told.before, told.after);
        let mut all = announce(before, after, told.because, told.at, &self.worker);
        let mut entry = told.entry;
        for happening in &mut all {
            happening.asked = asked(told.event, told.asker);
            // Once: with the first of them.
            self.hands.report(happening, told.op.as_str(), entry.take());
        }
        if self.hands.tells_as_ironic() {
            let change = Change {
                before,
                after,
                event: told.event,
                at: told.at,
                worker: &self.worker,
            };
            let whats = all.iter().map(|happening| &happening.what);
            for notification in notifications(change, whats) {
                self.hands.notify(node.id, &notification);
            }
        }
    }

    /// An operator who looks later is to find that somebody has asked. Machines that are refused are as many as like to knock.
    fn tell_refused(
        &self,
        node: &Node,
        event: &Event,
        asker: Option<&Asker>,
        ctx: Ctx<'_>,
        why: &Rejected,
    ) {
        if !is_asked(event) {
            return;
        }
        let what = What::Refused {
            state: node.state.provision_state().into(),
            because: why.to_string(),
        };
        let mut happening = Happening::of(node, ctx.now, &self.worker, what);
        happening.asked = asked(event, asker);
        let decided = Decided::Refused(why);
        let keeps = self.hands.keeps_flight();
        let entry = keeps.then(|| Entry::of(Some(node), event, ctx, decided, &self.decider));
        self.hands
            .report(&happening, ctx.op.as_str(), entry.as_ref());
    }
}

/// A change that is saved.
struct Told<'a> {
    before: Option<&'a Node>,
    after: Option<&'a Node>,
    event: &'a Event,
    asker: Option<&'a Asker>,
    because: &'a str,
    op: &'a OpId,
    at: Time,
    entry: Option<&'a Entry>,
}

/// What somebody asked for. None: nobody has.
fn asked(event: &Event, asker: Option<&Asker>) -> Option<Asked> {
    let (verb, request) = match event {
        Event::Asked { request, verb } => (verb.name(), Some(request.clone())),
        Event::Enrolled(_) => ("enroll", None),
        Event::Booted { .. }
        | Event::Beat { .. }
        | Event::Bmc { .. }
        | Event::Seen { .. }
        | Event::Script { .. }
        | Event::LoginsEnded { .. }
        | Event::Alarm { .. }
        | Event::WorkerLost { .. }
        | Event::Turn { .. }
        | Event::Identified { .. }
        | Event::Confirmed { .. }
        | Event::PasswordFound { .. }
        | Event::PowerRead { .. } => return None,
    };
    Some(Asked {
        verb: verb.trim_end_matches(" of").into(),
        request,
        by: asker.cloned(),
    })
}
