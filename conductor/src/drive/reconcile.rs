//! Load, decide, save: the only place that writes a node record. A lost race is one more decision.
//! `ironbeat_core::decide` decides, `act` carries effects out, `announce` chooses the events.
use super::announce::announce;
use super::{Clock, Drive, Hands, Records};
use crate::records::StoreError;
use ironbeat_common::id::NodeId;
use ironbeat_core::decide::{Ctx, Decision, Effect, Event, Rejected, decide, needs_inventory};
use ironbeat_core::id::{OpId, WorkerId};
use ironbeat_core::invariant;
use ironbeat_core::invariant::Broken;
use ironbeat_core::node::{Node, Phase};
use ironbeat_core::rules::Rules;
use ironbeat_core::time::Time;
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
                let (was, after) = (lost.before.as_deref(), lost.after.as_deref());
                self.publish(was, after, &lost.because, &lost.op, lost.at);
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
                Err(why) => return Err(ReconcileError::Rejected(why)),
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
            match written {
                Ok(at) => {
                    if let Some(after) = &after {
                        self.recent.put(after, at);
                    }
                    let (was, now) = (before.as_deref(), after.as_deref());
                    self.publish(was, now, &because, &op, ctx.now);
                    let node = after.or(before).ok_or(ReconcileError::NoNode(id))?;
                    return Ok((node, effects));
                }
                Err(StoreError::Conflict { .. }) => {
                    let at = ctx.now;
                    lost = Some(Lost {
                        before,
                        after,
                        effects,
                        because,
                        op,
                        at,
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
    fn publish(
        &self,
        before: Option<&Node>,
        after: Option<&Node>,
        because: &str,
        op: &OpId,
        at: Time,
    ) {
        let Some(node) = after.or(before) else { return };
        let state = |node: &Node| node.state.provision_state();
        tracing::info!(
            node = %node.id,
            name = node.name.as_ref().map(|name| name.as_str()),
            from = before.map(state),
            to = after.map(state),
            step = after.and_then(Node::job).map(|job| job.step().name()),
            because,
            "node"
        );
        for happening in announce(before, after, because, at, &self.worker) {
            self.hands.report(&happening, op.as_str());
        }
    }
}
