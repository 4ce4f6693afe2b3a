//! What was decided about a node, kept so that it can be decided again: an entry for each change of its record.
//! `redact` takes the secrets out, `replay` decides again. Who keeps entries, and how many, is the conductor's to say.
mod redact;
mod replay;
#[cfg(test)]
mod tests;

pub use replay::{Replay, Verdict};

use crate::decide::{Ctx, Effect, Event, Rejected};
use crate::id::{Incarnation, OpId, WorkerId};
use crate::node::Node;
use crate::rules::Rules;
use crate::time::Time;
use alloc::borrow::{Cow, ToOwned};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use ironbeat_common::image::Digest;
use ironbeat_common::inventory::Inventory;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Version of what is exported. A reader refuses a later one.
pub const SCHEMA: u32 = 1;

/// Fields of a record, as they are written.
pub type Fields = BTreeMap<String, Box<RawValue>>;

/// One event, what it was decided on, and what was decided. There is no secret in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    pub at: Time,
    /// Names the write. The record has it as its `op` afterwards.
    pub op: OpId,
    pub worker: WorkerId,
    #[serde(default)]
    pub incarnation: Incarnation,
    /// Of the program.
    pub version: String,
    /// Options of its policy that are not the default.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub policy: Map<String, Value>,
    pub event: Event,
    /// Of the token that an instance was given, which is not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Digest<32>>,
    /// The ramdisk found what this version of the inventory says, which is not repeated in the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<OpId>,
    /// Inspection rules had their say: nobody else may see them, so they are not kept.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub ruled: bool,
    /// The write that made the record before. None: there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<OpId>,
    /// The whole record before, where it rested: what follows can be decided again from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<RawValue>>,
    /// The record's fields that are others afterwards; all of them where there was none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub changed: Fields,
    /// Its fields that are not there any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<String>,
    /// The node is.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub forgotten: bool,
    /// Of the record in its bucket. None: nobody heard it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<Effect>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub because: String,
    /// Why nothing was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Rejected>,
}

/// What a worker says of itself in each entry.
#[derive(Clone, Debug, Default)]
pub struct Decider {
    pub version: &'static str,
    /// Options of its policy that are not the default.
    pub policy: Map<String, Value>,
}

/// What was decided.
#[derive(Clone, Copy, Debug)]
pub enum Decided<'a> {
    To {
        /// None: the node is forgotten.
        after: Option<&'a Node>,
        effects: &'a [Effect],
        because: &'a str,
        revision: Option<u64>,
    },
    Refused(&'a Rejected),
}

impl Entry {
    pub fn of(
        before: Option<&Node>,
        event: &Event,
        ctx: Ctx<'_>,
        decided: Decided<'_>,
        by: &Decider,
    ) -> Self {
        let known = ctx.inventory.filter(|known| was_found(event, known));
        let found = known.and(before.and_then(|node| node.beside.inventory.clone()));
        let (event, token) = redact::event(event, found.is_some());
        let mut entry = Self {
            at: ctx.now,
            op: ctx.op.clone(),
            worker: ctx.worker.clone(),
            incarnation: ctx.incarnation,
            version: by.version.to_string(),
            policy: by.policy.clone(),
            event,
            token,
            found,
            ruled: ctx.rules.is_some_and(|rules| *rules != Rules::default()),
            from: before.map(|node| node.op.clone()),
            before: None,
            changed: Fields::new(),
            gone: Vec::new(),
            forgotten: false,
            revision: None,
            effects: Vec::new(),
            because: String::new(),
            refused: None,
        };
        let rests = before.filter(|node| node.job().is_none());
        match decided {
            Decided::Refused(why) => {
                entry.refused = Some(why.clone());
                entry.before = before.map(|node| raw(&json(node)));
            }
            Decided::To {
                after,
                effects,
                because,
                revision,
            } => {
                entry.effects = effects.to_vec();
                entry.because = because.to_string();
                entry.revision = revision;
                entry.forgotten = after.is_none();
                let (before, after) = (before.map(json), after.map(json));
                if let Some(after) = &after {
                    (entry.changed, entry.gone) = difference(before.as_deref(), after);
                }
                entry.before = rests.and(before).map(|json| raw(&json));
            }
        }
        entry
    }
}

/// Most lookups of a known machine find what was found before.
fn was_found(event: &Event, known: &Inventory) -> bool {
    matches!(event, Event::Booted { inventory, .. } if inventory == known)
}

fn json(node: &Node) -> String {
    let node = match node.has_queries() {
        true => Cow::Owned(node.clone().without_queries()),
        false => Cow::Borrowed(node),
    };
    serde_json::to_string(&*node).expect("a record's keys are strings")
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_string()).expect("it was just written as JSON")
}

fn fields(json: &str) -> BTreeMap<Cow<'_, str>, &RawValue> {
    serde_json::from_str(json).expect("a record is a JSON object")
}

/// What of a record is other than it was, and what is not there any more.
fn difference(before: Option<&str>, after: &str) -> (Fields, Vec<String>) {
    let before = before.map(fields).unwrap_or_default();
    let after = fields(after);
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    let gone = gone.map(|name| name.to_string()).collect();
    let changed = after.into_iter().filter(|(name, value)| {
        let was = before.get(name).map(|was| was.get());
        was != Some(value.get())
    });
    let changed = changed.map(|(name, value)| (name.into_owned(), value.to_owned()));
    (changed.collect(), gone)
}
