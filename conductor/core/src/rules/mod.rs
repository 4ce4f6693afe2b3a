//! Inspection rules: what an operator wants said of machines that fit some conditions. A rule as data, and whether it is sound.
//! `run` applies them to an inventory, `operator` and `action` have the words for it, `text` what stands in braces.
mod action;
mod operator;
mod run;
#[cfg(test)]
mod tests;
mod text;
mod view;

use crate::id::{OpId, RuleName};
use crate::time::Time;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cmp::Reverse;
use ironbeat_common::id::RuleId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use action::{ATTRIBUTES, Deed};
pub use operator::{Network, Operator};
pub use run::{Failed, Outcome, Trial, apply, trial};
pub use view::{nobody, node_view};

/// Version of the document.
pub const SCHEMA: u32 = 1;
/// Rules of one site: all of them are read at the end of each inspection.
pub const MAX_RULES: usize = 100;
/// Conditions of one rule, and its actions.
pub const MAX_PARTS: usize = 32;
/// Things that one loop goes over.
pub const MAX_LOOP: usize = 64;
/// Bytes of one rule as JSON.
pub const MAX_RULE_BYTES: usize = 16 * 1024;
/// As Ironic bounds it.
pub const MAX_PRIORITY: u16 = 9999;
/// Characters of a description, as Ironic bounds it.
const MAX_DESCRIPTION: usize = 255;
/// Lists and objects inside each other in what a rule gives.
const MAX_DEPTH: usize = 16;

/// One rule as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    pub schema: u32,
    pub id: RuleId,
    pub created: Time,
    pub rule: RuleSpec,
    /// The write that made this revision.
    pub op: OpId,
}

/// When it applies, and what it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    pub name: RuleName,
    /// For people; at most 255 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// 0 to 9999: a higher one comes first, of the same in the order of their names.
    #[serde(default)]
    pub priority: u16,
    /// Its conditions and actions are shown to nobody.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub sensitive: bool,
    #[serde(default)]
    pub phase: RulePhase,
    /// Only at inspections, or only when an unknown machine is enrolled; none: at both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// It applies where all of them hold. Without any: always.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Done in this order.
    pub actions: Vec<Action>,
}

/// Ironic's phases, of which it has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RulePhase {
    /// With the whole inventory.
    #[default]
    Main,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// A node's inspection ends.
    Inspection,
    /// An unknown machine looked up, and would be enrolled.
    Discovery,
}

/// `{"op": "eq", "args": {"values": ["{inventory[system][product]}", "R640"]}}`; `!eq` is the opposite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Condition {
    pub op: String,
    /// By name, or as a list in the operator's order.
    #[serde(default)]
    pub args: Value,
    /// A list, or a reference to one in braces: each thing of it is `{item}` once.
    #[serde(default, rename = "loop", skip_serializing_if = "Option::is_none")]
    pub each: Option<Value>,
    /// Of a loop.
    #[serde(default, skip_serializing_if = "Multiple::is_any")]
    pub multiple: Multiple,
}

/// For which things of a loop a condition must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Multiple {
    #[default]
    Any,
    All,
    First,
    Last,
}

impl Multiple {
    fn is_any(&self) -> bool {
        *self == Multiple::Any
    }
}

/// `{"op": "set-attribute", "args": {"path": "resource_class", "value": "large"}}`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Action {
    pub op: String,
    /// By name, or as a list in the action's order.
    #[serde(default)]
    pub args: Value,
    /// As a condition's: done for each thing.
    #[serde(default, rename = "loop", skip_serializing_if = "Option::is_none")]
    pub each: Option<Value>,
}

/// The rules that a decision may use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    pub all: Vec<RuleSpec>,
    /// Why what they say cannot be done, as is known outside the core: a name that they set is another node's, or one of them
    /// cannot be read.
    pub refused: Option<String>,
}

impl RuleSpec {
    pub fn is_of(&self, scope: Scope) -> bool {
        self.scope.is_none_or(|own| own == scope)
    }

    /// In the order in which rules apply.
    pub fn order(&self) -> (Reverse<u16>, &RuleName) {
        (Reverse(self.priority), &self.name)
    }

    /// Whether all of it can be done, as far as one sees without a machine.
    ///
    /// # Errors
    /// What cannot, where in the rule, and what there is in its place.
    pub fn check(&self) -> Result<(), String> {
        let bytes = serde_json::to_vec(self).map_or(usize::MAX, |json| json.len());
        if bytes > MAX_RULE_BYTES {
            return Err(format!(
                "the rule has {bytes} bytes as JSON, at most {MAX_RULE_BYTES}"
            ));
        }
        if self.priority > MAX_PRIORITY {
            return Err(format!(
                "priority is {}, at most {MAX_PRIORITY}",
                self.priority
            ));
        }
        let description = self.description.as_deref().unwrap_or_default();
        if description.chars().count() > MAX_DESCRIPTION {
            return Err(format!(
                "the description has more than {MAX_DESCRIPTION} characters"
            ));
        }
        if description.contains(char::is_control) {
            return Err("the description has a control character".to_string());
        }
        for (what, count) in [
            ("conditions", self.conditions.len()),
            ("actions", self.actions.len()),
        ] {
            if count > MAX_PARTS {
                return Err(format!("{count} {what}, at most {MAX_PARTS}"));
            }
        }
        if self.actions.is_empty() {
            return Err("the rule has no actions".to_string());
        }
        for (at, condition) in self.conditions.iter().enumerate() {
            let checked = operator::check(condition);
            checked.map_err(|why| format!("condition {}: {why}", at + 1))?;
        }
        for (at, deed) in self.actions.iter().enumerate() {
            let checked = action::check(deed);
            checked.map_err(|why| format!("action {}: {why}", at + 1))?;
        }
        Ok(())
    }
}

/// What an operator or an action takes.
pub struct Signature {
    pub required: &'static [&'static str],
    pub optional: &'static [&'static str],
}

type Args = BTreeMap<String, Value>;

/// By name, whichever way they are given.
fn args_of(given: &Value, signature: &Signature) -> Result<Args, String> {
    let names = signature.required.iter().chain(signature.optional);
    let empty = Map::new();
    let args: Args = if let Some(list) = given.as_array() {
        let count = signature.required.len() + signature.optional.len();
        if list.len() > count {
            return Err(format!("{} arguments, at most {count}", list.len()));
        }
        let named = names.zip(list);
        named
            .map(|(name, value)| (name.to_string(), value.clone()))
            .collect()
    } else {
        let object = match (given.as_object(), given.is_null()) {
            (Some(object), _) => object,
            (None, true) => &empty,
            (None, false) => return Err("\"args\" is neither a list nor an object".to_string()),
        };
        let known: Vec<&str> = names.copied().collect();
        if let Some(name) = object.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(format!(
                "it has no argument {}: there are {}",
                shown(name),
                known.join(", ")
            ));
        }
        let named = object.iter();
        named
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    if let Some(missing) = signature
        .required
        .iter()
        .find(|name| !args.contains_key(**name))
    {
        return Err(format!("its argument \"{missing}\" is missing"));
    }
    if args.values().any(|value| depth(value) > MAX_DEPTH) {
        return Err(format!(
            "more than {MAX_DEPTH} lists and objects inside each other"
        ));
    }
    Ok(args)
}

fn check_loop(each: Option<&Value>) -> Result<(), String> {
    let Some(each) = each else { return Ok(()) };
    if depth(each) > MAX_DEPTH {
        return Err(format!(
            "more than {MAX_DEPTH} lists and objects inside each other"
        ));
    }
    if let Some(text) = each.as_str() {
        return match text::is_reference(text) {
            true => text::check(each, false),
            false => {
                Err("\"loop\" is a list, or a reference to one: \"{inventory[disks]}\"".to_string())
            }
        };
    }
    let count = each
        .as_array()
        .map_or(usize::from(each.is_object()), Vec::len);
    match count {
        0 => Err("\"loop\" has nothing to go over".to_string()),
        1..=MAX_LOOP => text::check(each, false),
        count => Err(format!("\"loop\" has {count} things, at most {MAX_LOOP}")),
    }
}

fn depth(value: &Value) -> usize {
    let list = value.as_array().into_iter().flatten();
    let object = value.as_object().into_iter().flat_map(Map::values);
    let inner = list.chain(object).map(depth).max();
    match value.is_array() || value.is_object() {
        true => 1 + inner.unwrap_or_default(),
        false => 0,
    }
}

/// What somebody else wrote, in a message.
fn shown(text: &str) -> String {
    format!("{:?}", crate::text::said(text, 64))
}
