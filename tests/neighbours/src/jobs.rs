//! Jobs of a node as its machine goes through them, up to the step that a row wants to look at.
//! What is done with the step is for the row.
use crate::lab::{Lab, NODES};
use crate::machine::{Agent, Machine, Mark, ask, inventory};
use crate::site::until;
use crate::wire::Wire;
use anyhow::{Context, Result, bail};
use ironbeat_common::codec;
use ironbeat_common::heartbeat::{Heartbeat, HeartbeatReply, Outcome, Status};
use ironbeat_common::id::StepId;
use ironbeat_common::order::{Order, WriteImage};

/// A node that is told to write an image, and its agent.
pub struct Writing {
    pub agent: Agent,
    pub wire: Wire,
    pub step: StepId,
    pub order: WriteImage,
}

/// Inspects a node and makes it available.
///
/// # Errors
/// When a step fails.
pub fn is_available(lab: &mut Lab, n: u8) -> Result<()> {
    let name = NODES[usize::from(n) - 1];
    if lab.show(name)?["provision_state"] == "available" {
        return Ok(());
    }
    let agent = lab.agent(n)?;
    let mut wire = agent.wire(lab)?;
    let HeartbeatReply::Step { id, .. } = agent.beats(&mut wire)? else {
        bail!("an inspection has a step");
    };
    let inventory = Outcome::Inventory(Box::new(inventory(n, Mark::All)));
    says(
        &agent,
        &mut wire,
        Status::Done {
            step: id,
            outcome: inventory,
        },
    )?;
    lab.is(name, "manageable")?;
    lab.site
        .cli("admin", &["node", "provide", name, "--wait"])
        .map(drop)
}

/// Deploys an available node, until it waits for its ramdisk.
///
/// # Errors
/// When it does not.
pub fn deploys(lab: &mut Lab, n: u8, more: &[&str]) -> Result<()> {
    let name = NODES[usize::from(n) - 1];
    lab.site
        .cli("admin", &[&["node", "deploy", name], more].concat())?;
    lab.is(name, "wait call-back")
}

/// Comes with its ticket, and beats until it is told to write.
///
/// # Errors
/// When it is not.
pub fn writes(lab: &mut Lab, n: u8, ticket: &str) -> Result<Writing> {
    let agent = Machine::new(n, Mark::All, Some(ticket))?.welcome(lab)?;
    lab.secret("an agent's token", agent.jwt.clone());
    let mut wire = agent.wire(lab)?;
    // The first answers may be that there is nothing to do yet.
    let (step, order) = until("the agent is told to write", || {
        Ok(match agent.beats(&mut wire)? {
            HeartbeatReply::Step {
                id,
                order: Order::WriteImage(write),
            } => Some((id, write)),
            _ => None,
        })
    })?;
    Ok(Writing {
        agent,
        wire,
        step,
        order,
    })
}

/// One beat with this status.
///
/// # Errors
/// When nobody answers.
pub fn says(agent: &Agent, wire: &mut Wire, status: Status) -> Result<HeartbeatReply> {
    let beat = Heartbeat {
        version: codec::VERSION,
        boot: agent.machine.boot,
        seq: 2,
        status,
        nudge: None,
    };
    let subject = format!("ib.v1.heartbeat.{}", agent.node);
    ask(wire, &subject, &codec::encode(&beat)).context("report a step")
}

/// Takes the machine from its user, or from a deploy that failed.
///
/// # Errors
/// When that fails.
pub fn undeploys(lab: &mut Lab, n: u8) -> Result<()> {
    let name = NODES[usize::from(n) - 1];
    if lab.show(name)?["state"].get("busy").is_some() {
        lab.site.cli("admin", &["node", "abort", name, "--wait"])?;
    }
    lab.site
        .cli("admin", &["node", "undeploy", name, "--wait"])?;
    lab.is(name, "available")
}
