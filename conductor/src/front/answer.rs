//! One question, one answer: what each request of an operator reads, or which event it is for which node.
//! A front (`nats`) carries requests; the core says what a verb does to a node.
use super::foresee::foresee;
use super::named::{load, looked_up, resolve, resolve_past};
use super::refusal::{ApiError, fail};
use super::shared::shared_password;
use super::{allocation, bmc, check, kept, login, past, rule};
use crate::clock;
use crate::config::Scripts;
use crate::confirm;
use crate::loops;
use crate::loops::power::PowerSync;
use crate::records::dhcp::{Dhcp, Heard, Servers};
use crate::records::presence::Liveness;
use crate::records::{StoreError, rotate};
use crate::worker::Worker;
use ironbeat_common::id::NodeId;
use ironbeat_core::decide::{self, Enrolment, Event, LastBeat, Verb};
use ironbeat_core::explain::{explain, human};
use ironbeat_core::id::{RequestId, WorkerId};
use ironbeat_core::index::{Entry, Filter, Looked};
use ironbeat_core::node::{NewInstance, Node, State};
use ironbeat_core::time::Time;
use ironbeat_core::validate::{Known, validate};
use ironbeat_ops::happening::{Asker, What};
use ironbeat_ops::lookup::LookupEntry;
use ironbeat_ops::reply::{NodePage, Rotated, SealKey, Shown, Summary, WorkerInfo};
use ironbeat_ops::request::{Enroll, ListNodes, ShowSealKey};
use ironbeat_ops::{Reply, Request};
use std::sync::Arc;

/// Nodes in one reply at most.
const MAX_NODES: usize = 500;
/// Bytes of them: a message of the NATS servers' usual 1 MiB holds them. A node has some 500, one with 50 long traits 15,000.
const MAX_PAGE_BYTES: usize = 900_000;
/// Events in one reply at most; with some 400 bytes each they fit a message.
const MAX_EVENTS: usize = 1000;
/// A public key of nkeys has 56.
const MAX_NONCE: usize = 64;
/// Events in a reply when the request does not say how many.
const USUAL_EVENTS: usize = 100;

/// On whose behalf a worker does something.
#[derive(Clone, Copy)]
struct Caller<'a> {
    worker: &'a Arc<Worker>,
    asker: Option<&'a Asker>,
}

/// # Errors
/// What was wrong with the request, or why it could not be carried out.
pub async fn answer(
    worker: &Arc<Worker>,
    power: &PowerSync,
    request: Request,
    asker: Option<&Asker>,
) -> Result<Reply, ApiError> {
    let by = Caller { worker, asker };
    Ok(match request {
        Request::Enroll(wish) => Reply::Enroll(enroll(by, wish).await?),
        Request::ListNodes(ask) => {
            worker.view.ready().await;
            Reply::ListNodes(page(worker, &ask)?)
        }
        Request::ShowNode(ask) => Reply::ShowNode(show(worker, &ask.node).await?),
        Request::ExplainNode(ask) => {
            let node = load(worker, &ask.node).await?;
            let now = clock::now();
            let beat = last_beat(worker, &node).await;
            let node = match &beat {
                Some(beat) => decide::heard(&node, beat, now),
                None => node,
            };
            let mut explained = explain(&node, now, &worker.policy);
            if let Some(beat) = &beat {
                explained = explained.troubled(&node, beat);
            }
            explained = explained.in_line(worker.view.position_in_line(&node.id));
            if worker.scripts_by == Scripts::Https {
                explained = explained.over_tls(&node, now, &worker.policy);
            }
            explained.power_sync = match node.job() {
                None => power.trouble(&node),
                Some(_) => None,
            };
            explained.worker = worker.presence.idle_owner(node.id);
            // An explanation must not fail with the stream of events, nor with the store.
            let netboot = netboot(worker, &node, now).await;
            explained.netboot =
                netboot.unwrap_or_else(|error| Some(format!("not known: {}", error.why)));
            let dhcp = Dhcp::new(&worker.store).all().await.unwrap_or_default();
            let doubt = dhcp.doubt(&|id| is_live(worker, id));
            Reply::ExplainNode(explained.no_network_boot(&node, doubt.as_deref()))
        }
        Request::ValidateNode(ask) => {
            let node = load(worker, &ask.node).await?;
            let inventory = worker.store.beside.inventory(&node).await?;
            let dhcp = Dhcp::new(&worker.store).all().await?;
            let doubt = dhcp.doubt(&|id| is_live(worker, id));
            let known = Known {
                inventory: inventory.as_ref(),
                no_network_boot: doubt.as_deref(),
                policy: &worker.policy,
            };
            Reply::ValidateNode(validate(&node, known))
        }
        Request::DeleteNode(ask) => Reply::DeleteNode(delete(by, &ask.node).await?),
        Request::Manage(ask) => {
            Reply::Manage(verb(by, &ask.node, ask.request, Verb::Manage).await?)
        }
        Request::Inspect(ask) => {
            Reply::Inspect(verb(by, &ask.node, ask.request, Verb::Inspect).await?)
        }
        Request::Provide(ask) => {
            Reply::Provide(verb(by, &ask.node, ask.request, Verb::Provide).await?)
        }
        Request::Deploy(ask) => {
            let instance = kept::with_templates(worker, ask.instance).await?;
            let wanted = Verb::Deploy(with_token(instance));
            Reply::Deploy(verb(by, &ask.node, ask.request, wanted).await?)
        }
        Request::Rebuild(ask) => {
            let instance = match ask.instance {
                Some(instance) => Some(kept::with_templates(worker, instance).await?),
                None => None,
            };
            let wanted = Verb::Rebuild(instance.map(with_token));
            Reply::Rebuild(verb(by, &ask.node, ask.request, wanted).await?)
        }
        Request::Undeploy(ask) => {
            Reply::Undeploy(verb(by, &ask.node, ask.request, Verb::Undeploy).await?)
        }
        Request::Adopt(ask) => {
            let wanted = Verb::Adopt(ask.instance);
            Reply::Adopt(verb(by, &ask.node, ask.request, wanted).await?)
        }
        Request::Clean(ask) => {
            let wanted = Verb::Clean(kept::with_runbook(worker, &ask.node, ask.wish).await?);
            Reply::Clean(verb(by, &ask.node, ask.request, wanted).await?)
        }
        Request::Service(ask) => {
            let wanted = Verb::Service(kept::with_runbook(worker, &ask.node, ask.wish).await?);
            Reply::Service(verb(by, &ask.node, ask.request, wanted).await?)
        }
        Request::Rescue(ask) => {
            let wanted = Verb::Rescue(ask.login);
            Reply::Rescue(verb(by, &ask.node, ask.request, wanted).await?)
        }
        Request::Unrescue(ask) => {
            Reply::Unrescue(verb(by, &ask.node, ask.request, Verb::Unrescue).await?)
        }
        Request::Hold(ask) => Reply::Hold(verb(by, &ask.node, ask.request, Verb::Hold).await?),
        Request::Unhold(ask) => {
            Reply::Unhold(verb(by, &ask.node, ask.request, Verb::Unhold).await?)
        }
        Request::Abort(ask) => Reply::Abort(verb(by, &ask.node, ask.request, Verb::Abort).await?),
        Request::SetMaintenance(ask) => {
            let reason = ask.reason.unwrap_or_else(|| "no reason given".into());
            let wanted = Verb::Maintenance(Some(reason));
            Reply::SetMaintenance(verb(by, &ask.node, ask.request, wanted).await?)
        }
        Request::UnsetMaintenance(ask) => {
            let wanted = Verb::Maintenance(None);
            Reply::UnsetMaintenance(verb(by, &ask.node, ask.request, wanted).await?)
        }
        Request::SetNode(ask) => {
            let wanted = Verb::set(ask.patch);
            Reply::SetNode(verb(by, &ask.node, ask.request, wanted).await?)
        }
        Request::CreateAllocation(ask) => {
            Reply::CreateAllocation(allocation::create(worker, ask).await?)
        }
        Request::ListAllocations(_) => Reply::ListAllocations(allocation::list(worker).await?),
        Request::ShowAllocation(ask) => {
            Reply::ShowAllocation(allocation::show(worker, &ask.allocation).await?)
        }
        Request::DeleteAllocation(ask) => {
            Reply::DeleteAllocation(allocation::delete(worker, &ask.allocation).await?)
        }
        Request::CreateRunbook(ask) => {
            let (runbooks, policy) = (&worker.store.runbooks, &worker.policy);
            Reply::CreateRunbook(kept::create(runbooks, policy, ask.id, ask.runbook).await?)
        }
        Request::ListRunbooks(_) => Reply::ListRunbooks(kept::list(&worker.store.runbooks).await?),
        Request::ShowRunbook(ask) => {
            Reply::ShowRunbook(kept::show(&worker.store.runbooks, &ask.runbook).await?)
        }
        Request::SetRunbook(ask) => {
            let (runbooks, policy) = (&worker.store.runbooks, &worker.policy);
            let set = kept::set(runbooks, policy, &ask.runbook, ask.updated, ask.text);
            Reply::SetRunbook(set.await?)
        }
        Request::DeleteRunbook(ask) => {
            Reply::DeleteRunbook(kept::delete(&worker.store.runbooks, &ask.runbook).await?)
        }
        Request::CreateTemplate(ask) => {
            let (templates, policy) = (&worker.store.templates, &worker.policy);
            Reply::CreateTemplate(kept::create(templates, policy, ask.id, ask.template).await?)
        }
        Request::ListTemplates(_) => {
            Reply::ListTemplates(kept::list(&worker.store.templates).await?)
        }
        Request::ShowTemplate(ask) => {
            Reply::ShowTemplate(kept::show(&worker.store.templates, &ask.template).await?)
        }
        Request::SetTemplate(ask) => {
            let (templates, policy) = (&worker.store.templates, &worker.policy);
            let set = kept::set(templates, policy, &ask.template, ask.updated, ask.text);
            Reply::SetTemplate(set.await?)
        }
        Request::DeleteTemplate(ask) => {
            Reply::DeleteTemplate(kept::delete(&worker.store.templates, &ask.template).await?)
        }
        Request::CreateRule(ask) => Reply::CreateRule(rule::create(worker, ask.rule).await?),
        Request::SetRule(ask) => Reply::SetRule(rule::set(worker, ask.rule).await?),
        Request::ListRules(_) => Reply::ListRules(rule::list(worker).await?),
        Request::ShowRule(ask) => Reply::ShowRule(rule::show(worker, &ask.rule).await?),
        Request::DeleteRule(ask) => Reply::DeleteRule(rule::delete(worker, &ask.rule).await?),
        Request::TestRule(ask) => Reply::TestRule(rule::test(worker, ask).await?),
        Request::ChangePower(ask) => {
            let wanted = Verb::Power(ask.power);
            Reply::ChangePower(verb(by, &ask.node, ask.request, wanted).await?)
        }
        Request::SetBootDevice(ask) => {
            let wanted = Verb::BootDevice {
                device: ask.boot_device,
                persistent: ask.persistent,
            };
            Reply::SetBootDevice(verb(by, &ask.node, ask.request, wanted).await?)
        }
        Request::SyncPower(ask) => {
            let node = load(worker, &ask.node).await?;
            let id = node.id;
            let read = loops::power::read(worker, power, &Entry::of(&node)).await?;
            let said = read.transpose();
            let said = said.map_err(|fault| fail(502, fault.what))?;
            let node = load(worker, &id.to_string()).await?;
            let summary = Summary::of(&Entry::of(&node));
            Reply::SyncPower(match said {
                Some(report) => summary.bmc_says(report.power_on),
                None => summary,
            })
        }
        Request::RevokeLogin(ask) => Reply::RevokeLogin(login::revoke(worker, ask).await?),
        Request::CheckBmc(ask) => {
            let (access, shared) = match (&ask.node, ask.bmc) {
                (Some(node), None) => {
                    let node = load(worker, node).await?;
                    let login = worker.logins.of(&node).await?;
                    // One that lets nobody in is told why.
                    let access = worker.bmcs.access(&login).await;
                    let access = access.unwrap_or_else(|_| login.present());
                    (access, shared_password(worker, &node).await)
                }
                (None, Some(bmc)) => (bmc, None),
                (Some(_), Some(_)) | (None, None) => {
                    return Err(fail(400, "give exactly one of \"node\" and \"bmc\""));
                }
            };
            let bmc = worker.bmcs.hasty(&access).await;
            let bmc = bmc.map_err(|fault| fail(400, fault.what))?;
            let found = check::check(&bmc, &access, ask.node.as_deref(), shared).await;
            bmc.close().await;
            Reply::CheckBmc(found)
        }
        Request::BmcInfo(ask) => Reply::BmcInfo(bmc::info(worker, &ask.node).await?),
        Request::BmcSensors(ask) => Reply::BmcSensors(bmc::sensors(worker, &ask.node).await?),
        Request::BmcSel(ask) => Reply::BmcSel(bmc::sel(worker, &ask.node, ask.clear).await?),
        Request::BmcFru(ask) => Reply::BmcFru(bmc::fru(worker, &ask.node).await?),
        Request::ResetBmc(ask) => {
            Reply::ResetBmc(verb(by, &ask.node, ask.request, Verb::ResetBmc).await?)
        }
        Request::SetBmcPassword(ask) => {
            settle_password(worker, &ask.node).await?;
            let wanted = Verb::SetPassword(ask.password);
            Reply::SetBmcPassword(verb(by, &ask.node, ask.request, wanted).await?)
        }
        Request::RawBmc(ask) => Reply::RawBmc(bmc::raw(worker, &ask.node, &ask.raw).await?),
        Request::ConsoleHistory(ask) => {
            let id = resolve(worker, &ask.node).await?;
            let bytes = loops::console::record::read(&worker.store, &id).await?;
            Reply::ConsoleHistory(bytes)
        }
        Request::ListLookups(_) => Reply::ListLookups(worker.lookups.list().await?),
        Request::ShowLookup(ask) => Reply::ShowLookup(looked_up(worker, &ask.key).await?),
        Request::ListWorkers(_) => Reply::ListWorkers(workers(worker).await),
        Request::ListEvents(ask) => {
            let id = match ask.node {
                Some(node) => Some(resolve_past(worker, &node).await?),
                None => None,
            };
            let last = ask.last.unwrap_or(USUAL_EVENTS).min(MAX_EVENTS);
            Reply::ListEvents(worker.events.read(id, last).await?)
        }
        Request::NodeHistory(ask) => Reply::NodeHistory(past::history(worker, ask).await?),
        Request::NodeRecord(ask) => Reply::NodeRecord(past::record(worker, ask).await?),
        Request::ShowSealKey(ask) => Reply::ShowSealKey(seal_key(worker, ask).await?),
        Request::RotateKey(_) => Reply::RotateKey(rotate(worker).await?),
        Request::ShowPolicy(_) => Reply::ShowPolicy(worker.policy.clone()),
    })
}

async fn seal_key(worker: &Worker, ask: ShowSealKey) -> Result<SealKey, ApiError> {
    let key = worker.store.keys.seal_key().await?;
    let sealer = worker.login.as_ref().and_then(|it| it.sealer.as_ref());
    let proof = match (ask.nonce, sealer) {
        (Some(nonce), _) if nonce.len() > MAX_NONCE => {
            return Err(fail(400, format!("a nonce has at most {MAX_NONCE} bytes")));
        }
        (Some(nonce), Some(sealer)) => Some(sealer.prove(key.as_deref(), &nonce)),
        (None, _) | (_, None) => None,
    };
    let proof = proof.transpose().map_err(|error| fail(500, error))?;
    Ok(SealKey { key, proof })
}

/// Not before every worker would wrap with the same key.
async fn rotate(worker: &Worker) -> Result<Rotated, ApiError> {
    let own = worker.presence.own();
    let first = own.master_keys.first();
    let first = first.ok_or_else(|| fail(409, StoreError::NoMasterKey))?;
    for other in worker.presence.heard() {
        // One that has it further down could take the place of this one, and wrap with a key that is to go.
        if other.master_keys.first() != Some(first) {
            let (id, this) = (other.id, &own.id);
            return Err(fail(
                409,
                format!(
                    "the first master key of worker {this} is {first}, and that of worker {id} is another: give all workers the same \
                     file of master keys, and restart them, before a new data key is wrapped"
                ),
            ));
        }
    }
    let rotate::Rotated {
        key,
        master,
        sealed,
        dropped,
        mut unreadable,
    } = worker.store.rotate().await?;
    let more = unreadable.len().saturating_sub(rotate::MAX_NAMED) as u64;
    unreadable.truncate(rotate::MAX_NAMED);
    Ok(Rotated {
        key,
        master,
        documents: sealed,
        dropped,
        unreadable,
        more,
    })
}

/// Of an agent at work. An explanation must not fail with the stream of heartbeats.
async fn last_beat(worker: &Worker, node: &Node) -> Option<LastBeat> {
    node.agent_step()?;
    let beat = worker.seen.last_beat(node.id).await;
    beat.inspect_err(|error| tracing::warn!(node = %node.id, "explain: {error}"))
        .ok()?
}

fn is_live(worker: &Worker, id: &WorkerId) -> bool {
    // One that has not been listened for long enough gets the benefit of the doubt.
    *id == worker.id || worker.presence.is_live(id) != Liveness::Lapsed
}

fn heard(worker: &Worker, id: &WorkerId) -> Heard {
    if *id == worker.id {
        return Heard::Lately;
    }
    match worker.presence.is_live(id) {
        Liveness::Live => Heard::Lately,
        Liveness::Unknown => Heard::NotYet,
        Liveness::Lapsed => Heard::NotSince(worker.presence.last_heard(id)),
    }
}

/// Those that live, and those beside a dnsmasq whether they live or not.
async fn workers(worker: &Worker) -> Vec<WorkerInfo> {
    let dhcp = Dhcp::new(&worker.store).all().await;
    let dhcp = dhcp.unwrap_or_else(|error| {
        tracing::warn!("list workers: {error}");
        Servers::default()
    });
    let mut all = worker.presence.heard();
    for beside in dhcp.workers(&|id| heard(worker, id)) {
        match all.iter_mut().find(|live| live.id == beside.id) {
            Some(live) => live.dnsmasq = beside.dnsmasq,
            None => all.push(beside),
        }
    }
    all.sort_by(|a, b| a.id.cmp(&b.id));
    all
}

fn page(worker: &Worker, ask: &ListNodes) -> Result<NodePage, ApiError> {
    let filter = Filter::parse(ask.conditions.iter().map(String::as_str));
    let filter = filter.map_err(|bad| fail(400, bad))?;
    let limit = ask.limit.unwrap_or(MAX_NODES).clamp(1, MAX_NODES);
    let owners = worker.presence.owners();
    let owner = |id| owners.owner_of(id).cloned();
    let fits = |entry: &Entry| {
        filter.fits(Looked {
            entry,
            owner: &owner,
        })
    };
    let mut page = worker.view.page(ask.after, limit + 1, fits);
    let all = page.len();
    page.truncate(limit);
    let line = |node: &Arc<Entry>| Summary {
        worker: owner(node.id),
        ..Summary::of(node)
    };
    let mut nodes: Vec<Summary> = page.iter().map(line).collect();
    nodes.truncate(fitting(&nodes, MAX_PAGE_BYTES));
    Ok(NodePage {
        next: nodes
            .last()
            .filter(|_| nodes.len() < all)
            .map(|node| node.id),
        nodes,
    })
}

/// How many of these fit into so many bytes; one at least, so that every page has something.
fn fitting(nodes: &[Summary], bytes: usize) -> usize {
    let mut left = bytes;
    let fits = nodes.iter().take_while(|node| {
        let size = serde_json::to_vec(node).map_or(0, |json| json.len() + 1);
        let fits = size <= left;
        left = left.saturating_sub(size);
        fits
    });
    fits.count().max(1)
}

/// The last lease and the last fetch, as far as they were told: of the job under way, or since the node rests where it is.
/// Of one that failed, the last there was: it may say why.
async fn netboot(worker: &Worker, node: &Node, now: Time) -> Result<Option<String>, ApiError> {
    let since = match &node.state {
        State::Busy(job) => job.began,
        State::Resting(rest) if rest.is_failure() => Time::from_unix_ms(0),
        State::Resting(_) => node.since,
    };
    let mut seen = Vec::new();
    for kind in ["lease", "netboot"] {
        let last = worker.events.last(node.id, kind).await?;
        let Some(last) = last.filter(|last| last.at >= since) else {
            continue;
        };
        let ago = human(now.since(last.at).as_secs());
        let words = if let What::Lease { mac, ip } = last.what {
            format!("{mac} got the address {ip} {ago} ago")
        } else if let What::Netboot { mac, what } = last.what {
            format!("{what} ({mac}), {ago} ago")
        } else {
            continue;
        };
        seen.push((last.at, words));
    }
    seen.sort();
    let words: Vec<String> = seen.into_iter().map(|(_, words)| words).collect();
    Ok((!words.is_empty()).then(|| words.join("; ")))
}

/// A verb is an event for one node; the answer is the node as it is then.
async fn verb(
    by: Caller<'_>,
    node: &str,
    request: Option<RequestId>,
    verb: Verb,
) -> Result<Shown, ApiError> {
    let worker = by.worker;
    let id = resolve(worker, node).await?;
    let request = request.unwrap_or_else(fresh_request);
    let event = Event::Asked { request, verb };
    let warnings = foresee(worker, id, &event).await?;
    let node = worker.drive.deliver_for(by.asker, id, &event).await?;
    Ok(Shown {
        warnings,
        ..Shown::of(&node)
    })
}

/// Another change of the password begins when the last one is over: whoever asks for one has it looked at first.
async fn settle_password(worker: &Arc<Worker>, node: &str) -> Result<(), ApiError> {
    let node = load(worker, node).await?;
    if node.password_change.is_none() || node.job().is_some() {
        return Ok(());
    }
    let login = worker.logins.of(&node).await?;
    let asked = worker.bmcs.ask_password(&login).await;
    if let Some(event) = asked.map_err(|fault| fail(502, fault.what))? {
        worker.drive.deliver(node.id, &event).await?;
    }
    Ok(())
}

/// A node that is gone is not found, and what a delete that was cut short has left of it goes.
async fn delete(by: Caller<'_>, node: &str) -> Result<Shown, ApiError> {
    let deleted = verb(by, node, None, Verb::Delete).await;
    if let (Err(ApiError { code: 404, .. }), Ok(id)) = (&deleted, node.parse()) {
        by.worker.store.finish_delete(id);
    }
    deleted
}

/// For an instance that is to confirm, should it be one.
fn with_token(instance: NewInstance) -> NewInstance {
    NewInstance {
        token: Some(confirm::token()),
        ..instance
    }
}

/// A request id that nobody has used.
fn fresh_request() -> RequestId {
    uuid::Uuid::new_v4()
        .to_string()
        .parse()
        .expect("a UUID is hex digits and hyphens")
}

async fn enroll(by: Caller<'_>, wish: Enroll) -> Result<Shown, ApiError> {
    let worker = by.worker;
    let id = wish
        .id
        .unwrap_or_else(|| NodeId::from_bytes(*uuid::Uuid::new_v4().as_bytes()));
    let entry = match &wish.from {
        None => None,
        Some(key) => Some(looked_up(worker, key).await?),
    };
    let further = wish.further();
    let warnings = entry.as_ref().and_then(contested).into_iter().collect();
    let inventory = entry.map(|it| it.lookup.inventory);
    let event = Event::Enrolled(Enrolment {
        id,
        name: wish.name,
        bmc: wish.bmc,
        macs: wish.macs,
        system_uuid: wish.system_uuid,
        serial: wish.serial,
        boot_mode: wish.boot_mode,
        secure_boot: wish.secure_boot,
        root_device: wish.root_device,
        skip_block_devices: wish.skip_block_devices,
        further: Box::new(further),
        inventory,
    });
    let node = worker.drive.deliver_for(by.asker, id, &event).await?;
    Ok(Shown {
        warnings,
        ..Shown::of(&node)
    })
}

/// Somebody else says that he is this machine.
fn contested(entry: &LookupEntry) -> Option<String> {
    let LookupEntry { key, conflicts, .. } = entry;
    (!conflicts.is_empty()).then(|| {
        format!(
            "others claim to be the machine {key}: {}: compare the node's MAC addresses with what the machine has",
            conflicts.join(", ")
        )
    })
}

/// A node with its inventory and its notes, which lie beside the record.
async fn show(worker: &Worker, node: &str) -> Result<Shown, ApiError> {
    let node = load(worker, node).await?;
    let inventory = worker.store.beside.inventory(&node).await?;
    let notes = worker.store.beside.notes(&node).await?;
    Ok(Shown::of(&node).with_inventory(inventory).with_notes(notes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::tests::node;

    #[test]
    fn a_page_ends_where_a_message_would_be_too_large() {
        let mut node = node(1);
        node.owner = Some("o".repeat(255));
        let nodes = vec![Summary::of(&Entry::of(&node)); 10];
        let one = serde_json::to_vec(&nodes[0]).unwrap().len() + 1;
        for (bytes, count) in [(usize::MAX, 10), (10 * one, 10), (10 * one - 1, 9), (0, 1)] {
            assert_eq!(fitting(&nodes, bytes), count, "{bytes}");
        }
    }
}
