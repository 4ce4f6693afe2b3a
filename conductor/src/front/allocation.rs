//! Somebody asks for any node of a kind: the nodes that fit are tried, one after the other, until one is had.
//! The core decides on each node's record, and so two who try the same one are told apart by the save of it.
use super::named::{load, resolve};
use super::refusal::{ApiError, fail};
use crate::clock;
use crate::drive::ReconcileError;
use crate::fnv::fnv1a;
use crate::records::StoreError;
use crate::worker::Worker;
use ironbeat_common::id::{AllocationId, NodeId};
use ironbeat_core::allocation::{Allocation, MAX_CANDIDATES, SCHEMA, Unfit, Wanted, tell};
use ironbeat_core::decide::{Event, Verb};
use ironbeat_core::id::{AllocationName, OpId, RequestId};
use ironbeat_core::index::Entry;
use ironbeat_core::node::Node;
use ironbeat_core::time::secs;
use ironbeat_ops::reply::{AllocationInfo, AllocationState};
use ironbeat_ops::request::CreateAllocation;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An allocation that no node knows is one in the making for so long; after that, whoever made it has died.
const IN_THE_MAKING_SECS: u32 = 600;

fn fresh<T: std::str::FromStr>() -> T {
    let id = uuid::Uuid::new_v4().to_string().parse();
    id.unwrap_or_else(|_| unreachable!("a UUID is hex digits and hyphens"))
}

/// # Errors
/// Why no node can be had, or what is wrong with the request.
pub(super) async fn create(
    worker: &Arc<Worker>,
    ask: CreateAllocation,
) -> Result<AllocationInfo, ApiError> {
    worker.view.ready().await;
    let made = prepare(worker, ask).await?;
    let made = record(worker, made).await?;
    match place(worker, &made).await {
        Ok(node) => {
            let told = keep(worker, &made, node.id).await?;
            Ok(info(&told, Some(&Entry::of(&node))))
        }
        // Nobody has it: it leaves nothing behind. One that may have a node is found by its id again.
        Err(error) if error.code == 409 => {
            if let Some((made, at)) = worker.store.allocations.load(made.id).await? {
                worker.store.allocations.remove(&made, at).await?;
            }
            Err(error)
        }
        Err(error) => Err(error),
    }
}

/// The document as it is before it has a node.
async fn prepare(worker: &Arc<Worker>, ask: CreateAllocation) -> Result<Allocation, ApiError> {
    let count = ask.candidate_nodes.len();
    if count > MAX_CANDIDATES {
        let why = format!("{count} candidate nodes, at most {MAX_CANDIDATES}");
        return Err(fail(400, why));
    }
    let mut candidates = Vec::with_capacity(count);
    for node in &ask.candidate_nodes {
        candidates.push(resolve(worker, node).await?);
    }
    let (mut class, mut backfill) = (ask.resource_class, false);
    if let Some(node) = &ask.node {
        if !candidates.is_empty() {
            return Err(fail(400, "give either \"node\" or \"candidate_nodes\""));
        }
        let node = load(worker, node).await?;
        (candidates, backfill) = (vec![node.id], true);
        class = class.or(node.resource_class);
    }
    let Some(resource_class) = class else {
        return Err(fail(400, "give a \"resource_class\", which the node has"));
    };
    Ok(Allocation {
        schema: SCHEMA,
        id: ask.id.unwrap_or_else(fresh),
        name: ask.name,
        wanted: Wanted {
            resource_class,
            traits: ask.traits,
            candidates,
            owner: ask.owner,
            backfill,
        },
        created: clock::now(),
        node: None,
        op: fresh(),
    })
}

/// Stores it, so that no node ever names one that is not there. The client that repeats itself finds its own.
async fn record(worker: &Arc<Worker>, made: Allocation) -> Result<Allocation, ApiError> {
    let allocations = &worker.store.allocations;
    if let Some(name) = &made.name
        && let Some(holder) = worker.store.allocation_named(name).await?
        && holder.id != made.id
        && node_of(worker, &holder).await?.is_none()
        && is_over(&holder)
    {
        forget(worker, &holder).await?;
    }
    let created = match allocations.vacancy(made.id).await {
        Ok(vacant) => allocations.create(&made, vacant).await,
        Err(error) => Err(error),
    };
    match created {
        Ok(_) => Ok(made),
        Err(StoreError::Conflict { .. }) => {
            let present = allocations.load(made.id).await?.map(|(present, _)| present);
            match present {
                Some(present) if present.wanted == made.wanted && present.name == made.name => {
                    Ok(present)
                }
                Some(_) => Err(fail(
                    409,
                    format!("allocation {} exists, and asks for something else", made.id),
                )),
                None => Err(fail(503, format!("allocation {} has just ended", made.id))),
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// Tries the nodes that fit, its own first should it have one already, in an order that is another for each allocation: so
/// many that are made at once seldom try the same one.
async fn place(worker: &Arc<Worker>, made: &Allocation) -> Result<Arc<Node>, ApiError> {
    let (id, wanted) = (made.id, &made.wanted);
    let named = |entry: &Entry| match (&made.name, &entry.name) {
        (Some(name), Some(node)) => name.as_str() == node.as_str(),
        (_, _) => false,
    };
    let mut unfit: BTreeMap<Unfit, usize> = BTreeMap::new();
    let mut fitting = worker.view.pick(|entry| match wanted.fits(entry) {
        _ if entry.allocation == Some(id) => Some((0, 0, entry.id)),
        Ok(()) if named(entry) => Some((1, 0, entry.id)),
        Ok(()) => {
            let both = [id.as_bytes(), entry.id.as_bytes()];
            Some((2, fnv1a(both.into_iter().flatten()), entry.id))
        }
        Err(why) => {
            *unfit.entry(why).or_default() += 1;
            None
        }
    });
    fitting.sort_unstable();
    for (_, _, node) in fitting {
        // Others may have been faster since.
        let now = worker.view.get(&node);
        let now = now.filter(|entry| entry.allocation != Some(id));
        if let Some(Err(why)) = now.map(|entry| wanted.fits(&entry)) {
            *unfit.entry(why).or_default() += 1;
            continue;
        }
        match allocate(worker, node, made).await {
            Ok(node) => return Ok(node),
            Err(ReconcileError::NoNode(_)) => {}
            Err(ReconcileError::Rejected(_)) => {
                let why = match worker.store.nodes.load(node).await? {
                    Some((node, _)) => wanted.fits(&Entry::of(&node)).err(),
                    None => None,
                };
                *unfit.entry(why.unwrap_or(Unfit::Allocated)).or_default() += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    // Those of another class are no news.
    unfit.remove(&Unfit::OtherClass);
    let class = &wanted.resource_class;
    Err(fail(
        409,
        match unfit.is_empty() {
            true => format!("no node can be had: none has the resource class {class}"),
            false => format!(
                "no node can be had: of resource class {class}, {}",
                tell(&unfit)
            ),
        },
    ))
}

async fn allocate(
    worker: &Arc<Worker>,
    node: NodeId,
    made: &Allocation,
) -> Result<Arc<Node>, ReconcileError> {
    let verb = Verb::Allocate {
        allocation: made.id,
        wanted: Box::new(made.wanted.clone()),
    };
    let request: RequestId = fresh();
    worker
        .drive
        .deliver(node, &Event::Asked { request, verb })
        .await
}

/// The document says which node it has.
async fn keep(
    worker: &Arc<Worker>,
    made: &Allocation,
    node: NodeId,
) -> Result<Allocation, ApiError> {
    let allocations = &worker.store.allocations;
    let Some((before, at)) = allocations.load(made.id).await? else {
        // Whoever deleted it did not know of the node yet.
        free(worker, made.id, node).await?;
        return Err(fail(
            409,
            format!("allocation {} was deleted meanwhile", made.id),
        ));
    };
    if before.node == Some(node) {
        return Ok(before);
    }
    let op: OpId = fresh();
    let after = Allocation {
        node: Some(node),
        op,
        ..before.clone()
    };
    allocations.save(&before, &after, at).await?;
    Ok(after)
}

/// The node that it has, by the node's own record. None: it has none, or none any more.
async fn node_of(worker: &Worker, made: &Allocation) -> Result<Option<Entry>, ApiError> {
    let has = |entry: &Entry| entry.allocation == Some(made.id);
    let known = match made.node {
        Some(node) => Some(node),
        // Whoever made it may have died before it was said.
        None => {
            let found = worker.view.pick(|entry| has(entry).then_some(entry.id));
            found.first().copied()
        }
    };
    let Some(known) = known else { return Ok(None) };
    let record = worker.store.nodes.load(known).await?;
    Ok(record.map(|(node, _)| Entry::of(&node)).filter(has))
}

/// It had a node that is free by now, or it is too old for one in the making.
fn is_over(made: &Allocation) -> bool {
    made.node.is_some() || clock::now().since(made.created) > secs(IN_THE_MAKING_SECS)
}

/// Drops the document, unless it has changed.
async fn forget(worker: &Worker, made: &Allocation) -> Result<(), ApiError> {
    let present = worker.store.allocations.load(made.id).await?;
    match present {
        Some((present, at)) if present == *made => {
            Ok(worker.store.allocations.remove(&present, at).await?)
        }
        Some(_) | None => Ok(()),
    }
}

fn info(made: &Allocation, node: Option<&Entry>) -> AllocationInfo {
    AllocationInfo {
        id: made.id,
        name: made.name.clone(),
        state: match node {
            Some(_) => AllocationState::Active,
            None => AllocationState::Allocating,
        },
        node: node.map(|node| node.id),
        node_name: node.and_then(|node| node.name.clone()),
        created: made.created,
        wanted: made.wanted.clone(),
    }
}

/// By id or name.
async fn find(worker: &Worker, text: &str) -> Result<Allocation, ApiError> {
    let found = match text.parse::<AllocationId>() {
        Ok(id) => {
            let found = worker.store.allocations.load(id).await?;
            found.map(|(found, _)| found)
        }
        Err(_) => {
            let name: AllocationName = text.parse().map_err(|bad| fail(400, bad))?;
            worker.store.allocation_named(&name).await?
        }
    };
    found.ok_or_else(|| fail(404, format!("there is no allocation {text}")))
}

/// # Errors
/// When there is none, or none any more.
pub(super) async fn show(worker: &Arc<Worker>, text: &str) -> Result<AllocationInfo, ApiError> {
    worker.view.ready().await;
    let made = find(worker, text).await?;
    let node = node_of(worker, &made).await?;
    if node.is_none() && is_over(&made) {
        forget(worker, &made).await?;
        return Err(fail(404, format!("there is no allocation {text} any more")));
    }
    Ok(info(&made, node.as_ref()))
}

/// All that have a node, or are in the making; what is over goes.
///
/// # Errors
/// When the store is away.
pub(super) async fn list(worker: &Arc<Worker>) -> Result<Vec<AllocationInfo>, ApiError> {
    worker.view.ready().await;
    let entries = worker.view.pick(|entry| {
        let allocation = entry.allocation?;
        Some((allocation, Arc::clone(entry)))
    });
    let had: BTreeMap<AllocationId, Arc<Entry>> = entries.into_iter().collect();
    let mut all = Vec::new();
    for made in worker.store.allocations.all().await? {
        let known = had
            .get(&made.id)
            .filter(|entry| made.node == Some(entry.id));
        if let Some(entry) = known {
            all.push(info(&made, Some(entry)));
            continue;
        }
        // The view may be behind; the record is not.
        match node_of(worker, &made).await? {
            None if is_over(&made) => forget(worker, &made).await?,
            node => all.push(info(&made, node.as_ref())),
        }
    }
    Ok(all)
}

/// Ends it: its node is free, unless it serves somebody. A node that names one that is gone is freed as well, by the id.
///
/// # Errors
/// When there is none, or its node serves somebody.
pub(super) async fn delete(worker: &Arc<Worker>, text: &str) -> Result<AllocationInfo, ApiError> {
    worker.view.ready().await;
    let made = match find(worker, text).await {
        Ok(made) => made,
        Err(error) => {
            if let (404, Ok(id)) = (error.code, text.parse::<AllocationId>()) {
                let has = |entry: &Arc<Entry>| (entry.allocation == Some(id)).then_some(entry.id);
                for node in worker.view.pick(has) {
                    free(worker, id, node).await?;
                }
            }
            return Err(error);
        }
    };
    let node = node_of(worker, &made).await?;
    if let Some(node) = &node {
        free(worker, made.id, node.id).await?;
    }
    if let Some((present, at)) = worker.store.allocations.load(made.id).await? {
        worker.store.allocations.remove(&present, at).await?;
    }
    Ok(info(&made, node.as_ref()))
}

/// The node has this allocation no longer, if it had it.
async fn free(worker: &Arc<Worker>, id: AllocationId, node: NodeId) -> Result<(), ApiError> {
    let (request, verb) = (fresh(), Verb::Deallocate(id));
    let event = Event::Asked { request, verb };
    match worker.drive.deliver(node, &event).await {
        Ok(_) | Err(ReconcileError::NoNode(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
