//! Messages of agents: a lookup finds its node, a heartbeat is an event, and the reply follows from the record.
//! The core says what either means for a node; `nats` carries the bytes.
use super::identify::identify;
use super::refusal::ApiError;
use crate::clock;
use crate::drive::ReconcileError;
use crate::netboot::mirrors::urls;
use crate::worker::Worker;
use ironbeat_common::codec;
use ironbeat_common::heartbeat::{Heartbeat, HeartbeatReply, Status};
use ironbeat_common::id::{BootId, NodeId};
use ironbeat_common::lookup::{Lookup, LookupReply};
use ironbeat_core::decide::{Event, Rejected, Wanted, wanted};
use ironbeat_core::lookup::{Identity, Match};
use ironbeat_core::node::{AgentStep, Delivery, Node};
use ironbeat_core::plan::config_drive;
use ironbeat_ops::happening::{Happening, What};
use std::sync::Arc;

/// A machine without work asks again after this long. Ironic's agent waits 1 to 60 s.
const RETRY_SECS: u32 = 20;

fn malformed(what: &str, error: &codec::DecodeError) -> ApiError {
    ApiError {
        code: 400,
        why: format!("{what}: {error}"),
    }
}

/// Refuses an agent of another version, which shows that on its console and asks again.
fn check_version(what: &str, version: u32) -> Result<(), ApiError> {
    match version == codec::VERSION {
        true => Ok(()),
        false => Err(ApiError {
            code: 400,
            why: format!(
                "{what}: message version {version}, this worker speaks {}: boot the ramdisk that came with it",
                codec::VERSION
            ),
        }),
    }
}

pub(super) async fn lookup(worker: &Arc<Worker>, payload: &[u8]) -> Result<Vec<u8>, ApiError> {
    let lookup: Lookup = codec::decode(payload).map_err(|error| malformed("lookup", &error))?;
    check_version("lookup", lookup.version)?;
    let machine = Identity::of_machine(&lookup.inventory);
    let matched = worker.view.find(&machine);
    let (outcome, welcome) = match &matched {
        Match::None => ("unknown machine: discovered".to_string(), None),
        Match::Ambiguous { nodes } => (format!("refused: {} nodes match it", nodes.len()), None),
        Match::One { node, by } => {
            let event = Event::Booted {
                boot: lookup.boot,
                inventory: lookup.inventory.clone(),
            };
            match worker.drive.deliver(*node, &event).await {
                Ok(node) => {
                    let of_others = identify(worker, &node, lookup.boot, &machine).await;
                    let welcome = node.boot == Some(lookup.boot);
                    let first = match welcome {
                        true => format!("welcome, by {by}"),
                        false => format!("refused, by {by}: the node is active"),
                    };
                    let words: Vec<String> = std::iter::once(first).chain(of_others).collect();
                    (words.join("; "), welcome.then_some(node))
                }
                Err(ReconcileError::Rejected(why)) => (format!("refused, by {by}: {why}"), None),
                Err(error) => {
                    return Err(ApiError {
                        code: 503,
                        why: format!("lookup: {error}"),
                    });
                }
            }
        }
    };
    tracing::info!(boot = %lookup.boot, serial = machine.serial, matched = ?matched, outcome, "lookup");
    if let Some(node) = &welcome {
        let what = What::Lookup {
            boot: lookup.boot,
            agent: lookup.agent,
            timings: lookup.timings,
        };
        let happening = Happening::of(node, clock::now(), &worker.id, what);
        let once = lookup.boot.to_string();
        worker.events.publish(&happening, &once);
    }
    worker
        .lookups
        .record(&machine, lookup.boot, matched, outcome, lookup.inventory);
    // The same answer for unknown, ambiguous and unwanted machines: a machine learns nothing by asking.
    Ok(codec::encode(&match welcome {
        Some(node) => LookupReply::Welcome {
            node: node.id,
            heartbeat_timeout_secs: worker.policy.heartbeat_timeout_secs,
        },
        None => LookupReply::Wait {
            retry_secs: RETRY_SECS,
        },
    }))
}

/// A heartbeat: decode, `decide` through `reconcile`, and the reply follows from the record.
pub(super) async fn heartbeat(
    worker: &Arc<Worker>,
    subject: &str,
    payload: &[u8],
) -> Result<Vec<u8>, ApiError> {
    let token = subject.rsplit('.').next().unwrap_or_default();
    let id: NodeId = token.parse().map_err(|bad| ApiError {
        code: 400,
        why: format!("heartbeat: {bad}"),
    })?;
    let beat: Heartbeat = codec::decode(payload).map_err(|error| malformed("heartbeat", &error))?;
    check_version("heartbeat", beat.version)?;
    let status = beat.status;
    let event = Event::Beat {
        boot: beat.boot,
        status: status.clone(),
    };
    let (reply, name) = match worker.drive.deliver(id, &event).await {
        Ok(node) => {
            let reply = reply(worker, &node, beat.boot, &status).await?;
            (reply, node.name)
        }
        Err(ReconcileError::Rejected(Rejected::UnknownBoot) | ReconcileError::NoNode(_)) => {
            (HeartbeatReply::LookUp, None)
        }
        Err(error) => {
            return Err(ApiError {
                code: 503,
                why: format!("heartbeat: {error}"),
            });
        }
    };
    if let Some(latency) = beat.nudge {
        let happening = Happening {
            node: id,
            name,
            at: clock::now(),
            worker: worker.id.clone(),
            what: What::Nudge(latency),
        };
        let once = latency.step.to_string();
        worker.events.publish(&happening, &once);
    }
    Ok(codec::encode(&reply))
}

/// The step that the record wants of the agent, in the protocol's words, with what lies beside the record.
async fn reply(
    worker: &Worker,
    node: &Node,
    boot: BootId,
    status: &Status,
) -> Result<HeartbeatReply, ApiError> {
    Ok(match wanted(node, boot, status) {
        Wanted::Idle => HeartbeatReply::Idle,
        Wanted::LookUp => HeartbeatReply::LookUp,
        Wanted::Step { id, step } => HeartbeatReply::Step {
            id,
            order: step.order(delivery(worker, node, step).await?),
        },
    })
}

async fn delivery(worker: &Worker, node: &Node, step: &AgentStep) -> Result<Delivery, ApiError> {
    let (AgentStep::WriteImage(write), Some(instance)) = (step, &node.instance) else {
        return Ok(Delivery::default());
    };
    let data = worker.store.beside.instance_data(node).await?;
    Ok(Delivery {
        urls: urls(&worker.presence.heard(), &write.source),
        config_drive: config_drive(node, instance, &data.unwrap_or_default()),
        stall_secs: worker.policy.step_stall_secs,
    })
}
