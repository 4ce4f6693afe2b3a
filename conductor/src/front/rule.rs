//! Inspection rules: made, replaced, shown, forgotten, tried. What cannot be carried out is refused before it is stored.
//! The core knows what a rule may say; `drive` has rules applied when an inspection ends, `discover` when a machine is unknown.
use super::named::{load, looked_up};
use super::refusal::{ApiError, fail};
use crate::clock;
use crate::worker::Worker;
use ironbeat_common::id::RuleId;
use ironbeat_core::id::{OpId, RuleName};
use ironbeat_core::rules::{MAX_RULES, Rule, RuleSpec, SCHEMA, nobody, node_view, trial};
use ironbeat_ops::reply::{ConditionTrial, RuleInfo, RuleTrial};
use ironbeat_ops::request::TestRule;
use std::sync::Arc;

fn fresh() -> OpId {
    let id = uuid::Uuid::new_v4().to_string().parse();
    id.unwrap_or_else(|_| unreachable!("a UUID is hex digits and hyphens"))
}

/// # Errors
/// What is wrong with the rule, or which other one has its name.
pub(super) async fn create(worker: &Arc<Worker>, spec: RuleSpec) -> Result<RuleInfo, ApiError> {
    spec.check().map_err(|why| fail(400, why))?;
    // The client that repeats itself.
    if let Some(present) = worker.store.rule_named(&spec.name).await? {
        return match present.rule == spec {
            true => Ok(info(&present)),
            false => Err(fail(
                409,
                format!(
                    "a rule {} exists, and says something else: `ironbeat rule set` replaces it",
                    spec.name
                ),
            )),
        };
    }
    let (rules, unreadable) = worker.store.all_rules().await?;
    if rules.len() + unreadable.len() >= MAX_RULES {
        return Err(fail(
            409,
            format!("there are {MAX_RULES} rules, which is the bound"),
        ));
    }
    let made = Rule {
        schema: SCHEMA,
        id: RuleId::from_bytes(*uuid::Uuid::new_v4().as_bytes()),
        created: clock::now(),
        rule: spec,
        op: fresh(),
    };
    let vacant = worker.store.rules.vacancy(made.id).await?;
    worker.store.rules.create(&made, vacant).await?;
    Ok(info(&made))
}

/// # Errors
/// What is wrong with the rule, or that there is none of its name.
pub(super) async fn set(worker: &Arc<Worker>, spec: RuleSpec) -> Result<RuleInfo, ApiError> {
    spec.check().map_err(|why| fail(400, why))?;
    let named = find(worker, spec.name.as_str()).await?;
    let (before, at) = worker
        .store
        .rules
        .load(named.id)
        .await?
        .ok_or_else(|| none(spec.name.as_str()))?;
    if before.rule == spec {
        return Ok(info(&before));
    }
    let after = Rule {
        rule: spec,
        op: fresh(),
        ..before.clone()
    };
    worker.store.rules.save(&before, &after, at).await?;
    Ok(info(&after))
}

/// # Errors
/// When the store is away, or one cannot be read: then no inspection ends well, and it is to be known which.
pub(super) async fn list(worker: &Arc<Worker>) -> Result<Vec<RuleInfo>, ApiError> {
    let (rules, unreadable) = worker.store.all_rules().await?;
    match unreadable.first() {
        Some(error) => Err(fail(
            500,
            format!("{error}: no inspection ends well until a worker can read it"),
        )),
        None => Ok(rules.iter().map(info).collect()),
    }
}

/// # Errors
/// When there is none.
pub(super) async fn show(worker: &Arc<Worker>, text: &str) -> Result<RuleInfo, ApiError> {
    Ok(info(&find(worker, text).await?))
}

/// # Errors
/// When there is none.
pub(super) async fn delete(worker: &Arc<Worker>, text: &str) -> Result<RuleInfo, ApiError> {
    let found = find(worker, text).await?;
    let (rule, at) = worker
        .store
        .rules
        .load(found.id)
        .await?
        .ok_or_else(|| none(text))?;
    worker.store.rules.remove(&rule, at).await?;
    Ok(info(&rule))
}

/// # Errors
/// When the question names not one rule and one machine, or there is no inventory.
pub(super) async fn test(worker: &Arc<Worker>, ask: TestRule) -> Result<RuleTrial, ApiError> {
    let rule = match (ask.rule, ask.given) {
        (Some(text), None) => find(worker, &text).await?.rule,
        (None, Some(given)) => given,
        (Some(_), Some(_)) | (None, None) => {
            return Err(fail(400, "give exactly one of \"rule\" and \"given\""));
        }
    };
    rule.check().map_err(|why| fail(400, why))?;
    let (inventory, view) = match (ask.node, ask.lookup) {
        (Some(node), None) => {
            let record = load(worker, &node).await?;
            let notes = worker.store.beside.notes(&record).await?;
            let found = worker.store.beside.inventory(&record).await?;
            let found = found.ok_or_else(|| {
                fail(
                    409,
                    format!("node {node} has no inventory: `ironbeat node inspect` reads it"),
                )
            })?;
            (found, node_view(&record, notes.as_ref()))
        }
        (None, Some(key)) => (looked_up(worker, &key).await?.lookup.inventory, nobody()),
        (Some(_), Some(_)) | (None, None) => {
            return Err(fail(400, "give exactly one of \"node\" and \"lookup\""));
        }
    };
    let tried = trial(&rule, &inventory, &view);
    let conditions = rule.conditions.iter().zip(tried.conditions);
    let conditions = conditions.map(|(condition, held)| ConditionTrial {
        op: condition.op.clone(),
        why: held.as_ref().err().cloned(),
        holds: held.ok(),
    });
    let (mut fails, mut patch, mut log) = (None, None, Vec::new());
    let applies = tried.outcome.is_some();
    match tried.outcome {
        None => {}
        Some(Err(failed)) => fails = Some(failed.why),
        Some(Ok(outcome)) => {
            patch = Some(outcome.patch);
            log = outcome.log;
        }
    }
    Ok(RuleTrial {
        rule: rule.name,
        conditions: conditions.collect(),
        applies,
        fails,
        patch,
        log,
    })
}

/// By id or name.
async fn find(worker: &Worker, text: &str) -> Result<Rule, ApiError> {
    let found = match text.parse::<RuleId>() {
        Ok(id) => worker.store.rules.load(id).await?.map(|(rule, _)| rule),
        Err(_) => {
            let name: RuleName = text.parse().map_err(|bad| fail(400, bad))?;
            worker.store.rule_named(&name).await?
        }
    };
    found.ok_or_else(|| none(text))
}

fn none(text: &str) -> ApiError {
    fail(404, format!("there is no rule {text}"))
}

/// What a sensitive one says is shown to nobody.
fn info(rule: &Rule) -> RuleInfo {
    let mut shown = rule.rule.clone();
    if shown.sensitive {
        shown.conditions.clear();
        shown.actions.clear();
    }
    RuleInfo {
        id: rule.id,
        created: rule.created,
        rule: shown,
    }
}
