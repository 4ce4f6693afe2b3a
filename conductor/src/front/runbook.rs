//! Runbooks: written and read for operators, and their steps put into a cleaning or a service that names one.
//! `ironbeat_core::runbook` says what is in one, and which nodes it is for.
use super::named::load;
use super::refusal::{ApiError, fail};
use crate::clock;
use crate::records::StoreError;
use crate::worker::Worker;
use ironbeat_common::id::RunbookId;
use ironbeat_core::id::{OpId, RunbookName};
use ironbeat_core::manual::Wish;
use ironbeat_core::runbook::{Runbook, RunbookText, SCHEMA};
use ironbeat_ops::reply::RunbookInfo;
use ironbeat_ops::request::{CreateRunbook, SetRunbook};

/// More are no help to whoever looks for one, and every list has them all.
const MAX_RUNBOOKS: usize = 1000;

fn fresh() -> OpId {
    let id = uuid::Uuid::new_v4().to_string().parse();
    id.unwrap_or_else(|_| unreachable!("a UUID is hex digits and hyphens"))
}

fn info(runbook: Runbook) -> RunbookInfo {
    RunbookInfo {
        id: runbook.id,
        created: runbook.created,
        updated: runbook.updated,
        text: runbook.text,
    }
}

fn check(worker: &Worker, text: &RunbookText) -> Result<(), ApiError> {
    let name = &text.name;
    let checked = text.check(&worker.policy);
    checked.map_err(|why| fail(400, format!("runbook {name}: {why}")))
}

/// # Errors
/// What is wrong with it, or that there is one of this name.
pub(super) async fn create(worker: &Worker, ask: CreateRunbook) -> Result<RunbookInfo, ApiError> {
    check(worker, &ask.runbook)?;
    let runbooks = &worker.store.runbooks;
    if runbooks.count().await? >= MAX_RUNBOOKS {
        let why = format!("there are {MAX_RUNBOOKS} runbooks already, the most that are kept");
        return Err(fail(409, why));
    }
    let now = clock::now();
    let made = Runbook {
        schema: SCHEMA,
        id: ask
            .id
            .unwrap_or_else(|| RunbookId::from_bytes(*uuid::Uuid::new_v4().as_bytes())),
        text: ask.runbook,
        created: now,
        updated: now,
        op: fresh(),
    };
    let created = match runbooks.vacancy(made.id).await {
        Ok(vacant) => runbooks.create(&made, vacant).await,
        Err(error) => Err(error),
    };
    match created {
        Ok(_) => Ok(info(made)),
        // The client repeats itself.
        Err(error @ StoreError::Conflict { .. }) => match runbooks.load(made.id).await? {
            Some((present, _)) if present.text == made.text => Ok(info(present)),
            Some(_) | None => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// By id or name.
async fn find(worker: &Worker, text: &str) -> Result<Runbook, ApiError> {
    let found = match text.parse::<RunbookId>() {
        Ok(id) => {
            let found = worker.store.runbooks.load(id).await?;
            found.map(|(found, _)| found)
        }
        Err(_) => {
            let name: RunbookName = text.parse().map_err(|bad| fail(400, bad))?;
            worker.store.runbook_named(&name).await?
        }
    };
    found.ok_or_else(|| fail(404, format!("there is no runbook {text}")))
}

/// # Errors
/// When there is none.
pub(super) async fn show(worker: &Worker, text: &str) -> Result<RunbookInfo, ApiError> {
    find(worker, text).await.map(info)
}

/// In the order of their names.
///
/// # Errors
/// When the store is away.
pub(super) async fn list(worker: &Worker) -> Result<Vec<RunbookInfo>, ApiError> {
    let mut all = worker.store.runbooks.all().await?;
    all.sort_by(|a, b| a.text.name.cmp(&b.text.name));
    Ok(all.into_iter().map(info).collect())
}

/// Puts another text in the place of the one that is there. Jobs that have begun keep the steps that they have.
///
/// # Errors
/// What is wrong with it, that there is none, or that somebody else has changed it at the same moment.
pub(super) async fn set(worker: &Worker, ask: SetRunbook) -> Result<RunbookInfo, ApiError> {
    check(worker, &ask.text)?;
    let id = find(worker, &ask.runbook).await?.id;
    let runbooks = &worker.store.runbooks;
    let gone = || fail(404, format!("there is no runbook {} any more", ask.runbook));
    let (before, at) = runbooks.load(id).await?.ok_or_else(gone)?;
    if ask.updated.is_some_and(|read| read != before.updated) {
        let (name, at) = (&before.text.name, before.updated);
        let why = format!("runbook {name} was changed meanwhile, at {at}: read it again");
        return Err(fail(409, why));
    }
    let after = Runbook {
        text: ask.text.clone(),
        updated: clock::now(),
        op: fresh(),
        ..before.clone()
    };
    runbooks.save(&before, &after, at).await?;
    Ok(info(after))
}

/// # Errors
/// When there is none, or somebody has changed it at the same moment.
pub(super) async fn delete(worker: &Worker, text: &str) -> Result<RunbookInfo, ApiError> {
    let id = find(worker, text).await?.id;
    let gone = || fail(404, format!("there is no runbook {text} any more"));
    let (present, at) = worker.store.runbooks.load(id).await?.ok_or_else(gone)?;
    worker.store.runbooks.remove(&present, at).await?;
    Ok(info(present))
}

/// What is wished for, with the steps of the runbook that it names.
///
/// # Errors
/// When there is no such runbook, it is not for this node, or steps are given as well.
pub(super) async fn drawn(worker: &Worker, node: &str, wish: Wish) -> Result<Wish, ApiError> {
    let Some(name) = &wish.runbook else {
        return Ok(wish);
    };
    if !wish.steps.is_empty() || wish.disable_ramdisk {
        let why = "give either a \"runbook\", or \"steps\" and \"disable_ramdisk\"";
        return Err(fail(400, why));
    }
    let text = find(worker, name.as_str()).await?.text;
    let node = load(worker, node).await?;
    text.fits(&node).map_err(|why| fail(409, why))?;
    Ok(text.wish())
}
