//! Decides again what was decided, and compares.
//! It is given entries in order; where the chain of records is broken, it goes on from the next whole one.
use super::{Entry, Fields, difference, fields, json, redact};
use crate::decide::{Ctx, Decision, Event, Policy, Rejected, decide, needs_inventory};
use crate::id::OpId;
use crate::invariant;
use crate::node::{Beside, Node, Notes};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use ironbeat_common::inventory::Inventory;
use serde::Serialize;

/// What became of one entry.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Same,
    /// The first thing that is decided otherwise: its name, what it was, what it is.
    Differs {
        what: String,
        then: String,
        now: String,
    },
    /// Why it cannot be decided again.
    Skipped(String),
}

/// A node, as far as the entries tell.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    /// After the last entry.
    node: Option<Node>,
    inventory: Option<(OpId, Inventory)>,
    notes: Option<(OpId, Notes)>,
}

const MASKED: &str = "it is decided with secrets, which are not kept";

impl Replay {
    /// With what lies beside the present record, by the versions that it names.
    pub fn new(inventory: Option<(OpId, Inventory)>, notes: Option<(OpId, Notes)>) -> Self {
        Self {
            node: None,
            inventory,
            notes,
        }
    }

    /// `policy`: what the worker had.
    pub fn next(&mut self, entry: &Entry, policy: &Policy) -> Verdict {
        let present = self.node.take();
        let before = match (&entry.before, &entry.from) {
            (Some(whole), _) => match serde_json::from_str::<Node>(whole.get()) {
                Ok(node) => Some(node),
                Err(error) => return Verdict::Skipped(format!("read the record before: {error}")),
            },
            (None, None) => None,
            (None, Some(from)) => match present {
                Some(node) if node.op == *from => Some(node),
                Some(_) | None => {
                    return Verdict::Skipped("the record before is not in the file".into());
                }
            },
        };
        let after = match expected(before.as_ref(), entry) {
            Ok(after) => after,
            Err(error) => return Verdict::Skipped(format!("read the record afterwards: {error}")),
        };
        // Whoever decides relies on that, and the file may be damaged.
        let broken = [&before, &after].into_iter().flatten();
        let mut broken = broken.filter_map(|node| invariant::check(node).err());
        if let Some(broken) = broken.next() {
            return Verdict::Skipped(format!("such a record cannot be: {broken}"));
        }
        let decided = self.decide_again(before.as_ref(), entry, policy);
        self.node.clone_from(&after);
        let decided = match decided {
            Ok(decided) => decided,
            Err(why) => return Verdict::Skipped(why),
        };
        if let Ok(decision) = &decided {
            self.keep(decision);
        }
        compare(before.as_ref(), after.as_ref(), entry, decided)
    }

    fn decide_again(
        &self,
        before: Option<&Node>,
        entry: &Entry,
        policy: &Policy,
    ) -> Result<Result<Decision, Rejected>, String> {
        let mut event = entry.event.clone();
        if let Some(sha256) = &entry.token {
            redact::with_token(&mut event, sha256.clone());
        }
        if let (Some(version), Event::Booted { inventory, .. }) = (&entry.found, &mut event) {
            *inventory = self.inventory(version)?.clone();
        }
        if entry.ruled {
            return Err("it is decided with inspection rules, which are not kept".into());
        }
        let (mut known, mut notes) = (None, None);
        if let Some(node) = before {
            if event.needs_secrets(node) || event.needs_instance_data(node) {
                return Err(MASKED.into());
            }
            if let Some(version) = &node.beside.inventory
                && needs_inventory(node, &event)
            {
                known = Some(self.inventory(version)?);
            }
            if let Some(version) = &node.beside.notes
                && event.needs_notes()
            {
                let kept = self.notes.as_ref().filter(|(kept, _)| kept == version);
                let kept = kept.ok_or("the notes that it is decided with are not in the file")?;
                notes = Some(&kept.1);
            }
        }
        let ctx = Ctx {
            now: entry.at,
            op: &entry.op,
            worker: &entry.worker,
            incarnation: entry.incarnation,
            policy,
            inventory: known,
            secrets: None,
            instance_data: None,
            notes,
            rules: None,
        };
        Ok(decide(before, &event, ctx))
    }

    fn inventory(&self, version: &OpId) -> Result<&Inventory, String> {
        let kept = self.inventory.as_ref().filter(|(kept, _)| kept == version);
        let kept = kept.ok_or("the inventory that it is decided with is not in the file")?;
        Ok(&kept.1)
    }

    /// What was put beside the record.
    fn keep(&mut self, decision: &Decision) {
        let Some(node) = &decision.node else { return };
        for document in &decision.beside {
            match document {
                Beside::Inventory(inventory) => {
                    self.inventory = Some((node.op.clone(), (**inventory).clone()));
                }
                Beside::Notes(notes) => self.notes = Some((node.op.clone(), notes.clone())),
                Beside::InstanceData(_) | Beside::BmcSecrets(_) | Beside::RescueLogin(_) => {}
            }
        }
    }
}

/// The record after an entry, as it says.
fn expected(before: Option<&Node>, entry: &Entry) -> Result<Option<Node>, serde_json::Error> {
    if entry.forgotten {
        return Ok(None);
    }
    let before = before.map(json);
    let mut after: Fields = match &before {
        Some(before) => fields(before)
            .into_iter()
            .map(|(name, value)| (name.into_owned(), value.to_owned()))
            .collect(),
        None => Fields::new(),
    };
    for name in &entry.gone {
        after.remove(name);
    }
    for (name, value) in &entry.changed {
        after.insert(name.clone(), value.clone());
    }
    if after.is_empty() {
        // Nobody has enrolled it: that was refused.
        return Ok(None);
    }
    serde_json::from_str(&serde_json::to_string(&after)?).map(Some)
}

fn compare(
    before: Option<&Node>,
    after: Option<&Node>,
    entry: &Entry,
    decided: Result<Decision, Rejected>,
) -> Verdict {
    let differs = |what: &str, then: String, now: String| Verdict::Differs {
        what: what.into(),
        then,
        now,
    };
    let none = || "nothing".to_string();
    let decision = match (decided, &entry.refused) {
        (Err(now), Some(then)) if now == *then => return Verdict::Same,
        (Err(now), Some(then)) => {
            return differs("the refusal", then.to_string(), now.to_string());
        }
        (Err(now), None) => {
            return differs(
                "the decision",
                entry.because.clone(),
                format!("refused: {now}"),
            );
        }
        (Ok(now), Some(then)) => {
            return differs("the decision", format!("refused: {then}"), now.because);
        }
        (Ok(decision), None) => decision,
    };
    if decision.because != entry.because {
        return differs("because", entry.because.clone(), decision.because);
    }
    if decision.effects != entry.effects {
        return differs("effects", shown(&entry.effects), shown(&decision.effects));
    }
    if decision.node.as_ref() == after {
        return Verdict::Same;
    }
    // Both as what has changed, so that the first field that differs is one that the event is about.
    let (Some(then), Some(now)) = (after, &decision.node) else {
        let there = |node: Option<&Node>| node.map_or_else(none, |_| "the node".to_string());
        return differs("what is left", there(after), there(decision.node.as_ref()));
    };
    let (changed, gone) = difference(Some(&json(then)), &json(now));
    let name = changed.keys().chain(&gone).next().cloned();
    let Some(name) = name else {
        // Two records that are written alike.
        return Verdict::Same;
    };
    let of = |node: &Node| {
        let json = json(node);
        let value = fields(&json)
            .get(name.as_str())
            .map(|it| it.get().to_owned());
        value.unwrap_or_else(none)
    };
    let is_new = before.is_none_or(|before| of(before) != of(then));
    let what = match is_new {
        true => format!("the record's field {name:?}"),
        false => format!("the record's field {name:?}, which stayed as it was"),
    };
    differs(&what, of(then), of(now))
}

fn shown<T: Serialize>(effects: &Vec<T>) -> String {
    serde_json::to_string(effects).unwrap_or_else(|error| error.to_string())
}
