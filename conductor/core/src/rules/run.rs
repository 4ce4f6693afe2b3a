//! All rules, one after the other, over one machine: what is to change of its node, or why nothing is.
//! Nothing is changed here; `decide` takes the patch for an inspection's, and the conductor for an enrolment's.
use super::view;
use super::{ATTRIBUTES, RuleSpec, Scope, action, operator};
use crate::id::RuleName;
use crate::patch::Patch;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use ironbeat_common::inventory::Inventory;
use serde_json::{Map, Value};

/// Conditions and actions that all rules together may come to, loops included. Each takes microseconds.
const MAX_STEPS: u32 = 20_000;

/// What the rules say of a machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Those that apply, in their order.
    pub applied: Vec<RuleName>,
    /// Of these, those that change something.
    pub changing: Vec<RuleName>,
    pub patch: Patch,
    /// What they have logged, each with its rule.
    pub log: Vec<String>,
}

/// A rule says that the machine is not to be had, or cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    pub rule: RuleName,
    pub why: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "inspection rule {}: {}", self.rule, self.why)
    }
}

impl Outcome {
    /// For the audit, with what was changed in words; empty: no rule applied.
    pub fn words(&self, changes: &[String]) -> String {
        if self.applied.is_empty() {
            return String::new();
        }
        let mut words = match self.applied.as_slice() {
            [one] => format!("inspection rule {one} applied"),
            all => format!("inspection rules {} applied", names(all)),
        };
        if !changes.is_empty() {
            words = format!("{words} and changed {}", changes.join(", "));
        }
        for line in &self.log {
            words = format!("{words}; {line}");
        }
        words
    }

    /// What they set was refused.
    pub fn refused(&self, why: &str) -> String {
        match self.changing.as_slice() {
            [] => format!("inspection rules: {why}"),
            [one] => format!("inspection rule {one}: {why}"),
            all => format!("inspection rules {}: {why}", names(all)),
        }
    }
}

fn names(rules: &[RuleName]) -> String {
    let names: Vec<&str> = rules.iter().map(RuleName::as_str).collect();
    names.join(", ")
}

/// Applies those of `scope` to a machine and to the [view](super::node_view) of its node. Each sees what those before it have set.
///
/// # Errors
/// The first rule that says so, or that cannot be carried out; then nothing is to be changed.
pub fn apply(
    rules: &[RuleSpec],
    scope: Scope,
    inventory: &Inventory,
    node: &Value,
) -> Result<Outcome, Failed> {
    let mut rules: Vec<&RuleSpec> = rules.iter().filter(|rule| rule.is_of(scope)).collect();
    if rules.is_empty() {
        return Ok(Outcome::default());
    }
    rules.sort_by(|a, b| a.order().cmp(&b.order()));
    let found = view::inventory(inventory);
    let (before, mut now) = (node.clone(), node.clone());
    let mut outcome = Outcome::default();
    let mut steps = MAX_STEPS;
    for rule in rules {
        let failed = |why: String| Failed {
            rule: rule.name.clone(),
            why,
        };
        if !holds(rule, &found, &now, &mut steps).map_err(failed)? {
            continue;
        }
        let was = now.clone();
        let mut said = Vec::new();
        for one in &rule.actions {
            action::perform(one, &found, &mut now, &mut said, &mut steps).map_err(failed)?;
        }
        difference(&before, &now).map_err(failed)?;
        outcome.applied.push(rule.name.clone());
        if now != was {
            outcome.changing.push(rule.name.clone());
        }
        let lines = said.iter().map(|line| format!("{}: {line}", rule.name));
        outcome.log.extend(lines);
    }
    if let Some(last) = outcome.applied.last() {
        let failed = |why: String| Failed {
            rule: last.clone(),
            why,
        };
        outcome.patch = difference(&before, &now).map_err(failed)?;
    }
    Ok(outcome)
}

fn holds(rule: &RuleSpec, found: &Value, node: &Value, steps: &mut u32) -> Result<bool, String> {
    let scene = super::text::Scene {
        inventory: found,
        node,
        item: None,
    };
    for (at, condition) in rule.conditions.iter().enumerate() {
        let holds = operator::holds(condition, scene, steps);
        if !holds.map_err(|why| format!("condition {}: {why}", at + 1))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// One rule on its own, looked at condition by condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Of each whether it holds, or why that cannot be said.
    pub conditions: Vec<Result<bool, String>>,
    /// What it would set if it applied, or why it fails. None: it does not apply.
    pub outcome: Option<Result<Outcome, Failed>>,
}

/// What the rule would do, whatever its scope.
pub fn trial(rule: &RuleSpec, inventory: &Inventory, node: &Value) -> Trial {
    let found = view::inventory(inventory);
    let scene = super::text::Scene {
        inventory: &found,
        node,
        item: None,
    };
    let mut steps = MAX_STEPS;
    let conditions: Vec<_> = rule
        .conditions
        .iter()
        .map(|condition| operator::holds(condition, scene, &mut steps))
        .collect();
    let applies = conditions.iter().all(|held| *held == Ok(true));
    let scope = rule.scope.unwrap_or(Scope::Inspection);
    let alone = core::slice::from_ref(rule);
    Trial {
        outcome: applies.then(|| apply(alone, scope, inventory, node)),
        conditions,
    }
}

/// The patch that makes the node what the view has become.
fn difference(before: &Value, now: &Value) -> Result<Patch, String> {
    let (mut patch, mut clear) = (Map::new(), Vec::new());
    let named = ATTRIBUTES.iter().map(|(name, deep, _)| (*name, *deep));
    for (name, deep) in named.chain([("traits", false)]) {
        let (was, is) = (&before[name], &now[name]);
        if was == is {
            continue;
        }
        if deep {
            patch.insert(name.to_string(), keys_that_differ(was, is).into());
        } else if is.is_null() {
            clear.push(Value::from(name));
        } else {
            patch.insert(name.to_string(), is.clone());
        }
    }
    if !clear.is_empty() {
        patch.insert("clear".to_string(), clear.into());
    }
    let patch = serde_json::from_value(Value::Object(patch));
    patch.map_err(|error: serde_json::Error| crate::text::said(&error.to_string(), 500))
}

/// Null takes a key away.
fn keys_that_differ(was: &Value, is: &Value) -> Map<String, Value> {
    let empty = Map::new();
    let was = was.as_object().unwrap_or(&empty);
    let is = is.as_object().unwrap_or(&empty);
    let gone = was.keys().filter(|key| !is.contains_key(*key));
    let gone = gone.map(|key| (key.clone(), Value::Null));
    let changed = is
        .iter()
        .filter(|(key, value)| was.get(*key) != Some(value));
    let changed = changed.map(|(key, value)| (key.clone(), value.clone()));
    gone.chain(changed).collect()
}
