//! Runbooks and deploy templates: written and read for operators, and their steps put into a verb that asks for them.
//! `ironbeat_core::runbook` and `template` say what is in them.
use super::named::load;
use super::refusal::{ApiError, fail};
use crate::clock;
use crate::records::{Records, StoreError};
use crate::worker::Worker;
use ironbeat_common::id::KeptId;
use ironbeat_core::decide::Policy;
use ironbeat_core::id::OpId;
use ironbeat_core::kept::{Kept, SCHEMA, Text};
use ironbeat_core::manual::Wish;
use ironbeat_core::node::NewInstance;
use ironbeat_core::time::Time;
use ironbeat_ops::reply::KeptInfo;

/// More of a kind are no help to whoever looks for one, and every list has them all.
const MOST: usize = 1000;

fn fresh() -> OpId {
    let id = uuid::Uuid::new_v4().to_string().parse();
    id.unwrap_or_else(|_| unreachable!("a UUID is hex digits and hyphens"))
}

fn info<T>(kept: Kept<T>) -> KeptInfo<T> {
    KeptInfo {
        id: kept.id,
        created: kept.created,
        updated: kept.updated,
        text: kept.text,
    }
}

fn check<T: Text>(policy: &Policy, text: &T) -> Result<(), ApiError> {
    let (kind, name) = (T::KIND, text.name());
    let checked = text.check(policy);
    checked.map_err(|why| fail(400, format!("{kind} {name}: {why}")))
}

/// # Errors
/// What is wrong with it, or that there is one of this name.
pub(super) async fn create<T: Text>(
    records: &Records<Kept<T>>,
    policy: &Policy,
    id: Option<KeptId>,
    text: T,
) -> Result<KeptInfo<T>, ApiError> {
    check(policy, &text)?;
    if !records.has_room(MOST).await? {
        let kind = T::KIND;
        let why = format!("there are {MOST} of the kind {kind} already, the most that are kept");
        return Err(fail(409, why));
    }
    let (now, fresh_id) = (clock::now(), *uuid::Uuid::new_v4().as_bytes());
    let made = Kept {
        schema: SCHEMA,
        id: id.unwrap_or_else(|| KeptId::from_bytes(fresh_id)),
        text,
        created: now,
        updated: now,
        op: fresh(),
    };
    let created = match records.vacancy(made.id).await {
        Ok(vacant) => records.create(&made, vacant).await,
        Err(error) => Err(error),
    };
    match created {
        Ok(_) => Ok(info(made)),
        // The client repeats itself.
        Err(error @ StoreError::Conflict { .. }) => match records.load(made.id).await? {
            Some((present, _)) if present.text == made.text => Ok(info(present)),
            Some(_) | None => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}

fn absent<T: Text>(which: &str) -> ApiError {
    fail(404, format!("there is no {} {which}", T::KIND))
}

/// By id or name.
async fn find<T: Text>(records: &Records<Kept<T>>, which: &str) -> Result<Kept<T>, ApiError> {
    let found = match which.parse::<KeptId>() {
        Ok(id) => {
            let found = records.load(id).await?;
            found.map(|(found, _)| found)
        }
        Err(_) => {
            let name = which.parse::<T::Name>();
            let name = name.map_err(|bad| fail(400, bad.to_string()))?;
            records.named(&name).await?
        }
    };
    found.ok_or_else(|| absent::<T>(which))
}

/// # Errors
/// When there is none.
pub(super) async fn show<T: Text>(
    records: &Records<Kept<T>>,
    which: &str,
) -> Result<KeptInfo<T>, ApiError> {
    find(records, which).await.map(info)
}

/// In the order of their names.
///
/// # Errors
/// When the store is away.
pub(super) async fn list<T: Text>(
    records: &Records<Kept<T>>,
) -> Result<Vec<KeptInfo<T>>, ApiError> {
    let mut all = records.all().await?;
    all.sort_by_cached_key(|kept| kept.text.name().to_string());
    Ok(all.into_iter().map(info).collect())
}

/// Puts another text in the place of the one that is there, if it was changed last at `updated`. Jobs that have begun keep the
/// steps that they have.
///
/// # Errors
/// What is wrong with it, that there is none, or that somebody else has changed it.
pub(super) async fn set<T: Text>(
    records: &Records<Kept<T>>,
    policy: &Policy,
    which: &str,
    updated: Option<Time>,
    text: T,
) -> Result<KeptInfo<T>, ApiError> {
    check(policy, &text)?;
    let id = find(records, which).await?.id;
    let found = records.load(id).await?;
    let (before, at) = found.ok_or_else(|| absent::<T>(which))?;
    if updated.is_some_and(|read| read != before.updated) {
        let (kind, name, at) = (T::KIND, before.text.name(), before.updated);
        let why = format!("{kind} {name} was changed meanwhile, at {at}: read it again");
        return Err(fail(409, why));
    }
    let after = Kept {
        text,
        updated: clock::now(),
        op: fresh(),
        ..before.clone()
    };
    records.save(&before, &after, at).await?;
    Ok(info(after))
}

/// # Errors
/// When there is none, or somebody has changed it at the same moment.
pub(super) async fn delete<T: Text>(
    records: &Records<Kept<T>>,
    which: &str,
) -> Result<KeptInfo<T>, ApiError> {
    let id = find(records, which).await?.id;
    let found = records.load(id).await?;
    let (present, at) = found.ok_or_else(|| absent::<T>(which))?;
    records.remove(&present, at).await?;
    Ok(info(present))
}

/// What is wished for, with the steps of the runbook that it names.
///
/// # Errors
/// When there is no such runbook, it is not for this node, or steps are given as well.
pub(super) async fn with_runbook(
    worker: &Worker,
    node: &str,
    wish: Wish,
) -> Result<Wish, ApiError> {
    let Some(name) = &wish.runbook else {
        return Ok(wish);
    };
    if !wish.steps.is_empty() || wish.disable_ramdisk {
        let why = "give either a \"runbook\", or \"steps\" and \"disable_ramdisk\"";
        return Err(fail(400, why));
    }
    let runbook = find(&worker.store.runbooks, name.as_str()).await?.text;
    let node = load(worker, node).await?;
    runbook.fits(&node).map_err(|why| fail(409, why))?;
    Ok(runbook.wish())
}

/// The instance with the steps of the templates that have the names of its traits, before its own; of most traits there is
/// none.
///
/// # Errors
/// When the store is away.
pub(super) async fn with_templates(
    worker: &Worker,
    mut instance: NewInstance,
) -> Result<NewInstance, ApiError> {
    let mut steps = Vec::new();
    for wanted in &instance.traits {
        if let Some(template) = worker.store.templates.named(wanted).await? {
            steps.extend(template.text.steps);
        }
    }
    steps.append(&mut instance.deploy_steps);
    instance.deploy_steps = steps;
    Ok(instance)
}
