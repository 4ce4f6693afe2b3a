//! A decision in the making, and what every decision writes at its end.
//! The files beside it say what each event changes.
use super::answer::{Decision, Effect};
use crate::boot::{Boot, boot_for};
use crate::id::{Incarnation, OpId, WorkerId};
use crate::node::{
    Beside, BmcSecrets, InstanceData, Job, MAX_PAST_BOOTS, Node, Notes, Phase, State,
};
use crate::policy::Policy;
use crate::rules::Rules;
use crate::time::{Time, secs};
use alloc::string::String;
use alloc::vec::Vec;
use ironbeat_common::inventory::Inventory;

/// What a decision may use beside the node and the event.
#[derive(Clone, Copy, Debug)]
pub struct Ctx<'a> {
    pub now: Time,
    /// Fresh for every call: names the write and the act that follows.
    pub op: &'a OpId,
    pub worker: &'a WorkerId,
    pub incarnation: Incarnation,
    pub policy: &'a Policy,
    /// What lies beside the record, for an event that [needs it](crate::decide::needs_inventory).
    pub inventory: Option<&'a Inventory>,
    /// The same, for an event that [needs them](crate::event::Event::needs_secrets).
    pub secrets: Option<&'a BmcSecrets>,
    /// The same, for an event that [needs it](crate::event::Event::needs_instance_data).
    pub instance_data: Option<&'a InstanceData>,
    /// The same, for an event that [needs them](crate::event::Event::needs_notes).
    pub notes: Option<&'a Notes>,
    /// For an event that [needs them](crate::event::Event::needs_rules).
    pub rules: Option<&'a Rules>,
}

pub(super) struct Draft<'a> {
    pub node: Node,
    pub beside: Vec<Beside>,
    pub effects: Vec<Effect>,
    pub ctx: Ctx<'a>,
}

impl<'a> Draft<'a> {
    pub fn new(node: &Node, ctx: Ctx<'a>) -> Self {
        Self {
            node: node.clone(),
            beside: Vec::new(),
            effects: Vec::new(),
            ctx,
        }
    }

    /// Writes what follows from the rest of the record, once for all events: since when, the alarm, who wrote it.
    pub fn finish(mut self, before: &Node, because: String) -> Decision {
        self.node.wake_at = wake_at(&self.node, self.ctx.policy);
        // A ticket ends with the wait for a ramdisk.
        if boot_for(&self.node) != Boot::Ramdisk {
            self.node.tickets.open = None;
            self.node.tickets.void.clear();
        }
        self.node.schema = self.node.lowest_schema();
        let ended = |node: &Node| node.tickets.ended.clone();
        let (were, are) = (ended(before), ended(&self.node));
        let mut keys = are.iter().filter(|login| !were.contains(login)).peekable();
        if keys.peek().is_some() {
            let keys = keys.map(|login| login.key).collect();
            self.effects.push(Effect::EndLogins { keys });
        }
        if self.node.state.provision_state() != before.state.provision_state() {
            self.node.since = self.ctx.now;
        }
        if self.node != *before {
            self.node.op = self.ctx.op.clone();
        }
        Decision {
            node: Some(self.node),
            beside: self.beside,
            effects: self.effects,
            because,
        }
    }

    /// Has the agent beat now.
    pub fn nudge(&mut self) {
        if !self.effects.contains(&Effect::Nudge) {
            self.effects.push(Effect::Nudge);
        }
    }

    /// Puts a new version of a document beside the record.
    pub fn put(&mut self, document: Beside) {
        let version = Some(self.ctx.op.clone());
        self.node.beside.set(document.kind(), version);
        self.beside.push(document);
    }

    pub fn job(&mut self) -> &mut Job {
        match &mut self.node.state {
            State::Busy(job) => job,
            State::Resting(_) => {
                unreachable!("only a busy node has steps, and every caller has matched on that")
            }
        }
    }

    /// The current boot may speak no longer; its late messages will be recognised.
    pub fn retire_boot(&mut self) {
        if let Some(used) = self.node.tickets.used.take() {
            let until = self.ctx.now.after(secs(self.ctx.policy.agent_login_secs));
            self.node.tickets.end(used.key, until);
        }
        if let Some(boot) = self.node.boot.take() {
            self.node.past_boots.push(boot);
            let surplus = self.node.past_boots.len().saturating_sub(MAX_PAST_BOOTS);
            self.node.past_boots.drain(..surplus);
        }
    }
}

/// An agent that is asked whether it lives answers at once; it may have to connect anew first.
pub(crate) const ANSWER_SECS: u32 = 60;

/// The phase sets the alarm, and a BMC that says that the machine is off.
pub(crate) fn wake_at(node: &Node, policy: &Policy) -> Option<Time> {
    node.job().and_then(|job| match &job.phase {
        Phase::Held { .. } => None,
        Phase::InLine { until, .. }
        | Phase::Waiting { until, .. }
        | Phase::Acting { until, .. }
        | Phase::Backoff { until, .. }
        | Phase::AwaitingAgent { until, .. } => Some(*until),
        Phase::AgentStep {
            until,
            seen,
            marked,
            ..
        } => {
            let lost = seen.after(secs(policy.heartbeat_timeout_secs));
            let hung = marked.after(secs(policy.step_stall_secs));
            let off = node.off_since().map(|at| at.after(secs(ANSWER_SECS)));
            Some((*until).min(lost).min(hung).min(off.unwrap_or(lost)))
        }
    })
}
