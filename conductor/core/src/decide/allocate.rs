//! A node becomes somebody's, or free again. Whoever's save of the record is the first has it.
//! `allocation` says which nodes fit; the end of an instance frees a node as well (`job`).
use super::answer::{Rejected, words};
use super::draft::Draft;
use crate::allocation::{Unfit, Wanted};
use crate::node::{Node, Rest, State};
use alloc::format;
use alloc::string::{String, ToString};
use ironbeat_common::id::AllocationId;

pub(super) fn allocate(
    draft: &mut Draft<'_>,
    id: AllocationId,
    wanted: &Wanted,
) -> Result<String, Rejected> {
    let node = &mut draft.node;
    if node.allocation == Some(id) {
        return Ok(format!("it has allocation {id} already"));
    }
    match wanted.fits_record(node) {
        Ok(()) => {
            node.allocation = Some(id);
            Ok(format!("allocated to {id}"))
        }
        Err(Unfit::Allocated) => Err(taken(node, "allocate")),
        Err(unfit) => Err(Rejected::WrongState {
            verb: "allocate".to_string(),
            state: format!("{}: it is {}", words(&node.state), unfit.words()),
        }),
    }
}

pub(super) fn deallocate(draft: &mut Draft<'_>, id: AllocationId) -> Result<String, Rejected> {
    let node = &mut draft.node;
    if node.allocation != Some(id) {
        return Ok(format!("it has not allocation {id}"));
    }
    if node.instance.is_some() && node.maintenance.is_none() {
        return Err(Rejected::WrongState {
            verb: "end the allocation of".to_string(),
            state: format!(
                "{} (undeploy it, which ends the allocation, or set maintenance)",
                node.state.provision_state()
            ),
        });
    }
    node.allocation = None;
    Ok(format!("allocation {id} has ended"))
}

/// Nobody takes a free node from whom it was given to.
pub(super) fn not_allocated(node: &Node, verb: &str) -> Result<(), Rejected> {
    let is_free = node.state == State::Resting(Rest::Available);
    match is_free && node.allocation.is_some() && node.maintenance.is_none() {
        true => Err(taken(node, verb)),
        false => Ok(()),
    }
}

fn taken(node: &Node, verb: &str) -> Rejected {
    let by = node.allocation.map(|id| id.to_string());
    Rejected::WrongState {
        verb: verb.to_string(),
        state: format!(
            "allocated (`ironbeat allocation delete {}` ends that)",
            by.unwrap_or_default()
        ),
    }
}

#[cfg(test)]
mod tests;
