//! The end of an inspection: what the rules say of the machine is said of its node, in the same save as the inventory.
//! `crate::rules` knows what they say; what a node may be told `set` knows.
use super::draft::Draft;
use super::set;
use crate::node::JobKind;
use crate::rules::{self, Rules, Scope};
use alloc::string::{String, ToString};
use ironbeat_common::inventory::Inventory;

/// In words, what was done; empty: nothing.
///
/// # Errors
/// Why the inspection fails, with the rule's name. Nothing is changed then.
pub(super) fn rule(draft: &mut Draft<'_>, inventory: &Inventory) -> Result<String, String> {
    // A step of a service or a cleaning reads the hardware anew, and describes nobody's node.
    let inspects = draft.node.job().map(|job| job.kind) == Some(JobKind::Inspect);
    let (true, Some(Rules { all, refused })) = (inspects, draft.ctx.rules) else {
        return Ok(String::new());
    };
    let view = rules::node_view(&draft.node, draft.ctx.notes);
    let outcome = rules::apply(all, Scope::Inspection, inventory, &view);
    let outcome = outcome.map_err(|failed| failed.to_string())?;
    if let Some(why) = refused {
        return Err(outcome.refused(why));
    }
    if outcome.patch == Default::default() {
        return Ok(outcome.words(&[]));
    }
    let (node, beside) = (draft.node.clone(), draft.beside.len());
    match set::describe_all(draft, &outcome.patch) {
        Ok(changes) => Ok(outcome.words(&changes.0)),
        Err(why) => {
            draft.node = node;
            draft.beside.truncate(beside);
            Err(outcome.refused(&why.to_string()))
        }
    }
}

#[cfg(test)]
mod tests;
